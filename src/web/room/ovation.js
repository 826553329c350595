/**
 * Ovation's client: a room with live counts. Use `new OvationRoom({ room: "talk-1" })`.
 *
 * @typedef {"connecting" | "open" | "waiting" | "refused" | "closed"} RoomState
 *   `waiting`: disconnected; will retry soon. `refused`: turned away; will retry after minutes.
 *   `closed`: closed by the page or by the operator.
 * @typedef {{ state: RoomState, queued: number, transport: "websocket" | "sse" }} StateDetail
 *   `queued`: taps that wait for a connection.
 * @typedef {{ counts: Map<string, number>, increases: Map<string, number>, own: boolean }} CountsDetail
 *   `increases`: by how much each kind rose since the last event. `own`: whether a tap on this page
 *   caused it.
 * @typedef {{ room: string, host?: string, party?: string, presence?: boolean, maxKindBytes?: number }} RoomOptions
 *   `host`: `host:port` or an origin; default: the origin of this module.
 *   `presence`: whether to receive the number of members.
 */

/** Maximum number of taps that are kept while disconnected. */
export const MAX_QUEUED_TAPS = 200;
/** The server's default length limit of a kind, in bytes. */
const MAX_KIND_BYTES = 32;
/** Maximum number of bytes in the browser's send buffer. */
const MAX_BUFFERED_BYTES = 16384;
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 30_000;
const REFUSED_RETRY_MS = 120_000;
/** A connection that lasted this long resets the retry delay. */
const GOOD_AFTER_MS = 5000;
const TIMEOUT_MS = 10_000;
/** If nothing arrives for this long after a tap, the connection is dead. Long enough that a server
 * under load doesn't lose all its clients. */
const STALL_MS = 60_000;
/** Failed WebSockets in a row before the client tries server-sent events. Higher once a WebSocket
 * has worked, because then the server is more likely to be down. */
const SOCKET_TRIES = 3;
const KNOWN_SOCKET_TRIES = 8;
const HERE = "$here";

const add = (map, kind, count) => {
  const sum = (map.get(kind) ?? 0) + count;
  if (sum > 0) map.set(kind, sum);
  else map.delete(kind);
};
const isGone = (state) => state === "closed" || state === "refused";
/** A random delay that grows with the number of failures in a row. */
const backoff = (failures) =>
  100 + Math.random() * Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** (failures - 1));
const sum = (map) => [...map.values()].reduce((all, count) => all + count, 0);

/**
 * A room. Events: `counts` ({@link CountsDetail}), `state` ({@link StateDetail}), `here` (the
 * number of members).
 *
 * The server sends absolute counts and may skip some, so the client can't tell which taps they
 * include. It shows the server's count plus its own taps that aren't counted yet, and attributes
 * every increase to its own taps first. Each tap shows at once, and no count goes down or includes
 * a tap twice. The taps of others may show up to a tick late.
 */
export class OvationRoom extends EventTarget {
  /** The last counts from the server. */
  #server = new Map();
  /** Own taps that were sent and are not yet in the server's counts. */
  #sent = new Map();
  /** Own taps that wait to be sent. */
  #queue = new Map();
  #url;
  #query;
  #maxKindBytes;
  /** @type {RoomState} */
  #state = "closed";
  /** @type {WebSocket | EventSource | undefined} */
  #link;
  /** Number of this connection. Events of earlier ones are ignored. */
  #generation = 0;
  #failures = 0;
  /** Failed attempts with this transport in a row. */
  #tries = 0;
  #hadSocket = false;
  #openedAt = 0;
  #hasCounts = false;
  /** The tap that is being posted. It is also in `#sent`. */
  #posting;
  #postFailures = 0;
  #postTimer;
  #retryTimer;
  #stallTimer;

  /** Number of members, if `presence` is on and it is known.
   * @type {number | undefined} */
  here;
  /** @type {"websocket" | "sse"} */
  transport = "websocket";

  /** @param {RoomOptions} options */
  constructor({ room, host, party = "main", presence = false, maxKindBytes = MAX_KIND_BYTES }) {
    super();
    const own = new URL(import.meta.url);
    const origin = host ? (host.includes("://") ? host : `${own.protocol}//${host}`) : own.origin;
    this.#url = new URL(`/parties/${encodeURIComponent(party)}/${encodeURIComponent(room)}`, origin).href;
    this.#query = presence ? "?presence=1" : "";
    this.#maxKindBytes = maxKindBytes;
  }

