// The client alone, with a server that the test plays, where WebSockets are broken: it posts its taps.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { begin, enterByStream, pass, posts, record, settle, shown, tap, wait } from "./support/client.mjs";
import { link } from "./support/played.mjs";

beforeEach(begin);

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
