// The client alone, with a server and a network that the test plays: in whatever order taps, messages,
// breaks and restarts come, each tap is counted once and no shown count falls.
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { begin, dial, posts, settle } from "./support/client.mjs";
import { PlayedServer, link as latest, links, seeded } from "./support/played.mjs";

const STEPS = 80;
const KINDS = ["love", "clap"];

/** One run: a client, a server, and a network between them. */
class World {
  server = new PlayedServer();
  /** By kind: taps that the page accepted, and that the client reported as refused. */
  accepted = new Map();
  refused = new Map();
  /** Taps that the server refused. */
  turnedDown = 0;
  /** What each connection still has to deliver to the client, and its reactor. */
  down = new Map();
  reactor = new Map();
  /** Connections that deliver nothing to the client any more. */
  deaf = new Set();
  /** Posts that have reached the server or not. */
  late = [];
  last = new Map();
  /** Number of resets, at the time of each message that tells one and in all. */
  told = new WeakMap();
  resets = 0;
  /** Whether the client may not know of the last reset. */
  isResetDue = false;
  /** Whether nothing has happened that lets the client show more than is due. */
  isExact = true;

  constructor(seed, transport) {
    begin();
    this.seed = seed;
    this.below = seeded(seed);
    const delays = seeded(~seed);
    Math.random = () => delays(1000) / 1000;
    this.room = dial({});
    if (transport === "sse") {
      this.room.close();
      this.room.transport = "sse";
      links.length = 0;
      this.room.connect();
    }
    // An error in a listener would only be reported after the test.
    this.room.addEventListener("counts", ({ detail }) => {
      try {
        this.check(detail.counts);
      } catch (error) {
        this.problem ??= error;
      }
    });
    this.room.addEventListener("refused", ({ detail: { kind, taps } }) => {
      this.add(this.refused, kind, taps);
      this.add(this.last, kind, -taps);
    });
  }

  add(map, kind, n) {
    map.set(kind, (map.get(kind) ?? 0) + n);
  }

  of(map, kind) {
    return map.get(kind) ?? 0;
  }

  check(counts) {
    for (const [kind, last] of this.last) {
      const now = this.of(counts, kind);
      assert.ok(now >= last, `seed ${this.seed}: ${kind} fell from ${last} to ${now}`);
    }
    for (const [kind, now] of counts) {
      const { server } = this;
      const due = this.of(this.accepted, kind) - this.of(server.counted, kind) + this.of(server.counts, kind);
      if (this.isExact) assert.ok(now <= due, `seed ${this.seed}: ${kind} shows ${now} of ${due}`);
    }
    this.last = new Map(counts);
  }

  tap(kind) {
    const before = this.of(this.room.counts, kind);
    this.add(this.accepted, kind, 1);
    if (this.room.react(kind)) assert.equal(this.of(this.room.counts, kind), before + 1, "a tap shows at once");
    else this.add(this.accepted, kind, -1);
  }

  /** Reactors that haven't ended their turn since the last connection was let in. */
  busy = new Set();

  /** Ends the turns that began before the last connection. They take far less time than the next one. */
  endTurns() {
    for (const reactor of this.busy) this.turn(reactor);
  }

  /** Lets a connection in, if it waits for that. */
  admit(link) {
    if (link.isClosed || this.reactor.has(link) || this.deaf.has(link)) return;
    this.endTurns();
    this.busy = new Set([0, 1]);
    const reactor = this.below(2);
    this.reactor.set(link, reactor);
    this.down.set(link, this.server.join(link, reactor));
  }

  /** The server reads the next message of a connection, even of one that the client has given up. */
  read(link) {
    const message = link.unread.shift();
    if (!message || !this.reactor.has(link)) return;
    const replies = this.server.readFrom(link, this.reactor.get(link), message);
    this.turnedDown += replies.length && message.n;
    this.send(replies.map((reply) => [link, reply]));
  }

  send(sent) {
    for (const [link, message] of sent) {
      this.told.set(message, this.resets);
      this.down.get(link)?.push(message);
    }
  }

  turn(reactor, options) {
    this.busy.delete(reactor);
    this.send(this.server.turn(reactor, options));
  }

