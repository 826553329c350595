// The harness of the browser tests: the real server, a browser, and pages that may neither log
// errors nor send requests to other hosts.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, request as forward } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import WebSocket from "ws";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
/** The server under test. `OVATION` overrides it. */
export const binary = process.env.OVATION ?? here("../../target/debug/ovation");
/** The browser. `CHROMIUM` overrides it. */
export const browserPath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const require = createRequire(import.meta.url);

/** Longest wait for anything that must happen. */
export const PATIENCE_MS = 20_000;

/** The browser sessions of each test. They end before the server does, because they would log the
 * lost connection.
 * @type {WeakMap<object, { close: () => Promise<void> }[]>} */
const sessions = new WeakMap();

/** A server process that can be killed and restarted at the same address. */
export class Server {
  #directory;
  #arguments;
  #process;
  address;
  /** URL of the admin side, if the test passes `--admin`. */
  admin;

  static async start(context, ...args) {
    const server = new Server();
    server.#directory = await mkdtemp(join(tmpdir(), "ovation-"));
    server.#arguments = args.includes("--admin") ? args : ["--no-admin", ...args];
    context.after(async () => {
      for (const session of sessions.get(context) ?? []) await session.close();
      await server.kill();
      await rm(server.#directory, { recursive: true });
    });
    await server.restart();
    return server;
  }

  /** Starts the process, at its previous address if it had one. */
  async restart(...more) {
    // Tests send far more than a person may.
    const free = ["--listen", this.address ?? "127.0.0.1:0", "--reaction-rate", "0"];
    if (!this.#arguments.includes("--no-admin")) free.push("--admin-changes-without-token");
    const args = [...free, ...this.#arguments, ...more];
    this.#process = spawn(binary, args, { cwd: this.#directory, stdio: ["ignore", "pipe", "inherit"] });
    this.admin = undefined;
    for await (const line of createInterface(this.#process.stdout)) {
      if (line.startsWith("Ovation listens on ")) this.address = line.split(" ").at(-1);
      if (line.startsWith("Dashboard: ")) this.admin = line.split(" ").at(-1);
      if (this.admin || (this.address && args.includes("--no-admin"))) return;
    }
    throw new Error("the server did not start");
  }

  /** Acts on a room. @param {"reset" | "close" | "open" | "freeze" | "remove"} action */
  async operate(action, room = "talk") {
    const target = new URL(`rooms/main/${encodeURIComponent(room)}/${action}`, this.admin);
    const answer = await fetch(target, { method: "POST", headers: { "X-Ovation": "1" } });
    assert.ok(answer.ok, `${action}: ${answer.status}`);
  }

  async kill() {
    await this.#end("SIGKILL");
  }

  /** Stops the server in order. */
  async stop() {
    await this.#end("SIGTERM");
  }

  async #end(signal) {
    if (this.#process.exitCode !== null || this.#process.signalCode) return;
    const ended = once(this.#process, "exit");
    this.#process.kill(signal);
    await ended;
  }

  url(path = "/") {
    return `http://${this.address}${path}`;
  }

  async counts(room = "talk") {
    return (await fetch(this.url(`/parties/main/${encodeURIComponent(room)}`))).json();
  }

  /** Posts a reaction, and returns the counts. */
  async react(kind, room = "talk") {
    const answer = await fetch(this.url(`/parties/main/${encodeURIComponent(room)}`), {
      method: "POST",
      body: JSON.stringify({ kind }),
    });
    assert.equal(answer.status, 200, `${kind} is counted`);
    return answer.json();
  }

  /** Sends `count` reactions at once. */
  async burst(kinds, count, room = "talk") {
    const socket = new WebSocket(`ws://${this.address}/parties/main/${encodeURIComponent(room)}`);
    await once(socket, "open");
    for (let sent = 0; sent < count; sent++) socket.send(JSON.stringify({ kind: kinds[sent % kinds.length] }));
    socket.close();
    await once(socket, "close");
  }

  /** Sends reactions in batches. Returns a function that stops and returns how many were sent. */
  async crowd(kinds, perSecond, room = "talk") {
    const socket = new WebSocket(`ws://${this.address}/parties/main/${encodeURIComponent(room)}`);
    await once(socket, "open");
    let sent = 0;
    const began = performance.now();
    const timer = setInterval(() => {
      const due = ((performance.now() - began) * perSecond) / 1000;
      for (; sent < due; sent++) socket.send(JSON.stringify({ kind: kinds[sent % kinds.length] }));
    }, 50);
    return () => {
      clearInterval(timer);
      socket.close();
      return sent;
    };
  }
}

/** Launches a browser, which the tests of a file share. */
export async function browser() {
  assert.ok(existsSync(browserPath), `no browser at ${browserPath}: install chromium, or set CHROMIUM`);
  return chromium.launch({ executablePath: browserPath, args: ["--no-sandbox"] });
}

/**
 * Opens a page. It must not log anything except `expected`, and must not send requests to hosts
 * other than its own and those in `allowed`.
 */
export async function open(context, browser, url, { allowed = [], expected = [], setup, ...options } = {}) {
  const session = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  sessions.set(context, [...(sessions.get(context) ?? []), session]);
  const page = await session.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  const complain = (words) => expected.some((it) => it.test(words)) || complaints.push(words);
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complain(message.text());
  });
  page.on("pageerror", (error) => complain(String(error)));
  const hosts = new Set([new URL(url).host, ...allowed]);
  const watch = (address) => {
    const { protocol, host } = new URL(address);
    if (protocol !== "data:" && !hosts.has(host)) complaints.push(`a request to ${address}`);
  };
  page.on("request", (request) => watch(request.url()));
  page.on("websocket", (socket) => watch(socket.url()));
  context.after(async () => {
    await session.close();
    assert.deepEqual(complaints, [], `${url} logs no problems`);
  });
  await setup?.(session, page);
  await page.goto(url);
  return page;
}

/** Waits until a page has joined its room. */
export async function live(page) {
  await page.locator('#state[data-state="open"]').waitFor({ state: "attached" });
  return page;
}

/** Waits until `read` returns `expected`. */
export async function eventually(read, expected, patience = PATIENCE_MS) {
  const deadline = Date.now() + patience;
  for (;;) {
    const found = await read();
    try {
      return assert.deepEqual(found, expected);
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Impacts of problems that axe finds, of which no page may have any. */
const SERIOUS = ["serious", "critical"];
const ANY = ["minor", "moderate", ...SERIOUS];

/** Asserts that axe finds no serious accessibility problem. */
export async function accessible(page, impacts = SERIOUS) {
  await page.evaluate(await readFile(require.resolve("axe-core/axe.min.js"), "utf8"));
  const { violations } = await page.evaluate(() => axe.run({ resultTypes: ["violations"] }));
  const counted = violations.filter(({ impact }) => impacts.includes(impact));
  const found = counted.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  assert.deepEqual(found, [], "no accessibility problem");
}

/** Asserts that axe finds no accessibility problem at all. */
export const flawless = (page) => accessible(page, ANY);

/** Saves a picture of the page for people to look at. */
export async function picture(page, name) {
  await mkdir(here("artefacts"), { recursive: true });
  await page.screenshot({ path: here(`artefacts/${name}.png`) });
}

/** Starts a proxy that forwards everything except upgrades, like a network that breaks WebSockets. */
export async function withoutUpgrades(context, server) {
  const proxy = createServer((request, response) => {
    const { upgrade, connection, ...headers } = request.headers;
    const onward = forward(server.url(request.url), { method: request.method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  context.after(() => {
    proxy.close();
    proxy.closeAllConnections();
  });
  return `http://127.0.0.1:${proxy.address().port}`;
}

/** Starts a foreign site. `files`: the content type and the content of each path. */
export async function site(context, files) {
  const server = createServer((request, response) => {
    const [type, content] = files[request.url.split("?")[0]] ?? [];
    response.writeHead(type ? 200 : 404, { "Content-Type": type ?? "text/plain" });
    response.end(content ?? "");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

/** Reads a file of an installed package. */
export async function packaged(name, file) {
  return readFile(here(`node_modules/${name}/${file}`));
}
