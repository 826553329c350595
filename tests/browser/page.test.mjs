// The page of a room in a real browser, with the real server.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Server, browser as launch, eventually, flawless, live, open, picture, withoutUpgrades } from "./support.mjs";

const KINDS = ["love", "clap", "party", "laugh", "fire"];
/** What a browser logs about a lost connection. */
const LOST = [/WebSocket connection to/, /net::ERR_/, /Failed to load resource/];

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

const button = (page, kind) => page.getByRole("button", { name: kind, exact: true });
const count = (page, kind) => button(page, kind).locator(".count").textContent();
const total = (page) => page.locator("#total").textContent();

test("two windows see each other's taps and the number of people", async (context) => {
  const server = await Server.start(context);
  const one = await live(await open(context, browser, server.url("/r/talk")));
  const two = await live(await open(context, browser, server.url("/?room=talk")));
  await button(one, "love").click();
  assert.equal(await count(one, "love"), "1", "a tap shows before the server answers");
  await eventually(() => count(two, "love"), "1");
  await button(two, "love").press("Enter");
  await button(two, "fire").press("Space");
  await eventually(() => count(one, "love"), "2");
  await eventually(() => total(one), "3");
  await eventually(() => total(two), "3");
  for (const page of [one, two]) await eventually(() => page.locator("#here").textContent(), "2 people here");
  assert.deepEqual(await server.counts(), { love: 2, "fire": 1 });
  await two.close();
  await eventually(() => one.locator("#here").textContent(), "1 person here");
});

test("fast taps among others' never go down and end exact", async (context) => {
  const server = await Server.start(context);
  const page = await live(await open(context, browser, server.url()));
  const stop = await server.crowd(["love"], 200);
  const fell = await page.evaluate(async () => {
    const shown = document.querySelector(".reaction .count");
    const button = document.querySelector(".reaction");
    const falls = [];
    let last = 0;
    for (let tap = 0; tap < 100; tap++) {
      button.click();
      await new Promise(requestAnimationFrame);
      const now = Number(shown.textContent.replaceAll(",", ""));
      if (now < last) falls.push([last, now]);
      last = now;
    }
    return falls;
  });
  assert.deepEqual(fell, []);
  const sent = stop();
  await eventually(async () => (await server.counts())["love"], sent + 100);
  await eventually(() => count(page, "love"), String(sent + 100));
});

test("the page survives a killed and restarted server", async (context) => {
  const server = await Server.start(context);
  const page = await live(await open(context, browser, server.url(), { expected: LOST }));
  for (const kind of KINDS) await button(page, kind).click();
  await eventually(() => server.counts(), Object.fromEntries(KINDS.map((kind) => [kind, 1])));
  await server.kill();
  await page.locator('#state[data-state="waiting"]').waitFor();
  assert.equal(await total(page), "5", "the counts stay");
  await button(page, "clap").click();
  await button(page, "clap").click();
  await eventually(() => page.locator("#notice").textContent(), "You are disconnected. 2 taps are saved and will be sent when you reconnect.");
  assert.equal(await count(page, "clap"), "3");
  await server.restart();
  await live(page);
  await eventually(async () => (await server.counts())["clap"], 3);
  await eventually(() => page.locator("#notice").textContent(), "");
  assert.equal(await total(page), "7");
});

test("offline taps are saved and sent once", async (context) => {
  const server = await Server.start(context);
  const page = await live(await open(context, browser, server.url(), { expected: LOST }));
  const other = await live(await open(context, browser, server.url()));
  await page.context().setOffline(true);
  await page.locator('#state:not([data-state="open"])').waitFor();
  for (let tap = 0; tap < 7; tap++) await button(page, "party").click();
  assert.equal(await count(page, "party"), "7");
  await button(other, "party").click();
  await eventually(() => count(other, "party"), "1");
  await page.context().setOffline(false);
  await live(page);
  await eventually(() => count(other, "party"), "8");
  await eventually(() => count(page, "party"), "8");
  assert.deepEqual(await server.counts(), { "party": 8 });
});

