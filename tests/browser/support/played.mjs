// A server that a test plays: the client's end of a connection, and a model of what the server does
// with numbered taps.
import assert from "node:assert/strict";

/** All connections that the client has opened, in order. */
export const links = [];
/** The latest connection. */
export const link = () => links.at(-1);

/** A WebSocket or event stream, as the client sees it. */
export class Link extends EventTarget {
  static OPEN = 1;
  /** Messages from the client: what it sent, when, and what the model hasn't read yet. */
  sent = [];
  times = [];
  unread = [];
  /** Number of messages that only ask for an answer. */
  probes = 0;
  isClosed = false;
  readyState = 1;

  constructor(url) {
    super();
    this.url = new URL(url);
    links.push(this);
  }

  get session() {
    return this.url.searchParams.get("session");
  }

  get isStream() {
    return this.url.protocol === "http:";
  }

  send(text) {
    assert.ok(!this.isClosed, "nothing is sent on a closed connection");
    const message = JSON.parse(text);
    if (message.id === Number.MAX_SAFE_INTEGER) {
      this.probes++;
      this.unread.push(message);
      return;
    }
    this.sent.push(message);
    this.times.push(Date.now());
    this.unread.push(message);
  }

  close() {
    this.isClosed = true;
  }

  /** Delivers a message from the server, or text. */
  says(message) {
    this.onmessage({ data: typeof message === "string" ? message : JSON.stringify(message) });
  }

  /** Delivers what a server says first. */
  greets(counts = {}, { ack = 0, server = 7, heartbeat = 20_000, memory = 600_000 } = {}) {
    this.says({ $ack: ack, $server: server, $heartbeat: heartbeat, $memory: memory });
    this.says(counts);
  }

  /** Ends the connection, as a network or a server does. */
  dies(code = 1006) {
    if (!this.isStream) this.onclose({ code });
    else if (code > 4000) this.dispatchEvent(Object.assign(new Event("close"), { data: String(code) }));
    else this.onerror();
  }
}

/** Random numbers that a seed repeats. */
export function seeded(seed) {
  let state = seed;
  /** A whole number below the bound. */
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

/**
 * What the server does, in two reactors. Like the real server, a reactor claims numbers as messages
 * arrive. At the end of its turn it adds the taps to the counts, acknowledges, and then sends counts.
 * The test decides when a reactor reads a message and when its turn ends.
 */
export class PlayedServer {
  number = 1;
  heartbeat = 20_000;
  memory = 600_000;
  counts = new Map();
  mode = "open";
  sessions = new Map();
  /** Taps that the client sent and the server has counted, by kind. */
  counted = new Map();
  reactors = [0, 1].map(() => ({ taps: [], owed: new Set(), members: new Set(), isResetDue: false }));

  /** Lets a client in. Returns the messages that it gets first. */
  join(link, reactor) {
    this.reactors[reactor].members.add(link);
    const ack = this.sessions.get(link.session) ?? 0;
    const hello = { $ack: ack, $server: this.number, $heartbeat: this.heartbeat, $memory: this.memory };
    const mode = this.mode === "open" ? [] : [{ $state: this.mode }];
    return [hello, Object.fromEntries(this.counts), ...mode];
  }

  /** Reads a message of a session. Returns its status: 200, 409, 412. */
  read(reactor, session, { kind, n, id }) {
    assert.ok(n >= 1 && n <= 50, `${n} taps in a message`);
    const counted = this.sessions.get(session) ?? 0;
    if (id !== counted + 1) return id <= counted ? 200 : 412;
    this.sessions.set(session, id);
    if (this.mode !== "open") return 409;
    this.reactors[reactor].taps.push({ kind, n });
    return 200;
  }

  /** Reads a message of a WebSocket. Returns what the server sends at once. */
  readFrom(link, reactor, message) {
    this.reactors[reactor].owed.add(link);
    const isRefused = this.read(reactor, link.session, message) === 409;
    return isRefused ? [{ $refused: message.id, reason: "frozen" }] : [];
  }

  /** Ends the turn of a reactor. Returns what it sends, in order, as pairs of a link and a message. */
  turn(reactor, { isBeat = false, hasResetNotice = false } = {}) {
    const { taps, owed, members } = this.reactors[reactor];
    for (const { kind, n } of taps.splice(0)) {
      for (const counts of [this.counts, this.counted]) counts.set(kind, (counts.get(kind) ?? 0) + n);
    }
    const acks = [...members].filter((it) => owed.has(it) || isBeat);
    owed.clear();
    const sent = acks.map((it) => [it, { $ack: this.sessions.get(it.session) ?? 0 }]);
    const counts = Object.fromEntries(this.counts);
    const messages = [counts];
    if (this.reactors[reactor].isResetDue && hasResetNotice) {
      this.reactors[reactor].isResetDue = false;
      messages.push({ $reset: counts });
    }
    for (const message of messages) for (const it of members) sent.push([it, message]);
    return sent;
  }

  /** Someone else reacts. */
  react(kind, n = 1) {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + n);
  }

  reset() {
    this.counts.clear();
    for (const reactor of this.reactors) reactor.isResetDue = true;
  }

  /** Ends a connection on the server's side. */
  leave(link) {
    for (const { members, owed } of this.reactors) for (const all of [members, owed]) all.delete(link);
  }

  /** Restarts. A server that stops in order finishes its turns and keeps its sessions. */
  restart(isInOrder) {
    for (const reactor of [0, 1]) {
      if (isInOrder) this.turn(reactor);
      Object.assign(this.reactors[reactor], { taps: [], owed: new Set(), members: new Set(), isResetDue: false });
    }
    if (isInOrder) return;
    this.number++;
    this.sessions.clear();
  }
}
