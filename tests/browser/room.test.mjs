// The client alone, against a server that the test plays: what is shown never falls back, never
// counts a tap twice, and every tap is sent once, whatever the network does in between.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { beforeEach, mock, test } from "node:test";

const source = await readFile(new URL("../../src/http/pages/ovation.js", import.meta.url));
const { MAX_QUEUED_TAPS, OvationRoom } = await import(`data:text/javascript;base64,${source.toString("base64")}`);

/** The server's end of what the client opens last. */
let link;
/** Where the client has connected to, in order. */
let dialed;

class Link extends EventTarget {
  sent = [];
  bufferedAmount = 0;
  constructor(url) {
    super();
    dialed.push(url);
    link = this;
  }
  send(text) {
    assert.ok(!this.isClosed, "nothing is sent on a closed connection");
    this.sent.push(JSON.parse(text).kind);
  }
  close() {
    this.isClosed = true;
  }
  /** Sends what the server says. */
  says(counts) {
    this.onmessage({ data: typeof counts === "string" ? counts : JSON.stringify(counts) });
  }
  /** Ends, as a network or a server does. */
  dies(code = 1006) {
    this.onclose ? this.onclose({ code }) : this.onerror();
  }
}

beforeEach(() => {
  dialed = [];
  globalThis.WebSocket = Link;
  globalThis.EventSource = Link;
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
});

/** A room that is open with these counts. */
function enter(counts = {}) {
  const room = new OvationRoom({ room: "talk", host: "http://ovation.test" });
  room.connect();
  link.says(counts);
  assert.equal(room.state, "open");
  return room;
}

const tap = (room, times = 1) => {
  for (let tap = 0; tap < times; tap++) assert.ok(room.react("love"));
};
const shown = (room) => room.counts.get("love") ?? 0;
/** Longer than any wait for another try. */
const wait = () => mock.timers.tick(31_000);

test("a tap shows at once, and its count does not show it again", () => {
  const room = enter({ love: 10 });
  const increases = [];
  room.addEventListener("counts", ({ detail }) => increases.push([...detail.increases.values(), detail.own]));
  tap(room);
  assert.equal(shown(room), 11);
  assert.deepEqual(link.sent, ["love"]);
  link.says({ love: 11 });
  assert.equal(shown(room), 11);
  link.says({ love: 14 });
  assert.equal(shown(room), 14);
  assert.deepEqual(increases, [[1, true], [false], [3, false]]);
});

test("counts that skip states neither fall back nor count twice", () => {
  const room = enter({ love: 10 });
  tap(room, 3);
  assert.equal(shown(room), 13);
  // Two are in it: nobody knows whose.
  link.says({ love: 12 });
  assert.equal(shown(room), 13);
  link.says({ love: 12, clap: 1 });
  assert.equal(shown(room), 13);
  link.says({ love: 17, clap: 1 });
  assert.equal(shown(room), 17);
});

test("any order of taps, others' taps and counts: up only, never too many, in the end exact", () => {
  for (let seed = 1; seed <= 300; seed++) {
    let state = seed;
    const below = (bound) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * bound);
    };
    const room = enter({ love: 5 });
    let counted = 5; // by the server
    let arrived = 0; // of the taps that were sent on this connection
    let others = 0;
    let last = 5;
    const check = () => {
      const most = counted + link.sent.length - arrived + room.queued;
      assert.ok(shown(room) >= last, `seed ${seed}: fell from ${last} to ${shown(room)}`);
      assert.ok(shown(room) <= most, `seed ${seed}: ${shown(room)} of at most ${most}`);
      last = shown(room);
    };
    for (let step = 0; step < 60; step++) {
      const what = below(10);
      if (what < 4) tap(room, 1 + below(3));
      else if (what < 6) {
        const more = below(link.sent.length - arrived + 1);
        arrived += more;
        counted += more;
      } else if (what < 7) {
        others += 1;
        counted += 1;
      } else if (what < 9) link.says({ love: counted });
      else if (others === 0) {
        // The connection dies with what has not arrived; the next one says what was counted. Only
        // where nobody else taps: the tap of another may stand for one that was lost.
        link.dies();
        wait();
        arrived = 0;
        link.says({ love: counted });
      }
      check();
    }
    counted += link.sent.length - arrived;
    link.says({ love: counted });
    assert.equal(shown(room), counted, `seed ${seed}`);
    room.close();
  }
});

