/**
 * The dashboard: the history from the server, and a new sample each second. The server keeps the
 * history, so a reload loses nothing.
 */

import { Chart, clock, sumAt } from "/charts.js";
import { Rooms, isolated } from "/rooms.js";

const RANGES = {
  "15m": { seconds: 15 * 60, refreshSeconds: 60 },
  "6h": { seconds: 6 * 3600, refreshSeconds: 10 },
  "7d": { seconds: 7 * 86400, refreshSeconds: 60 },
};
/** Minimum share of the range that the charts show while the server has run for less time than the
 *  range. */
const LEAST_SHARE = 0.1;
/** Number of rooms with a layer of their own. All other connections share one layer. */
const SHOWN_ROOMS = 7;
const OTHERS = "Other connections";
const TOAST_MS = 5000;

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 0 });

const number = (value) => whole.format(value);
const few = (value) => (value > 0 && value < 10 ? value.toFixed(1) : whole.format(value));
const bytes = (value) => {
  const power = Math.max(0, Math.min(3, Math.floor(Math.log10(Math.max(1, value)) / 3)));
  const scaled = value / 1000 ** power;
  return `${scaled >= 100 || power === 0 ? whole.format(scaled) : scaled.toFixed(1)} ${["B", "kB", "MB", "GB"][power]}`;
};
const seconds = (value) => (value < 0.05 ? "0 s" : value < 10 ? `${value.toFixed(1)} s` : `${whole.format(value)} s`);

const $ = (selector) => document.querySelector(selector);

/** How each chart is drawn and its values are formatted. */
const CHARTS = {
  activity: { format: (value) => short.format(value), least: 4 },
  reactions: { format: (value) => short.format(value), text: few, least: 4 },
  deliveries: { format: (value) => short.format(value), text: few, least: 4 },
  conflated: { format: (value) => short.format(value), text: few, least: 4 },
  memoryEach: { format: bytes, text: (value) => (value ? bytes(value) : "–"), least: 100 },
  load: { format: (value) => percent.format(value), text: (value) => percent.format(value), least: 1, line: "loadPeak" },
  unsynced: { format: seconds, text: seconds, least: 2 },
};

let range = "15m";
/** Columns of the range, in the format of the server. */
let history = null;
let historyAt = 0;
/** The selected index in all charts. */
let cursor = null;
let isDrawing = false;
/** The colour slot of each room, which is stable while the room is shown. @type {Map<string, number>} */
const colours = new Map();

const charts = new Map();
for (const canvas of document.querySelectorAll("[data-chart]")) {
  const name = canvas.dataset.chart;
  charts.set(name, new Chart(canvas, CHARTS[name]));
}

/** Draws everything once, before the next frame. */
function redraw() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    if (history) drawAll();
  });
}

function drawAll() {
  const to = Math.max(history.at.at(-1) ?? 0, Math.floor(Date.now() / 1000) - history.step);
  const { seconds: most } = RANGES[range];
  const span = Math.min(most, Math.max(most * LEAST_SHARE, 1.1 * (to - (history.at[0] ?? to))));
  const frame = { from: to - span, to, step: history.step, at: history.at, cursor };
  const layers = roomLayers();
  charts.get("activity").draw({ ...frame, layers });
  describe("activity", `Connections by room: ${number(history.series.connections.at(-1) ?? 0)} now`);
  drawLegend(layers);
  for (const [name, chart] of charts) {
    if (name === "activity") continue;
    const { text, line } = CHARTS[name];
    const layer = (series, color) => ({ name: series, color: colour(color), values: history.series[series] });
    chart.draw({ ...frame, layers: [layer(name, "--accent")], line: line && layer(line, "--accent-2") });
    const index = cursor ?? history.at.length - 1;
    const value = (series) => text(history.series[series][index] ?? 0);
    const shown = line ? `${value(name)}, ${value(line)}` : value(name);
    $(`[data-at="${name}"]`).value = shown;
    describe(name, `${chart.canvas.previousElementSibling.firstChild.textContent.replace(/\s+/g, " ").trim()}: ${shown}`);
  }
}

