// Takes the pictures of the README: `npm run pictures`. The stage is a real server with a crowd. The
// dashboard shows a generated conference day, because its history takes hours to fill.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, stat } from "node:fs/promises";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import WebSocket from "ws";
import { Server, browser as launch, eventually, live, open } from "./support.mjs";
import { HISTORY, NOW, ROOMS, SAMPLE } from "./conference.mjs";

const images = fileURLToPath(new URL("../../docs/images/", import.meta.url));

let browser;
before(async () => {
  await mkdir(images, { recursive: true });
  browser = await launch();
});
after(() => browser.close());

const MAX_BYTES = 200 * 1024;

/** Saves a picture, reduced to 256 colours to keep the repository small. */
async function save(page, name) {
  const path = images + name + ".png";
  await page.screenshot({ path });
  execFileSync("pngquant", ["--force", "--strip", "--speed", "1", "--output", path, "256", path]);
  const { size } = await stat(path);
  assert.ok(size <= MAX_BYTES, `${path} has ${size} bytes`);
}

/** Makes the server available to the page at a public address. */
async function publish(session, server, host) {
  await session.route("**/*", async (route) => {
    const { pathname } = new URL(route.request().url());
    const answer = await fetch(server.url(pathname));
    const { "content-encoding": _, ...headers } = Object.fromEntries(answer.headers);
    await route.fulfill({ status: answer.status, headers, body: Buffer.from(await answer.arrayBuffer()) });
  });
  await session.routeWebSocket(`wss://${host}/**`, async (route) => {
    const { pathname, search } = new URL(route.url());
    const socket = new WebSocket(`ws://${server.address}${pathname}${search}`);
    socket.on("message", (data) => route.send(String(data)));
    route.onMessage((message) => socket.send(message));
    route.onClose(() => socket.close());
  });
}

test("the stage", async (context) => {
  const host = "live.example.org";
  const room = "Zero-downtime deploys";
  const viewers = 411;
  const server = await Server.start(context, "--presence-interval-ms", "100");
  const path = encodeURIComponent(room);
  const crowd = Array.from({ length: viewers }, () => new WebSocket(`ws://${server.address}/parties/main/${path}`));
  await Promise.all(crowd.map((socket) => once(socket, "open")));
  context.after(() => crowd.forEach((socket) => socket.terminate()));
  const kinds = { love: 2847, clap: 1963, party: 712, laugh: 344, fire: 1085 };
  for (const [kind, count] of Object.entries(kinds)) await server.burst([kind], count, room);
  const page = await live(
    await open(context, browser, `https://${host}/r/${path}?view=stage`, {
      viewport: { width: 1280, height: 720 },
      colorScheme: "dark",
      setup: (session) => publish(session, server, host),
    }),
  );
  await eventually(() => page.locator("#here").textContent(), `${viewers + 1} people here`);
  const total = async () => Number((await page.locator("#total").textContent()).replace(/\D/g, ""));
  const quiet = await total();
  const stop = await server.crowd("love love love clap love clap fire love clap party love fire love clap laugh love".split(" "), 48, room);
  // Enough for the first hearts to reach the top.
  await eventually(async () => (await total()) >= quiet + 240, true);
  await save(page, "stage");
  stop();
});

test("the dashboard", async (context) => {
  const server = await Server.start(context, "--admin", "127.0.0.1:0");
  const json = { "/history": HISTORY, "/rooms": ROOMS };
  const setup = async (session, page) => {
    await page.clock.setFixedTime(NOW * 1000);
    await session.addInitScript((sample) => {
      window.EventSource = class extends EventTarget {
        constructor() {
          super();
          setTimeout(() => this.onopen());
          setInterval(() => this.onmessage({ data: JSON.stringify(sample) }), 100);
        }
      };
    }, SAMPLE);
    await session.route("**/*", async (route) => {
      const { pathname } = new URL(route.request().url());
      if (json[pathname]) return route.fulfill({ json: json[pathname] });
      return route.fulfill({ response: await route.fetch({ url: new URL(pathname, server.admin).href }) });
    });
  };
  const page = await open(context, browser, "http://127.0.0.1:1998/#6h", {
    viewport: { width: 1540, height: 850 },
    colorScheme: "light",
    timezoneId: "UTC",
    bypassCSP: true,
    setup,
  });
  // The font of the other picture, in place of whatever this machine has as its system font.
  await page.addStyleTag({ content: "body { font-family: Inter, sans-serif }" });
  await eventually(() => page.locator("#legend tbody tr").count(), 9);
  // A sample that comes after the history shows its peak.
  const peak = `peak ${Math.max(...HISTORY.series.reactions).toLocaleString("en-US", { maximumFractionDigits: 0 })}`;
  await eventually(() => page.locator('[data-note="reactions"]').textContent(), peak);
  await save(page, "dashboard");
});
