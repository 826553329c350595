// The client over bad networks, in a real browser with the real server.
import assert from "node:assert/strict";
import { after, before, describe, it, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Server, browser as launch, eventually, live, open } from "./support.mjs";
import { CUTS, Path, Proxy } from "./support/network.mjs";
import { Tab } from "./support/tab.mjs";
import { crowd, entered, log, shown, state, visitor } from "./support/visitors.mjs";

/** The tests are short by short times. For full length: HEARTBEAT_MS=20000 FREEZE_MS=150000 CUTS=20. */
const HEARTBEAT_MS = Number(process.env.HEARTBEAT_MS ?? 1000);
const FREEZE_MS = Number(process.env.FREEZE_MS ?? 5000);
const NUMBER_OF_CUTS = Number(process.env.CUTS ?? 3);
/** With many cuts, each connection lasts long enough that the retry delays don't grow. */
const GAP_MS = NUMBER_OF_CUTS > 5 ? 5200 : 800;
const HEARTBEAT = ["--heartbeat-interval-ms", String(HEARTBEAT_MS)];
/** Time to connect anew: the first retry delay, and a busy machine. */
const CONNECT_MS = 2500;

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** Opens a tab with the real page, which records when its state and total change. */
async function pageInTab(context, address) {
  const tab = await Tab.open(context, `http://${address}/r/talk`);
  await tab.until(`document.getElementById("state")?.dataset.state === "open"`);
  await tab.evaluate(`{
    window.changes = [];
    window.woke = [];
    const state = document.getElementById("state");
    let last = "open";
    new MutationObserver(() => {
      if (state.dataset.state !== last) changes.push([(last = state.dataset.state), Date.now()]);
    }).observe(state, { attributeFilter: ["data-state"] });
    for (const type of ["freeze", "resume", "visibilitychange"]) document.addEventListener(type, () => woke.push(type));
    document.querySelector(".reaction").click();
  }`);
  return tab;
}

const showsTotal = (total) => `document.getElementById("total").textContent === "${total}"`;

for (const sleeps of ["awake", "frozen", "stopped"]) {
  test(`a page learns of a link that dies: ${sleeps}`, async (context) => {
    const server = await Server.start(context, ...HEARTBEAT);
    const proxy = await Proxy.start(context, server);
    const tab = await pageInTab(context, proxy.address);
    const isAwake = sleeps === "awake";
    await eventually(async () => Object.values(await server.counts()), [1]);
    if (!isAwake) await tab.sleep(sleeps);
    proxy.cut("silent");
    const cutAt = Date.now();
    for (let count = 0; count < 30; count++) await server.react("🚀");
    if (!isAwake) await sleep(FREEZE_MS);
    const since = isAwake ? cutAt : Date.now();
    if (!isAwake) await tab.wake(sleeps);
    await tab.until(showsTotal(31));
    const newest = Date.now() - since;
    const [, leftLive] = (await tab.evaluate("changes")).find(([state]) => state !== "open");
    context.diagnostic(`${sleeps}: newest counts after ${newest} ms; said Live for ${leftLive - since} ms`);
    assert.ok(leftLive > since, "a page that sleeps does nothing");
    assert.ok(newest <= (isAwake ? 2.5 * HEARTBEAT_MS + CONNECT_MS : 5000), `newest counts after ${newest} ms`);
    assert.ok(leftLive - since <= (isAwake ? 2.5 * HEARTBEAT_MS + 500 : 2500), `Live for ${leftLive - since} ms`);
    await tab.until(`document.getElementById("state").dataset.state === "open"`);
  });
}

test("a page that slept with a living link keeps it", async (context) => {
  const server = await Server.start(context, ...HEARTBEAT);
  const tab = await pageInTab(context, server.address);
  await tab.sleep("stopped");
  await server.react("🚀");
  await sleep(Math.max(FREEZE_MS, 2.5 * HEARTBEAT_MS + 2000));
  const woke = Date.now();
  await tab.wake("stopped");
  await tab.until(showsTotal(2));
  context.diagnostic(`newest counts after ${Date.now() - woke} ms`);
  await sleep(1500);
  assert.deepEqual(await tab.evaluate("changes"), []);
});

/** How each kind of break is made. */
const breaks = {
  ...Object.fromEntries(CUTS.map((way) => [way, ({ proxy }) => proxy.cut(way)])),
  offline: async ({ pages }) => {
    for (const isOffline of [true, false]) {
      await Promise.all(pages.map((page) => page.context().setOffline(isOffline)));
      await sleep(300);
    }
  },
  terminated: async ({ server }) => {
    await server.stop();
    await sleep(200);
    await server.restart();
  },
  killed: async ({ server }) => {
    await server.kill();
    await sleep(200);
    await server.restart();
  },
};