/** Returns the name to show for a room: without the default party. */
const plain = (name) => name.replace(/^main\//, "");

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function describe(name, text) {
  charts.get(name).canvas.setAttribute("aria-label", text);
}

/** Returns layers for the rooms with the highest peaks and for all other connections. */
function roomLayers() {
  const peak = (room) => room.members.reduce((most, members) => Math.max(most, members), 0);
  const rooms = history.rooms
    .map((room) => ({ ...room, peak: peak(room) }))
    .filter((room) => room.peak > 0)
    .sort((room, other) => other.peak - room.peak)
    .slice(0, SHOWN_ROOMS);
  const names = new Set(rooms.map((room) => room.name));
  for (const name of colours.keys()) if (!names.has(name)) colours.delete(name);
  for (const name of names) {
    if (colours.has(name)) continue;
    const taken = new Set(colours.values());
    colours.set(name, [0, 1, 2, 3, 4, 5, 6].find((slot) => !taken.has(slot)) ?? 0);
  }
  // Sorted by colour slot, so that layers keep their order.
  const layers = rooms
    .map((room) => ({ name: room.name, slot: colours.get(room.name), values: room.members }))
    .sort((layer, other) => layer.slot - other.slot)
    .map((layer) => ({ ...layer, color: colour(`--c${layer.slot}`) }));
  const others = history.series.connections.map((all, index) => Math.max(0, all - sumAt(layers, index)));
  if (others.some((left) => left > 0)) layers.push({ name: OTHERS, color: colour("--c7"), values: others });
  return layers;
}

function drawLegend(layers) {
  const index = cursor ?? history.at.length - 1;
  const peak = (values) => values.reduce((most, value) => Math.max(most, value), 0);
  const sums = history.at.map((_, point) => sumAt(layers, point));
  const rows = layers
    .map((layer) => ({ ...layer, now: layer.values[index] ?? 0, peak: peak(layer.values) }))
    .sort((one, other) => (one.name === OTHERS) - (other.name === OTHERS) || other.peak - one.peak);
  rows.push({ name: "All", color: "transparent", now: sums[index] ?? 0, peak: peak(sums) });
  $("#legend-time").textContent = cursor === null ? "Now" : clock(history.at[index], history.step < 60);
  $("#legend tbody").replaceChildren(
    ...rows.map((row) => {
      const line = document.createElement("tr");
      const name = document.createElement("th");
      name.scope = "row";
      const mark = document.createElement("i");
      mark.style.background = row.color;
      const text = Object.assign(isolated(plain(row.name)), { title: row.name });
      const both = document.createElement("div");
      both.append(mark, text);
      name.append(both);
      const values = [row.now, row.peak].map((value) =>
        Object.assign(document.createElement("td"), { textContent: number(value) }),
      );
      line.append(name, ...values);
      return line;
    }),
  );
}

/** Shows a sample in the tiles. */
function showNow({ series, rooms, reactors }) {
  const set = (kind, name, text) => ($(`[data-${kind}="${name}"]`).textContent = text);
  set("now", "connections", number(series.connections));
  set("note", "streams", `${number(series.streams)} event streams, ${few(series.opened)} new / s`);
  set("now", "rooms", number(series.rooms));
  const fullest = rooms[0] ? [`${number(rooms[0][1])} in `, isolated(plain(rooms[0][0]))] : [];
  $('[data-note="rooms"]').replaceChildren(...fullest);
  set("now", "reactions", few(series.reactions));
  const peak = Math.max(series.reactions, ...(history?.series.reactions ?? []));
  set("note", "reactions", peak ? `peak ${few(peak)}` : "");
  set("now", "deliveries", few(series.deliveries));
  set("note", "deliveries", series.conflated ? `${few(series.conflated)} / s skipped` : "none skipped");
  set("now", "memory", bytes(series.memory));
  set("note", "memory", series.memoryEach ? `${bytes(series.memoryEach)} per connection` : "");
  set("now", "load", percent.format(series.load));
  set("note", "load", `busiest of ${reactors.length}: ${percent.format(series.loadPeak)}`);
  set("now", "unsynced", seconds(series.unsynced));
  set("note", "unsynced", series.unsynced ? "" : "everything is on disk");
  document.title = `${number(series.connections)} · Ovation`;
  const list = $("#reactors ol");
  while (list.children.length > reactors.length) list.lastChild.remove();
  while (list.children.length < reactors.length) list.append(newReactor(list.children.length));
  reactors.forEach((reactor, index) => {
    const [, meter, load, connections] = list.children[index].children;
    meter.value = reactor.load;
    load.textContent = percent.format(reactor.load);
    connections.textContent = `${number(reactor.connections)} conn.`;
  });
}

function newReactor(index) {
  const item = document.createElement("li");
  const meter = Object.assign(document.createElement("meter"), { max: 1, low: 0.7, high: 0.9, optimum: 0 });
  meter.setAttribute("aria-label", `Load of reactor ${index}`);
  const name = Object.assign(document.createElement("span"), { textContent: `#${index}` });
  item.append(name, meter, document.createElement("b"), document.createElement("span"));
  return item;
}

/** Appends a sample to the columns of the 15-minute range. */
function append(sample) {
  const last = history.at.at(-1) ?? 0;
  if (sample.at <= last) return;
  history.at.push(sample.at);
  for (const [name, values] of Object.entries(history.series)) values.push(sample.series[name] ?? 0);
  const members = new Map(sample.rooms);
  for (const room of history.rooms) room.members.push(members.get(room.name) ?? 0);
  for (const [name, count] of members) {
    if (history.rooms.some((room) => room.name === name)) continue;
    const before = new Array(history.at.length - 1).fill(0);
    history.rooms.push({ name, members: [...before, count] });
  }
  const from = sample.at - RANGES[range].seconds;
  let old = history.at.findIndex((at) => at >= from);
  if (old <= 0) return;
  if (cursor !== null) cursor = Math.max(0, cursor - old);
  for (const column of [history.at, ...Object.values(history.series), ...history.rooms.map((room) => room.members)]) {
    column.splice(0, old);
  }
}

async function load() {
  const asked = range;
  historyAt = Date.now();
  try {
    const response = await fetch(`/history?range=${asked}`);
    if (!response.ok || asked !== range) return;
    history = await response.json();
    if (cursor !== null) cursor = Math.min(cursor, history.at.length - 1);
    redraw();
  } catch {
    // The state of the event stream shows that the server is gone.
  }
}

function listen() {
  const state = (name, text) => {
    $("#state").dataset.state = name;
    $("#state").textContent = text;
  };
  const events = new EventSource("/events");
  events.onopen = () => {
    state("live", "Live");
    load();
  };
  events.onerror = () => state("lost", "Connection lost, reconnecting");
  events.addEventListener("close", () => state("lost", "The server has stopped"));
  events.onmessage = ({ data }) => {
    const sample = JSON.parse(data);
    showNow(sample);
    const isFine = range === "15m" && history && sample.at - (history.at.at(-1) ?? 0) <= 5;
    if (isFine) append(sample);
    if (!isFine || Date.now() - historyAt > RANGES[range].refreshSeconds * 1000) {
      if (Date.now() - historyAt > 5000) load();
    }
    redraw();
  };
}

for (const chart of charts.values()) {
  const { canvas } = chart;
  const move = (to) => {
    cursor = to;
    redraw();
  };
  canvas.addEventListener("pointermove", (event) => move(chart.indexAt(event.offsetX)));
  canvas.addEventListener("pointerleave", () => move(null));
  canvas.addEventListener("blur", () => move(null));
  canvas.addEventListener("keydown", (event) => {
    const last = (history?.at.length ?? 0) - 1;
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -60, PageDown: 60, Home: -last, End: last }[event.key];
    if (event.key === "Escape") move(null);
    if (by === undefined || last < 0) return;
    event.preventDefault();
    move(Math.max(0, Math.min(last, (cursor ?? last) + by)));
  });
}

for (const input of document.querySelectorAll("[name=range]")) {
  input.addEventListener("change", () => {
    range = input.value;
    cursor = null;
    location.hash = range;
    load();
  });
}

let toastTimer = 0;
function say(...words) {
  $("#toast").replaceChildren(...words);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => ($("#toast").textContent = ""), TOAST_MS);
}

const wanted = location.hash.slice(1);
if (wanted in RANGES) {
  range = wanted;
  $(`[name=range][value="${wanted}"]`).checked = true;
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
$("#host").textContent = location.host;
new Rooms(say);
listen();
