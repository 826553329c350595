// The client alone, with a server that the test plays: what it sends and shows, when it gives up a
// connection, and when it comes back. `interleavings.test.mjs` plays random orders of events.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { MAX_QUEUED_TAPS, begin, dial, enter, enterByStream, pass, posts, settle, shown } from "./support/client.mjs";
import { Link, link, links } from "./support/played.mjs";

beforeEach(begin);
afterEach(() => {
  globalThis.WebSocket = Link;
  delete globalThis.document;
});

const tap = (room, times = 1, kind = "love") => {
  for (let tap = 0; tap < times; tap++) assert.ok(room.react(kind));
};
/** Waits until the client connects anew, or for longer than any retry delay. */
const wait = (most = 31_000) => {
  const before = links.length;
  for (let waited = 0; waited < most && links.length === before; waited += 50) pass(50);
};
const ids = () => link().sent.map(({ id }) => id);
const taps = () => link().sent.reduce((sum, { n }) => sum + n, 0);
/** Records the details of an event. */
const record = (room, type) => {
  const details = [];
  room.addEventListener(type, ({ detail }) => details.push(detail));
  return details;
};

// Taps and counts.

test("a tap shows at once and only once", () => {
  const room = enter({ love: 10 });
  const told = record(room, "counts");
  tap(room);
  assert.equal(shown(room), 11);
  assert.deepEqual(link().sent, [{ kind: "love", n: 1, id: 1 }]);
  link().says({ $ack: 1 });
  assert.deepEqual([shown(room), room.queued], [11, 0]);
  tap(room);
  assert.equal(shown(room), 12, "before the counts with the first tap");
  link().says({ love: 11 });
  assert.equal(shown(room), 12);
  link().says({ love: 14 });
  assert.equal(shown(room), 15);
  assert.deepEqual(
    told.map(({ increases, own }) => [...increases.values(), own]),
    [[1, true], [1, true], [false], [3, false]],
  );
});

test("the first counts are no increases", () => {
  const room = dial();
  const told = record(room, "counts");
  link().greets({ love: 10 });
  assert.deepEqual([told.length, told[0].increases.size, told[0].own], [1, 0, false]);
});

test("taps travel together, four messages a second", () => {
  const room = enter();
  for (let tenth = 0; tenth < 100; tenth++) {
    tap(room);
    if (tenth % 3 === 0) tap(room, 1, "clap");
    pass(100);
    link().says({ $ack: ids().at(-1) });
  }
  pass(1000);
  assert.equal(taps(), 134);
  const { times, sent } = link();
  assert.ok(times.every((time, index) => !index || time - times[index - 1] >= 250));
  assert.deepEqual(ids(), [...Array(sent.length).keys()].map((index) => index + 1));
});

test("a message has at most 50 taps", () => {
  const room = enter();
  tap(room, 1 + 120);
  pass(1000);
  assert.deepEqual(link().sent.map(({ n }) => n), [1, 50, 50, 20]);
});

test("200 taps are kept, and sent once the room is back", () => {
  const room = enter();
  const states = record(room, "state");
  link().dies();
  tap(room, MAX_QUEUED_TAPS);
  assert.equal(room.react("love"), false);
  assert.deepEqual([room.queued, shown(room), states.at(-1).queued], [200, 200, 200]);
  wait();
  link().greets();
  pass(1000);
  assert.equal(taps(), MAX_QUEUED_TAPS);
  link().says({ $ack: 4 });
  assert.deepEqual([room.queued, shown(room), states.at(-1).queued], [0, 200, 0]);
  link().says({ love: 200 });
  assert.equal(shown(room), 200);
});

test("all taps are sent when the page is left", () => {
  globalThis.document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  const room = enter();
  tap(room, 3);
  tap(room, 2, "clap");
  assert.equal(taps(), 1);
  globalThis.document.visibilityState = "hidden";
  globalThis.document.dispatchEvent(new Event("visibilitychange"));
  assert.equal(taps(), 5);
  pass(4000);
  assert.equal(taps(), 5);
});

