/** The element `<ovation-reactions>`: a row of reaction buttons for any page. */

import { DEFAULT_KINDS, isWord, picture, shownKinds } from "./kinds.js";
import { OvationRoom } from "./ovation.js";

/** Texts of the element. The attribute `text-…` replaces each. */
const TEXTS = {
  reactions: "Reactions",
  person: "{n} person here",
  people: "{n} people here",
  connecting: "Connecting…",
  waiting: "Reconnecting…",
  frozen: "Reactions are paused.",
  closed: "This room is closed.",
  refused: "The server refused this page.",
  origin: "This site may not use the server.",
  token: "You need a new link to this room.",
  permission: "You may not enter this room.",
  rate: "Too many reactions. Try again in a few minutes.",
  lost: "This reaction was not counted.",
};
/** A connection that opens sooner is not announced. */
const PATIENCE_MS = 1000;
/** Time for which a lost tap is announced. */
const LOST_MS = 5000;

const CSS = `:host{display:inline-block;position:relative;font:inherit}
:host([hidden]){display:none}
[part=reactions]{display:flex;flex-wrap:wrap;align-items:center;gap:var(--ovation-gap,.5em)}
[hidden]{display:none!important}
button{font:inherit;color:var(--ovation-color,inherit);display:inline-flex;align-items:center;gap:.5em;padding:.4em .8em;min-height:2.75em;
border:1px solid var(--ovation-border,color-mix(in srgb,currentColor 25%,transparent));border-radius:var(--ovation-radius,99em);cursor:pointer;
background:var(--ovation-background,color-mix(in srgb,currentColor 5%,transparent));touch-action:manipulation;-webkit-tap-highlight-color:transparent}
button:hover:enabled{background:var(--ovation-hover,color-mix(in srgb,currentColor 11%,transparent))}
button:active:enabled{background:var(--ovation-active,color-mix(in srgb,currentColor 18%,transparent))}
button:disabled{cursor:default;opacity:.5}
button:focus-visible{outline:3px solid var(--ovation-focus,Highlight);outline-offset:2px}
[part=emoji]{font-size:var(--ovation-emoji-size,1.35em);line-height:1}
.picture{font-family:"Apple Color Emoji","Segoe UI Emoji","Noto Color Emoji",sans-serif}
[part=count]{font-variant-numeric:tabular-nums;min-width:1ch}
[part=status],[part=people]{margin:0;font-size:.875em;opacity:.85}
[part=status]{margin-top:.4em}
[part=status]:empty,[part=people]:empty{display:none}
[part=float]{position:absolute;left:-1.5em;bottom:100%;width:calc(100% + 3em);height:var(--ovation-float-height,10em);pointer-events:none}
:host(:is([data-state=connecting],[data-state=waiting])) [part=count]{opacity:.7}`;

/**
 * `<ovation-reactions room kinds host party token people float>`: a row of buttons with their counts.
 * Its children are shown until the room has opened for the first time.
 *
 * Events, which bubble: `ovation:counts` ({@link CountsDetail}), `ovation:state` ({@link StateDetail}),
 * `ovation:refused` ({@link RefusedDetail}), `ovation:here` (a number, with `people`).
 * Parts: `reactions`, `button`, `emoji`, `count`, `people`, `status`, `float`. `data-state` has the
 * state, and `data-reason` why the server turned the page away.
 */
export class OvationReactions extends /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? Object) {
  static observedAttributes = ["room", "kinds", "host", "party", "token", "people", "float"];

  /** @type {OvationRoom | undefined} */
  #room;
  /** Whether a restart is due. Several attribute changes cause a single restart. */
  #isStale = true;
  #kinds = DEFAULT_KINDS;
  /** The buttons and their counts, by kind. */
  #shown = new Map();
  #numbers = numbersOf("en");
  /** @type {Record<string, HTMLElement>} */
  #parts = {};
  #isOff = false;
  #token;
  /** The text of the status. */
  #key = "";
  /** What shows rising reactions, once it is loaded. */
  #sky;
  #saying;