/** Breaks the connections of two windows again and again while they tap and others react. */
async function breakAgain(context, way, { rates, isUnique = false }) {
  const server = await Server.start(context, ...HEARTBEAT, "--max-kinds", "256");
  const proxy = await Proxy.start(context, server);
  const pages = [];
  for (const _ of rates) pages.push(await visitor(context, browser, proxy.address));
  await Promise.all(pages.map((page) => entered(page)));
  const stop = crowd(context, server, way === "killed" ? "others" : "love", 65);
  await Promise.all(pages.map((page, index) => page.evaluate(([rate, kind, isUnique]) => visit.start(rate, kind, isUnique), [rates[index], isUnique ? `${index}-` : "love", isUnique])));
  for (let number = 0; number < NUMBER_OF_CUTS; number++) {
    await sleep(GAP_MS);
    await breaks[way]({ server, proxy, pages });
    await Promise.all(pages.map((page) => entered(page, number + 2)));
  }
  await sleep(GAP_MS);
  await Promise.all(pages.map((page) => page.evaluate(() => visit.stop())));
  const posted = await stop();
  for (const page of pages) await eventually(async () => JSON.stringify(await state(page)), '["open",0]', 90_000);
  const counts = await server.counts();
  const logs = await Promise.all(pages.map(log));
  const accepted = logs.reduce((sum, { accepted }) => sum + accepted, 0);
  const others = counts.others ?? 0;
  const counted = Object.values(counts).reduce((sum, count) => sum + count, 0) - (counts.others ? others : posted);
  const reconnects = logs.map(({ states }) => states.filter(({ state }) => state === "open").length - 1);
  context.diagnostic(`${way}: ${accepted} taps accepted, ${counted} counted, ${posted} by others, reconnects ${reconnects}`);
  for (const { falls, refused } of logs) assert.deepEqual([falls, refused], [[], []]);
  if (way === "killed") {
    assert.ok(counted <= accepted, `${counted} counted of ${accepted}`);
    assert.ok(counted >= accepted - 100 * NUMBER_OF_CUTS, `${counted} counted of ${accepted}`);
    if (isUnique) for (const [kind, count] of Object.entries(counts)) assert.ok(kind === "others" || count === 1, `${kind}: ${count}`);
    for (const page of pages) for (const [kind, count] of Object.entries(counts)) assert.ok((await shown(page))[kind] >= count);
  } else {
    assert.equal(counted, accepted, "taps counted and taps accepted");
    for (const page of pages) await eventually(() => shown(page), counts);
  }
  for (const number of reconnects) assert.ok(number >= NUMBER_OF_CUTS, `${number} reconnects`);
}

describe("taps count exactly over broken links, and no count falls", { concurrency: 6 }, () => {
  for (const way of Object.keys(breaks)) it(way, (context) => breakAgain(context, way, { rates: [5, 15] }));
  for (const way of ["reset", "silent", "terminated", "offline"]) it(`${way}, 150 a second`, (context) => breakAgain(context, way, { rates: [150] }));
  it("killed, each tap of its own kind", (context) => breakAgain(context, "killed", { rates: NUMBER_OF_CUTS > 5 ? [0.5, 0.7] : [2, 3], isUnique: true }));
});

test("taps count exactly over a slow link", async (context) => {
  const server = await Server.start(context, ...HEARTBEAT);
  const proxy = await Proxy.start(context, server);
  const page = await visitor(context, browser, proxy.address);
  await entered(page);
  Object.assign(proxy, { delayMs: 400, bytesPerSecond: 8000 });
  const stop = crowd(context, server, "love", 65);
  await page.evaluate(() => visit.start(15, "love"));
  await sleep(5000);
  await page.evaluate(() => visit.stop());
  const posted = await stop();
  await eventually(async () => JSON.stringify(await state(page)), '["open",0]');
  const { accepted, falls, states } = await log(page);
  assert.deepEqual([falls, states.length], [[], 2], "it stays live");
  assert.deepEqual(await server.counts(), { love: accepted + posted });
  await eventually(() => shown(page), { love: accepted + posted });
});

test("a link that takes no taps is given up, though it brings counts", async (context) => {
  const server = await Server.start(context, ...HEARTBEAT);
  const proxy = await Proxy.start(context, server);
  const page = await visitor(context, browser, proxy.address);
  await entered(page);
  proxy.cut("deaf");
  await page.evaluate(() => visit.tap("love"));
  const began = Date.now();
  await eventually(() => server.counts(), { love: 1 }, 40_000);
  context.diagnostic(`counted after ${Date.now() - began} ms`);
  await eventually(() => state(page), ["open", 0]);
});