test("only what is not acknowledged is sent again", () => {
  const room = enter({ love: 10 });
  tap(room, 1);
  tap(room, 2, "clap");
  pass(250);
  tap(room, 3);
  pass(250);
  link().dies();
  assert.deepEqual([shown(room), room.queued, room.state], [14, 6, "waiting"]);
  tap(room);
  wait();
  // Others have reacted, too.
  link().greets({ love: 31, clap: 2 }, { ack: 2 });
  assert.equal(shown(room), 32, "the tap that was never sent can't be in these counts");
  pass(1000);
  assert.deepEqual(link().sent, [{ kind: "love", n: 3, id: 3 }, { kind: "love", n: 1, id: 4 }]);
  link().says({ $ack: 4 });
  link().says({ love: 35, clap: 2 });
  assert.deepEqual([shown(room), shown(room, "clap"), room.queued], [35, 2, 0]);
});

test("a late message of an old connection is not shown twice", () => {
  const room = enter({ love: 10 });
  tap(room, 1);
  link().dies();
  wait();
  link().greets({ love: 10 });
  // The message arrives on the old connection, and its taps come before the acknowledgement.
  link().says({ love: 11 });
  assert.equal(shown(room), 11);
  link().says({ $ack: 1 });
  assert.deepEqual([shown(room), room.queued], [11, 0]);
});

test("what is not acknowledged in 5 seconds is sent again", () => {
  const room = enter();
  tap(room);
  tap(room, 1, "clap");
  pass(250);
  link().says({ $ack: 1 });
  pass(4900);
  assert.deepEqual(ids(), [1, 2]);
  pass(200);
  assert.deepEqual(ids(), [1, 2, 2]);
  link().says({ $ack: 2 });
  pass(20_000);
  assert.deepEqual(ids(), [1, 2, 2]);
});

test("a connection that takes no taps is given up", () => {
  const room = enter();
  tap(room);
  for (let second = 0; second < 22; second++) {
    assert.equal(room.state === "open", second < 20, `${second} s`);
    pass(1000);
    if (room.state === "open") link().says({ $ack: 0 });
  }
  assert.deepEqual(ids(), links.length > 1 ? [] : [1, 1, 1, 1]);
});

test("a server that lost the numbers is sent no tap again", () => {
  for (const change of [{ server: 8 }, { ack: 0 }, { ack: 1, isLate: true }]) {
    begin();
    // A connection is never back that soon.
    const room = enter({ love: 10 }, { memory: change.isLate ? 50 : 600_000 });
    tap(room);
    link().says({ $ack: 1 });
    link().says({ love: 11 });
    pass(300);
    tap(room);
    link().dies();
    tap(room);
    wait();
    link().greets({ love: 11 }, { ack: 0, ...change });
    // The second tap may be counted or not. It stays shown.
    assert.deepEqual([shown(room), room.queued], [13, 1]);
    assert.deepEqual(link().sent, [{ kind: "love", n: 1, id: change.isLate ? 2 : 1 }]);
    room.close();
  }
});

test("refused taps are reported and no longer shown", () => {
  const room = enter({ love: 10 });
  const refused = record(room, "refused");
  tap(room, 1);
  tap(room, 2, "slur");
  pass(300);
  link().says({ $refused: 2, reason: "kind" });
  link().says({ $ack: 2 });
  assert.deepEqual(refused, [{ kind: "slur", taps: 2, reason: "kind" }]);
  assert.deepEqual([[...room.counts], room.queued], [[["love", 11]], 0]);
  link().says({ $refused: 9, reason: "kind" });
  assert.equal(refused.length, 1);
});

test("a reset is shown, and what is told of one", () => {
  const room = enter({ love: 10, clap: 2 });
  tap(room);
  link().says({});
  assert.equal(shown(room), 11, "lower counts are no reset");
  link().says({ $reset: {} });
  assert.deepEqual([...room.counts], [["love", 1]], "the tap is not counted yet");
  link().says({ $ack: 1 });
  link().says({ love: 1 });
  assert.equal(shown(room), 1);
});

