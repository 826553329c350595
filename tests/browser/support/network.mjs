// Bad networks for the browser tests: a proxy that delays, swallows and cuts, and a path between two
// network namespaces that really drops packets.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

/** How a {@link Proxy} ends the connections that it has. */
export const CUTS = ["reset", "silent", "stuck", "late", "halfClosed"];
/** Time after which a late connection delivers what it held back. */
const LATE_MS = 4000;

/** A TCP proxy in front of a server. */
export class Proxy {
  /** Delay of each piece of data, and the limit of each direction of a connection. */
  delayMs = 0;
  bytesPerSecond = Infinity;
  /** Whether new connections are refused. */
  isRefusing = false;
  /** @type {Set<Tunnel>} */
  #tunnels = new Set();
  #listener;

  /** Starts a proxy for the server, which may restart. */
  static async start(context, server) {
    const proxy = new Proxy();
    proxy.#listener = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      if (proxy.isRefusing) return client.resetAndDestroy();
      const [host, port] = server.address.split(":");
      const upstream = connect({ host, port: Number(port), allowHalfOpen: true, noDelay: true });
      const tunnel = new Tunnel(proxy, client, upstream);
      proxy.#tunnels.add(tunnel);
      tunnel.ended.then(() => proxy.#tunnels.delete(tunnel));
    });
    proxy.#listener.listen(0, "127.0.0.1");
    await once(proxy.#listener, "listening");
    context.after(() => proxy.stop());
    return proxy;
  }

  get address() {
    return `127.0.0.1:${this.#listener.address().port}`;
  }

  /** The present connections: those of a room, and those of requests. */
  get size() {
    return this.#tunnels.size;
  }