test("the page is live where WebSockets are broken", async (context) => {
  const server = await Server.start(context);
  const broken = await withoutUpgrades(context, server);
  const page = await live(await open(context, browser, `${broken}/r/talk`, { expected: LOST }));
  assert.equal(await page.locator("#state-text").textContent(), "Live (without WebSocket)");
  const other = await live(await open(context, browser, server.url("/r/talk")));
  await button(page, "love").click();
  await button(page, "love").click();
  await eventually(() => count(other, "love"), "2");
  await button(other, "clap").click();
  await eventually(() => count(page, "clap"), "1");
  await eventually(() => page.locator("#here").textContent(), "2 people here");
  assert.deepEqual(await server.counts(), { love: 2, clap: 1 });
});

test("the operator can reset and close the room", async (context) => {
  const server = await Server.start(context, "--admin", "127.0.0.1:0");
  const page = await live(await open(context, browser, server.url()));
  for (let tap = 0; tap < 3; tap++) await button(page, "love").click();
  await eventually(() => server.counts(), { love: 3 });
  await server.operate("reset");
  await eventually(() => total(page), "0");
  await button(page, "love").click();
  await eventually(() => server.counts(), { love: 1 });
  assert.equal(await total(page), "1");
  await server.operate("close");
  await eventually(() => page.locator("#notice").textContent(), "This room is closed. Thank you for being here.");
  assert.equal(await page.locator("button.reaction:disabled").count(), KINDS.length);
  assert.equal(await total(page), "1");
});

/** Returns the painted share of the sky in percent, from a small copy: reading the canvas slows it. */
const painted = (page) =>
  page.evaluate(() => {
    const sky = document.getElementById("sky");
    if (!sky.width) return 0;
    const copy = new OffscreenCanvas(160, 100);
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.drawImage(sky, 0, 0, copy.width, copy.height);
    const { data } = context.getImageData(0, 0, copy.width, copy.height);
    return (data.filter((value, index) => index % 4 === 3 && value > 0).length / copy.width / copy.height) * 100;
  });

test("hearts rise for every reaction, and then end", async (context) => {
  const server = await Server.start(context);
  const page = await live(await open(context, browser, server.url()));
  assert.equal(await painted(page), 0);
  await server.react("love");
  await page.waitForFunction(() => document.getElementById("total").textContent === "1");
  await eventually(async () => (await painted(page)) > 0, true);
  await eventually(() => painted(page), 0);
  // A crowd that fills the sky.
  const stop = await server.crowd(KINDS, 5000);
  await eventually(async () => (await painted(page)) > 20, true);
  stop();
  await eventually(() => painted(page), 0);
});

test("the number of hearts in the air is limited", async (context) => {
  const server = await Server.start(context);
  const page = await live(await open(context, browser, server.url()));
  const most = await page.evaluate(async () => {
    const { Sky } = await import("/ovation-extras.js");
    const sky = new Sky(document.getElementById("sky"));
    let most = 0;
    for (let frame = 0; frame < 90; frame++) {
      for (let own = 0; own < 10; own++) sky.rise("❤️", 1, { x: 9, y: 9 });
      sky.rise("clap", 1_000_000);
      await new Promise(requestAnimationFrame);
      most = Math.max(most, sky.rising);
    }
    return most;
  });
  assert.ok(most > 200 && most <= 400, `${most} at once`);
});

test("reduced motion replaces hearts with a pulse", async (context) => {
  const server = await Server.start(context);
  const page = await live(await open(context, browser, server.url(), { reducedMotion: "reduce" }));
  await server.react("love");
  await page.waitForFunction(() => document.querySelector(".reaction").getAnimations().length === 1);
  await eventually(() => count(page, "love"), "1");
  const animated = await page.evaluate(() =>
    document.getAnimations().flatMap(({ effect }) => effect.getKeyframes().flatMap((frame) => Object.keys(frame))),
  );
  assert.ok(!animated.some((name) => ["scale", "transform", "translate"].includes(name)), `${animated}`);
  assert.equal(await painted(page), 0);
});

test("the stage shows counts and hearts but no controls", async (context) => {
  const server = await Server.start(context);
  for (let tap = 0; tap < 3; tap++) await server.react("clap", "Opening keynote");
  const page = await live(
    await open(context, browser, server.url("/r/Opening%20keynote?view=stage"), { viewport: { width: 1920, height: 1080 } }),
  );
  assert.equal(await page.locator("h1").textContent(), "Opening keynote");
  assert.equal(await total(page), "3");
  assert.equal(await page.locator("button:visible, a:visible, input:visible").count(), 0);
  assert.match(await page.locator("#join").textContent(), new RegExp(`${server.address}/r/Opening`));
  const size = await page.locator("#total").evaluate((it) => parseFloat(getComputedStyle(it).fontSize));
  assert.ok(size > 250, `${size} px are readable from the last row`);
  const fits = await page.evaluate(() => document.documentElement.scrollHeight <= innerHeight);
  assert.ok(fits, "everything fits on the screen");
});