test("a reset during an interruption is shown", () => {
  const room = enter({ love: 10, clap: 2 });
  tap(room);
  link().dies();
  wait();
  link().greets({ love: 3, clap: 2 });
  assert.deepEqual(Object.fromEntries(room.counts), { love: 3, clap: 2 });
  link().says({ $ack: 1 });
  link().says({ love: 4, clap: 2 });
  assert.equal(shown(room), 4);
});

test("a frozen room takes no taps until it opens", () => {
  const room = enter({ love: 1 });
  const states = record(room, "state");
  link().says({ $state: "frozen" });
  assert.deepEqual([room.mode, room.react("love"), states.at(-1).mode], ["frozen", false, "frozen"]);
  link().says({ $state: "open" });
  assert.ok(room.react("love"));
  link().says({ $state: "frozen" });
  link().dies();
  wait();
  link().greets({ love: 1 });
  assert.equal(room.mode, "open", "a server tells only other modes");
});

test("invalid kinds are not sent", () => {
  const room = enter();
  for (const kind of ["", "x".repeat(33), "é".repeat(17), "a\nb", "\u0085", "$here"]) assert.equal(room.react(kind), false, kind);
  const valid = ["__proto__", "constructor", "<b>", "x".repeat(32)];
  for (const kind of valid) assert.ok(room.react(kind), kind);
  pass(1000);
  assert.deepEqual(link().sent.map(({ kind }) => kind), valid);
  assert.equal(room.counts.get("__proto__"), 1);
});

test("invalid messages are ignored", () => {
  const room = enter({ love: 1 });
  const invalid = ["", "{", "5", "null", "[1]", '"x"', '{"love":-1}', '{"love":"<b>"}', '{"love":1.5}', '{"$new":7}', '{"love":2,"$x":1}'];
  for (const text of invalid) link().says(text);
  link().onmessage({ data: new Blob([]) });
  assert.deepEqual([...room.counts], [["love", 1]]);
  link().says('{"__proto__":3,"love":1}');
  assert.equal(room.counts.get("__proto__"), 3);
});

test("heartbeats change nothing", () => {
  const room = enter({ love: 1 });
  const told = ["counts", "state", "refused", "here"].flatMap((type) => record(room, type));
  for (let beat = 0; beat < 10; beat++) {
    pass(20_000);
    link().says({ $ack: 0 });
  }
  assert.deepEqual([room.state, [...room.counts], told], ["open", [["love", 1]], []]);
});

test("a presence message changes no count", () => {
  const room = enter({ love: 1 });
  const seen = record(room, "here");
  link().says({ $here: 7 });
  link().says({ $here: 0 });
  assert.deepEqual([seen, room.here, [...room.counts]], [[7, 0], 0, [["love", 1]]]);
});

test("a server that doesn't greet is sent nothing", () => {
  const room = dial();
  tap(room);
  link().says({ love: 1 });
  assert.deepEqual([room.state, link().sent], ["connecting", []]);
});

// Connections.

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
    for (let round = 0; round < 3; round++) {
      await settle();
      if (!links.length) assert.equal(room.state, "waiting");
      wait();
    }
    await settle();
    assert.equal(asked >= 3 && links.length > 0, true);
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

// Without WebSockets.

/** Answers the last post, and lets the client handle it. */
const answer = (status) => {
  posts.at(-1).answer(status);
  return settle();
};

test("without a WebSocket, messages are posted one by one", async () => {
  const room = enterByStream({ love: 3 });
  tap(room, 3);
  await settle();
  assert.deepEqual([shown(room), posts.length], [6, 1]);
  pass(2000);
  await settle();
  assert.equal(posts.length, 1, "the second waits for the first");
  await answer(200);
  assert.deepEqual(posts.map(({ message }) => message), [{ kind: "love", n: 1, id: 1 }, { kind: "love", n: 2, id: 2 }]);
  assert.ok(posts.every(({ session }) => session === link().session));
  await answer(200);
  assert.equal(room.queued, 0);
  link().says({ love: 6 });
  assert.equal(shown(room), 6);
});

