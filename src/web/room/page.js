/** The page: one room, its buttons, its counts, and what rises from them. */

import { DEFAULT_KINDS, MAX_QUEUED_TAPS, OvationRoom, glyph } from "/ovation.js";
import { Sky } from "/pages/hearts.js";

/** Kinds that are shown besides the buttons'. */
const MAX_OTHERS = 12;
/** Beyond so many the buttons are smaller. */
const MANY_KINDS = 10;
const SUMMARY_EVERY_MS = 15_000;
const PULSE_EVERY_MS = 500;
const HEAT_EVERY_MS = 250;
/** Taps without a connection change what is said; it is said when they pause. */
const NOTICE_AFTER_MS = 500;
/** The status of a name that the server does not take. */
const TOO_LONG = 414;
/** Reactions per second at which the room glows most. */
const HOTTEST_PER_SECOND = 500;

/** Words that are shown as a picture; they stay their name. */
const PICTURES = new Map(
  Object.entries({
    love: "❤️", heart: "❤️", like: "👍", clap: "👏", applause: "👏", party: "🎉", tada: "🎉",
    laugh: "😂", joy: "😂", fire: "🔥", wow: "😮", sad: "😢", rocket: "🚀", star: "⭐", think: "🤔",
  }),
);
const picture = (kind) => PICTURES.get(kind) ?? glyph(kind);
const isWord = (shown) => [...new Intl.Segmenter().segment(shown)].length > 2;
/** What rises for a kind: words don't fly; nor does, on the stage, what anybody may have invented. */
const flying = (kind) => (isWord(picture(kind)) || (isStage && !tiles.has(kind)) ? "✨" : picture(kind));

const at = (id) => document.getElementById(id);
const make = (name, className, ...children) => {
  const element = document.createElement(name);
  element.className = className;
  element.append(...children);
  return element;
};

const query = new URLSearchParams(location.search);
const isStage = query.get("view") === "stage";
const name = roomName();
const { party } = document.body.dataset;
const room = new OvationRoom({
  room: name,
  party,
  presence: true,
  maxKindBytes: Number(document.body.dataset.maxKindBytes) || undefined,
});
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const sky = new Sky(at("sky"), isStage ? Math.max(1.4, innerHeight / 640) : 1);
const exact = new Intl.NumberFormat();
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumSignificantDigits: 4 });
/** A number that fits a tile. */
const short = (count) => (count < 1_000_000 ? exact : compact).format(count);

function roomName() {
  const [, path] = /^\/r\/([^/]+)$/.exec(location.pathname) ?? [];
  let named;
  try {
    named = path && decodeURIComponent(path);
  } catch {
    named = path;
  }
  return named || query.get("room") || "talk";
}

// The buttons; on the stage they are what they look like, and no buttons.

/** @type {Map<string, { tile: HTMLElement, picture: HTMLElement, count: HTMLElement, pulsed: number }>} */
const tiles = new Map();
for (const kind of new Set(DEFAULT_KINDS)) {
  const shown = picture(kind);
  const face = make("span", isWord(shown) ? "word" : "picture", shown);
  face.dir = "auto";
  // The longest word that can't be broken decides how large all can be.
  face.style.setProperty("--letters", String(Math.max(...shown.split(/[\s-]/).map((word) => word.length)) + 1));
  if (shown !== kind) {
    face.role = "img";
    face.ariaLabel = kind;
  }
  const count = make("span", "count", "0");
  const tile = make(isStage ? "div" : "button", "reaction", face, count);
  if (!isStage) {
    tile.type = "button";
    // The counts have a summary of their own: a name that changes twenty times a second says nothing.
    count.ariaHidden = "true";
    tile.addEventListener("click", () => tap(kind));
  }
  tiles.set(kind, { tile, picture: face, count, pulsed: -Infinity });
}
at("reactions").toggleAttribute("data-many", tiles.size > MANY_KINDS);
at("reactions").append(...[...tiles.values()].map(({ tile }) => tile));

function tap(kind) {
  if (!room.react(kind)) {
    if (room.queued >= MAX_QUEUED_TAPS)
      say(`No more than ${MAX_QUEUED_TAPS} taps can be kept until the connection is back.`);
    return;
  }
  const { picture } = tiles.get(kind);
  if (!calm.matches) picture.animate({ scale: [1, 1.32, 1] }, { duration: 260, easing: "cubic-bezier(.2,.9,.3,1.2)" });
}

// Counts.

let isDirty = false;
let total = 0;

room.addEventListener("counts", ({ detail: { increases, own } }) => {
  for (const [kind, count] of increases) {
    warm(count);
    if (calm.matches) pulse(kind);
    else sky.rise(flying(kind), count, own ? originOf(kind) : undefined);
  }
  // A tap shows at once; of the rest, the eye sees one a frame.
  if (own) show();
  else if (!isDirty) requestAnimationFrame(show);
  isDirty = !own;
});

function show() {
  isDirty = false;
  const counts = room.counts;
  total = 0;
  for (const count of counts.values()) total += count;
  const shown = exact.format(total);
  at("total").textContent = shown;
  at("unit").textContent = total === 0 ? "Be the first to react" : total === 1 ? "reaction" : "reactions";
  at("total").style.setProperty("--digits", String(Math.max(3, shown.length)));
  for (const [kind, { count }] of tiles) count.textContent = short(counts.get(kind) ?? 0);
  // What anybody invents is not for the wall: there it is in the total alone.
  if (!isStage) showOthers([...counts].filter(([kind]) => !tiles.has(kind)));
}