test("the stage counts unknown kinds but does not show them", async (context) => {
  const server = await Server.start(context);
  await server.react("BOSS IS A CROOK");
  // Hearts are drawn as text, so the test records the text.
  const setup = (session) =>
    session.addInitScript(() => {
      window.drawn = new Set();
      for (const { prototype } of [CanvasRenderingContext2D, OffscreenCanvasRenderingContext2D]) {
        const { fillText } = prototype;
        prototype.fillText = function (text, ...rest) {
          drawn.add(text);
          return fillText.call(this, text, ...rest);
        };
      }
    });
  const page = await live(await open(context, browser, server.url("/r/talk?view=stage"), { setup }));
  await eventually(() => total(page), "1");
  await server.react("🖕");
  await server.react("BOSS IS A CROOK");
  await server.react("love");
  await eventually(() => total(page), "4");
  await eventually(async () => (await page.evaluate(() => [...drawn])).sort(), ["✨", "❤️"].sort());
  assert.ok(!(await page.locator("body").textContent()).includes("BOSS"));
  assert.equal(await page.locator("#others li").count(), 0);
});

test("kinds from the network are shown as text, up to a limit", async (context) => {
  const server = await Server.start(context);
  const kinds = ["<b>bold</b>", "<img src=x onerror=a>", "__proto__", "constructor", "مرحبا", "heart"];
  for (const kind of kinds) await server.react(kind);
  const page = await live(await open(context, browser, server.url()));
  await eventually(() => page.locator("#others li").count(), kinds.length);
  const shown = await page.locator("#others .kind").evaluateAll((all) => all.map((it) => it.title));
  assert.deepEqual(shown.sort(), [...kinds].sort());
  assert.equal(await page.locator("#others :is(b, img)").count(), 0);
  assert.equal(await total(page), String(kinds.length));
  for (let index = 0; index < 30; index++) await server.react(`kind ${index}`);
  await eventually(() => total(page), String(kinds.length + 30));
  await eventually(() => page.locator("#others li").count(), 13);
  assert.equal(await page.locator("#others li").last().textContent(), "and 24 more");
});

test("the server's kinds are the buttons", async (context) => {
  const server = await Server.start(context, "--kinds", "love,clap,<b>mind blown</b>,🚀");
  const page = await live(await open(context, browser, server.url()));
  const names = await page.locator("button.reaction").evaluateAll((all) => all.map((it) => it.firstChild.ariaLabel ?? it.firstChild.textContent));
  assert.deepEqual(names, ["love", "clap", "<b>mind blown</b>", "🚀"]);
  for (const name of names) await button(page, name).click();
  await eventually(() => server.counts(), Object.fromEntries(names.map((name) => [name, 1])));
  await flawless(page);
});

test("the page uses the first party", async (context) => {
  const server = await Server.start(context, "--party", "stage,other");
  const page = await live(await open(context, browser, server.url()));
  await button(page, "love").click();
  await eventually(async () => (await fetch(server.url("/parties/stage/talk"))).json(), { love: 1 });
});

test("screen readers get a summary every 15 seconds", async (context) => {
  const server = await Server.start(context);
  const setup = (session, page) => page.clock.install();
  const page = await live(await open(context, browser, server.url(), { setup }));
  const summary = page.locator("#summary");
  for (let tap = 0; tap < 3; tap++) await button(page, "love").click();
  await eventually(async () => (await server.counts())["love"], 3);
  await eventually(() => page.locator("#here").textContent(), "1 person here");
  assert.equal(await summary.textContent(), "");
  await page.clock.fastForward(15_000);
  assert.equal(await summary.textContent(), "3 reactions in this room. 1 person here");
  assert.equal(await summary.getAttribute("aria-live"), "polite");
});