  /** The room, for scripts that react or listen. @returns {OvationRoom | undefined} */
  get room() {
    return this.#room;
  }

  /** Frameworks set properties rather than attributes. @param {string | undefined} name */
  set room(name) {
    if (name) this.setAttribute("room", name);
    else this.removeAttribute("room");
  }

  /** The access token, or a function that fetches one each time the room connects. The property wins
   * over the attribute. @type {string | (() => string | Promise<string>) | undefined} */
  get token() {
    return this.#token ?? (this.getAttribute("token") || undefined);
  }

  set token(token) {
    this.#token = token;
    this.attributeChangedCallback();
  }

  connectedCallback() {
    const self = /** @type {any} */ (this);
    for (const name of ["room", "token"]) {
      if (!Object.hasOwn(self, name)) continue;
      // It was set before the element was defined.
      const value = self[name];
      delete self[name];
      self[name] = value;
    }
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
    clearTimeout(this.#saying);
    this.#sky?.close();
    this.#sky = undefined;
    this.#room?.close();
    this.#room = undefined;
  }

  #start() {
    this.#isStale = false;
    this.#leave();
    const text = (name) => this.getAttribute(name) || undefined;
    const room = text("room");
    if (!room) return;
    const presence = this.hasAttribute("people");
    this.#room = new OvationRoom({ room, host: text("host"), party: text("party"), token: this.token, presence });
    this.#kinds = text("kinds")?.split(",").map((kind) => kind.trim()).filter(Boolean) ?? DEFAULT_KINDS;
    this.#render();
    /** @type {Record<string, (detail: any) => void>} */
    const handlers = {
      counts: (detail) => this.#count(detail),
      state: (detail) => this.#tell(detail),
      refused: () => {
        this.#say("lost");
        this.#saying = setTimeout(() => this.#say(this.#key), LOST_MS);
      },
      here: (here) => (this.#parts.people.textContent = this.#text(here === 1 ? "person" : "people", here)),
    };
    for (const [type, handle] of Object.entries(handlers))
      this.#room.addEventListener(type, (/** @type {any} */ { detail }) => {
        handle(detail);
        this.dispatchEvent(new CustomEvent(`ovation:${type}`, { detail, bubbles: true, composed: true }));
      });
    if (this.hasAttribute("float")) this.#float(this.#room);
    this.#room.connect();
  }

  /** Loads what lets reactions rise, unless the visitor prefers reduced motion. */
  async #float(room) {
    if (isCalm()) return;
    // Without it, the element shows everything else.
    const { Sky } = await import("./ovation-extras.js").catch(() => ({ Sky: undefined }));
    if (Sky && room === this.#room) this.#sky = new Sky(this.#parts.float);
  }

  #text(key, n = 0) {
    const text = this.getAttribute(`text-${key}`) ?? TEXTS[key] ?? TEXTS.refused;
    return text.replace("{n}", this.#numbers.format(n));
  }

  /** Shows a status, or none. */
  #say(key) {
    clearTimeout(this.#saying);
    this.#parts.status.textContent = key && this.#text(key);
  }

  /** Shows the state of the connection. */
  #tell({ state, mode, reason }) {
    const isOpen = state === "open";
    this.dataset.state = state;
    if (reason) this.dataset.reason = reason;
    else delete this.dataset.reason;
    const { fallback, reactions, people } = this.#parts;
    if (isOpen) {
      fallback.hidden = true;
      reactions.hidden = false;
    } else people.textContent = "";
    this.#isOff = state === "refused" || state === "closed" || mode === "frozen";
    for (const { button } of this.#shown.values()) button.disabled = this.#isOff;
    const key = !isOpen ? (reason ?? state) : mode === "frozen" ? mode : "";
    if (key === this.#key) return;
    this.#key = key;
    clearTimeout(this.#saying);
    if (key !== "connecting" && key !== "waiting") this.#say(key);
    else this.#saying = setTimeout(() => this.#say(key), PATIENCE_MS);
  }

  #count({ counts, increases, own }) {
    this.#show(counts);
    for (const [kind, count] of increases) {
      const { offsetLeft = 0, offsetWidth = 0 } = (own && this.#shown.get(kind)?.button) || {};
      const shown = picture(kind);
      const { clientHeight: y = 0 } = this.#parts.float;
      // The canvas begins to the left of the buttons.
      const x = offsetLeft + offsetWidth / 2 + 24;
      this.#sky?.rise(isWord(shown) ? "✨" : shown, count, offsetWidth ? { x, y } : undefined);
    }
  }

  #show(counts) {
    const kinds = shownKinds(this.#kinds, counts);
    const { reactions, people } = this.#parts;
    for (const [kind, { button }] of this.#shown)
      if (!kinds.includes(kind)) {
        this.#shown.delete(kind);
        button.remove();
      }
    kinds.forEach((kind, index) => {
      if (!this.#shown.has(kind)) this.#shown.set(kind, this.#button(kind));
      const { button, count } = this.#shown.get(kind);
      // A button that moves would lose the focus.
      if (reactions.children[index] !== button) reactions.insertBefore(button, reactions.children[index] ?? people);
      count.textContent = this.#numbers.format(counts.get(kind) ?? 0);
    });
  }

  #button(kind) {
    const shown = picture(kind);
    const emoji = make("span", "emoji", shown);
    if (!isWord(shown)) emoji.className = "picture";
    if (shown !== kind) {
      emoji.role = "img";
      emoji.ariaLabel = kind;
    }
    const count = make("span", "count");
    count.ariaHidden = "true";
    const button = make("button", "button", emoji, count);
    button.type = "button";
    button.disabled = this.#isOff;
    // A held key is one tap.
    button.onkeydown = (event) => {
      if (event.repeat) event.preventDefault();
    };
    button.onclick = () => {
      if (this.#room?.react(kind) && !isCalm())
        emoji.animate({ scale: [1, 1.4, 1] }, { duration: 250, easing: "ease-out" });
    };
    return { button, count };
  }

  #render() {
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
    root.adoptedStyleSheets = [sheet];
    const people = make("span", "people");
    const reactions = make("div", "reactions", people);
    reactions.role = "group";
    reactions.ariaLabel = this.#text("reactions");
    const status = make("p", "status");
    status.role = "status";
    const float = make("canvas", "float");
    float.ariaHidden = "true";
    const fallback = document.createElement("slot");
    this.#parts = { reactions, people, status, float, fallback };
    // Without children, the buttons are there from the start, and keep taps until the room opens.
    const hasFallback = this.childElementCount > 0 || Boolean(this.textContent?.trim());
    reactions.hidden = hasFallback;
    fallback.hidden = !hasFallback;
    float.hidden = !this.hasAttribute("float");
    root.replaceChildren(fallback, reactions, status, float);
    this.#shown.clear();
    this.#isOff = false;
    this.#key = "";
    delete this.dataset.state;
    this.#numbers = numbersOf(/** @type {HTMLElement} */ (this.closest("[lang]"))?.lang);
    this.#show(new Map());
  }
}

const make = (name, part, ...children) => {
  const element = document.createElement(name);
  element.setAttribute("part", part);
  element.append(...children);
  return element;
};

const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** The numbers of a page follow its language. @param {string | undefined} language */
function numbersOf(language) {
  try {
    return new Intl.NumberFormat(language || undefined);
  } catch {
    // The page's language isn't a valid tag.
    return new Intl.NumberFormat();
  }
}

if (globalThis.customElements && !customElements.get("ovation-reactions"))
  customElements.define("ovation-reactions", OvationReactions);
