/** The page of a room: its buttons, its counts, and the reactions that rise over them. */

import { DEFAULT_KINDS, MAX_QUEUED_TAPS, OvationRoom, isWord, lettersOf, picture, shownKinds } from "/ovation.js";
import { Sky } from "/ovation-extras.js";
import { at, make } from "./dom.js";
import { Layout } from "./layout.js";
import { say, watchState } from "./status.js";

/** Maximum number of other kinds to show. */
const MAX_OTHERS = 12;
/** With more kinds than this, the buttons are smaller. */
const MANY_KINDS = 12;
const SUMMARY_EVERY_MS = 15_000;
const PULSE_EVERY_MS = 500;
const HEAT_EVERY_MS = 250;
/** Maximum length of a title, in characters. */
const MAX_TITLE = 150;
/** Longest address in a QR code that also has the title. A larger code is harder to read from afar. */
const MAX_CODE_BYTES = 106;
/** Reactions per second at which the room glows most. */
const HOTTEST_PER_SECOND = 500;

/** What rises for a kind: a spark for words and, on the stage, for unknown kinds. */
const flying = (kind) => (isWord(picture(kind)) || (isStage && !tiles.has(kind)) ? "✨" : picture(kind));

const query = new URLSearchParams(location.search);
const view = ["stage", "overlay"].find((it) => it === query.get("view")) ?? "room";
const isStage = view !== "room";
const name = roomName();
const title = query.get("title")?.replace(/[\s\p{Cc}]+/gu, " ").trim().slice(0, MAX_TITLE) || undefined;
const root = document.documentElement;
root.dataset.view = view;
if (["light", "dark"].includes(query.get("theme"))) root.dataset.theme = query.get("theme");
const { party } = document.body.dataset;
// A token must not stay in the address, which people copy. The entry of the history keeps it, so that
// the page can be loaded again.
const token = query.get("token") ?? history.state?.token;
if (query.has("token")) {
  query.delete("token");
  history.replaceState({ token }, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
}
const room = new OvationRoom({
  room: name,
  party,
  token,
  presence: true,
  maxKindBytes: Number(document.body.dataset.maxKindBytes) || undefined,
});
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const sky = new Sky(at("sky"), isStage ? Math.max(1.4, innerHeight / 640) : 1);
/** The numbers are in the language of the page, like its words. */
const exact = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
/** A number short enough for a tile. */
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

// The buttons. On the stage they are tiles that can't be pressed.

/** @type {Map<string, { tile: HTMLElement, picture: HTMLElement, count: HTMLElement, pulsed: number }>} */
const tiles = new Map();
const layout = new Layout(view, at("reactions"));
/** Whether the room is closed or refuses this page. */
let isOff = false;

/** Shows a tile for each of these kinds. */
function showTiles(kinds) {
  if (kinds.length === tiles.size && kinds.every((kind) => tiles.has(kind))) return;
  for (const [kind, { tile }] of tiles) if (!kinds.includes(kind)) {
    tiles.delete(kind);
    tile.remove();
  }
  const box = at("reactions");
  kinds.forEach((kind, index) => {
    if (!tiles.has(kind)) tiles.set(kind, makeTile(kind));
    const { tile } = tiles.get(kind);
    // A button that moves would lose the focus.
    if (box.children[index] !== tile) box.insertBefore(tile, box.children[index]);
  });
  box.toggleAttribute("data-many", tiles.size > MANY_KINDS);
  layout.refresh();
}

function makeTile(kind) {
  const shown = picture(kind);
  const text = make("span", isWord(shown) ? "word" : "picture", shown);
  text.dir = "auto";
  text.toggleAttribute("data-shrink", isStage && isWord(shown));
  // The longest unbreakable word limits the font size.
  text.style.setProperty("--letters", String(Math.max(...shown.split(/[\s-]/).map(widthOf))));
  const face = make("span", "face", text);
  if (shown !== kind) {
    face.role = "img";
    face.ariaLabel = kind;
  }
  const count = make("span", "count", "0");
  const tile = make(isStage ? "div" : "button", "reaction", face, count);
  if (!isStage) {
    tile.type = "button";
    tile.disabled = isOff;
    // A label that changes 20 times a second helps no one. `#summary` announces the counts.
    count.ariaHidden = "true";
    // A held key is one tap.
    tile.addEventListener("keydown", (event) => event.repeat && event.preventDefault());
    tile.addEventListener("click", () => tap(kind));
  }
  return { tile, picture: face, count, pulsed: -Infinity };
}

/** The width of a text in letters. A picture is as wide as one and a quarter. */
const widthOf = (text) => (isWord(text) ? lettersOf(text) + 1 : Math.max(1, lettersOf(text)) * 1.25);

function tap(kind) {
  if (!room.react(kind)) {
    if (room.queued >= MAX_QUEUED_TAPS)
      say(`You are disconnected, and no more than ${MAX_QUEUED_TAPS} taps can be kept.`);
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
  // Own taps show at once, other changes once a frame.
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
  at("unit").textContent = total === 1 ? "reaction" : total || isOff ? "reactions" : "Be the first to react";
  showTiles(shownKinds(DEFAULT_KINDS, counts));
  const texts = [];
  for (const [kind, { count }] of tiles) texts.push((count.textContent = short(counts.get(kind) ?? 0)));
  layout.update(shown, texts);
  // The stage must not show kinds that a viewer invented. It only adds them to the total.
  if (!isStage) showOthers([...counts].filter(([kind]) => !tiles.has(kind)));
}

/** Shows the most frequent kinds that have no button, as text. */
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

/** Replaces the rising reactions if the viewer prefers reduced motion. */
function pulse(kind) {
  const it = tiles.get(kind);
  const now = performance.now();
  if (!it || now - it.pulsed < PULSE_EVERY_MS) return;
  it.pulsed = now;
  it.tile.animate({ boxShadow: ["0 0 0 3px var(--accent)", "0 0 0 3px transparent"] }, { duration: 900, easing: "ease-out" });
}

// The page glows with the rate of reactions.

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

// The state of the connection.

watchState(room, `/parties/${encodeURIComponent(party)}/${encodeURIComponent(name)}`, (off) => {
  if (isOff === off) return;
  isOff = off;
  for (const { tile } of tiles.values()) tile.disabled = off;
  show();
});

room.addEventListener("here", ({ detail: here }) => {
  at("here").textContent = here === 1 ? "1 person here" : `${exact.format(here)} people here`;
});

let said = 0;
setInterval(() => {
  if (said === total) return;
  said = total;
  at("summary").textContent = `${exact.format(total)} reactions in this room. ${at("here").textContent}`;
}, SUMMARY_EVERY_MS);

// The room's name and its links. The links keep the title and the theme.

const address = new URL(`/r/${encodeURIComponent(name)}`, location.href);
const linked = new URL(address);
if (title) linked.searchParams.set("title", title);
if (query.has("theme")) linked.searchParams.set("theme", query.get("theme"));
document.title = `${title ?? name} · ${document.body.dataset.site}`;
at("room").textContent = title ?? name;
at("join-address").append(address.host, make("wbr", ""), `/r/${name.replace(/[/\\?#%]/g, encodeURIComponent)}`);
at("react").ariaLabel = isStage ? "Reactions" : "React";
at("second").href = linked.href;
linked.searchParams.set("view", "stage");
at("stage").href = linked.href;
linked.searchParams.delete("view");
if (view === "stage" && query.get("qr") !== "off") showCode();

/** Shows a QR code with the address, if the window has the space for one. */
async function showCode() {
  const hasSpace = matchMedia("(min-height: 24.01rem) and (min-width: 18rem)");
  const follow = () => {
    root.toggleAttribute("data-qr", hasSpace.matches);
    layout.refresh();
  };
  hasSpace.addEventListener("change", follow);
  follow();
  const { qrPicture } = await import("/pages/qr.js");
  const picture = qrPicture(linked.href.length <= MAX_CODE_BYTES ? linked.href : address.href);
  if (picture) return at("qr").append(picture);
  hasSpace.removeEventListener("change", follow);
  root.removeAttribute("data-qr");
}

at("second").addEventListener("click", (event) => {
  event.preventDefault();
  open(linked.href, "_blank", "popup,noopener,width=430,height=820");
});
at("share").addEventListener("click", share);

async function share() {
  if (navigator.share && matchMedia("(pointer: coarse)").matches) {
    // The viewer may dismiss the sheet.
    await navigator.share({ title: document.title, url: linked.href }).catch(() => {});
    return;
  }
  const link = at("link");
  link.value = linked.href;
  try {
    await navigator.clipboard.writeText(linked.href);
  } catch {
    // Without TLS there is no clipboard, so the address is shown to be copied by hand.
    link.hidden = false;
    link.select();
    return;
  }
  at("share").textContent = "Link copied";
  setTimeout(() => (at("share").textContent = "Share room"), 2000);
}

show();
room.connect();
