// The element and PartyKit's client in pages of other sites.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Server, browser as launch, eventually, flawless, open, packaged, picture, site, withoutUpgrades } from "./support.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

const html = (body, head = "") =>
  `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A talk</title>
  <meta name="color-scheme" content="dark light"><link rel="icon" href="data:,">${head}</head><body>${body}</body></html>`;

const embed = (server, attributes, extra = "") =>
  html(
    `<main><h1>A talk</h1><p>A foreign page.</p>
     <ovation-reactions ${attributes}></ovation-reactions>${extra}</main>`,
    `<script type="module" src="${server.url("/ovation.js")}"></script>
     <style>
       body { font: 18px/1.6 Inter, system-ui; margin: 3rem auto; max-width: 36rem; padding: 0 1rem }
       ovation-reactions::part(count) { font-weight: 650 }
     </style>`,
  );

/** Records the events that the element sends to the page. */
const listen = (session) =>
  session.addInitScript(() => {
    window.told = [];
    for (const type of ["ovation:counts", "ovation:state"])
      addEventListener(type, ({ detail }) => told.push([type, detail.state ?? Object.fromEntries(detail.counts)]));
  });

const status = (element) => element.locator("[part=status]").textContent();
const count = (page, kind) => page.getByRole("button", { name: kind }).locator("[part=count]").textContent();

for (const colorScheme of ["dark", "light"]) {
  test(`the element is live on a foreign page, ${colorScheme}`, async (context) => {
    const server = await Server.start(context);
    const foreign = await site(context, { "/": ["text/html", embed(server, 'room="talk-1" kinds="❤,👏, <b>x</b>"')] });
    const page = await open(context, browser, foreign, { allowed: [server.address], setup: listen, colorScheme });
    await server.react("❤", "talk-1");
    await eventually(() => count(page, "❤"), "1");
    await page.getByRole("button", { name: "❤" }).click();
    assert.equal(await count(page, "❤"), "2", "a tap shows at once");
    await page.getByRole("button", { name: "<b>x</b>" }).press("Enter");
    await eventually(() => server.counts("talk-1"), { "❤": 2, "<b>x</b>": 1 });
    const told = await page.evaluate(() => told);
    assert.deepEqual(told.filter(([type]) => type === "ovation:state").map(([, state]) => state).slice(0, 2), ["connecting", "open"]);
    assert.deepEqual(told.filter(([type]) => type === "ovation:counts").at(-1)[1], { "❤": 2, "<b>x</b>": 1 });
    const weight = await page.locator("[part=count]").first().evaluate((it) => getComputedStyle(it).fontWeight);
    assert.equal(weight, "650", "the page can style the parts");
    await flawless(page);
    await picture(page, `element-${colorScheme}`);
  });
}

test("the element follows its attributes and closes when removed", async (context) => {
  const server = await Server.start(context);
  await server.react("clap", "other");
  const foreign = await site(context, { "/": ["text/html", embed(server, 'room="talk-1"')] });
  const page = await open(context, browser, foreign, { allowed: [server.address] });
  await eventually(() => page.getByRole("button").count(), 5);
  await page.evaluate((host) => {
    const element = document.querySelector("ovation-reactions");
    element.setAttribute("host", host);
    element.setAttribute("kinds", "clap");
    element.setAttribute("room", "other");
  }, server.address);
  await eventually(() => page.getByRole("button").count(), 1);
  await eventually(() => count(page, "clap"), "1");
  const state = await page.evaluate(async () => {
    const element = document.querySelector("ovation-reactions");
    const { room } = element;
    element.remove();
    return room.state;
  });
  assert.equal(state, "closed");
});

