// The page and the stage in many windows, with long names, large counts and many kinds. These tests
// measure where text is, and compare no pictures.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Server, binary, browser as launch, flawless, live, open, picture } from "./support.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

const TITLE = "Keynote: Real-time systems that never lie, or how we learned to count every tap once, and what the audience did to us next: live";
const NAMES = ["Opening keynote", TITLE.slice(0, 125), "w".repeat(200), "الكلمة الافتتاحية للمؤتمر السنوي", "🎉👩‍💻❤️‍🔥 party 🎉", "x"];
const PICTURES = ["love", "clap", "party", "laugh", "fire", "wow", "sad", "rocket", "star", "think", "yes", "no"];
const WORDS = ["Zusammengehörigkeitsgefühl", "mind blown", "شكرا جزيلا لكم", "W".repeat(32), "👨‍👩‍👧‍👦", "a b", "🇩🇪🇫🇷", "that is exactly what I think too"];
const LARGE = [123_456_789_012, 999_999_999_999, 999_999, 100_000, 12_345, 1];

/** Widths and heights. The first is a window of 1280 × 1024 at a zoom of 400 %. */
const STAGES = [[320, 256], [320, 568], [844, 390], [1024, 768], [1080, 1920], [1366, 768], [1920, 480], [1920, 1080], [3840, 2160]];
const PAGES = [[320, 256], [320, 568], [360, 740], [390, 844], [844, 390], [768, 1024], [1366, 768], [1920, 1080], [3840, 2160]];

/** Starts a server whose rooms have counted `kinds`, as often as `counts` says. */
async function filled(context, kinds, counts, ...more) {
  const directory = await mkdtemp(join(tmpdir(), "ovation-"));
  context.after(() => rm(directory, { recursive: true }));
  const snapshot = join(directory, "filled.snapshot");
  const entries = kinds.map((kind, index) => [kind, counts[index % counts.length]]);
  const lines = NAMES.map((room) => JSON.stringify({ party: "main", room, counts: Object.fromEntries(entries) }));
  execFileSync(binary, ["snapshot", "import", snapshot], { input: `${lines.join("\n")}\n` });
  return Server.start(context, "--kinds", kinds.join(","), "--snapshot", snapshot, ...more);
}

/**
 * Returns what is wrong with the layout: text outside of the window, cut off or over other text,
 * and things that scroll.
 */
const faults = (page, options = {}) =>
  page.evaluate(async ({ isStage, hasBackplates }) => {
    // The layout is fitted before the next frame.
    for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
    const found = [];
    const { documentElement: root } = document;
    if (root.scrollWidth > innerWidth) found.push(`the page is ${root.scrollWidth} px wide`);
    if (isStage && root.scrollHeight > innerHeight) found.push(`the page is ${root.scrollHeight} px high`);
    for (const it of document.querySelectorAll("main, section, #reactions, body"))
      if (isStage && (it.scrollHeight > it.clientHeight + 1 || it.scrollWidth > it.clientWidth + 1) && it.clientHeight)
        found.push(`${it.id || it.tagName} scrolls`);
    const texts = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode;
      const parent = node.parentElement;
      if (!node.data.trim() || parent.closest("#summary, noscript") || !parent.checkVisibility({ visibilityProperty: true })) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      // The space that letters take, which is also the backplate in forced colours.
      let box = range.getBoundingClientRect();
      const { fontSize } = getComputedStyle(parent);
      const clamped = parent.closest("[data-shrink]");
      const block = parent.closest(".reaction, [data-shrink], #total, #captions span, #others li, #notice, footer > *, header > *");
      const cut = clamped?.style.webkitLineClamp ? clamped : parent.closest("#brand span, .kind");
      if (cut) {
        // What comes after the ellipsis is hidden.
        const { left, top, right, bottom } = cut.getBoundingClientRect();
        box = { left: Math.max(left, box.left), top: Math.max(top, box.top), right: Math.min(right, box.right), bottom: Math.min(bottom, box.bottom) };
      }
      texts.push({ text: node.data.slice(0, 20), block, box, slack: hasBackplates ? 1 : parseFloat(fontSize) * 0.16 });
      if (parseFloat(fontSize) < 7.9) found.push(`${node.data.slice(0, 20)}: ${fontSize}`);
    }
    const name = ({ text, box }) => `“${text}” (${[box.left, box.top, box.right, box.bottom].map(Math.round)})`;
    for (const it of texts) {
      const { box, slack } = it;
      if (box.left < -1 || box.right > innerWidth + 1) found.push(`${name(it)} is outside of the window`);
      if (isStage && (box.top < -slack || box.bottom > innerHeight + slack)) found.push(`${name(it)} is above or below the window`);
      const tile = it.block?.matches(".reaction") && it.block.getBoundingClientRect();
      if (tile && (box.left < tile.left || box.right > tile.right || box.top < tile.top - slack || box.bottom > tile.bottom + slack))
        found.push(`${name(it)} leaves its tile`);
    }
    for (const [index, one] of texts.entries())
      for (const two of texts.slice(index + 1)) {
        if (one.block && one.block === two.block && !one.block.matches(".reaction")) continue;
        const slack = one.slack + two.slack;
        const across = Math.min(one.box.right, two.box.right) - Math.max(one.box.left, two.box.left);
        const down = Math.min(one.box.bottom, two.box.bottom) - Math.max(one.box.top, two.box.top);
        if (across > 1 && down > slack) found.push(`${name(one)} is over ${name(two)}`);
      }
    const boxes = [...document.querySelectorAll(".reaction, #join, #qr svg")].filter((it) => it.checkVisibility());
    for (const it of boxes) {
      const box = it.getBoundingClientRect();
      if (box.left < -1 || box.right > innerWidth + 1 || (isStage && (box.top < -1 || box.bottom > innerHeight + 1)))
        found.push(`${it.id || it.className || it.tagName} is outside of the window`);
    }
    const tiles = boxes.filter((it) => !it.closest("#qr")).map((it) => it.getBoundingClientRect());
    for (const [index, one] of tiles.entries())
      for (const two of tiles.slice(index + 1))
        if (Math.min(one.right, two.right) - Math.max(one.left, two.left) > 1 && Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top) > 1)
          found.push("two tiles overlap");
    if (isStage && !document.getElementById("join").checkVisibility()) found.push("the address is hidden");
    return found;
  }, options);

