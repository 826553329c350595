// The client alone, with a server that the test plays: how it connects, when it gives up a connection,
// and when it comes back.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { begin, dial, enter, enterByStream, pass, record, settle, tap, wait } from "./support/client.mjs";
import { Link, link, links } from "./support/played.mjs";

beforeEach(begin);
afterEach(() => {
  globalThis.WebSocket = Link;
  delete globalThis.document;
});

test("a client asks for a session, for presence and with a token", async () => {
  const tokens = ["t0ken", () => "t0ken", async () => "t0ken"];
  for (const token of tokens) {
    dial({ room: "a/b", party: "stage", presence: true, token });
    await settle();
    const { pathname, searchParams } = link().url;
    assert.equal(pathname, "/parties/stage/a%2Fb");
    const { session, ...rest } = Object.fromEntries(searchParams);
    assert.match(session, /^[0-9a-f]{32}$/);
    assert.deepEqual(rest, { presence: "1", token: "t0ken" });
  }
  dial();
  assert.deepEqual([...link().url.searchParams.keys()], ["session"]);
  assert.equal(new Set(links.map(({ session }) => session)).size, 4);
});

test("each connection has a new token and the same session", async () => {
  let number = 0;
  const room = dial({ token: async () => `t${++number}` });
  for (let round = 0; round < 3; round++) {
    await settle();
    link().greets();
    // A connection that lasted lets the client come back soon.
    pass(6000);
    link().dies();
    pass(1100);
  }
  await settle();
  assert.deepEqual(links.map(({ url }) => url.searchParams.get("token")), ["t1", "t2", "t3", "t4"]);
  assert.equal(new Set(links.map(({ session }) => session)).size, 1);
  room.close();
});

test("a token that can't be had is asked for again", async () => {
  for (const fail of [() => Promise.reject(new Error("401")), () => { throw new Error("no"); }]) {
    begin();
    let asked = 0;
    const room = dial({ token: () => (++asked < 3 ? fail() : "t0ken") });
    await settle();
    assert.equal(room.state, "waiting");
    for (let tick = 0; tick < 200 && !links.length; tick++) {
      pass(50);
      await settle();
    }
    assert.deepEqual([asked, links.length], [3, 1]);
    room.close();
  }
  begin();
  const room = dial({ token: () => new Promise(() => {}) });
  pass(10_000);
  assert.equal(room.state, "waiting", "one that never comes");
  room.close();
});

test("a token that comes after closing opens nothing", async () => {
  let answer;
  const room = dial({ token: () => new Promise((resolve) => (answer = resolve)) });
  room.close();
  answer("t0ken");
  await settle();
  assert.deepEqual([links.length, room.state], [0, "closed"]);
});

test("silence for 2.5 heartbeats ends the connection", () => {
  const room = enter({}, { heartbeat: 1000 });
  for (let beat = 0; beat < 20; beat++) {
    pass(2400);
    link().says({ $ack: 0 });
  }
  pass(2499);
  assert.deepEqual([room.state, links.length], ["open", 1]);
  pass(2);
  assert.equal(room.state, "waiting");
  pass(1100);
  assert.equal(links.length, 2);
});

test("without a heartbeat silence means nothing", () => {
  const room = enter({}, { heartbeat: 0 });
  pass(3_600_000);
  assert.equal(room.state, "open");
});

for (const type of ["visibilitychange", "resume", "pageshow", "online"]) {
  test(`a page that wakes asks for an answer: ${type}`, () => {
    globalThis.document = Object.assign(new EventTarget(), { visibilityState: "visible" });
    const wake = () =>
      ["visibilitychange", "resume"].includes(type)
        ? globalThis.document.dispatchEvent(new Event(type))
        : room.handleEvent(new Event(type));
    const room = enter({ love: 1 });
    pass(3000);
    for (let round = 1; round <= 3; round++) {
      wake();
      pass(450);
      assert.equal(link().probes, round - 1, "what arrived before comes first");
      link().says({ love: 1 + round });
      pass(50);
      assert.equal(link().probes, round);
      pass(900);
      link().says({ $ack: 0 });
      pass(3000);
      assert.equal(links.length, 1, "the answer shows that the connection lives");
    }
    wake();
    pass(450);
    link().says({ love: 7 });
    pass(1050);
    assert.deepEqual([links.length, room.state], [2, "connecting"]);
    room.close();
  });
}