  /** The server's counts plus own taps that aren't counted yet, by kind. */
  get counts() {
    const counts = new Map(this.#server);
    for (const own of [this.#sent, this.#queue]) for (const [kind, count] of own) add(counts, kind, count);
    return counts;
  }

  get state() {
    return this.#state;
  }

  /** Number of own taps that wait for a connection. */
  get queued() {
    return sum(this.#queue);
  }

  /** Joins the room. Reconnects until {@link close}. */
  connect() {
    if (this.#state !== "closed") return;
    for (const type of ["online", "offline"]) globalThis.addEventListener?.(type, this);
    this.#dial();
  }

  /** Leaves the room. */
  close() {
    for (const type of ["online", "offline"]) globalThis.removeEventListener?.(type, this);
    this.#hangUp();
    this.#forget();
    this.#queue.clear();
    this.#setState("closed");
  }

  /**
   * Reacts. While disconnected, keeps the tap and sends it once when connected again.
   * @param {string} kind
   * @returns {boolean} whether the tap was accepted: false if `kind` is invalid, too many taps
   *   wait, or the room is closed or refused
   */
  react(kind) {
    const length = new TextEncoder().encode(kind).length;
    if (!length || length > this.#maxKindBytes || /\p{Cc}/u.test(kind) || kind === HERE) return false;
    if (isGone(this.#state) || this.queued >= MAX_QUEUED_TAPS) return false;
    if (/** @type {WebSocket} */ (this.#link)?.bufferedAmount > MAX_BUFFERED_BYTES) return false;
    add(this.#queue, kind, 1);
    if (this.#state === "open") this.#flush();
    else this.#tellState();
    this.#tellCounts(new Map([[kind, 1]]), true);
    return true;
  }

  /** The network came or went. Only a hint, because a local server needs no network.
   * @param {Event} event */
  handleEvent({ type }) {
    if (type === "offline") {
      if (this.#state === "open") this.#giveUp();
    } else if (this.#state === "waiting") {
      // A random delay, because the whole hall comes back at the same moment.
      clearTimeout(this.#retryTimer);
      this.#retryTimer = setTimeout(() => this.#dial(), Math.random() * FIRST_RETRY_MS);
    }
  }

  #dial() {
    this.#hangUp();
    const generation = this.#generation;
    const isCurrent = () => generation === this.#generation;
    this.#setState("connecting");
    // A listener may have closed the room.
    if (!isCurrent()) return;
    const url = this.#url + this.#query;
    try {
      if (this.transport === "websocket") {
        this.#link = new WebSocket(url.replace("http", "ws"));
        this.#link.onclose = ({ code }) => isCurrent() && this.#lost(code);
      } else {
        this.#link = new EventSource(url);
        this.#link.onerror = () => isCurrent() && this.#lost();
        this.#link.addEventListener("close", ({ data }) => isCurrent() && this.#lost(+data));
      }
      this.#link.onmessage = ({ data }) => isCurrent() && this.#receive(data);
    } catch {
      // The page's Content-Security-Policy forbids the connection.
      return this.#lost();
    }
    this.#retryTimer = setTimeout(() => this.#lost(), TIMEOUT_MS);
  }

  #hangUp() {
    this.#generation++;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#stallTimer);
    clearTimeout(this.#postTimer);
    this.#stallTimer = this.#postTimer = undefined;
    this.#link?.close();
    this.#link = undefined;
  }

  /** Ends a connection that may still deliver its taps, so they are not sent again. */
  #giveUp() {
    this.#forget();
    this.#lost();
  }

  #forget() {
    this.#sent.clear();
    this.#posting = undefined;
  }

  #lost(code = 0) {
    // The operator closed the room, and reconnecting would open it again.
    if (code === 1000) return this.close();
    this.#hangUp();
    const wasOpen = this.#state === "open";
    const wasGood = wasOpen && Date.now() - this.#openedAt > GOOD_AFTER_MS;
    this.#failures = wasGood ? 1 : this.#failures + 1;
    this.#tries = wasOpen ? 0 : this.#tries + 1;
    const isSocket = this.transport === "websocket";
    if (isSocket ? this.#tries >= (this.#hadSocket ? KNOWN_SOCKET_TRIES : SOCKET_TRIES) : this.#tries) {
      this.transport = isSocket ? "sse" : "websocket";
      this.#tries = 0;
    }
    const isRefused = code === 1008;
    if (isRefused) {
      // Repeating the refused taps would get the client refused again.
      this.#forget();
      this.#queue.clear();
    }
    const delay = isRefused ? REFUSED_RETRY_MS * (1 + Math.random()) : backoff(this.#failures);
    this.#retryTimer = setTimeout(() => this.#dial(), delay);
    this.#setState(isRefused ? "refused" : "waiting");
    this.#tellCounts(new Map(), false);
  }

  /** @param {string} text */
  #receive(text) {
    let entries;
    try {
      if (text[0] !== "{") return;
      entries = Object.entries(JSON.parse(text));
    } catch {
      return;
    }
    if (!entries.every(([, count]) => Number.isSafeInteger(count) && count >= 0)) return;
    clearTimeout(this.#stallTimer);
    this.#stallTimer = undefined;
    if (entries.length === 1 && entries[0][0] === HERE) {
      this.here = entries[0][1];
      this.#tell("here", this.here);
      return;
    }
    const isFirst = this.#state !== "open";
    const shown = this.counts;
    const server = new Map(entries);
    for (const kind of [...this.#sent.keys()]) {
      const gain = (server.get(kind) ?? 0) - (this.#server.get(kind) ?? 0);
      // A count only falls if the operator reset it. Then no tap is on its way.
      add(this.#sent, kind, gain < 0 ? -Infinity : -gain);
    }
    this.#server = server;
    if (isFirst) this.#opened();
    const increases = new Map();
    // The very first counts aren't increases.
    if (this.#hasCounts) for (const [kind, count] of this.counts) add(increases, kind, count - (shown.get(kind) ?? 0));
    this.#hasCounts = true;
    this.#tellCounts(increases, false);
  }

  /** Handles the first counts of a connection. Taps of the previous connection that are not in
   * them were lost, so they are sent again, except one that is still being posted. */
  #opened() {
    clearTimeout(this.#retryTimer);
    this.#openedAt = Date.now();
    this.#tries = 0;
    this.#hadSocket ||= this.transport === "websocket";
    const posting = this.#posting?.kind;
    for (const [kind, count] of [...this.#sent]) {
      const lost = count - Number(kind === posting);
      add(this.#queue, kind, lost);
      add(this.#sent, kind, -lost);
    }
    this.#state = "open";
    this.#flush();
    this.#tellState();
  }

  /** Sends all taps that wait. */
  #flush() {
    if (this.transport === "sse") return void this.#post();
    for (const [kind, count] of this.#queue) {
      for (let tap = 0; tap < count; tap++)
        /** @type {WebSocket} */ (this.#link).send(JSON.stringify({ kind }));
      this.#leaves(kind, count);
    }
  }

  #leaves(kind, count) {
    add(this.#queue, kind, -count);
    add(this.#sent, kind, count);
    this.#stallTimer ??= setTimeout(() => this.#giveUp(), STALL_MS * (1 + Math.random()));
  }

  /** Posts the waiting taps one by one. The event stream delivers the counts. */
  async #post() {
    if (this.#posting || this.#postTimer || this.#state !== "open" || !this.#queue.size) return;
    const [kind] = this.#queue.keys();
    this.#leaves(kind, 1);
    const tap = (this.#posting = { kind });
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
    // A text body needs no CORS preflight.
    const request = { method: "POST", body: JSON.stringify(tap), signal: abort.signal };
    const { status } = await fetch(this.#url, request).catch(() => ({ status: 0 }));
    clearTimeout(timer);
    // The tap was forgotten meanwhile.
    if (this.#posting !== tap) return;
    this.#posting = undefined;
    const isBusy = status === 503 || status === 507;
    // The network or a proxy failed, so the tap may have been counted.
    const isDoubtful = !isBusy && (!status || status >= 500);
    if (status >= 400 && !isDoubtful) add(this.#sent, kind, -1);
    if (isBusy) add(this.#queue, kind, 1);
    this.#postFailures = isBusy || isDoubtful ? this.#postFailures + 1 : 0;
    if (this.#postFailures && this.#state === "open" && this.transport === "sse")
      this.#postTimer = setTimeout(() => {
        this.#postTimer = undefined;
        // The first counts of a new stream show whether the tap was counted.
        if (isDoubtful && this.#sent.size) this.#dial();
        else this.#post();
      }, backoff(this.#postFailures));
    this.#tellState();
    this.#tellCounts(new Map(), false);
    if (this.#state === "open") this.#flush();
  }

  #setState(state) {
    this.#state = state;
    this.#tellState();
  }

  #tellState() {
    this.#tell("state", { state: this.#state, queued: this.queued, transport: this.transport });
  }

  #tellCounts(increases, own) {
    this.#tell("counts", { counts: this.counts, increases, own });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
