/** The element `<ovation-reactions>`: a row of reaction buttons for any page. */

import { DEFAULT_KINDS, picture, shownKinds } from "./kinds.js";
import { OvationRoom } from "./ovation.js";

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
 * Parts: `reactions`, `button`, `emoji`, `count`. `data-state` has the state.
 */
export class OvationReactions extends /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? Object) {
  static observedAttributes = ["room", "kinds", "host", "party"];

  /** The room, for scripts that react or listen. @type {OvationRoom | undefined} */
  room;
  /** Whether a restart is due. Several attribute changes cause a single restart. */
  #isStale = true;
  #kinds = DEFAULT_KINDS;
  /** The buttons and their counts, by kind. */
  #shown = new Map();

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
    this.#kinds = text("kinds")?.split(",").map((kind) => kind.trim()).filter(Boolean) ?? DEFAULT_KINDS;
    this.#render();
    const pass = (/** @type {any} */ { type, detail }) =>
      this.dispatchEvent(new CustomEvent(`ovation:${type}`, { detail, bubbles: true, composed: true }));
    this.room.addEventListener("counts", (/** @type {any} */ event) => {
      this.#show(event.detail.counts);
      pass(event);
    });
    this.room.addEventListener("state", (/** @type {any} */ event) => {
      this.dataset.state = event.detail.state;
      this.#enable();
      pass(event);
    });
    this.room.connect();
  }

  #enable() {
    const isOff = ["refused", "closed"].includes(this.dataset.state);
    for (const { button } of this.#shown.values()) button.disabled = isOff;
  }

  #show(counts) {
    const kinds = shownKinds(this.#kinds, counts);
    const [group] = this.shadowRoot.children;
    for (const [kind, { button }] of this.#shown)
      if (!kinds.includes(kind)) {
        this.#shown.delete(kind);
        button.remove();
      }
    kinds.forEach((kind, index) => {
      if (!this.#shown.has(kind)) this.#shown.set(kind, this.#button(kind));
      const { button, count } = this.#shown.get(kind);
      // A button that moves would lose the focus.
      if (group.children[index] !== button) group.insertBefore(button, group.children[index]);
      count.textContent = this.#numbers.format(counts.get(kind) ?? 0);
    });
    this.#enable();
  }

  #button(kind) {
    const shown = picture(kind);
    const emoji = make("span", "emoji", shown);
    if (shown !== kind) {
      emoji.role = "img";
      emoji.ariaLabel = kind;
    }
    const count = make("span", "count");
    count.ariaHidden = "true";
    const button = make("button", "button", emoji, count);
    button.type = "button";
    // A held key is one tap.
    button.onkeydown = (event) => event.repeat && event.preventDefault();
    button.onclick = () => {
      if (this.room?.react(kind) && !matchMedia("(prefers-reduced-motion: reduce)").matches)
        emoji.animate({ scale: [1, 1.4, 1] }, { duration: 250, easing: "ease-out" });
    };
    return { button, count };
  }

  #render() {
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
    root.adoptedStyleSheets = [sheet];
    const group = make("div", "reactions");
    group.role = "group";
    group.ariaLabel = "Reactions";
    root.replaceChildren(group);
    this.#shown.clear();
    this.#numbers = numbersOf(/** @type {HTMLElement} */ (this.closest("[lang]"))?.lang);
    this.#show(new Map());
  }

  #numbers = numbersOf("en");
}

const make = (name, part, ...children) => {
  const element = document.createElement(name);
  element.setAttribute("part", part);
  element.append(...children);
  return element;
};

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