test("taps that were lost with the connection are sent once more, counted ones are not", () => {
  const room = enter({ love: 10 });
  tap(room, 5);
  link.dies();
  assert.equal(shown(room), 15);
  assert.equal(room.state, "waiting");
  wait();
  // Three of the five came through.
  link.says({ love: 13 });
  assert.deepEqual(link.sent, ["love", "love"]);
  assert.equal(shown(room), 15);
  link.says({ love: 15 });
  assert.equal(shown(room), 15);
  link.dies();
  wait();
  link.says({ love: 15 });
  assert.deepEqual(link.sent, []);
});

test("taps without a connection are kept, within bounds, and sent once", () => {
  const room = enter();
  const states = [];
  room.addEventListener("state", ({ detail }) => states.push(detail.queued));
  link.dies();
  tap(room, MAX_QUEUED_TAPS);
  assert.equal(room.react("love"), false);
  assert.equal(room.queued, MAX_QUEUED_TAPS);
  assert.equal(shown(room), MAX_QUEUED_TAPS);
  assert.equal(states.at(-1), MAX_QUEUED_TAPS);
  wait();
  link.says({});
  assert.equal(link.sent.length, MAX_QUEUED_TAPS);
  assert.equal(room.queued, 0);
  link.says({ love: MAX_QUEUED_TAPS });
  assert.equal(shown(room), MAX_QUEUED_TAPS);
});

test("a connection that the client gives up may still deliver: nothing is sent twice", () => {
  const room = enter({ love: 1 });
  tap(room);
  room.handleEvent({ type: "offline" });
  assert.equal(room.state, "waiting");
  tap(room);
  wait();
  link.says({ love: 1 });
  assert.deepEqual(link.sent, ["love"]);
});

test("silence after a tap ends a dead connection, but only after a time that load does not take", () => {
  const room = enter();
  tap(room);
  mock.timers.tick(59_000);
  assert.equal(room.state, "open");
  mock.timers.tick(62_000);
  assert.notEqual(room.state, "open");
});

test("a count that was set back is followed", () => {
  const room = enter({ love: 10, clap: 2 });
  tap(room);
  link.says({});
  assert.deepEqual([...room.counts], []);
  tap(room);
  assert.equal(shown(room), 1);
});

test("what is no kind is not sent", () => {
  const room = enter();
  for (const kind of ["", "x".repeat(33), "é".repeat(17), "a\nb", "\u0085", "$here"]) assert.equal(room.react(kind), false, kind);
  for (const kind of ["__proto__", "constructor", "<b>", "x".repeat(32)]) assert.ok(room.react(kind), kind);
  assert.equal(link.sent.length, 4);
  assert.equal(room.counts.get("__proto__"), 1);
});

test("what is no counts is passed over", () => {
  const room = enter({ love: 1 });
  for (const text of ["", "{", "5", "null", "[1]", '"x"', '{"love":-1}', '{"love":"<b>"}', '{"love":1.5}']) link.says(text);
  link.onmessage({ data: new Blob([]) });
  assert.deepEqual([...room.counts], [["love", 1]]);
  link.says('{"__proto__":3,"love":1}');
  assert.equal(room.counts.get("__proto__"), 3);
});

test("how many are here is no count", () => {
  const room = enter({ love: 1 });
  const seen = [];
  room.addEventListener("here", ({ detail }) => seen.push(detail));
  link.says({ $here: 7 });
  assert.deepEqual([seen, room.here, [...room.counts]], [[7], 7, [["love", 1]]]);
});