test("the element shows the server's kinds, and says when a tap isn't counted", async (context) => {
  const server = await Server.start(context, "--kinds", "love,🚀");
  const extra = '<ovation-reactions id="wrong" room="talk" kinds="love,nope"></ovation-reactions>';
  const foreign = await site(context, { "/": ["text/html", embed(server, 'room="talk"', extra)] });
  const page = await open(context, browser, foreign, { allowed: [server.address] });
  const [right, wrong] = [page.locator("ovation-reactions").first(), page.locator("#wrong")];
  await eventually(() => right.locator("[part=emoji]").allTextContents(), ["❤\ufe0f", "🚀\ufe0f"]);
  await right.getByRole("button", { name: "🚀" }).click();
  await eventually(() => server.counts(), { "🚀": 1 });
  await wrong.getByRole("button", { name: "nope" }).click();
  await eventually(() => status(wrong), "This reaction was not counted.");
  await eventually(() => wrong.locator("[part=count]").allTextContents(), ["0", "0"]);
  await eventually(() => status(wrong), "");
  assert.deepEqual(await server.counts(), { "🚀": 1 });
});

test("the element says why it is turned away", async (context) => {
  const server = await Server.start(context, "--allow-origin", "https://talks.example");
  const foreign = await site(context, { "/": ["text/html", embed(server, 'room="talk"', '<ovation-reactions id="own" room="talk" text-origin="Nicht hier"></ovation-reactions>')] });
  const page = await open(context, browser, foreign, { allowed: [server.address] });
  const element = page.locator('ovation-reactions[data-state="refused"][data-reason="origin"]').first();
  await eventually(() => status(element), "This site may not use the server.");
  await eventually(() => status(page.locator("#own")), "Nicht hier");
  assert.equal(await element.locator("button:disabled").count(), 5);
  await flawless(page);
});

test("the element follows a room that is frozen and closed", async (context) => {
  const server = await Server.start(context, "--admin", "127.0.0.1:0");
  const foreign = await site(context, { "/": ["text/html", embed(server, 'room="talk"')] });
  const page = await open(context, browser, foreign, { allowed: [server.address] });
  const element = page.locator("ovation-reactions");
  await page.locator('ovation-reactions[data-state="open"]').waitFor();
  await server.operate("freeze");
  await eventually(() => status(element), "Reactions are paused.");
  assert.equal(await element.locator("button:disabled").count(), 5);
  await server.operate("open");
  await eventually(() => status(element), "");
  assert.equal(await element.locator("button:enabled").count(), 5);
  await server.operate("close");
  await eventually(() => status(element), "This room is closed.");
  assert.equal(await element.locator("button:disabled").count(), 5);
});

test("the children of the element are shown until its room opens", async (context) => {
  const server = await Server.start(context);
  const body = `<main><h1>A talk</h1><ovation-reactions room="talk" people><a href="/chat">Write to us</a></ovation-reactions></main>`;
  const script = `<script type="module" src="${server.url("/ovation.js")}"></script>`;
  // The script is there, but its server stops before the element connects.
  const foreign = await site(context, {
    "/": ["text/html", html(body, script)],
    "/bare": ["text/html", html(body)],
  });
  const bare = await open(context, browser, `${foreign}/bare`);
  assert.ok(await bare.getByRole("link", { name: "Write to us" }).isVisible(), "without the script");
  const setup = (session) => session.routeWebSocket(/parties/, (socket) => socket.close());
  const away = await open(context, browser, foreign, { allowed: [server.address], setup });
  await eventually(() => status(away.locator("ovation-reactions")), "Reconnecting…");
  assert.ok(await away.getByRole("link", { name: "Write to us" }).isVisible(), "without the server");
  assert.equal(await away.locator("button:visible").count(), 0);
  // Before it finds the way by an event stream.
  await away.close();
  const page = await open(context, browser, foreign, { allowed: [server.address], expected: [/WebSocket connection to/, /ERR_CONNECTION_REFUSED/] });
  await page.getByRole("button", { name: "love" }).waitFor();
  assert.equal(await page.getByRole("link", { name: "Write to us" }).isVisible(), false);
  await eventually(() => page.locator("[part=people]").textContent(), "1 person here");
  await server.kill();
  await page.locator('ovation-reactions[data-state="waiting"]').waitFor();
  assert.equal(await page.getByRole("button", { name: "love" }).isVisible(), true, "the counts stay");
  assert.equal(await page.locator("[part=people]").textContent(), "");
});

