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
const [FIRST_RETRY_MS, MAX_RETRY_MS, REFUSED_RETRY_MS] = [1000, 30_000, 120_000];
/** A connection that lasted this long resets the retry delay. */
const GOOD_AFTER_MS = 5000;
const TIMEOUT_MS = 10_000;
/** Time after which taps that aren't acknowledged are sent again, and how often on a connection. */
const [RESEND_MS, MAX_RESENDS] = [5000, 3];
/** Time for which a page that wakes waits for an answer before it connects anew. */
const LISTEN_MS = 1000;
/** Maximum time between two looks at the connection. */
const WATCH_MS = 5000;
/** A message that the server acknowledges and never counts: no session gets to its number. */
const PROBE = `{"kind":"?","n":1,"id":${Number.MAX_SAFE_INTEGER}}`;
/** Failed WebSockets in a row before the client tries server-sent events. Higher once a WebSocket
 * has worked, because then the server is more likely to be down. */
const [SOCKET_TRIES, KNOWN_SOCKET_TRIES] = [3, 8];
/** Close codes after which the client doesn't come back by itself, and why. */
const FINAL = { 4500: "token", 4501: "permission", 4502: "origin", 4503: "closed" };
/** Statuses of a POST that refuse its taps, and why. */
const REFUSED = { 400: "kind", 403: "permission", 409: "frozen", 413: "kind", 422: "kind" };
const WAKING = ["online", "offline", "pageshow"];
const WAKING_PAGE = ["visibilitychange", "resume"];

const add = (map, kind, count) => {
  const sum = (map.get(kind) ?? 0) + count;
  if (sum > 0) map.set(kind, sum);
  else map.delete(kind);
};
/** These counts and the taps in these messages. */
const plus = (counts, messages) => {
  const sum = new Map(counts);
  for (const { kind, n } of messages) add(sum, kind, n);
  return sum;
};
const isHidden = () => globalThis.document?.visibilityState === "hidden";
const isGone = (state) => state === "closed" || state === "refused";
/** A random delay that grows with the number of failures in a row. */
const backoff = (failures) =>
  100 + Math.random() * Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** (failures - 1));
const newSession = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * A room. Events: `counts` ({@link CountsDetail}), `state` ({@link StateDetail}), `refused`
 * ({@link RefusedDetail}), `here` (the number of members).
 *
 * The client numbers its messages, and sends again what the server hasn't acknowledged. The server
 * counts each number once. A tap raises the shown count at once. The server's counts raise it to
 * what the server has counted, plus the taps that the server can't have counted yet. So a shown
 * count never falls, unless the server refuses a tap or says that the room was reset.
 */
