/**
 * Ovation's client: a room of live counts, and a row of buttons for any page.
 *
 * `new OvationRoom({ room: "talk-1" })`, or `<ovation-reactions room="talk-1">`: see the README.
 *
 * @typedef {"connecting" | "open" | "waiting" | "refused" | "closed"} RoomState
 *   `waiting`: lost, and tried again. `refused`: turned away, and tried again only after minutes.
 *   `closed`: left, or closed by the operator.
 * @typedef {{ state: RoomState, queued: number, transport: "websocket" | "sse" }} StateDetail
 * @typedef {{ counts: Map<string, number>, increases: Map<string, number>, own: boolean }} CountsDetail
 *   `increases`: what rose, and by how much, since the last such event. `own`: by a tap of this page.
 * @typedef {{ room: string, host?: string, party?: string, presence?: boolean, maxKindBytes?: number }} RoomOptions
 *   `host`: `host:port` or an origin, by default the one that this module came from.
 *   `presence`: asks how many are here.
 */

/** The kinds to show where nothing else is said: its own, on a server with a set of them. */
export const DEFAULT_KINDS = ["❤", "👏", "🎉", "😂", "🔥"];

/** The most taps that are kept while there is no connection. */
export const MAX_QUEUED_TAPS = 200;
/** The server's default of the longest kind, in bytes. */
const MAX_KIND_BYTES = 32;
/** The most that may wait to leave the browser, in bytes. */
const MAX_BUFFERED_BYTES = 16384;
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 30_000;
const REFUSED_RETRY_MS = 120_000;
/** After a connection that lasted so long the next failure is a first one again. */
const GOOD_AFTER_MS = 5000;
const TIMEOUT_MS = 10_000;
/** After a tap, silence for so long means a dead connection. A server under load may be slow, and
 * must not lose all its clients for it. */
const STALL_MS = 60_000;
/** WebSockets that may fail in a row before server-sent events are tried; more where one has worked,
 * since then it is rather the server that is away. */
const SOCKET_TRIES = 3;
const KNOWN_SOCKET_TRIES = 8;
const HERE = "$here";

const add = (map, kind, count) => {
  const sum = (map.get(kind) ?? 0) + count;
  if (sum > 0) map.set(kind, sum);
  else map.delete(kind);
};
const isGone = (state) => state === "closed" || state === "refused";
/** A scattered wait after so many failures in a row. */
const backoff = (failures) =>
  100 + Math.random() * Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** (failures - 1));
const sum = (map) => [...map.values()].reduce((all, count) => all + count, 0);

/**
 * A room. Events: `counts` ({@link CountsDetail}), `state` ({@link StateDetail}), `here` (a number).
 *
 * The server's counts are absolute and skip states; nothing says which taps are in them. What is
 * shown is the server's count and the own taps that are not in it yet, and every increase is taken
 * to be own taps first. So each tap shows at once, and no count falls back or has a tap twice; for
 * less than a tick it may lag behind the taps of others.
 */
export class OvationRoom extends EventTarget {
  /** As the server last said. */
  #server = new Map();
  /** Own taps that have left and are not in the server's counts yet. */
  #sent = new Map();
  /** Own taps that wait for a connection. */
  #queue = new Map();
  #url;
  #query;
  #maxKindBytes;
  /** @type {RoomState} */
  #state = "closed";
  /** @type {WebSocket | EventSource | undefined} */
  #link;
  /** Events of earlier connections are not for this one. */
  #generation = 0;
  #failures = 0;
  /** Attempts of this transport that never opened. */
  #tries = 0;
  #hadSocket = false;
  #openedAt = 0;
  #hasCounts = false;
  /** The tap that is being posted, one of those that have left. */
  #posting;
  #postFailures = 0;
  #postTimer;
  #retryTimer;
  #stallTimer;