test("a held key is one tap", async (context) => {
  const server = await Server.start(context);
  const foreign = await site(context, { "/": ["text/html", embed(server, 'room="talk"')] });
  for (const url of [foreign, server.url()]) {
    const page = await open(context, browser, url, { allowed: [server.address] });
    await page.locator('[data-state="open"]').waitFor({ state: "attached" });
    const before = (await server.counts()).love ?? 0;
    await page.getByRole("button", { name: "love" }).focus();
    for (let repeat = 0; repeat < 20; repeat++) await page.keyboard.down("Enter");
    await page.keyboard.up("Enter");
    await page.keyboard.press("Space");
    await eventually(async () => (await server.counts()).love, before + 2);
  }
});

/** Share of the canvas that is painted. */
const painted = (element) =>
  element.evaluate((it) => {
    const canvas = it.shadowRoot.querySelector("[part=float]");
    if (!canvas.width || !canvas.height) return 0;
    const copy = new OffscreenCanvas(canvas.width, canvas.height);
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.drawImage(canvas, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    return data.filter((value, index) => index % 4 === 3 && value > 0).length / (canvas.width * canvas.height);
  });

test("reactions rise from the element if the page wants it", async (context) => {
  const server = await Server.start(context);
  const foreign = await site(context, {
    "/": ["text/html", embed(server, 'room="talk" float')],
    "/plain": ["text/html", embed(server, 'room="talk"')],
  });
  const loads = (page) => page.evaluate(() => performance.getEntriesByType("resource").filter(({ name }) => name.includes("extras")).length);
  const page = await open(context, browser, foreign, { allowed: [server.address] });
  await page.locator('ovation-reactions[data-state="open"]').waitFor();
  await eventually(() => loads(page), 1);
  const element = page.locator("ovation-reactions");
  assert.equal(await painted(element), 0);
  await server.react("love");
  await eventually(async () => (await painted(element)) > 0, true);
  await eventually(() => painted(element), 0);
  await page.getByRole("button", { name: "clap" }).click();
  await eventually(async () => (await painted(element)) > 0, true);
  const isInTheWay = await page.evaluate(() => getComputedStyle(document.querySelector("ovation-reactions").shadowRoot.querySelector("canvas")).pointerEvents);
  assert.equal(isInTheWay, "none");
  for (const [path, options] of [["/plain", {}], ["/", { reducedMotion: "reduce" }]]) {
    const calm = await open(context, browser, foreign + path, { allowed: [server.address], ...options });
    await calm.locator('ovation-reactions[data-state="open"]').waitFor();
    await server.react("love");
    assert.equal(await loads(calm), 0, "hearts are loaded on demand");
    assert.equal(await painted(calm.locator("ovation-reactions")), 0);
  }
});

test("the element takes texts, numbers and colours from its page", async (context) => {
  const server = await Server.start(context);
  for (let tap = 0; tap < 1234; tap += 617) await server.burst(["love"], 617);
  await eventually(() => server.counts(), { love: 1234 });
  const attributes = 'lang="de" people text-person="{n} Mensch hier" text-people="{n} Menschen hier" text-reactions="Reaktionen"';
  const style = `<style>ovation-reactions { --ovation-radius: 4px; --ovation-background: rgb(1, 2, 3); --ovation-color: rgb(250, 251, 252);
    --ovation-border: rgb(7, 8, 9); --ovation-gap: 20px } ovation-reactions::part(people) { font-style: italic }</style>`;
  const foreign = await site(context, { "/": ["text/html", embed(server, `room="talk" ${attributes}`, style)] });
  const page = await open(context, browser, foreign, { allowed: [server.address] });
  await eventually(() => count(page, "love"), "1.234");
  await eventually(() => page.locator("[part=people]").textContent(), "1 Mensch hier");
  await page.getByRole("group", { name: "Reaktionen" }).waitFor();
  const looks = await page.getByRole("button").first().evaluate((it) => {
    const { borderRadius, backgroundColor, color, borderColor } = getComputedStyle(it);
    return [borderRadius, backgroundColor, color, borderColor, getComputedStyle(it.parentElement).gap];
  });
  assert.deepEqual(looks, ["4px", "rgb(1, 2, 3)", "rgb(250, 251, 252)", "rgb(7, 8, 9)", "20px"]);
  assert.equal(await page.locator("[part=people]").evaluate((it) => getComputedStyle(it).fontStyle), "italic");
});

test("rooms that counted emoji before kinds had names go on with them", async (context) => {
  const server = await Server.start(context);
  const body = ["old", "both"].map((room) => `<ovation-reactions id="${room}" room="${room}"></ovation-reactions>`).join("");
  const foreign = await site(context, { "/": ["text/html", embed(server, 'room="new"', body)] });
  for (const room of ["old", "both"]) await server.react("❤", room);
  await server.react("love", "both");
  const page = await open(context, browser, foreign, { allowed: [server.address] });
  const shown = (id) => page.locator(id).locator("button").evaluateAll((all) => all.map((it) => it.textContent));
  await eventually(() => shown("#old"), ["❤️1", "👏️0", "🎉️0", "😂️0", "🔥️0"]);
  await eventually(() => shown("#both"), ["❤️1", "❤️1", "👏️0", "🎉️0", "😂️0", "🔥️0"]);
  await page.locator("#old").getByRole("button").first().click();
  await eventually(() => server.counts("old"), { "❤": 2 });
  await page.locator("ovation-reactions").first().getByRole("button").first().click();
  await eventually(() => server.counts("new"), { love: 1 });
});

test("the element works where WebSockets are broken", async (context) => {
  const server = await Server.start(context);
  const broken = await withoutUpgrades(context, server);
  const host = new URL(broken).host;
  const foreign = await site(context, { "/": ["text/html", embed(server, `room="talk" kinds="❤" host="${host}"`)] });
  const page = await open(context, browser, foreign, { allowed: [server.address, host], expected: [/WebSocket connection to/] });
  await page.locator('ovation-reactions[data-state="open"]').waitFor();
  await page.getByRole("button", { name: "❤" }).click();
  await eventually(() => server.counts(), { "❤": 1 });
  await server.react("❤");
  await eventually(() => count(page, "❤"), "2");
});

test("PartyKit's unchanged client works from another origin", async (context) => {
  const server = await Server.start(context);
  const script = `
    import PartySocket from "partysocket";
    const room = new PartySocket({ host: "${server.address}", room: "talk" });
    window.seen = [];
    room.addEventListener("message", (event) => seen.push(JSON.parse(event.data)));
    document.querySelector("button").onclick = () => room.send(JSON.stringify({ kind: "love" }));`;
  const map = JSON.stringify({ imports: { partysocket: "/partysocket/index.js" } });
  const foreign = await site(context, {
    "/": [
      "text/html",
      html("<button>❤</button>", `<script type="importmap">${map}</script><script type="module" src="/page.js"></script>`),
    ],
    "/page.js": ["text/javascript", script],
    "/partysocket/index.js": ["text/javascript", await packaged("partysocket", "dist/index.js")],
    "/partysocket/ws.js": ["text/javascript", await packaged("partysocket", "dist/ws.js")],
  });
  const page = await open(context, browser, foreign, { allowed: [server.address] });
  await eventually(() => page.evaluate(() => seen), [{}]);
  await page.getByRole("button").click();
  await eventually(() => server.counts(), { love: 1 });
  await server.react("clap");
  await eventually(() => page.evaluate(() => seen.at(-1)), { love: 1, clap: 1 });
});