  deliver(link) {
    const message = this.down.get(link)?.shift();
    if (!message || link.isClosed || this.deaf.has(link)) return;
    const isFirst = message.$server === undefined && this.room.state !== "open";
    if (message.$reset || (isFirst && !message.$ack && !message.$state)) {
      // The client may learn now of a reset, or of a refusal that was lost.
      const reported = [...this.refused.values()].reduce((one, other) => one + other, 0);
      if (message.$reset || this.isResetDue || reported < this.turnedDown) this.last.clear();
      if (message.$reset) this.isResetDue = this.told.get(message) !== this.resets;
    }
    link.says(message);
  }

  /** A post reaches the server. */
  arrive(post) {
    const { server } = this;
    const status = server.read(0, post.session, post.message);
    if (status === 409) this.turnedDown += post.message.n;
    server.turn(0);
    return status;
  }

  async post() {
    const post = posts.shift();
    if (!post) return;
    const fate = this.below(6);
    if (fate < 3) post.answer(this.arrive(post));
    else if (fate === 3) {
      this.arrive(post);
      post.fail();
    } else if (fate === 4) post.answer(503);
    else {
      post.fail();
      this.late.push(post);
    }
  }

  /** Breaks the connection. Messages on their way arrive late or never. */
  cut(link, { isSilent, isLost, code }) {
    if (link.isClosed) return;
    this.deaf.add(link);
    this.server.leave(link);
    if (isLost) link.unread.length = 0;
    if (!isSilent) link.dies(code);
  }

  restart(isInOrder) {
    this.endTurns();
    for (const link of links) link.unread.length = 0;
    posts.splice(0).forEach((post) => post.fail());
    this.late.length = 0;
    this.server.restart(isInOrder);
    const { below } = this;
    for (const link of links) this.cut(link, { isSilent: below(4) === 0, code: below(2) ? 1001 : 1006 });
    this.reactor.clear();
  }

  /** Lets the client come back quickly. */
  comeBack() {
    for (let tick = 0; tick < 5 && this.room.state !== "open"; tick++) {
      this.admit(latest());
      for (let message = 0; message < 2; message++) this.deliver(latest());
      if (this.room.state !== "open") mock.timers.tick(1200);
    }
  }

  /** One of the things that may happen, as often as its weight says. */
  async step(kinds, also) {
    const { below } = this;
    const link = latest();
    const events = [
      [5, () => this.tap(kinds())],
      [
        5,
        () => {
          const unread = links.filter((it) => it.unread.length && this.reactor.has(it));
          if (unread.length) this.read(unread[below(unread.length)]);
        },
      ],
      [4, () => this.turn(below(2), { isBeat: below(8) === 0, hasResetNotice: below(2) === 0 })],
      [6, () => this.deliver(link)],
      [1, () => this.server.react(kinds())],
      [1, () => this.admit(link)],
      [2, () => this.comeBack()],
      [2, () => this.post()],
      [1, () => this.cut(link, { isSilent: below(2), isLost: below(2) })],
      [1, () => this.late.splice(0).forEach((post) => this.arrive(post))],
      [1, () => this.room.handleEvent({ type: below(2) ? "offline" : "resume" })],
      [3, () => mock.timers.tick([60, 300, 300, 1200, 5500, 12_000, 61_000][below(7)])],
      ...also.map((event) => [1, event]),
    ];
    let left = below(events.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, event] of events) {
      left -= weight;
      if (left >= 0) continue;
      await event();
      break;
    }
    await settle();
    if (this.problem) throw this.problem;
  }

  /** Heals the network and waits until everything has arrived. */
  async heal() {
    for (let quiet = 0, round = 0; quiet < 3; round++) {
      assert.ok(round < 500, `seed ${this.seed}: comes to rest, not ${this.room.state} with ${this.room.queued} taps`);
      const link = latest();
      this.admit(link);
      for (const each of links) while (each.unread.length && this.reactor.has(each)) this.read(each);
      this.late.splice(0).forEach((post) => this.arrive(post));
      for (const post of posts.splice(0)) post.answer(this.arrive(post));
      await settle();
      for (const reactor of [0, 1]) this.turn(reactor, { isBeat: true, hasResetNotice: true });
      while (this.down.get(link)?.length && !link.isClosed && !this.deaf.has(link)) this.deliver(link);
      await settle();
      const isWhole = this.room.state === "open" && !this.deaf.has(latest());
      quiet = isWhole && !this.room.queued ? quiet + 1 : 0;
      mock.timers.tick(900);
      await settle();
      if (this.problem) throw this.problem;
    }
  }

  /** Asserts that the client keeps the pace that it promises. */
  checkPace() {
    for (const { times } of links)
      times.forEach((time, index) => assert.ok(!index || time - times[index - 1] >= 250, `seed ${this.seed}: 4 messages a second`));
  }
}