test("a client that is turned away does not come back soon, and says nothing again", () => {
  const room = enter();
  tap(room);
  link.dies(1008);
  assert.equal(room.state, "refused");
  assert.equal(room.queued, 0);
  mock.timers.tick(119_000);
  assert.equal(dialed.length, 1);
  mock.timers.tick(122_000);
  assert.equal(dialed.length, 2);
});

test("a room that the operator closes is left", () => {
  const room = enter({ love: 1 });
  link.dies(1000);
  assert.equal(room.state, "closed");
  assert.equal(room.react("love"), false);
  mock.timers.tick(600_000);
  assert.equal(dialed.length, 1);
  room.connect();
  link.says({ love: 1 });
  assert.equal(room.state, "open");
  assert.ok(room.react("love"));
});

test("failures are answered with growing, scattered waits", () => {
  const room = enter();
  const began = Date.now();
  const waits = [];
  for (let failure = 0; failure < 12; failure++) {
    const before = dialed.length;
    const at = Date.now();
    link.dies();
    while (dialed.length === before) mock.timers.tick(50);
    waits.push(Date.now() - at);
  }
  assert.ok(waits[0] <= 1150, `the first after ${waits[0]} ms`);
  assert.ok(Math.max(...waits) <= 30_150, `${waits}`);
  assert.ok(Date.now() - began > 30_000, `12 tries in ${Date.now() - began} ms`);
  assert.ok(dialed.every((url) => url.startsWith("ws://")), "a WebSocket once, a WebSocket again");
  assert.ok(new Set(waits).size > 6, `scattered: ${waits}`);
  room.close();
});

test("where WebSockets never open, event streams are tried, and then WebSockets again", () => {
  const room = new OvationRoom({ room: "a/b", host: "http://ovation.test", presence: true });
  room.connect();
  for (let failure = 0; failure < 8; failure++) {
    link.dies();
    wait();
  }
  const ways = dialed.map((url) => new URL(url).protocol);
  assert.deepEqual(ways, ["ws:", "ws:", "ws:", "http:", "ws:", "ws:", "ws:", "http:", "ws:"]);
  assert.equal(dialed[3], "http://ovation.test/parties/main/a%2Fb?presence=1");
});

test("without a WebSocket taps are posted one by one, and lost ones are not posted twice", async () => {
  const room = new OvationRoom({ room: "talk", host: "http://ovation.test" });
  room.connect();
  for (let failure = 0; failure < 3; failure++) {
    link.dies();
    wait();
  }
  const posted = [];
  let answer = { ok: true, status: 200 };
  globalThis.fetch = async (url, { body }) => {
    posted.push(JSON.parse(body).kind);
    if (answer instanceof Error) throw answer;
    return answer;
  };
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  link.says({ love: 3 });
  assert.equal(room.transport, "sse");
  tap(room, 2);
  assert.equal(shown(room), 5);
  await settle();
  assert.deepEqual(posted.splice(0), ["love", "love"]);
  link.says({ love: 5 });
  assert.equal(shown(room), 5);
  // A server without room for now: it is asked again when it next says something.
  answer = { ok: false, status: 503 };
  tap(room);
  await settle();
  assert.deepEqual([posted.splice(0).length, room.queued, shown(room)], [1, 1, 6]);
  // A kind that it does not want is not asked for again.
  answer = { ok: false, status: 422 };
  link.says({ love: 5 });
  await settle();
  assert.deepEqual([posted.splice(0).length, room.queued, shown(room)], [1, 0, 5]);
  // An answer that is lost: it may have been counted.
  answer = new Error("the network is gone");
  tap(room);
  await settle();
  assert.deepEqual([posted.splice(0).length, room.queued, shown(room)], [1, 0, 6]);
  answer = { ok: true, status: 200 };
  link.says({ love: 6 });
  await settle();
  assert.deepEqual([posted.length, shown(room)], [0, 6]);
});