  /** Ends the present connections in one of the ways of {@link CUTS}, or makes them `deaf` to the
   * client. New connections work. */
  cut(way) {
    for (const tunnel of this.#tunnels) tunnel.cut(way);
  }

  stop() {
    this.#listener.close();
    for (const tunnel of this.#tunnels) tunnel.destroy();
  }
}

/** A connection through a proxy. */
class Tunnel {
  #client;
  #upstream;
  #proxy;
  /** What happens to data: `pass`, `hold` until later, `drop` with an acknowledgement; `deaf` drops
   * only what the client sends. */
  #mode = "pass";
  ended;

  constructor(proxy, client, upstream) {
    this.#proxy = proxy;
    this.#client = client;
    this.#upstream = upstream;
    const sockets = [client, upstream];
    for (const socket of sockets) socket.on("error", () => this.destroy());
    this.ended = Promise.all(sockets.map((socket) => once(socket, "close").catch(() => {})));
    this.#forward(client, upstream, true);
    this.#forward(upstream, client);
  }

  async #forward(from, to, isUp = false) {
    try {
      for await (const data of from) {
        const pause = this.#proxy.delayMs + (data.length * 1000) / this.#proxy.bytesPerSecond;
        if (pause) await sleep(pause);
        while (this.#mode === "hold") await sleep(50);
        if (this.#mode === "drop" || (isUp && this.#mode === "deaf")) continue;
        if (!to.write(data)) await once(to, "drain");
      }
      if (this.#mode === "pass") to.end();
    } catch {
      this.destroy();
    }
  }

  cut(way) {
    if (way === "deaf") {
      this.#mode = "deaf";
    } else if (way === "reset") {
      this.#client.resetAndDestroy();
      // What is on its way to the server may arrive.
      this.#upstream.end();
    } else if (way === "silent") {
      this.#mode = "drop";
    } else if (way === "stuck") {
      this.#mode = "hold";
      for (const socket of [this.#client, this.#upstream]) socket.pause();
    } else if (way === "late") {
      this.#mode = "hold";
      setTimeout(() => (this.#mode = "pass"), LATE_MS).unref();
    } else {
      // The client reads the end, and the server does not.
      this.#client.end();
    }
  }

  destroy() {
    this.#mode = "drop";
    this.#client.destroy();
    this.#upstream.destroy();
  }
}

const ip = (...args) => execFileSync("ip", args, { stdio: ["ignore", "pipe", "pipe"] });

/**
 * A path to a server over two hops, in network namespaces of their own. The browser is on this side
 * of the first hop, so it doesn't notice when the second hop goes.
 */
export class Path {
  #near;
  #far;
  #relays = [];
  address;

  /** Whether this machine lets the test make a path: only root may. */
  static isPossible() {
    try {
      ip("netns", "add", `ovation-${process.pid}`);
      ip("netns", "delete", `ovation-${process.pid}`);
      execFileSync("tc", ["-V"], { stdio: "ignore" });
      return true;
    } catch {
      return false;
    }
  }

  static async start(context, server) {
    const path = new Path();
    const number = process.pid % 200;
    path.#near = `ovation-near-${process.pid}`;
    path.#far = `ovation-far-${process.pid}`;
    context.after(() => path.#stop());
    const [here, there] = [`ov${number}a`, `ov${number}b`];
    for (const name of [path.#near, path.#far]) ip("netns", "add", name);
    ip("link", "add", here, "type", "veth", "peer", "name", "near", "netns", path.#near);
    ip("link", "add", there, "netns", path.#near, "type", "veth", "peer", "name", "far", "netns", path.#far);
    ip("address", "add", `10.213.${number}.1/30`, "dev", here);
    ip("link", "set", here, "up");
    ip("-n", path.#near, "address", "add", `10.213.${number}.2/30`, "dev", "near");
    ip("-n", path.#near, "address", "add", `10.214.${number}.1/30`, "dev", there);
    ip("-n", path.#far, "address", "add", `10.214.${number}.2/30`, "dev", "far");
    for (const [name, device] of [[path.#near, "near"], [path.#near, there], [path.#far, "far"], [path.#far, "lo"]])
      ip("-n", name, "link", "set", device, "up");
    ip("netns", "exec", path.#near, "sysctl", "-qw", "net.ipv4.ip_forward=1");
    ip("-n", path.#far, "route", "add", "default", "via", `10.214.${number}.1`);
    ip("route", "add", `10.214.${number}.0/30`, "via", `10.213.${number}.2`);
    path.#middle = there;
    await path.#relay(context, server, `10.214.${number}.2`);
    return path;
  }

  #middle;

  /** Relays from the far end to the server, over a Unix socket, which no namespace holds back. */
  async #relay(context, server, host) {
    const directory = await mkdtemp(join(tmpdir(), "ovation-"));
    const socket = join(directory, "relay");
    const listener = createServer({ allowHalfOpen: true }, (near) => {
      const [host, port] = server.address.split(":");
      pipe(near, connect({ host, port: Number(port), allowHalfOpen: true }));
    });
    listener.listen(socket);
    await once(listener, "listening");
    const script = fileURLToPath(import.meta.url);
    const relay = spawn("ip", ["netns", "exec", this.#far, process.execPath, script, host, socket], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#relays.push(relay);
    context.after(async () => {
      listener.close();
      await rm(directory, { recursive: true });
    });
    for await (const line of createInterface(relay.stdout)) {
      this.address = line;
      return;
    }
    throw new Error("the relay did not start");
  }

  #shape(...discipline) {
    for (const [name, device] of [[this.#near, this.#middle], [this.#far, "far"]])
      ip("netns", "exec", name, "tc", "qdisc", "replace", "dev", device, "root", ...discipline);
  }

  /** Takes the second hop down. */
  linkDown() {
    ip("-n", this.#near, "link", "set", this.#middle, "down");
  }

  linkUp() {
    ip("-n", this.#near, "link", "set", this.#middle, "up");
  }

  /** Drops all packets, and tells no one. */
  drop() {
    this.#shape("tbf", "rate", "8bit", "burst", "1", "limit", "1");
  }

  /** Lets this many kilobits a second pass. */
  limit(kilobits) {
    this.#shape("tbf", "rate", `${kilobits}kbit`, "burst", "3200", "latency", "1s");
  }

  /** Lets everything pass. */
  heal() {
    this.#shape("pfifo");
  }

  async #stop() {
    for (const relay of this.#relays) {
      if (relay.exitCode !== null) continue;
      relay.kill();
      await once(relay, "exit");
    }
    for (const name of [this.#far, this.#near]) {
      try {
        ip("netns", "delete", name);
      } catch {
        // It was never made.
      }
    }
  }
}

function pipe(one, other) {
  for (const [from, to] of [[one, other], [other, one]]) {
    from.on("error", () => to.destroy());
    from.pipe(to);
  }
}

// As a script: relays from an address in this namespace to a Unix socket.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , host, socket] = process.argv;
  const listener = createServer({ allowHalfOpen: true }, (far) => pipe(far, connect({ path: socket, allowHalfOpen: true })));
  listener.listen(0, host, () => console.log(`${host}:${listener.address().port}`));
}