test("counts that come before the answer show no tap twice", async () => {
  const room = enterByStream({ love: 3 });
  tap(room);
  await settle();
  link().says({ love: 4, clap: 1 });
  assert.deepEqual([shown(room), shown(room, "clap")], [4, 1]);
  tap(room);
  assert.equal(shown(room), 5);
  await answer(200);
  assert.equal(shown(room), 5);
});

test("posts carry the token", async () => {
  for (const token of ["t0ken", async () => "t0ken"]) {
    begin();
    const room = enterByStream({}, { token: "t0ken" });
    tap(room);
    await settle();
    assert.deepEqual(posts[0].headers, { Authorization: "Bearer t0ken" });
    room.close();
  }
});

test("statuses that refuse a post are reported", async () => {
  const reasons = { 400: "kind", 403: "permission", 409: "frozen", 413: "kind", 422: "kind" };
  for (const [status, reason] of Object.entries(reasons)) {
    begin();
    const room = enterByStream({ love: 3 });
    const refused = record(room, "refused");
    tap(room, 1);
    await settle();
    await answer(Number(status));
    assert.deepEqual(refused, [{ kind: "love", taps: 1, reason }]);
    assert.deepEqual([shown(room), room.queued, room.state], [3, 0, "open"]);
    room.close();
  }
});

test("a post that came too early is sent with the right number", async () => {
  const room = enterByStream({ love: 3 });
  tap(room, 1);
  await settle();
  // The server could not read this message, so its number is free.
  await answer(400);
  tap(room, 2);
  pass(250);
  await settle();
  assert.equal(posts.at(-1).message.id, 2);
  await answer(412);
  assert.deepEqual([room.state, room.queued, shown(room)], ["waiting", 2, 5]);
  wait();
  link().greets({ love: 3 });
  await settle();
  assert.deepEqual(posts.at(-1).message, { kind: "love", n: 2, id: 1 });
  await answer(200);
  assert.equal(room.queued, 0);
});

test("taps that meet a forgotten session are counted", async () => {
  const room = enterByStream({ love: 3 });
  tap(room);
  await settle();
  await answer(200);
  link().says({ love: 4 });
  pass(250);
  tap(room);
  await settle();
  await answer(412);
  wait();
  link().greets({ love: 4 });
  await settle();
  assert.deepEqual(posts.at(-1).message, { kind: "love", n: 1, id: 1 });
});

for (const fail of [429, 502, 503, 507, "network", "time"]) {
  test(`posts are repeated with growing delays: ${fail}`, async () => {
    const room = enterByStream({ love: 3 });
    tap(room);
    for (let tick = 1; tick <= 1200; tick++) {
      await settle();
      if (fail === "network") posts.at(-1).fail();
      else if (fail !== "time") posts.at(-1).answer(fail);
      link().says({ love: 3, clap: tick });
      assert.equal(shown(room), 4);
      pass(50);
    }
    assert.ok(posts.length > 2 && posts.length < 40, `${posts.length} in a minute`);
    assert.ok(posts.every(({ message }) => message.id === 1));
    assert.deepEqual([room.queued, room.state], [1, "open"]);
    for (let before = posts.length, tick = 0; posts.length === before && tick < 700; tick++) {
      pass(50);
      await settle();
      link().says({ $ack: 0 });
    }
    await answer(200);
    assert.deepEqual([room.queued, shown(room)], [0, 4]);
    room.close();
  });
}

test("a post that outlives its stream is repeated with its number", async () => {
  const room = enterByStream({ love: 3 });
  tap(room, 1);
  await settle();
  const [old] = posts;
  link().dies();
  pass(2000);
  link().greets({ love: 3 });
  await settle();
  assert.deepEqual(posts.map(({ message }) => message.id), [1, 1]);
  old.answer(503);
  await settle();
  assert.equal(posts.length, 2);
  link().says({ love: 4 });
  await answer(200);
  assert.deepEqual([shown(room), room.queued], [4, 0]);
});

test("a response after closing changes nothing", async () => {
  const room = enterByStream();
  tap(room);
  await settle();
  room.close();
  await answer(503);
  wait();
  assert.deepEqual([posts.length, room.queued], [1, 0]);
});
