/**
 * Ovation's client: a room with live counts. Use `new OvationRoom({ room: "talk-1" })`.
 *
 * @typedef {"connecting" | "open" | "waiting" | "refused" | "closed"} RoomState
 *   `waiting`: disconnected; will retry soon. `refused`: turned away; see `reason`. `closed`: closed by
 *   the page, or by who moderates the room.
 * @typedef {"open" | "frozen"} RoomMode `frozen`: the counts show, and reactions are refused.
 * @typedef {{ state: RoomState, mode: RoomMode, queued: number, transport: "websocket" | "sse", reason?: string }} StateDetail
 *   `queued`: taps that wait for a connection. `reason`: why the client was turned away: `token`,
 *   `permission`, `origin`, `closed` or `rate`.
 * @typedef {{ counts: Map<string, number>, increases: Map<string, number>, own: boolean }} CountsDetail
 *   `increases`: by how much each kind rose since the last event. `own`: whether a tap on this page
 *   caused it.
 * @typedef {{ kind: string, taps: number, reason: string }} RefusedDetail
 *   Taps that the server refused: the kind isn't counted (`kind`, `kinds`), the room is `frozen`, or
 *   the server is full (`store`, `rooms`).
 * @typedef {{ room: string, host?: string, party?: string, presence?: boolean, maxKindBytes?: number,
 *   token?: string | (() => string | Promise<string>) }} RoomOptions
 *   `host`: `host:port` or an origin; default: the origin of this module. `presence`: whether to
 *   receive the number of members. `token`: an access token, or a function that fetches one each time
 *   the client connects.
 */

/** Maximum number of taps that are kept until the server has counted them. */
export const MAX_QUEUED_TAPS = 200;
/** The server's default length limit of a kind, in bytes. */
const MAX_KIND_BYTES = 32;
/** Maximum number of taps in one message. */
const MAX_TAPS = 50;
/** Minimum time between two messages: taps in between travel together. */
const SEND_MS = 250;
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 30_000;
const REFUSED_RETRY_MS = 120_000;
/** A connection that lasted this long resets the retry delay. */
const GOOD_AFTER_MS = 5000;
const TIMEOUT_MS = 10_000;
/** Time after which taps that the server hasn't acknowledged are sent again. */
const RESEND_MS = 5000;
/** Time for which a page that wakes listens before it connects anew. */
const LISTEN_MS = 1000;
/** Failed WebSockets in a row before the client tries server-sent events. Higher once a WebSocket
 * has worked, because then the server is more likely to be down. */
const SOCKET_TRIES = 3;
const KNOWN_SOCKET_TRIES = 8;
/** Close codes after which the client doesn't come back by itself, and why. */
const FINAL = { 4500: "token", 4501: "permission", 4502: "origin", 4503: "closed" };
const WAKING = ["online", "offline", "pageshow"];
const WAKING_PAGE = ["visibilitychange", "resume"];

const add = (map, kind, count) => {
  const sum = (map.get(kind) ?? 0) + count;
  if (sum > 0) map.set(kind, sum);
  else map.delete(kind);
};
const isGone = (state) => state === "closed" || state === "refused";
/** A random delay that grows with the number of failures in a row. */
const backoff = (failures) =>
  100 + Math.random() * Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** (failures - 1));
const toMap = (counts) => new Map(Object.entries(counts));

/**
 * A room. Events: `counts` ({@link CountsDetail}), `state` ({@link StateDetail}), `refused`
 * ({@link RefusedDetail}), `here` (the number of members).
 *
 * The client numbers its messages, and sends again what the server hasn't acknowledged. The server
 * counts each number once. So a count shows the server's count plus the page's own taps that aren't
 * acknowledged yet. It never falls, unless the server says that it was reset.
 */
export class OvationRoom extends EventTarget {
  /** The last counts from the server. */
  #server = new Map();
  /** The highest counts that were shown. An acknowledgement may come before the counts with its taps. */
  #shown = new Map();
  /** Own taps that the server hasn't acknowledged, in messages. A message that was sent has an `id`.
   * @type {{ kind: string, n: number, id?: number, link?: object }[]} */
  #pending = [];
  /** The number up to which the server has counted, and of the last message. */
  #acked = 0;
  #last = 0;
  #session = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  /** What the server said first: its number, its heartbeat, and how long it remembers sessions. */
  #hello = { $server: undefined, $heartbeat: 0, $memory: 0 };
  /** Taps whose fate the last hello settled; undefined once the counts after it have come. */
  #settled;
  #url;
  #presence;
  #token;
  #maxKindBytes;
  /** @type {RoomState} */
  #state = "closed";
  /** @type {string | undefined} */
  #reason;
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
  #heardAt = 0;
  #sentAt = 0;
  /** Messages from the server that wait for the end of a POST; undefined if none is under way. */
  #held;
  #postFailures = 0;
  #retryTimer;
  #silenceTimer;
  #sendTimer;
  #listenTimer;