test("the focus is visible", async (context) => {
  const server = await Server.start(context);
  const page = await live(await open(context, browser, server.url()));
  await page.bringToFront();
  for (const expected of ["brand", ...KINDS, "share", "second", "stage"]) {
    await page.keyboard.press("Tab");
    const seen = () =>
      page.evaluate(() => {
        const { id, firstChild } = document.activeElement;
        return [id || firstChild.ariaLabel, getComputedStyle(document.activeElement).outlineStyle];
      });
    await eventually(seen, [expected, "solid"]);
  }
});

test("the room can be shared and opened in a second window", async (context) => {
  const server = await Server.start(context);
  const page = await live(
    await open(context, browser, server.url("/r/a%2Fb%20c"), { permissions: ["clipboard-read", "clipboard-write"] }),
  );
  assert.equal(await page.locator("h1").textContent(), "a/b c");
  const share = page.getByRole("button", { name: "Share room" });
  await share.click();
  await page.getByRole("button", { name: "Link copied" }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), server.url("/r/a%2Fb%20c"));
  const [second] = await Promise.all([
    page.context().waitForEvent("page"),
    page.getByRole("link", { name: "Second window" }).click(),
  ]);
  await live(second);
  await button(second, "love").click();
  await eventually(() => count(page, "love"), "1");
  // Without TLS there may be no clipboard.
  await page.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined }));
  await share.click();
  const link = page.getByRole("textbox", { name: "Address of this room" });
  assert.equal(await link.inputValue(), server.url("/r/a%2Fb%20c"));
});

test("a stopped server and a refusal are reported", async (context) => {
  const server = await Server.start(context);
  const page = await live(await open(context, browser, server.url(), { expected: LOST }));
  const notice = () => page.locator("#notice").textContent();
  await server.kill();
  await eventually(notice, "Connection lost. Reconnecting…");
  await button(page, "love").click();
  await eventually(notice, "You are disconnected. 1 tap is saved and will be sent when you reconnect.");
  // The restarted server counts none of this page's kinds.
  await server.restart("--kinds", "other");
  await eventually(notice, "This server doesn't count this reaction.");
  assert.deepEqual(await server.counts(), {});
  await eventually(() => total(page), "0");
});

test("the notice about saved taps waits until the taps pause", async (context) => {
  const server = await Server.start(context);
  const page = await live(await open(context, browser, server.url(), { expected: LOST }));
  await server.kill();
  await page.locator('#state[data-state="waiting"]').waitFor();
  const notices = page.evaluate(() => {
    const texts = [];
    new MutationObserver(() => texts.push(document.getElementById("notice").textContent)).observe(
      document.getElementById("notice"),
      { childList: true, characterData: true, subtree: true },
    );
    for (let tap = 0; tap < 7; tap++) document.querySelector(".reaction").click();
    return new Promise((resolve) => {
      const timer = setInterval(() => {
        if (!texts.at(-1)?.includes("7 taps")) return;
        clearInterval(timer);
        resolve(texts);
      }, 20);
    });
  });
  const saved = (await notices).filter((text) => text.includes("saved"));
  assert.deepEqual(saved, ["You are disconnected. 7 taps are saved and will be sent when you reconnect."]);
  await server.restart();
  await live(page);
  await eventually(() => page.locator("#summary").textContent(), "You are back online.");
  assert.equal(await page.locator("#state").getAttribute("role"), null, "only the notice is announced");
});

test("a room name that is too long is reported", async (context) => {
  const server = await Server.start(context);
  const page = await open(context, browser, server.url(`/r/${"x".repeat(257)}`), { expected: LOST });
  const expected = "The name of this room is too long. Use a shorter name.";
  await eventually(() => page.locator("#notice").textContent(), expected);
  assert.equal(await page.locator("#state").getAttribute("data-state"), "closed");
});

test("only the server's own scripts run", async (context) => {
  const server = await Server.start(context);
  const page = await live(await open(context, browser, server.url(), { expected: [/Content Security Policy|Trusted(HTML|Script)/] }));
  const ran = await page.evaluate(async (elsewhere) => {
    const inline = document.createElement("script");
    try {
      inline.textContent = "window.ran = true";
      document.head.append(inline);
    } catch {}
    let markup = true;
    try {
      document.body.insertAdjacentHTML("beforeend", "<i></i>");
    } catch {
      markup = false;
    }
    const fetched = await fetch(elsewhere).then(() => true, () => false);
    return { ran: window.ran ?? false, markup, fetched };
  }, "http://127.0.0.1:9/");
  assert.deepEqual(ran, { ran: false, markup: false, fetched: false });
});