const path = (name, query = "") => `/r/${encodeURIComponent(name)}${query}`;

for (const [title, kinds, counts, ...more] of [
  ["one kind", PICTURES.slice(0, 1), LARGE],
  ["five kinds", PICTURES.slice(0, 5), LARGE],
  ["twelve kinds", PICTURES, LARGE],
  ["words", WORDS, LARGE],
  ["small counts, a site's name", PICTURES.slice(0, 3), [0, 7, 1234], "--brand-name", "The International Conference on Reliable Systems of the W"],
]) {
  test(`the stage and the page fit any window: ${title}`, async (context) => {
    const server = await filled(context, kinds, counts, ...more);
    const isThorough = title === "five kinds";
    for (const [views, query] of [[STAGES, "?view=stage"], [STAGES, "?view=stage&qr=off"], [PAGES, ""]]) {
      const isStage = query !== "";
      for (const name of isThorough ? NAMES : NAMES.slice(1, 2)) {
        const page = await live(await open(context, browser, server.url(path(name, query))));
        for (const [width, height] of views) {
          await page.setViewportSize({ width, height });
          const found = await faults(page, { isStage });
          assert.deepEqual(found, [], `${width} × ${height}, ${name.slice(0, 20)}, ${query}`);
        }
        await page.close();
      }
    }
  });
}

for (const colorScheme of ["dark", "light"]) {
  test(`nothing is hidden in forced colours, ${colorScheme}`, async (context) => {
    const server = await filled(context, PICTURES.slice(0, 5), LARGE);
    for (const [target, isStage] of [[path(NAMES[0]), false], [path(NAMES[0], "?view=stage"), true], [path(NAMES[1], "?view=stage"), true]]) {
      const page = await live(await open(context, browser, server.url(target), { forcedColors: "active", colorScheme }));
      for (const [width, height] of [[390, 844], [1366, 768], [1920, 1080]]) {
        await page.setViewportSize({ width, height });
        assert.deepEqual(await faults(page, { isStage, hasBackplates: true }), [], `${width} × ${height}, ${target}`);
      }
      await flawless(page);
      await page.close();
    }
  });

  test(`pictures of the longest texts, ${colorScheme}`, async (context) => {
    const server = await filled(context, WORDS, LARGE);
    for (const [target, name, size] of [
      [path(NAMES[1], "?view=stage"), "stage-full", { width: 1920, height: 1080 }],
      [path(NAMES[1], "?view=stage"), "stage-portrait-full", { width: 1080, height: 1920 }],
      [path(NAMES[2]), "phone-full", { width: 390, height: 844 }],
      [path(NAMES[1]), "zoom-full", { width: 320, height: 256 }],
    ]) {
      const page = await live(await open(context, browser, server.url(target), { colorScheme, viewport: size }));
      await flawless(page);
      await picture(page, `${name}-${colorScheme}`);
      await page.close();
    }
  });
}