describe("what the class reports", () => {
  const last = async (page) => {
    const { state, mode, reason } = (await log(page)).states.at(-1);
    return [state, mode, reason];
  };

  it("an origin that is not allowed", async (context) => {
    const server = await Server.start(context, "--allow-origin", "https://talks.example");
    const page = await visitor(context, browser, server.address);
    await eventually(() => last(page), ["refused", "open", "origin"]);
    await page.evaluate(() => visit.tap("love"));
    assert.deepEqual([await shown(page), (await log(page)).accepted], [{}, 0], "taps are not accepted");
  });

  it("kinds that the server doesn't count", async (context) => {
    const server = await Server.start(context, "--kinds", "love,clap");
    const page = await visitor(context, browser, server.address);
    await entered(page);
    await page.evaluate(() => ["❤", "love", "❤"].forEach((kind) => visit.tap(kind)));
    await eventually(async () => (await log(page)).refused.map(({ kind, taps, reason }) => [kind, taps, reason]), Array(2).fill(["❤", 1, "kind"]));
    await eventually(() => shown(page), { love: 1 });
    assert.deepEqual(await server.counts(), { love: 1 });
    assert.deepEqual(await state(page), ["open", 0]);
  });

  it("rooms that are frozen, opened, removed and closed", async (context) => {
    const server = await Server.start(context, "--admin", "127.0.0.1:0");
    const page = await visitor(context, browser, server.address);
    await entered(page);
    await page.evaluate(() => visit.tap("love"));
    await eventually(() => server.counts(), { love: 1 });
    await server.operate("freeze");
    await eventually(() => last(page), ["open", "frozen", undefined]);
    await page.evaluate(() => visit.tap("love"));
    assert.equal((await log(page)).accepted, 1);
    await server.operate("open");
    await eventually(() => last(page), ["open", "open", undefined]);
    await server.operate("reset");
    await eventually(() => shown(page), {});
    await page.evaluate(() => visit.tap("love"));
    await eventually(() => server.counts(), { love: 1 });
    await server.operate("remove");
    await eventually(() => shown(page), {});
    await eventually(() => state(page), ["open", 0]);
    await page.evaluate(() => visit.tap("clap"));
    await eventually(() => server.counts(), { clap: 1 });
    await server.operate("close");
    await eventually(() => last(page), ["closed", "open", "closed"]);
    await sleep(2500);
    assert.deepEqual(await last(page), ["closed", "open", "closed"], "it stays closed");
    await page.evaluate(() => visit.tap("love"));
    assert.equal((await log(page)).accepted, 3);
  });
});

describe("a path that drops packets", { skip: !Path.isPossible() && !process.env.CI && "SKIPPED: needs root and ip netns" }, () => {
  for (const way of ["drop", "linkDown"]) {
    it(`taps count exactly over a path that goes: ${way}`, async (context) => {
      const server = await Server.start(context, ...HEARTBEAT);
      const path = await Path.start(context, server);
      const page = await visitor(context, browser, path.address);
      await entered(page);
      const stop = crowd(context, server, "love", 65);
      await page.evaluate(() => visit.start(10, "love"));
      for (const outage of [500, 2.5 * HEARTBEAT_MS + 2000]) {
        await sleep(1000);
        const down = Date.now();
        path[way]();
        await sleep(outage);
        if (outage > 1000) {
          const left = (await log(page)).states.find(({ state, at }) => state !== "open" && at > down);
          assert.ok(left.at - down <= 2.5 * HEARTBEAT_MS + 1000, `live for ${left.at - down} ms`);
        }
        if (way === "drop") path.heal();
        else path.linkUp();
        const healed = Date.now();
        await entered(page);
        context.diagnostic(`back ${Date.now() - healed} ms after the path`);
      }
      await sleep(2000);
      await page.evaluate(() => visit.stop());
      const posted = await stop();
      await eventually(async () => JSON.stringify(await state(page)), '["open",0]');
      const { accepted, falls } = await log(page);
      context.diagnostic(`${accepted} taps accepted, ${posted} by others`);
      assert.deepEqual(falls, []);
      await eventually(() => server.counts(), { love: accepted + posted });
      await eventually(() => shown(page), { love: accepted + posted });
    });
  }

  it("a page works at 64 kilobits a second", async (context) => {
    const server = await Server.start(context, ...HEARTBEAT);
    const path = await Path.start(context, server);
    path.limit(64);
    const page = await live(await open(context, browser, `http://${path.address}/r/talk`));
    await page.locator(".reaction").first().click();
    await eventually(async () => Object.values(await server.counts()), [1]);
  });
});