  /** How many are in the room, if that was asked for and is known.
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

  /** What the server has counted and the own taps that it hasn't yet, by kind. */
  get counts() {
    const counts = new Map(this.#server);
    for (const own of [this.#sent, this.#queue]) for (const [kind, count] of own) add(counts, kind, count);
    return counts;
  }

  get state() {
    return this.#state;
  }

  /** Own taps that wait for a connection. */
  get queued() {
    return sum(this.#queue);
  }

  /** Enters the room, and comes back whenever the connection is lost, until {@link close}. */
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
   * Taps. Without a connection the tap is kept, and sent once when there is one again.
   * @param {string} kind
   * @returns {boolean} whether it was taken: not if it is no kind, too many wait, or nobody listens
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

  /** The network came or went. Only a hint: a server on this machine needs none.
   * @param {Event} event */
  handleEvent({ type }) {
    if (type === "offline") {
      if (this.#state === "open") this.#giveUp();
    } else if (this.#state === "waiting") {
      // Everyone in the hall has it back in the same moment.
      clearTimeout(this.#retryTimer);
      this.#retryTimer = setTimeout(() => this.#dial(), Math.random() * FIRST_RETRY_MS);
    }
  }

  #dial() {
    this.#hangUp();
    const generation = this.#generation;
    const isCurrent = () => generation === this.#generation;
    this.#setState("connecting");
    // Whoever heard that may have left.
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
      // The page's own rules forbid it.
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

  /** Ends a connection that may still deliver what it was given: that is not sent again. */
  #giveUp() {
    this.#forget();
    this.#lost();
  }

  #forget() {
    this.#sent.clear();
    this.#posting = undefined;
  }

  #lost(code = 0) {
    // The operator has closed the room: to come back would open it.
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
      // Whatever it did not like is not said again.
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
      // A count falls only where someone has set it back: then nothing is on its way.
      add(this.#sent, kind, gain < 0 ? -Infinity : -gain);
    }
    this.#server = server;
    if (isFirst) this.#opened();
    const increases = new Map();
    // The first counts of all are not news.
    if (this.#hasCounts) for (const [kind, count] of this.counts) add(increases, kind, count - (shown.get(kind) ?? 0));
    this.#hasCounts = true;
    this.#tellCounts(increases, false);
  }

  /** The first counts have come. Taps of the connection before that are not in them were lost
   * with it: they are sent again, which counts them once. Not one that is still being posted. */
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

  /** Sends what waits. */
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

  /** Sends what waits without a WebSocket, one by one. The stream tells the counts. */
  async #post() {
    if (this.#posting || this.#postTimer || this.#state !== "open" || !this.#queue.size) return;
    const [kind] = this.#queue.keys();
    this.#leaves(kind, 1);
    const tap = (this.#posting = { kind });
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
    // Text, so that the browser need not ask first.
    const request = { method: "POST", body: JSON.stringify(tap), signal: abort.signal };
    const { status } = await fetch(this.#url, request).catch(() => ({ status: 0 }));
    clearTimeout(timer);
    // Meanwhile forgotten. A new connection remembers it.
    if (this.#posting !== tap) return;
    this.#posting = undefined;
    const isBusy = status === 503 || status === 507;
    // The network's failure or a proxy's: nobody knows whether it was counted.
    const isDoubtful = !isBusy && (!status || status >= 500);
    if (status >= 400 && !isDoubtful) add(this.#sent, kind, -1);
    if (isBusy) add(this.#queue, kind, 1);
    this.#postFailures = isBusy || isDoubtful ? this.#postFailures + 1 : 0;
    if (this.#postFailures && this.#state === "open" && this.transport === "sse")
      this.#postTimer = setTimeout(() => {
        this.#postTimer = undefined;
        // The first counts of a new stream tell, as of taps that were lost with a connection.
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

/** A kind as it is shown: a lone pictograph in colour. @param {string} kind */
export const glyph = (kind) => (/^\p{Extended_Pictographic}$/u.test(kind) ? `${kind}\ufe0f` : kind);

const CSS = `:host{display:inline-block;font:inherit}
[part=reactions]{display:flex;flex-wrap:wrap;gap:.5em}
button{font:inherit;color:inherit;display:inline-flex;align-items:center;gap:.5em;padding:.4em .8em;min-height:2.75em;
border:1px solid color-mix(in srgb,currentColor 25%,transparent);border-radius:99em;cursor:pointer;
background:color-mix(in srgb,currentColor 5%,transparent);touch-action:manipulation;-webkit-tap-highlight-color:transparent}
button:hover{background:color-mix(in srgb,currentColor 11%,transparent)}
button:active{background:color-mix(in srgb,currentColor 18%,transparent)}
button:disabled{cursor:default;opacity:.5}
button:focus-visible{outline:3px solid Highlight;outline-offset:2px}
[part=emoji]{font-size:1.35em;line-height:1}
[part=count]{font-variant-numeric:tabular-nums;min-width:1ch}
:host([data-state=waiting]) [part=count]{opacity:.7}`;

/**
 * `<ovation-reactions room kinds host party>`: a row of buttons with their counts.
 *
 * Events, which bubble: `ovation:counts` ({@link CountsDetail}), `ovation:state` ({@link StateDetail}).
 * Parts: `reactions`, `button`, `emoji`, `count`. The state is in `data-state`.
 */
export class OvationReactions extends /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? Object) {
  static observedAttributes = ["room", "kinds", "host", "party"];

  /** The room that is shown, to react and listen by script. @type {OvationRoom | undefined} */
  room;
  /** Whether it waits to start anew: once, however many attributes change. */
  #isStale = true;

  connectedCallback() {
    this.#start();
  }

  disconnectedCallback() {
    this.#isStale = true;
    this.#leave();
  }

  attributeChangedCallback() {
    if (this.#isStale) return;
    this.#isStale = true;
    queueMicrotask(() => this.isConnected && this.#start());
  }

  #leave() {
    this.room?.close();
    this.room = undefined;
  }

  #start() {
    this.#isStale = false;
    this.#leave();
    const text = (name) => this.getAttribute(name) || undefined;
    const room = text("room");
    if (!room) return;
    this.room = new OvationRoom({ room, host: text("host"), party: text("party") });
    const kinds = text("kinds")?.split(",").map((kind) => kind.trim()).filter(Boolean) ?? DEFAULT_KINDS;
    const counts = this.#render([...new Set(kinds)]);
    const buttons = this.shadowRoot.querySelectorAll("button");
    const pass = (/** @type {any} */ { type, detail }) =>
      this.dispatchEvent(new CustomEvent(`ovation:${type}`, { detail, bubbles: true, composed: true }));
    const numbers = new Intl.NumberFormat();
    this.room.addEventListener("counts", (/** @type {any} */ event) => {
      for (const [kind, count] of counts) count.textContent = numbers.format(event.detail.counts.get(kind) ?? 0);
      pass(event);
    });
    this.room.addEventListener("state", (/** @type {any} */ event) => {
      const { state } = event.detail;
      this.dataset.state = state;
      for (const button of buttons) button.disabled = isGone(state);
      pass(event);
    });
    this.room.connect();
  }

  /** Makes the buttons; gives the places of the counts. */
  #render(kinds) {
    const make = (name, part, ...children) => {
      const element = document.createElement(name);
      element.setAttribute("part", part);
      element.append(...children);
      return element;
    };
    const counts = new Map();
    const buttons = kinds.map((kind) => {
      const emoji = make("span", "emoji", glyph(kind));
      const count = make("span", "count", "0");
      count.ariaHidden = "true";
      counts.set(kind, count);
      const button = make("button", "button", emoji, count);
      button.type = "button";
      button.onclick = () => {
        if (this.room?.react(kind) && !matchMedia("(prefers-reduced-motion: reduce)").matches)
          emoji.animate({ scale: [1, 1.4, 1] }, { duration: 250, easing: "ease-out" });
      };
      return button;
    });
    const group = make("div", "reactions", ...buttons);
    group.role = "group";
    group.ariaLabel = "Reactions";
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
    root.adoptedStyleSheets = [sheet];
    root.replaceChildren(group);
    return counts;
  }
}

if (globalThis.customElements && !customElements.get("ovation-reactions"))
  customElements.define("ovation-reactions", OvationReactions);