export class OvationRoom extends EventTarget {
  /** The last counts from the server. */
  #server = new Map();
  /** The counts to show. */
  #shown = new Map();
  /** Own taps that the server hasn't acknowledged, in messages. A message that was sent has an `id`.
   * `isSent`: on this connection. `isDoubtful`: it was posted, or sent on an earlier connection, so
   * the server's counts may include it before the server acknowledges it.
   * @type {{ kind: string, n: number, id?: number, isSent?: boolean, isDoubtful?: boolean }[]} */
  #pending = [];
  #session = newSession();
  /** The number up to which the server has counted, and of the last message. */
  #acked = 0;
  #last = 0;
  /** What the server said first: its number, its heartbeat, and how long it remembers sessions. */
  #hello = { $server: undefined, $heartbeat: 0, $memory: 0 };
  /** Taps whose fate the hello of this connection settled, until its first counts. */
  #settled;
  /** Taps that the server may not have counted, because it lost their numbers. They stay shown. */
  #lostTaps = new Map();
  #url;
  #presence;
  #token;
  #maxKindBytes;
  /** @type {RoomState} */
  #state = "closed";
  /** @type {string | undefined} */
  #reason;
  /** When the state began. */
  #since = 0;
  /** @type {WebSocket | EventSource | undefined} */
  #link;
  /** Number of this connection. Events of earlier ones are ignored. */
  #generation = 0;
  /** Failed attempts in a row, and with this transport. */
  #failures = 0;
  #tries = 0;
  #hadSocket = false;
  #hasCounts = false;
  #heardAt = 0;
  #resends = 0;
  #postFailures = 0;
  #retryTimer;
  #watchTimer;
  #sendTimer;
  #resendTimer;

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
    return new Map(this.#shown);
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
    // Forgotten taps that arrive late must not take the numbers of later ones.
    this.#session = newSession();
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
    add(this.#shown, kind, 1);
    if (this.#state === "open") this.#flush();
    else this.#tellState();
    this.#tellCounts(new Map([[kind, 1]]), true);
    return true;
  }

  /** The page woke or is being left, or the network came or went.
   * @param {Event} event */
  handleEvent({ type }) {
    const isOpen = this.#state === "open";
    if (type === "offline") return void (isOpen && this.#lost());
    if (isHidden()) return this.#flush(true);
    if (isOpen) {
      if (this.transport === "websocket" || this.#silence() > 1.25 * this.#hello.$heartbeat) this.#probe();
    } else if (this.#state !== "connecting" || Date.now() - this.#since > GOOD_AFTER_MS) {
      // A random delay, because the whole hall comes back at the same moment.
      this.#failures = 0;
      clearTimeout(this.#retryTimer);
      this.#retryTimer = setTimeout(() => this.#dial(), Math.random() * FIRST_RETRY_MS);
    }
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
    for (const timer of [this.#retryTimer, this.#watchTimer, this.#sendTimer, this.#resendTimer]) clearTimeout(timer);
    this.#sendTimer = this.#resendTimer = this.#settled = undefined;
    this.#resends = 0;
    for (const message of this.#pending) {
      message.isSent = false;
      // What is still on its way may arrive late.
      message.isDoubtful = !!message.id;
    }
    this.#link?.close();
    this.#link = undefined;
  }

  #lost(code = 0) {
    this.#hangUp();
    const wasOpen = this.#state === "open";
    const wasGood = wasOpen && Date.now() - this.#since > GOOD_AFTER_MS;
    this.#failures = wasGood ? 1 : this.#failures + 1;
    this.#tries = wasOpen ? 0 : this.#tries + 1;
    const isSocket = this.transport === "websocket";
    if (isSocket ? this.#tries >= (this.#hadSocket ? KNOWN_SOCKET_TRIES : SOCKET_TRIES) : this.#tries) {
      this.transport = isSocket ? "sse" : "websocket";
      this.#tries = 0;
    }
    // A fixed token that has expired will not do better.
    const isStale = code === 4100 && typeof this.#token === "string";
    const isFinal = isStale || (code >= 4500 && code < 5000);
    const reason = isStale ? "token" : isFinal ? (FINAL[code] ?? "other") : code === 1008 ? "rate" : undefined;
    if (!isFinal) {
      const delay = reason ? REFUSED_RETRY_MS * (1 + Math.random()) : backoff(this.#failures);
      this.#retryTimer = setTimeout(() => this.#dial(), delay);
    }
    this.#setState(reason === "closed" ? "closed" : reason ? "refused" : "waiting", reason);
  }

  #silence() {
    return Date.now() - this.#heardAt;
  }

  /** Watches the connection: connects anew after a silence, or if the page slept and hears nothing. */
  #watch() {
    const limit = 2.5 * this.#hello.$heartbeat || Infinity;
    const delay = Math.min(WATCH_MS, Math.max(0, limit - this.#silence()));
    const due = Date.now() + delay;
    this.#watchTimer = setTimeout(() => {
      // Timers of hidden pages are always late.
      if (!isHidden() && Date.now() - due > LISTEN_MS) this.#probe();
      else if (this.#silence() >= limit) this.#lost();
      else this.#watch();
    }, delay);
  }

  /** Connects anew unless the server answers, after what arrived while the page slept. */
  #probe() {
    if (this.transport === "sse") return void this.#dial();
    clearTimeout(this.#watchTimer);
    this.#watchTimer = setTimeout(() => {
      const sentAt = Date.now();
      if (!this.#isClosing()) this.#send(PROBE);
      this.#watchTimer = setTimeout(() => (this.#heardAt > sentAt ? this.#watch() : this.#dial()), LISTEN_MS);
    }, LISTEN_MS / 2);
  }

  /** @param {string} text */
  #receive(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    if (typeof message !== "object" || !message || Array.isArray(message)) return;
    const silence = this.#silence();
    this.#heardAt = Date.now();
    const { $server, $ack, $refused, $reset, $state, $here } = message;
    if ($server !== undefined) this.#greet(message, silence);
    else if ($ack !== undefined) this.#acknowledge($ack);
    else if ($refused) this.#refuse($refused, message.reason);
    else if ($reset) this.#count($reset, true);
    else if ($state) {
      this.mode = $state;
      this.#tellState();
    } else if ($here !== undefined) {
      this.here = $here;
      this.#tell("here", $here);
    } else this.#count(message);
  }

  /** Handles the first message of a connection, which settles what became of the taps of earlier ones. */
  #greet(hello, silence) {
    const { $ack } = hello;
    const { $server = hello.$server, $memory } = this.#hello;
    const next = this.#pending.find(({ id = 0 }) => id > $ack)?.id ?? $ack + 1;
    // If the server has lost the numbers, messages that were sent may have been counted. They are not
    // sent again, so that none counts twice.
    const isLost =
      hello.$server !== $server || $ack < this.#acked || next > $ack + 1 || (this.#hasCounts && silence > $memory);
    const isSettled = ({ id = 0 }) => id > 0 && (isLost || id <= $ack);
    this.#settled = this.#pending.filter(isSettled);
    if (isLost) this.#lostTaps = plus(this.#lostTaps, this.#settled);
    this.#pending = this.#pending.filter((it) => !isSettled(it));
    this.#acked = $ack;
    this.#last = Math.max($ack, ...this.#pending.map(({ id = 0 }) => id));
    this.#hello = hello;
    this.mode = "open";
  }

  #acknowledge(ack) {
    if (ack <= this.#acked) return;
    this.#acked = ack;
    this.#pending = this.#pending.filter(({ id = Infinity }) => id > ack);
    this.#resends = 0;
    clearTimeout(this.#resendTimer);
    this.#resendTimer = undefined;
    if (this.#pending.some(({ isSent }) => isSent)) this.#resendLater();
    this.#tellState();
  }

  #refuse(number, reason) {
    const refused = this.#pending.filter(({ id }) => id === number);
    this.#pending = this.#pending.filter(({ id }) => id !== number);
    for (const { kind, n } of refused) {
      add(this.#shown, kind, -n);
      this.#tell("refused", { kind, taps: n, reason });
    }
    this.#raise();
    this.#tellState();
    this.#tellCounts(new Map(), false);
  }

  #count(counts, isReset = false) {
    const entries = Object.entries(counts);
    if (!entries.every(([kind, count]) => kind[0] !== "$" && Number.isSafeInteger(count) && count >= 0)) return;
    const isFirst = this.#state !== "open";
    // A server that doesn't greet doesn't know numbers.
    if (isFirst && !this.#settled) return;
    const before = this.counts;
    this.#server = new Map(entries);
    // A count that is lower by more than the own taps was reset meanwhile.
    const most = plus(this.#server, [...this.#pending, ...(this.#settled ?? [])]);
    for (const [kind, count] of this.#lostTaps) add(most, kind, count);
    for (const [kind, count] of before) {
      if (!isReset && !(isFirst && count > (most.get(kind) ?? 0))) continue;
      this.#shown.delete(kind);
      this.#lostTaps.delete(kind);
    }
    this.#raise();
    const increases = new Map();
    // The very first counts aren't increases.
    if (this.#hasCounts) for (const [kind, count] of this.#shown) add(increases, kind, count - (before.get(kind) ?? 0));
    this.#hasCounts = true;
    if (isFirst) this.#open();
    this.#tellCounts(increases, false);
  }

  /** Shows at least what the server has counted and the taps that it can't have counted yet. */
  #raise() {
    for (const [kind, count] of plus(this.#server, this.#pending.filter(({ isDoubtful }) => !isDoubtful)))
      if (count > (this.#shown.get(kind) ?? 0)) this.#shown.set(kind, count);
  }

  /** Begins to use a connection, which has brought its first counts. */
  #open() {
    clearTimeout(this.#retryTimer);
    this.#settled = undefined;
    this.#tries = 0;
    this.#hadSocket ||= this.transport === "websocket";
    this.#watch();
    this.#setState("open");
    this.#flush();
  }

  /** Sends the next message that waits, and later those behind it; all at once if the page is left. */
  #flush(isLeaving = false) {
    const isSocket = this.transport === "websocket";
    if (this.#state !== "open" || this.#isClosing() || (this.#sendTimer && !(isLeaving && isSocket))) return;
    // Posts go one after the other, so that they arrive in order.
    const message = this.#pending.find(({ isSent }) => !isSent || !isSocket);
    if (!message || message.isSent) return;
    message.isSent = true;
    const isNew = !message.id;
    message.id ??= ++this.#last;
    const text = JSON.stringify({ kind: message.kind, n: message.n, id: message.id });
    if (isSocket) this.#send(text);
    else this.#post(message, text, isNew);
    if (isSocket && !this.#resendTimer) this.#resendLater();
    if (isLeaving && isSocket) this.#flush(true);
    else this.#flushLater(SEND_MS);
  }

  /** Whether the connection has begun to close. Its close event, which says why, may come later. */
  #isClosing() {
    return this.#link.readyState > WebSocket.OPEN;
  }

  #send(text) {
    /** @type {WebSocket} */ (this.#link).send(text);
  }

  #flushLater(delay) {
    clearTimeout(this.#sendTimer);
    this.#sendTimer = setTimeout(() => {
      this.#sendTimer = undefined;
      this.#flush();
    }, delay);
  }

  /** A server that drops messages over the rate acknowledges none of those behind them. */
  #resendLater() {
    this.#resendTimer = setTimeout(() => {
      this.#resendTimer = undefined;
      if (this.#resends++ === MAX_RESENDS) return this.#lost();
      for (const message of this.#pending) message.isSent = false;
      this.#flush();
    }, RESEND_MS);
  }

  async #post(message, body, isNew) {
    message.isDoubtful = true;
    const generation = this.#generation;
    const status = await this.#postOne(body).catch(() => 0);
    if (generation !== this.#generation) return;
    message.isSent = false;
    const reason = REFUSED[status];
    this.#postFailures = status === 200 || reason ? 0 : this.#postFailures + 1;
    if (status === 200) this.#acknowledge(message.id);
    else if (reason) this.#refuse(message.id, reason);
    else if (status === 412) {
      // The server misses an earlier message, or has forgotten the session. It hasn't counted this one.
      if (isNew) message.id = undefined;
      return this.#lost();
    } else return this.#flushLater(backoff(this.#postFailures));
    this.#flush();
  }

  async #postOne(body) {
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    // Without a token, the request needs no CORS preflight.
    const headers = token ? { Authorization: `Bearer ${token}` } : undefined;
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const url = `${this.#url}?session=${this.#session}`;
    return (await fetch(url, { method: "POST", body, headers, signal, keepalive: true })).status;
  }

  /** @param {RoomState} state @param {string} [reason] */
  #setState(state, reason) {
    this.#state = state;
    this.#reason = reason;
    this.#since = Date.now();
    this.#tellState();
  }

  #tellState() {
    const { state, mode, queued, transport, reason } = this;
    this.#tell("state", { state, mode, queued, transport, reason });
  }

  #tellCounts(increases, own) {
    this.#tell("counts", { counts: this.counts, increases, own });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