test("an event stream that was silent before the page woke is opened anew", () => {
  const room = enterByStream();
  pass(24_000);
  room.handleEvent({ type: "pageshow" });
  assert.equal(links.length, 1);
  pass(2000);
  room.handleEvent({ type: "pageshow" });
  assert.equal(links.length, 2);
});

/** Lets the page sleep: time passes, and then all timers are late. */
function sleep(ms) {
  const { now } = Date;
  const late = () => now() + ms;
  Date.now = late;
  // The timer that is due next is the one that watches.
  pass(5000);
  return () => (Date.now = now);
}

test("a page that slept asks for an answer", () => {
  for (const isAlive of [true, false]) {
    begin();
    const room = enter({ love: 1 });
    const states = record(room, "state");
    const wake = sleep(600_000);
    assert.equal(room.state, "open");
    link().says({ love: 2 });
    pass(500);
    assert.equal(link().probes, 1);
    pass(100);
    if (isAlive) link().says({ $ack: 0 });
    pass(900);
    assert.deepEqual([room.state, states.length], isAlive ? ["open", 0] : ["connecting", 1]);
    wake();
    room.close();
  }
});

test("a hidden page, whose timers are late, asks for nothing", () => {
  globalThis.document = Object.assign(new EventTarget(), { visibilityState: "hidden" });
  const room = enter({ love: 1 });
  const wake = sleep(40_000);
  pass(2000);
  assert.deepEqual([link().probes, room.state], [0, "open"]);
  wake();
  room.close();
});

test("a page that wakes without a connection connects within a second", () => {
  const room = enter();
  for (let failure = 0; failure < 7; failure++) {
    link().dies();
    wait();
  }
  link().dies();
  const before = links.length;
  room.handleEvent({ type: "online" });
  pass(1000);
  assert.equal(links.length, before + 1);
  // One that hangs since before the sleep is given up, too.
  room.handleEvent({ type: "online" });
  pass(1000);
  assert.equal(links.length, before + 1);
  pass(5000);
  room.handleEvent({ type: "online" });
  pass(1000);
  assert.equal(links.length, before + 2);
});

test("a network that goes ends the connection at once", () => {
  const room = enter();
  tap(room);
  room.handleEvent({ type: "offline" });
  assert.deepEqual([room.state, room.queued], ["waiting", 1]);
});

test("close codes say whether a client comes back", () => {
  const later = [1000, 1001, 1006, 1009, 1011, 3000, 4000, 4101, 4499];
  for (const enterBy of [enter, enterByStream]) {
    for (const code of enterBy === enter ? later : [1001, 4101]) {
      begin();
      const room = enterBy();
      link().dies(code);
      assert.deepEqual([room.state, room.reason], ["waiting", undefined], code);
      pass(1100);
      assert.equal(links.length, 2, code);
      room.close();
    }
    const final = { 4500: "token", 4501: "permission", 4502: "origin", 4503: "closed", 4504: "other", 4999: "other" };
    for (const [code, reason] of Object.entries(final)) {
      begin();
      const room = enterBy();
      const states = record(room, "state");
      tap(room);
      link().dies(Number(code));
      assert.deepEqual([room.state, room.reason, states.at(-1).reason], [code === "4503" ? "closed" : "refused", reason, reason]);
      assert.equal(room.react("love"), false);
      pass(3_600_000);
      assert.equal(links.length, 1, `${code} is final`);
      room.handleEvent({ type: "pageshow" });
      pass(1000);
      assert.equal(links.length, 2, "until the page wakes");
      link().greets();
      assert.deepEqual([room.state, room.reason], ["open", undefined]);
      room.close();
    }
  }
});

