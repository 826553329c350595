// The element and PartyKit's client in pages of other sites.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Server, accessible, browser as launch, eventually, open, packaged, picture, site, withoutUpgrades } from "./support.mjs";

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
    await accessible(page);
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

test("the element shows the server's kinds, and stops when refused", async (context) => {
  const server = await Server.start(context, "--kinds", "love,🚀", "--max-invalid-messages", "0");
  const extra = '<ovation-reactions id="wrong" room="talk" kinds="love,nope"></ovation-reactions>';
  const foreign = await site(context, { "/": ["text/html", embed(server, 'room="talk"', extra)] });
  const page = await open(context, browser, foreign, { allowed: [server.address] });
  const [right, wrong] = [page.locator("ovation-reactions").first(), page.locator("#wrong")];
  await eventually(() => right.locator("[part=emoji]").allTextContents(), ["love", "🚀\ufe0f"]);
  await right.getByRole("button", { name: "🚀" }).click();
  await eventually(() => server.counts(), { "🚀": 1 });
  await wrong.getByRole("button", { name: "nope" }).click();
  await page.locator('#wrong[data-state="refused"]').waitFor();
  assert.deepEqual(await wrong.locator("[part=count]").allTextContents(), ["0", "0"], "refused taps are no longer shown");
  assert.equal(await wrong.locator("button:disabled").count(), 2);
  assert.equal(await page.evaluate(() => document.getElementById("wrong").room.react("love")), false);
  assert.equal(await right.locator("button:disabled").count(), 0);
  assert.deepEqual(await server.counts(), { "🚀": 1 });
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