/** Runs many worlds. `also` returns further things that may happen. */
async function explore({ runs, first, also = () => [], kinds, finish }) {
  for (let seed = first; seed < first + runs; seed++) {
    const world = new World(seed, seed % 3 ? "websocket" : "sse");
    const more = also(world);
    const choose = kinds?.(world) ?? (() => KINDS[world.below(2)]);
    for (let step = 0; step < STEPS; step++) await world.step(choose, more);
    await world.heal();
    await finish(world);
    world.checkPace();
    world.room.close();
  }
}

const show = (world) => Object.fromEntries(world.room.counts);
const truth = (world) => Object.fromEntries(world.server.counts);
const inOrder = (world) => () => world.restart(true);

/** Lets others react more than any difference, and compares what is shown. */
async function surpass(world) {
  for (const kind of KINDS) world.server.react(kind, 500);
  await world.heal();
  assert.deepEqual(show(world), truth(world), `seed ${world.seed}`);
}

test("over any breaks each tap counts once and no count falls", async () => {
  await explore({
    runs: 2000,
    first: 1,
    also: (world) => [inOrder(world)],
    finish: (world) => {
      const { server, seed, accepted } = world;
      for (const kind of KINDS) assert.equal(world.of(server.counted, kind), world.of(accepted, kind), `seed ${seed}: ${kind}`);
      assert.deepEqual(show(world), truth(world), `seed ${seed}`);
    },
  });
});

test("over resets each tap counts once and counts only fall with them", async () => {
  await explore({
    runs: 700,
    first: 10_000,
    also: (world) => [
      inOrder(world),
      () => {
        world.server.reset();
        world.resets++;
        world.isResetDue = true;
        world.isExact = false;
      },
    ],
    finish: async (world) => {
      const { server, seed, accepted } = world;
      for (const kind of KINDS) assert.equal(world.of(server.counted, kind), world.of(accepted, kind), `seed ${seed}: ${kind}`);
      await surpass(world);
    },
  });
});

test("in rooms that freeze each tap is counted or refused once", async () => {
  await explore({
    runs: 700,
    first: 20_000,
    also: (world) => [
      inOrder(world),
      () => {
        world.isExact = false;
        world.server.mode = world.server.mode === "open" ? "frozen" : "open";
        world.send(links.map((link) => [link, { $state: world.server.mode }]));
      },
    ],
    finish: async (world) => {
      const { server, seed } = world;
      const sum = (map) => [...map.values()].reduce((one, other) => one + other, 0);
      assert.equal(sum(server.counted) + world.turnedDown, sum(world.accepted), `seed ${seed}`);
      assert.ok(sum(world.refused) <= world.turnedDown, `seed ${seed}`);
      await surpass(world);
    },
  });
});

test("after a crash no tap counts twice and no count falls", async () => {
  let lost = 0;
  await explore({
    runs: 1200,
    first: 30_000,
    // Each tap is of a kind of its own, so a second count can't hide behind a lost tap.
    kinds: (world) => () => `${world.seed}-${world.accepted.size}`,
    also: (world) => [
      inOrder(world),
      () => {
        world.restart(false);
        world.isExact = false;
      },
    ],
    finish: (world) => {
      for (const [kind, taps] of world.accepted) {
        const counted = world.of(world.server.counted, kind);
        assert.ok(counted <= taps, `seed ${world.seed}: ${kind} counted ${counted} of ${taps}`);
        lost += taps - counted;
      }
    },
  });
  // Only what was under way may be lost.
  assert.ok(lost > 0 && lost < 8000, `${lost} lost`);
});
