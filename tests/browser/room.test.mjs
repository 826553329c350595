// The client alone, with a server that the test plays: what it sends and shows. Its connections are in
// `connection.test.mjs`, posts in `posts.test.mjs`, and random orders of events in
// `interleavings.test.mjs`.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { MAX_QUEUED_TAPS, begin, dial, enter, pass, record, shown, tap, wait } from "./support/client.mjs";
import { link, links } from "./support/played.mjs";

beforeEach(begin);
afterEach(() => {
  delete globalThis.document;
});

const ids = () => link().sent.map(({ id }) => id);
const taps = () => link().sent.reduce((sum, { n }) => sum + n, 0);

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