test("nothing is sent on a connection that begins to close", () => {
  const room = enter();
  link().readyState = 2;
  tap(room);
  room.handleEvent({ type: "pageshow" });
  pass(900);
  assert.deepEqual([link().sent, link().probes, room.state], [[], 0, "open"]);
  link().dies(4503);
  assert.deepEqual([room.reason, room.queued], ["closed", 1]);
});

test("a client over the rate comes back after minutes", () => {
  const room = enter();
  tap(room);
  link().dies(1008);
  assert.deepEqual([room.state, room.reason, room.react("love")], ["refused", "rate", false]);
  pass(119_000);
  assert.equal(links.length, 1);
  wait(122_000);
  assert.equal(links.length, 2);
});

test("a closed room that the page enters again is open", () => {
  const room = enter({ love: 1 });
  link().dies(4503);
  room.connect();
  link().greets({ love: 1 });
  assert.equal(room.state, "open");
  assert.ok(room.react("love"));
});

test("a room that the page leaves stays left", () => {
  const room = enter({ love: 1 });
  const { session } = link();
  tap(room);
  room.close();
  assert.deepEqual([room.state, room.queued, link().isClosed], ["closed", 0, true]);
  room.handleEvent({ type: "offline" });
  pass(3_600_000);
  assert.equal(links.length, 1);
  room.connect();
  assert.notEqual(link().session, session, "forgotten taps that arrive late can't take later numbers");
});

test("a room can be closed while it connects", () => {
  const room = dial();
  room.close();
  room.addEventListener("state", ({ detail }) => detail.state === "connecting" && room.close());
  room.connect();
  wait();
  assert.deepEqual([links.length, room.state], [1, "closed"]);
});

test("retry delays grow and are random", () => {
  const room = enter();
  const began = Date.now();
  const waits = [];
  for (let failure = 0; failure < 12; failure++) {
    const before = links.length;
    const at = Date.now();
    link().dies();
    while (links.length === before) pass(50);
    waits.push(Date.now() - at);
  }
  assert.ok(waits[0] <= 1150, `the first retry after ${waits[0]} ms`);
  assert.ok(Math.max(...waits) <= 30_150, `${waits}`);
  assert.ok(Date.now() - began > 30_000, `12 tries in ${Date.now() - began} ms`);
  const streams = links.flatMap(({ isStream }, index) => (isStream ? [index] : []));
  assert.deepEqual(streams, [9], "one event stream, after eight more WebSockets");
  assert.ok(new Set(waits).size > 6, `random: ${waits}`);
  room.close();
});

test("a connection that doesn't open is given up", () => {
  const room = dial();
  pass(10_000);
  assert.deepEqual([room.state, link().isClosed], ["waiting", true]);
});

test("a page that may not connect keeps trying", () => {
  globalThis.WebSocket = class {
    constructor() {
      throw new Error("Content-Security-Policy");
    }
  };
  const room = dial();
  assert.equal(room.state, "waiting");
  for (let failure = 0; failure < 3; failure++) wait();
  assert.ok(link().isStream);
  room.close();
});

test("event streams are tried where WebSockets never open", () => {
  const room = dial({ presence: true });
  for (let failure = 0; failure < 8; failure++) {
    link().dies();
    wait();
  }
  const ways = links.map(({ isStream }) => (isStream ? "sse" : "ws"));
  assert.deepEqual(ways, ["ws", "ws", "ws", "sse", "ws", "ws", "ws", "sse", "ws"]);
  room.close();
});

test("a client falls back to an event stream later, too", () => {
  const room = enter({ love: 1 });
  for (let failure = 0; failure < 9; failure++) {
    link().dies();
    wait();
  }
  link().greets({ love: 1 });
  assert.deepEqual([room.transport, room.state], ["sse", "open"]);
});
