// The class OvationRoom outside of a browser, with connections and a clock that the test controls.
import assert from "node:assert/strict";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mock } from "node:test";
import { Link, link, links } from "./played.mjs";

// Node takes a module without a package for CommonJS unless its name says otherwise.
const directory = await mkdtemp(join(tmpdir(), "ovation-"));
const copy = join(directory, "ovation.mjs");
await copyFile(new URL("../../../src/web/room/ovation.js", import.meta.url), copy);
export const { MAX_QUEUED_TAPS, OvationRoom } = await import(copy);
await rm(directory, { recursive: true });

globalThis.WebSocket = Link;
globalThis.EventSource = Link;
// The clock of the test doesn't move the timeouts of signals.
AbortSignal.timeout = (delay) => {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), delay);
  return controller.signal;
};

/** Requests of the client that wait for an answer, in order. */
export const posts = [];

globalThis.fetch = (url, { body, headers, signal }) =>
  new Promise((resolve, reject) => {
    const fail = () => reject(new Error("the network is gone"));
    signal.addEventListener("abort", fail);
    const session = new URL(url).searchParams.get("session");
    posts.push({ session, headers, message: JSON.parse(body), answer: (status) => resolve({ status }), fail });
  });

/** Forgets earlier connections, and starts the clock again. */
export function begin() {
  links.length = posts.length = 0;
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
}

/** Lets time pass in small steps, so that a timer may set the next. */
export function pass(ms) {
  for (let left = ms; left > 0; left -= 50) mock.timers.tick(Math.min(left, 50));
}

/** Lets the client handle what it waits for. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));

export const dial = (options = {}) => {
  const room = new OvationRoom({ room: "talk", host: "http://ovation.test", ...options });
  room.connect();
  return room;
};

/** Opens a room with these counts. */
export function enter(counts = {}, hello = {}, options = {}) {
  const room = dial(options);
  link().greets(counts, hello);
  return room;
}

/** Opens a room over an event stream. */
export function enterByStream(counts = {}, options = {}) {
  const room = new OvationRoom({ room: "talk", host: "http://ovation.test", ...options });
  room.transport = "sse";
  room.connect();
  link().greets(counts);
  return room;
}

export const tap = (room, times = 1, kind = "love") => {
  for (let tap = 0; tap < times; tap++) assert.ok(room.react(kind));
};

/** Waits until the client connects anew, or for longer than any retry delay. */
export function wait(most = 31_000) {
  const before = links.length;
  for (let waited = 0; waited < most && links.length === before; waited += 50) pass(50);
}

/** Records the details of an event. */
export function record(room, type) {
  const details = [];
  room.addEventListener(type, ({ detail }) => details.push(detail));
  return details;
}

export const shown = (room, kind = "love") => room.counts.get(kind) ?? 0;