  /** Number of members, if `presence` is on and it is known.
   * @type {number | undefined} */
  here;
  /** @type {RoomMode} */
  mode = "open";
  /** @type {"websocket" | "sse"} */
  transport = "websocket";

  /** @param {RoomOptions} options */
  constructor({ room, host, party = "main", presence = false, maxKindBytes = MAX_KIND_BYTES, token }) {
    super();
    const own = new URL(import.meta.url);
    const origin = host ? (host.includes("://") ? host : `${own.protocol}//${host}`) : own.origin;
    this.#url = new URL(`/parties/${encodeURIComponent(party)}/${encodeURIComponent(room)}`, origin).href;
    this.#presence = presence;
    this.#token = token;
    this.#maxKindBytes = maxKindBytes;
  }

  /** The server's counts plus own taps that aren't counted yet, by kind. */
  get counts() {
    const counts = new Map(this.#server);
    for (const { kind, n } of this.#pending) add(counts, kind, n);
    for (const [kind, count] of this.#shown) if (count > (counts.get(kind) ?? 0)) counts.set(kind, count);
    return counts;
  }

  get state() {
    return this.#state;
  }

  /** Why the client was turned away, if it was. */
  get reason() {
    return this.#reason;
  }

  /** Number of own taps that the server hasn't acknowledged. */
  get queued() {
    return this.#pending.reduce((sum, { n }) => sum + n, 0);
  }

  /** Joins the room. Reconnects until {@link close}. */
  connect() {
    if (!isGone(this.#state)) return;
    for (const type of WAKING) globalThis.addEventListener?.(type, this);
    for (const type of WAKING_PAGE) globalThis.document?.addEventListener(type, this);
    this.#dial();
  }

  /** Leaves the room, and forgets taps that aren't counted. */
  close() {
    for (const type of WAKING) globalThis.removeEventListener?.(type, this);
    for (const type of WAKING_PAGE) globalThis.document?.removeEventListener(type, this);
    this.#hangUp();
    this.#pending = [];
    this.#setState("closed");
  }

  /**
   * Reacts. While disconnected, keeps the tap and sends it once when connected again.
   * @param {string} kind
   * @returns {boolean} whether the tap was accepted: false if `kind` is invalid, too many taps
   *   wait, or the room is frozen, closed or refused
   */
  react(kind) {
    const length = new TextEncoder().encode(kind).length;
    if (!length || length > this.#maxKindBytes || /^\$|\p{Cc}/u.test(kind)) return false;
    if (isGone(this.#state) || this.mode !== "open" || this.queued >= MAX_QUEUED_TAPS) return false;
    const waiting = this.#pending.find((it) => !it.id && it.kind === kind && it.n < MAX_TAPS);
    if (waiting) waiting.n++;
    else this.#pending.push({ kind, n: 1 });
    if (this.#state === "open") this.#flush();
    else this.#tellState();
    this.#tellCounts(new Map([[kind, 1]]), true);
    return true;
  }

  /** The page woke, or the network came or went.
   * @param {Event} event */
  handleEvent({ type }) {
    if (type === "offline") return void (this.#state === "open" && this.#lost());
    if (globalThis.document?.visibilityState === "hidden") return;
    if (this.#state === "waiting" || (isGone(this.#state) && this.#reason)) {
      // A random delay, because the whole hall comes back at the same moment.
      clearTimeout(this.#retryTimer);
      this.#retryTimer = setTimeout(() => this.#dial(), Math.random() * FIRST_RETRY_MS);
    } else if (this.#state === "open" && this.#silence() > 1.25 * this.#hello.$heartbeat) {
      // What arrived while the page was frozen is delivered now.
      const heardAt = this.#heardAt;
      clearTimeout(this.#listenTimer);
      this.#listenTimer = setTimeout(() => heardAt === this.#heardAt && this.#dial(), LISTEN_MS);
    }
  }

  #silence() {
    return Date.now() - this.#heardAt;
  }

  async #dial() {
    this.#hangUp();
    const generation = this.#generation;
    const isCurrent = () => generation === this.#generation;
    this.#setState("connecting");
    // A listener may have closed the room.
    if (!isCurrent()) return;
    this.#retryTimer = setTimeout(() => this.#lost(), TIMEOUT_MS);
    try {
      const query = new URLSearchParams({ session: this.#session });
      if (this.#presence) query.set("presence", "1");
      let token = this.#token;
      if (typeof token === "function") token = await token();
      if (!isCurrent()) return;
      if (token) query.set("token", token);
      const url = `${this.#url}?${query}`;
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
      // The page's Content-Security-Policy forbids the connection, or no token could be had.
      if (isCurrent()) this.#lost();
    }
  }

  #hangUp() {
    this.#generation++;
    for (const timer of [this.#retryTimer, this.#silenceTimer, this.#sendTimer, this.#listenTimer]) clearTimeout(timer);
    this.#sendTimer = this.#held = undefined;
    this.#link?.close();
    this.#link = undefined;
  }

  #lost(code = 0) {
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
    const reason = code === 1008 ? "rate" : FINAL[code];
    if (!FINAL[code]) {
      const delay = reason ? REFUSED_RETRY_MS * (1 + Math.random()) : backoff(this.#failures);
      this.#retryTimer = setTimeout(() => this.#dial(), delay);
    }
    this.#setState(reason === "closed" ? "closed" : reason ? "refused" : "waiting", reason);
    this.#tellCounts(new Map(), false);
  }

  /** @param {string} text */
  #receive(text) {
    const silence = this.#silence();
    this.#heardAt = Date.now();
    if (this.#held) return void this.#held.push(text);
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    if (message.$server !== undefined) this.#greet(message, silence);
    else if (message.$ack) this.#acknowledge(message.$ack);
    else if (message.$refused) this.#refuse(message);
    else if (message.$state) {
      this.mode = message.$state;
      this.#tellState();
    } else if (message.$here !== undefined) {
      this.here = message.$here;
      this.#tell("here", this.here);
    } else if (message.$reset) {
      this.#shown.clear();
      this.#count(toMap(message.$reset));
    } else if (Object.values(message).every((count) => Number.isSafeInteger(count) && count >= 0)) {
      this.#count(toMap(message));
    }
  }

  /** Handles the first message of a connection, which settles what became of the taps of earlier ones. */
  #greet(hello, silence) {
    const { $server = hello.$server, $memory } = this.#hello;
    const isLost = hello.$server !== $server || hello.$ack < this.#acked || (this.#openedAt && silence > $memory);
    // If the server has lost the numbers, messages that were sent may have been counted. They are not
    // sent again, so that none counts twice.
    const isSettled = ({ id }) => id && (isLost || id <= hello.$ack);
    this.#settled = this.#pending.filter(isSettled);
    this.#pending = this.#pending.filter((it) => !isSettled(it));
    this.#acked = hello.$ack;
    this.#last = Math.max(hello.$ack, ...this.#pending.map(({ id = 0 }) => id));
    this.#hello = hello;
    this.mode = "open";
  }

  #acknowledge(ack) {
    if (ack <= this.#acked) return;
    this.#acked = ack;
    this.#pending = this.#pending.filter(({ id = Infinity }) => id > ack);
    this.#tellState();
  }

  #refuse({ $refused, reason }) {
    const refused = this.#pending.filter(({ id }) => id === $refused);
    this.#pending = this.#pending.filter(({ id }) => id !== $refused);
    for (const { kind, n } of refused) {
      add(this.#shown, kind, -n);
      this.#tell("refused", { kind, taps: n, reason });
    }
    this.#tellState();
    this.#tellCounts(new Map(), false);
  }

  /** @param {Map<string, number>} server */
  #count(server) {
    const before = this.counts;
    this.#server = server;
    if (this.#state !== "open") this.#opened();
    const increases = new Map();
    // The very first counts aren't increases.
    if (this.#hasCounts) for (const [kind, count] of this.counts) add(increases, kind, count - (before.get(kind) ?? 0));
    this.#hasCounts = true;
    this.#tellCounts(increases, false);
  }

  /** Handles the first counts of a connection. */
  #opened() {
    clearTimeout(this.#retryTimer);
    this.#openedAt = Date.now();
    this.#tries = 0;
    this.#hadSocket ||= this.transport === "websocket";
    // A count that is lower by more than the settled taps was reset meanwhile.
    const expected = new Map(this.#server);
    for (const { kind, n } of [...this.#pending, ...(this.#settled ?? [])]) add(expected, kind, n);
    for (const [kind, count] of [...this.#shown]) if ((expected.get(kind) ?? 0) < count) this.#shown.delete(kind);
    this.#settled = undefined;
    this.#watch();
    this.#setState("open");
    this.#flush();
  }

  /** Connects anew when the server has been silent for too long. */
  #watch() {
    const limit = 2.5 * this.#hello.$heartbeat;
    if (!limit) return;
    const check = () => {
      const left = limit - this.#silence();
      if (left <= 0) this.#lost();
      else this.#silenceTimer = setTimeout(check, left);
    };
    this.#silenceTimer = setTimeout(check, limit);
  }

  /** Sends the taps that wait: at once, or together with those of the next moment. */
  #flush() {
    if (this.transport === "sse") return void this.#post();
    if (this.#sendTimer) return;
    const wait = this.#sentAt + SEND_MS - Date.now();
    if (wait > 0) {
      this.#sendTimer = setTimeout(() => {
        this.#sendTimer = undefined;
        this.#flush();
      }, wait);
      return;
    }
    const link = /** @type {WebSocket} */ (this.#link);
    const unsent = this.#pending.filter((it) => it.link !== link);
    for (const message of unsent) {
      this.#send(message);
      message.link = link;
    }
    if (!unsent.length) return;
    this.#sentAt = Date.now();
    // A server that drops messages over the rate acknowledges none of those behind them.
    const last = this.#last;
    setTimeout(() => {
      if (link !== this.#link || this.#acked >= last) return;
      for (const message of this.#pending) message.link = undefined;
      this.#flush();
    }, RESEND_MS);
  }

  #number(message) {
    message.id ??= ++this.#last;
    return JSON.stringify({ kind: message.kind, n: message.n, id: message.id });
  }

  #send(message) {
    /** @type {WebSocket} */ (this.#link).send(this.#number(message));
  }

  /** Posts the waiting taps, one message after the other. What the stream brings meanwhile waits, so
   * that the counts never come before the acknowledgement of the taps in them. */
  async #post() {
    if (this.#held || this.#sendTimer || this.#state !== "open" || !this.#pending.length) return;
    const message = this.#pending[0];
    const generation = this.#generation;
    this.#held = [];
    const status = await this.#postOne(message).catch(() => 0);
    if (generation !== this.#generation) return;
    const held = this.#held ?? [];
    this.#held = undefined;
    // An earlier message is missing, so what the server knows must be asked for.
    if (status === 412) return void this.#dial();
    const isRefused = [400, 403, 409, 413, 422].includes(status);
    if (status === 200) this.#acknowledge(message.id);
    else if (isRefused) this.#refuse({ $refused: message.id, reason: status === 409 ? "frozen" : "kind" });
    this.#postFailures = status === 200 || isRefused ? 0 : this.#postFailures + 1;
    for (const text of held) this.#receive(text);
    if (this.#postFailures)
      this.#sendTimer = setTimeout(() => {
        this.#sendTimer = undefined;
        this.#post();
      }, backoff(this.#postFailures));
    else if (this.#state === "open") this.#flush();
  }

  async #postOne(message) {
    const body = this.#number(message);
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    // Without a token, the request needs no CORS preflight.
    const headers = token ? { Authorization: `Bearer ${token}` } : undefined;
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    return (await fetch(`${this.#url}?session=${this.#session}`, { method: "POST", body, headers, signal })).status;
  }

  /** @param {RoomState} state @param {string} [reason] */
  #setState(state, reason) {
    this.#state = state;
    this.#reason = reason;
    this.#tellState();
  }

  #tellState() {
    const { mode, queued, transport } = this;
    this.#tell("state", { state: this.#state, mode, queued, transport, reason: this.#reason });
  }

  #tellCounts(increases, own) {
    const counts = this.counts;
    this.#shown = new Map(counts);
    this.#tell("counts", { counts, increases, own });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