test("the page is small and paints quickly", async (context) => {
  const server = await Server.start(context);
  const session = await browser.newContext();
  context.after(() => session.close());
  const page = await session.newPage();
  const devtools = await session.newCDPSession(page);
  await devtools.send("Network.enable");
  let bytes = 0;
  devtools.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  const paints = [];
  for (let round = 0; round < 5; round++) {
    bytes = 0;
    await devtools.send("Network.clearBrowserCache");
    await page.goto(server.url());
    await live(page);
    paints.push(await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime));
    assert.ok(bytes > 5000 && bytes <= 30 * 1024, `${bytes} bytes`);
  }
  const paint = paints.sort((one, other) => one - other)[2];
  context.diagnostic(`${bytes} bytes over the wire; first paint after ${Math.round(paint)} ms (median of 5)`);
  assert.ok(paint < 200, `first paints after ${paints} ms`);
});

test("frames are on time at 1,000 reactions a second", async (context) => {
  const server = await Server.start(context);
  const page = await live(await open(context, browser, server.url()));
  const frames = (seconds) =>
    page.evaluate(
      (milliseconds) =>
        new Promise((resolve) => {
          const times = [];
          let last;
          const end = performance.now() + milliseconds;
          requestAnimationFrame(function frame(now) {
            if (last) times.push(now - last);
            last = now;
            if (now < end) requestAnimationFrame(frame);
            else resolve(times.sort((one, other) => one - other));
          });
        }),
      seconds * 1000,
    );
  const p95 = (times) => times[Math.floor(times.length * 0.95)];
  const idle = p95(await frames(1));
  const stop = await server.crowd(KINDS, 1000);
  await eventually(async () => (await painted(page)) > 20, true);
  const busy = await frames(5);
  const covered = await painted(page);
  const sent = stop();
  await eventually(() => painted(page), 0);
  const [burst] = await Promise.all([frames(2), server.burst(KINDS, 500)]);
  context.diagnostic(
    `frames: p95 ${p95(busy).toFixed(1)} ms, median ${busy[busy.length >> 1].toFixed(1)} ms of ${busy.length} with ` +
      `${sent} reactions in all, ${covered.toFixed()} % of the sky painted; p95 ${idle.toFixed(1)} ms with none; ` +
      `p95 ${p95(burst).toFixed(1)} ms with 500 at once, the longest ${burst.at(-1).toFixed(1)} ms`,
  );
  // On an idle machine it is 17 ms. Here the browser draws in software and shares its cores with the
  // server and the crowd, so two frames may be late.
  for (const times of [busy, burst]) assert.ok(p95(times) < 51, `p95 is ${p95(times)} ms`);
  const median = busy[busy.length >> 1];
  assert.ok(median < 20, `the median is ${median} ms`);
  await eventually(() => total(page), new Intl.NumberFormat("en-US").format(sent + 500));
});

for (const colorScheme of ["dark", "light"]) {
  test(`the page is accessible, ${colorScheme}`, async (context) => {
    const server = await Server.start(context);
    const room = "Opening keynote";
    const path = `/r/${encodeURIComponent(room)}`;
    for (const [target, name, size] of [
      [path, "desktop", { width: 1280, height: 800 }],
      [path, "phone", { width: 390, height: 844 }],
      [`${path}?view=stage`, "stage", { width: 1920, height: 1080 }],
    ]) {
      const options = { colorScheme, viewport: size, deviceScaleFactor: name === "phone" ? 2 : 1 };
      const page = await live(await open(context, browser, server.url(target), options));
      await flawless(page);
      await picture(page, `${name}-${colorScheme}-quiet`);
      const reactions = async () => Number((await total(page)).replace(/\D/g, ""));
      const before = await reactions();
      const crowd = ["love", "love", "love", "love", "clap", "clap", "clap", "party", "party", "laugh", "fire", "🚀"];
      const stop = await server.crowd(crowd, 120, room);
      // By then, the first hearts have reached the top.
      await eventually(async () => (await reactions()) >= before + 300, true);
      await picture(page, `${name}-${colorScheme}`);
      stop();
      await page.close();
    }
  });
}
