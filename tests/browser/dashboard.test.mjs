// The dashboard in a real browser, with the real server and the real load generator.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { after, before, test } from "node:test";
import WebSocket from "ws";
import { Server, accessible, binary, browser as launch, eventually, open, picture } from "./support.mjs";

/** What a browser logs about a lost connection. */
const LOST = [/net::ERR_/, /Failed to load resource/];

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

const start = (context) => Server.start(context, "--admin", "127.0.0.1:0", "--room-grace-ms", "0");

/** Plays a talk with the load generator, to its end. */
async function talk(server, room, members, rate, seconds) {
  const url = `ws://${server.address}/parties/main/${room}`;
  const load = ["--members", members, "--rate", rate, "--seconds", seconds, "--kind", "❤"].map(String);
  const swarm = spawn(binary, ["swarm", "fanout", url, ...load], { stdio: "ignore" });
  const [code] = await once(swarm, "exit");
  assert.equal(code, 0, "the load was counted exactly");
}

/** Joins a room. `left` resolves to the close code. */
async function member(server, room) {
  const socket = new WebSocket(`ws://${server.address}/parties/main/${encodeURIComponent(room)}`);
  const left = once(socket, "close").then(([code]) => code);
  await once(socket, "open");
  return { socket, left };
}

/** Finds a free port. */
async function freePort() {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

/** Reads the numbers of a room in the legend: now and peak. */
const legend = (page, room) =>
  page.locator("#legend tbody tr", { hasText: room }).locator("td").allTextContents();
const row = (page, room) => page.locator("#rooms tbody tr", { hasText: room });
const now = (page, name) => page.locator(`[data-now="${name}"]`).textContent();

/** Returns the number of colours on the canvas of a chart. */
const colours = (page, name) =>
  page.locator(`[data-chart="${name}"]`).evaluate((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const found = new Map();
    for (let at = 0; at < data.length; at += 4) {
      if (data[at + 3] > 200) {
        const colour = data.slice(at, at + 3).map((part) => part >> 4).join();
        found.set(colour, (found.get(colour) ?? 0) + 1);
      }
    }
    return [...found.values()].filter((pixels) => pixels > 30).length;
  });

test("a talk is a spike, which survives a reload", async (context) => {
  const server = await start(context);
  const page = await open(context, browser, server.admin, {
    viewport: { width: 1440, height: 1000 },
    // Reading the canvas causes this warning.
    expected: [/willReadFrequently/],
  });
  await page.locator('#state[data-state="live"]').waitFor();
  await eventually(() => colours(page, "activity").then((count) => count > 0), true);
  const before = await colours(page, "activity");
  const keynote = talk(server, "keynote", 400, 200, 10);
  await talk(server, "hallway", 50, 20, 2);
  await eventually(() => legend(page, "keynote"), ["400", "400"]);
  await eventually(() => now(page, "connections"), "400");
  await eventually(async () => Number(await now(page, "reactions")) > 100, true);
  const [rate, peak] = await page.evaluate(() =>
    ["now", "note"].map((kind) => Number(document.querySelector(`[data-${kind}="reactions"]`).textContent.match(/[\d.]+/)[0])),
  );
  assert.ok(peak >= rate, `the peak of ${peak} is not below what is now, ${rate}`);
  await keynote;
  await eventually(() => legend(page, "keynote"), ["0", "400"]);
  assert.ok((await colours(page, "activity")) > before, "each room has its own colour");
  await page.reload();
  await eventually(() => legend(page, "keynote"), ["0", "400"]);
  await eventually(() => legend(page, "hallway"), ["0", "50"]);
  for (const range of ["6 h", "7 d"]) {
    await page.getByText(range, { exact: true }).click();
    await eventually(() => legend(page, "keynote").then(([, peak]) => peak), "400");
  }
});

test("the cursor selects a time by mouse and keyboard", async (context) => {
  const server = await start(context);
  const page = await open(context, browser, server.admin);
  const { socket } = await member(server, "talk");
  await eventually(() => legend(page, "talk"), ["1", "1"]);
  const time = () => page.locator("#legend-time").textContent();
  assert.equal(await time(), "Now");
  const chart = page.locator('[data-chart="reactions"]');
  await chart.hover({ position: { x: 300, y: 40 } });
  await eventually(async () => /^\d\d:\d\d:\d\d$/.test(await time()), true);
  await page.mouse.move(5, 5);
  await eventually(time, "Now");
  await page.locator('[data-chart="activity"]').focus();
  await page.keyboard.press("Home");
  await eventually(() => legend(page, "talk"), ["0", "1"]);
  await page.keyboard.press("Escape");
  await eventually(time, "Now");
  socket.close();
});

test("rooms can be searched, sorted, reset and closed", async (context) => {
  const server = await start(context);
  const page = await open(context, browser, server.admin);
  const members = await Promise.all(["one", "one", "two", "<b>three</b>"].map((room) => member(server, room)));
  await server.react("❤", "one");
  await server.react("👏", "two");
  await eventually(() => page.locator("#rooms tbody tr").count(), 3);
  await eventually(() => page.locator("#rooms tbody th").first().textContent(), "main / one");
  assert.equal(await row(page, "<b>three</b>").count(), 1, "a name is text");
  await page.getByRole("button", { name: "Room", exact: true }).click();
  await eventually(() => page.locator("#rooms tbody th").first().textContent(), "main / <b>three</b>");
  await page.getByLabel("Find a room").fill("TWO");
  await eventually(() => page.locator("#rooms tbody tr").count(), 1);
  await page.getByLabel("Find a room").fill("");
  await eventually(() => page.locator("#rooms tbody tr").count(), 3);

  const dialog = page.getByRole("dialog");
  await page.getByRole("button", { name: "Reset main/one" }).click();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Reset main/one" }).click();
  await dialog.getByRole("button", { name: "Cancel" }).click();
  assert.deepEqual(await server.counts("one"), { "❤": 1 }, "a cancelled reset changes nothing");
  await page.getByRole("button", { name: "Reset main/one" }).click();
  await dialog.getByRole("button", { name: "Reset the counts" }).click();
  await eventually(() => page.locator("#toast").textContent(), "main/one is reset");
  assert.deepEqual(await server.counts("one"), {});
  assert.deepEqual(await server.counts("two"), { "👏": 1 });

  await page.getByRole("button", { name: "Close main/one" }).click();
  await dialog.getByRole("button", { name: "Close the room" }).click();
  assert.deepEqual(await Promise.all(members.slice(0, 2).map(({ left }) => left)), [4503, 4503]);
  await eventually(() => row(page, "main / one").count(), 0);
  assert.equal(members[2].socket.readyState, WebSocket.OPEN, "members of other rooms stay");
  for (const { socket } of members) socket.close();
});

test("a room name cannot change the direction of other text", async (context) => {
  const server = await start(context);
  const page = await open(context, browser, server.admin);
  const room = "\u05d0\u05d1\u05d2";
  const { socket } = await member(server, room);
  await server.react("\u05e9\u05dc\u05d5\u05dd", room);
  await eventually(() => legend(page, room), ["1", "1"]);
  await eventually(() => row(page, room).locator(".kinds b").count(), 1);
  await page.getByRole("button", { name: `Close main/${room}` }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Close the room" }).click();
  await eventually(() => page.locator("#toast").textContent(), `main/${room} is closed`);
  const loose = await page.evaluate(() => {
    const found = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let seen = 0;
    while (texts.nextNode()) {
      const { data, parentElement } = texts.currentNode;
      if (!/[\u0590-\u05ff]/.test(data)) continue;
      seen += 1;
      if (getComputedStyle(parentElement).unicodeBidi !== "isolate") found.push(parentElement.outerHTML);
    }
    return { found, seen };
  });
  assert.deepEqual(loose.found, []);
  assert.ok(loose.seen >= 3, "it appears at least in the dialog, the legend and the toast");
  socket.close();
});

test("the dashboard reports a lost server and reconnects", async (context) => {
  const server = await Server.start(context, "--admin", `127.0.0.1:${await freePort()}`);
  const page = await open(context, browser, server.admin, { expected: LOST });
  await page.locator('#state[data-state="live"]').waitFor();
  await server.kill();
  await page.locator('#state[data-state="lost"]').waitFor();
  await server.restart();
  await page.locator('#state[data-state="live"]').waitFor();
});

for (const colorScheme of ["light", "dark"]) {
  test(`the dashboard is accessible, ${colorScheme}`, async (context) => {
    const server = await start(context);
    const page = await open(context, browser, server.admin, {
      colorScheme,
      viewport: { width: 1440, height: 1000 },
    });
    const load = [
      talk(server, "keynote", 900, 300, 14),
      talk(server, "web-components", 250, 80, 13),
      talk(server, "hallway", 60, 20, 12),
    ];
    await eventually(() => row(page, "keynote").count(), 1);
    await eventually(() => now(page, "connections"), "1,210");
    // Memory per connection is shown from 1,000 connections. A few samples fill the charts.
    await eventually(async () => /per connection/.test(await page.locator('[data-note="memory"]').textContent()), true);
    const samples = async () => {
      const { at, series } = await (await fetch(new URL("history?range=15m", server.admin))).json();
      return at.filter((_, index) => series.reactions[index] > 100).length;
    };
    await eventually(async () => (await samples()) >= 6, true);
    await eventually(async () => /^[\d,.]+/.test(await page.locator('[data-at="memoryEach"]').textContent()), true);
    await accessible(page);
    await picture(page, `dashboard-${colorScheme}`);
    await page.getByRole("button", { name: "Reset main/keynote" }).click();
    await accessible(page);
    await page.keyboard.press("Escape");
    await page.setViewportSize({ width: 390, height: 844 });
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `the page is ${overflow} pixels too wide for a phone`);
    await picture(page, `dashboard-phone-${colorScheme}`);
    await Promise.all(load);
  });
}