/** Kinds that others send: as text, the most frequent ones. */
function showOthers(others) {
  others.sort(([, one], [, other]) => other - one);
  const items = others.slice(0, MAX_OTHERS).map(([kind, count]) => {
    const name = make("bdi", "kind", picture(kind));
    name.title = kind;
    return make("li", "", name, make("span", "count", short(count)));
  });
  if (others.length > MAX_OTHERS) items.push(make("li", "", `and ${others.length - MAX_OTHERS} more`));
  at("others").replaceChildren(...items);
  at("others").hidden = !items.length;
}

function originOf(kind) {
  const box = tiles.get(kind)?.picture.getBoundingClientRect();
  return box && { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}

/** In place of what rises, for those who want no motion. */
function pulse(kind) {
  const it = tiles.get(kind);
  const now = performance.now();
  if (!it || now - it.pulsed < PULSE_EVERY_MS) return;
  it.pulsed = now;
  it.tile.animate({ boxShadow: ["0 0 0 3px var(--accent)", "0 0 0 3px transparent"] }, { duration: 900, easing: "ease-out" });
}

// The room glows with what comes.

let heat = 0;
let glow = 0;
let cooling;

function warm(count) {
  heat += count;
  cooling ??= setInterval(cool, HEAT_EVERY_MS);
}

function cool() {
  const perSecond = (heat * 1000) / HEAT_EVERY_MS;
  const aim = Math.min(1, Math.log1p(perSecond) / Math.log1p(HOTTEST_PER_SECOND));
  glow += (aim - glow) * (aim > glow ? 0.5 : 0.12);
  if (glow < 0.01) {
    glow = 0;
    clearInterval(cooling);
    cooling = undefined;
  }
  heat = 0;
  at("glow").style.opacity = glow.toFixed(2);
}

// What is going on.

const WORDS = { connecting: "Connecting", open: "Live", waiting: "Reconnecting", refused: "Turned away", closed: "Closed" };

room.addEventListener("state", ({ detail: { state, queued, transport } }) => {
  at("state").dataset.state = state;
  if (state !== "open") at("here").textContent = "";
  const words = state === "open" && transport === "sse" ? "Live, without WebSocket" : WORDS[state];
  if (at("state-text").textContent !== words) at("state-text").textContent = words;
  const kept = queued === 1 ? "1 tap is kept and will be sent" : `${queued} taps are kept and will be sent`;
  if (state === "closed") say("This room has been closed. Thank you for being here.");
  else if (state === "refused") say("The server has turned this page away. It will ask again in a few minutes.");
  else if (state !== "open" && queued) say(`You are not connected. ${kept} when you are back.`, NOTICE_AFTER_MS);
  else if (state === "waiting") say("The connection is lost. Trying again…");
  else if (state === "open") {
    if (at("notice").textContent) at("summary").textContent = "You are connected again.";
    say("");
  }
  if (state === "open") isKnown = true;
  else if (state === "waiting" && !isKnown) ask();
});

let saying;

/** Says what is going on, which is read out. What changes with every tap waits, and the last is said. */
function say(words, afterMs = 0) {
  clearTimeout(saying);
  const now = () => {
    saying = undefined;
    if (at("notice").textContent !== words) at("notice").textContent = words;
  };
  if (afterMs) saying = setTimeout(now, afterMs);
  else now();
}

/** Whether the room has been open, or it is known why not. */
let isKnown = false;

/** A browser doesn't say why a connection does not open: whether the name is to blame, this does. */
async function ask() {
  isKnown = true;
  const { status } = await fetch(`/parties/${encodeURIComponent(party)}/${encodeURIComponent(name)}`).catch(() => ({ status: 0 }));
  isKnown = status > 0;
  if (status !== TOO_LONG) return;
  room.close();
  say("The name of this room is too long. Open one with a shorter name.");
}

room.addEventListener("here", ({ detail: here }) => {
  at("here").textContent = here === 1 ? "1 person here" : `${exact.format(here)} people here`;
});

let said = 0;
setInterval(() => {
  if (said === total) return;
  said = total;
  at("summary").textContent = `${exact.format(total)} reactions in this room. ${at("here").textContent}`;
}, SUMMARY_EVERY_MS);

// The room's name and the ways to it.

const address = new URL(`/r/${encodeURIComponent(name)}`, location.href);
document.documentElement.dataset.view = isStage ? "stage" : "room";
document.title = `${name} · Ovation`;
at("room").textContent = name;
at("join-address").textContent = address.host + decodeURI(address.pathname);
at("second").href = address.href;
at("stage").href = `${address.href}?view=stage`;
at("second").addEventListener("click", (event) => {
  event.preventDefault();
  open(address.href, "_blank", "popup,noopener,width=430,height=820");
});
at("share").addEventListener("click", share);

async function share() {
  if (navigator.share && matchMedia("(pointer: coarse)").matches) {
    // Whoever closes the sheet has decided.
    await navigator.share({ title: document.title, url: address.href }).catch(() => {});
    return;
  }
  const link = at("link");
  link.value = address.href;
  try {
    await navigator.clipboard.writeText(address.href);
  } catch {
    // Without TLS there is no clipboard: the address is shown, to be copied by hand.
    link.hidden = false;
    link.select();
    return;
  }
  at("share").textContent = "Link copied";
  setTimeout(() => (at("share").textContent = "Share room"), 2000);
}

room.connect();
