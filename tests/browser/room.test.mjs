// The client alone, with a server that the test plays: counts never go down or include a tap twice,
// and every tap is sent once, whatever the network does.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { beforeEach, mock, test } from "node:test";

const source = await readFile(new URL("../../src/web/room/ovation.js", import.meta.url));
const { MAX_QUEUED_TAPS, OvationRoom } = await import(`data:text/javascript;base64,${source.toString("base64")}`);

/** The server's end of the latest connection. */
let link;
/** URLs of all connections, in order. */
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
  /** Delivers a message from the server. */
  says(counts) {
    this.onmessage({ data: typeof counts === "string" ? counts : JSON.stringify(counts) });
  }
  /** Ends the connection, as a network or a server does. */
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

/** Opens a room with these counts. */
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
/** Waits longer than any retry delay. */
const wait = () => mock.timers.tick(31_000);

test("a tap shows at once and only once", () => {
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

test("counts that skip states neither go down nor count twice", () => {
  const room = enter({ love: 10 });
  tap(room, 3);
  assert.equal(shown(room), 13);
  // The count includes two taps, which may be anyone's.
  link.says({ love: 12 });
  assert.equal(shown(room), 13);
  link.says({ love: 12, clap: 1 });
  assert.equal(shown(room), 13);
  link.says({ love: 17, clap: 1 });
  assert.equal(shown(room), 17);
});

test("any order of taps and counts only goes up and ends exact", () => {
  for (let seed = 1; seed <= 300; seed++) {
    let state = seed;
    const below = (bound) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * bound);
    };
    const room = enter({ love: 5 });
    let counted = 5; // taps in the server's count
    let arrived = 0; // taps of this connection that the server has
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
        // The connection dies and loses what has not arrived. The counts of the next one tell what
        // was counted, but only if no one else taps: the client can't tell others' taps apart.
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

test("only taps lost with the connection are sent again", () => {
  const room = enter({ love: 10 });
  tap(room, 5);
  link.dies();
  assert.equal(shown(room), 15);
  assert.equal(room.state, "waiting");
  wait();
  // Three of the five arrived.
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

test("offline taps are kept up to a limit and sent once", () => {
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

test("taps on an abandoned connection are not sent again", () => {
  const room = enter({ love: 1 });
  tap(room);
  room.handleEvent({ type: "offline" });
  assert.equal(room.state, "waiting");
  tap(room);
  wait();
  link.says({ love: 1 });
  assert.deepEqual(link.sent, ["love"]);
});

test("a long silence after a tap ends the connection", () => {
  const room = enter();
  tap(room);
  mock.timers.tick(59_000);
  assert.equal(room.state, "open");
  mock.timers.tick(62_000);
  assert.notEqual(room.state, "open");
});

test("a reset count is shown", () => {
  const room = enter({ love: 10, clap: 2 });
  tap(room);
  link.says({});
  assert.deepEqual([...room.counts], []);
  tap(room);
  assert.equal(shown(room), 1);
});

test("invalid kinds are not sent", () => {
  const room = enter();
  for (const kind of ["", "x".repeat(33), "é".repeat(17), "a\nb", "\u0085", "$here"]) assert.equal(room.react(kind), false, kind);
  for (const kind of ["__proto__", "constructor", "<b>", "x".repeat(32)]) assert.ok(room.react(kind), kind);
  assert.equal(link.sent.length, 4);
  assert.equal(room.counts.get("__proto__"), 1);
});

test("invalid messages are ignored", () => {
  const room = enter({ love: 1 });
  for (const text of ["", "{", "5", "null", "[1]", '"x"', '{"love":-1}', '{"love":"<b>"}', '{"love":1.5}']) link.says(text);
  link.onmessage({ data: new Blob([]) });
  assert.deepEqual([...room.counts], [["love", 1]]);
  link.says('{"__proto__":3,"love":1}');
  assert.equal(room.counts.get("__proto__"), 3);
});

test("a presence message changes no count", () => {
  const room = enter({ love: 1 });
  const seen = [];
  room.addEventListener("here", ({ detail }) => seen.push(detail));
  link.says({ $here: 7 });
  assert.deepEqual([seen, room.here, [...room.counts]], [[7], 7, [["love", 1]]]);
});

test("a refused client waits minutes and repeats no tap", () => {
  const room = enter();
  tap(room);
  link.dies(1008);
  assert.equal(room.state, "refused");
  assert.equal(room.queued, 0);
  assert.equal(room.react("love"), false, "a refused client accepts no taps");
  mock.timers.tick(119_000);
  assert.equal(dialed.length, 1);
  mock.timers.tick(122_000);
  assert.equal(dialed.length, 2);
});

test("a room closed by the operator stays closed", () => {
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

test("retry delays grow and are random", () => {
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
  assert.ok(waits[0] <= 1150, `the first retry after ${waits[0]} ms`);
  assert.ok(Math.max(...waits) <= 30_150, `${waits}`);
  assert.ok(Date.now() - began > 30_000, `12 tries in ${Date.now() - began} ms`);
  const streams = dialed.filter((url) => url.startsWith("http:"));
  assert.ok(streams.length === 1 && dialed.indexOf(streams[0]) === 9, `one event stream, after eight more WebSockets: ${dialed}`);
  assert.ok(new Set(waits).size > 6, `random: ${waits}`);
  room.close();
});

test("event streams are tried where WebSockets never open", () => {
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

test("a client falls back to an event stream later, too", () => {
  const room = enter({ love: 1 });
  for (let failure = 0; failure < 9; failure++) {
    link.dies();
    wait();
  }
  link.says({ love: 1 });
  assert.deepEqual([room.transport, room.state], ["sse", "open"]);
});

test("a room can be closed while it connects", () => {
  const room = new OvationRoom({ room: "talk", host: "http://ovation.test" });
  room.addEventListener("state", ({ detail }) => detail.state === "connecting" && room.close());
  room.connect();
  wait();
  assert.deepEqual([dialed, room.state], [[], "closed"]);
});

const settle = () => new Promise((resolve) => setImmediate(resolve));

/** Opens a room over an event stream, with a count of three, and records what it posts. */
function enterWithoutSocket() {
  const room = new OvationRoom({ room: "talk", host: "http://ovation.test" });
  room.connect();
  for (let failure = 0; failure < 3; failure++) {
    link.dies();
    wait();
  }
  link.says({ love: 3 });
  assert.equal(room.transport, "sse");
  /** @type {{ kind: string, answer: (status: number) => void, fail: () => void }[]} */
  const posts = [];
  globalThis.fetch = (url, { body, signal }) =>
    new Promise((resolve, reject) => {
      const fail = () => reject(new Error("the network is gone"));
      signal.addEventListener("abort", fail);
      posts.push({ kind: JSON.parse(body).kind, answer: (status) => resolve({ status }), fail });
    });
  /** Answers the last post, and lets the client handle it. */
  const answer = (status) => {
    posts.at(-1).answer(status);
    return settle();
  };
  return { room, posts, answer };
}

test("without a WebSocket, taps are posted one by one", async () => {
  const { room, posts, answer } = enterWithoutSocket();
  tap(room, 2);
  assert.equal(shown(room), 5);
  assert.equal(posts.length, 1);
  await answer(200);
  assert.equal(posts.length, 2);
  await answer(200);
  link.says({ love: 5 });
  assert.equal(shown(room), 5);
  tap(room);
  await answer(422);
  wait();
  assert.deepEqual([posts.length, room.queued, shown(room)], [3, 0, 5]);
});

test("posts to a full server are retried with growing delays", async () => {
  const { room, posts, answer } = enterWithoutSocket();
  tap(room);
  for (let tick = 1; tick <= 1200; tick++) {
    if (tick % 20 === 0) await answer(posts.length % 2 ? 503 : 507);
    link.says({ love: 3, clap: tick });
    mock.timers.tick(50);
  }
  assert.ok(posts.length > 3 && posts.length < 40, `${posts.length} in a minute`);
  assert.equal(shown(room), 4);
});

test("posts to a full server are retried in a quiet room", async () => {
  const { room, posts, answer } = enterWithoutSocket();
  tap(room);
  await answer(503);
  assert.deepEqual([room.queued, shown(room)], [1, 4]);
  mock.timers.tick(1200);
  assert.equal(posts.length, 2);
  await answer(200);
  assert.deepEqual([room.queued, shown(room), room.state], [0, 4, "open"]);
});

test("a doubtful post is repeated only if it was not counted", async () => {
  for (const fail of [(post) => post.fail(), (post) => post.answer(502), () => mock.timers.tick(10_000)]) {
    for (const isCounted of [true, false]) {
      mock.timers.reset();
      mock.timers.enable({ apis: ["setTimeout", "Date"] });
      const { room, posts } = enterWithoutSocket();
      tap(room);
      fail(posts[0]);
      await settle();
      const streams = dialed.length;
      if (isCounted) link.says({ love: 4 });
      mock.timers.tick(1200);
      await settle();
      if (!isCounted) {
        assert.equal(dialed.length, streams + 1, "a new stream shows what was counted");
        assert.equal(posts.length, 1, "nothing is posted before that");
        link.says({ love: 3 });
        await settle();
      }
      assert.deepEqual([posts.length, shown(room)], [isCounted ? 1 : 2, 4]);
      room.close();
    }
  }
});

test("a hanging post does not block later taps forever", async () => {
  const { room, posts } = enterWithoutSocket();
  tap(room);
  for (let second = 0; second < 60 && posts.length < 2; second++) {
    assert.ok(room.react("clap"));
    link.says({ love: 3, other: second });
    mock.timers.tick(1000);
    await settle();
  }
  assert.ok(posts.length > 1);
});

test("a post that outlives its stream is not repeated", async () => {
  for (const status of [200, 503, 504]) {
    mock.timers.reset();
    mock.timers.enable({ apis: ["setTimeout", "Date"] });
    const { room, posts, answer } = enterWithoutSocket();
    // Two taps are sent. The first is answered, but lost anyway.
    tap(room, 2);
    await answer(200);
    link.dies();
    // Long enough for the stream to reconnect, too short for the post to time out.
    mock.timers.tick(9000);
    link.says({ love: 4 });
    await settle();
    assert.equal(room.state, "open");
    assert.deepEqual([posts.length, shown(room)], [2, 5], "the post is still on its way");
    await answer(status);
    if (status === 200) link.says({ love: 5 });
    assert.deepEqual([posts.length, shown(room)], [2, 5], status);
    room.close();
  }
});

test("a response after closing changes nothing", async () => {
  const { room, posts, answer } = enterWithoutSocket();
  tap(room);
  room.close();
  await answer(503);
  assert.deepEqual([posts.length, room.queued], [1, 0]);
});
