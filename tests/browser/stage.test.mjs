// What an organiser chooses for a talk: the code on the stage, a title, the site's look, the overlay.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import jsqr from "jsqr";
import { qrRows } from "../../src/web/room/qr.js";
import { decode } from "./png.mjs";
import { Server, binary, browser as launch, eventually, flawless, live, open, picture } from "./support.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

const STAGE = { viewport: { width: 1920, height: 1080 } };

/** What a reader of QR codes finds in the code on a page. */
async function scan(page) {
  await page.locator("#qr svg").waitFor();
  const { data, width, height } = decode(await page.locator("#qr").screenshot());
  return jsqr(data, width, height)?.data;
}

test("another decoder reads the codes", () => {
  for (let length = 1; length <= 1270; length += length < 20 ? 1 : 47) {
    const text = Array.from({ length }, (_, index) => String.fromCharCode(33 + ((index * 7 + length) % 90))).join("");
    const rows = qrRows(text);
    // The decoder doesn't read codes of this size, whoever made them.
    if (rows.length === 109) continue;
    const size = rows.length + 8;
    const image = new Uint8ClampedArray(size * 3 * size * 3 * 4).fill(255);
    for (let y = 0; y < size * 3; y++)
      for (let x = 0; x < size * 3; x++)
        if (rows[Math.floor(y / 3) - 4]?.[Math.floor(x / 3) - 4]) image.fill(0, (y * size * 3 + x) * 4, (y * size * 3 + x) * 4 + 3);
    assert.equal(jsqr(image, size * 3, size * 3)?.data, text, `${length} bytes`);
  }
  assert.equal(qrRows("x".repeat(1300)), undefined);
});

test("the codes are those of another encoder", () => {
  // Made by the npm package qrcode 1.5.4: versions 1 (level M) and 7 (level M).
  assert.deepEqual(qrRows("ovation").map((row) => row.join("")), VECTOR);
  const large = qrRows("https://talks.example/r/a-room-with-a-long-name-for-version-seven?title=The%20closing%20keynote%20of%20the%20year");
  assert.equal(large.map((row) => parseInt(row.join(""), 2).toString(36)).join(" "), LARGE_VECTOR);
});

test("the code on the stage has the address", async (context) => {
  const server = await Server.start(context);
  for (const [target, expected] of [
    ["/r/Opening%20keynote?view=stage", "/r/Opening%20keynote"],
    ["/?view=stage&room=%D9%85%D8%B1%D8%AD%D8%A8%D8%A7", "/r/%D9%85%D8%B1%D8%AD%D8%A8%D8%A7"],
    ["/r/talk-1?view=stage&title=Systems+that+never+lie", "/r/talk-1?title=Systems+that+never+lie"],
    [`/r/talk-1?view=stage&title=${"long".repeat(40)}`, "/r/talk-1"],
    [`/r/${"w".repeat(200)}?view=stage`, `/r/${"w".repeat(200)}`],
  ])
    for (const options of [STAGE, { viewport: { width: 1080, height: 1920 } }, { ...STAGE, forcedColors: "active" }]) {
      const page = await live(await open(context, browser, server.url(target), options));
      assert.equal(await scan(page), server.url(expected));
      assert.equal(await page.getByRole("img", { name: "QR code of" }).count(), 1);
      await page.close();
    }
  const page = await live(await open(context, browser, server.url("/r/talk?view=stage&qr=off"), STAGE));
  assert.equal(await page.locator("#qr").isVisible(), false);
  assert.ok((await page.locator("#join").textContent()).includes(`${server.address}/r/talk`));
});

test("a title is shown in place of the room's name, as text", async (context) => {
  const server = await Server.start(context);
  const title = "<b>Keynote</b>: \u202eevil\n\tTitle";
  const query = `title=${encodeURIComponent(title)}&theme=light`;
  const page = await live(await open(context, browser, server.url(`/r/talk-1?${query}`)));
  const shown = "<b>Keynote</b>: \u202eevil Title";
  assert.equal(await page.locator("h1").textContent(), shown);
  assert.equal(await page.locator("h1 bdi b").count(), 0);
  assert.equal(await page.title(), `${shown} · Ovation`);
  const stage = await live(await open(context, browser, await page.locator("#stage").evaluate((it) => it.href)));
  assert.equal(await stage.locator("h1").textContent(), shown);
  assert.equal(await stage.evaluate(() => document.documentElement.dataset.theme), "light");
  assert.match(await stage.locator("#join-address").textContent(), /\/r\/talk-1$/);
  await page.locator(".reaction").first().click();
  await eventually(() => server.counts("talk-1"), { love: 1 });
  const long = await live(await open(context, browser, server.url(`/r/talk-1?title=${"x".repeat(500)}`)));
  assert.equal((await long.locator("h1").textContent()).length, 150);
});

const background = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
const DARK = "rgb(14, 11, 20)";
const LIGHT = "rgb(251, 247, 242)";

test("the theme follows the device, the setting, or the link", async (context) => {
  for (const [setting, expected] of [["auto", [DARK, LIGHT]], ["light", [LIGHT, LIGHT]], ["dark", [DARK, DARK]]]) {
    const server = await Server.start(context, "--theme", setting);
    for (const [index, colorScheme] of ["dark", "light"].entries()) {
      const page = await live(await open(context, browser, server.url(), { colorScheme }));
      assert.equal(await background(page), expected[index], `${setting}, ${colorScheme}`);
      for (const [theme, color] of [["light", LIGHT], ["dark", DARK]]) {
        await page.goto(server.url(`/?theme=${theme}`));
        await eventually(() => background(page), color);
      }
    }
  }
});

const LOGO = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20"><script>document.title = "ran"</script><rect width="40" height="20" fill="#0a7cff"/></svg>';

test("a site's name, logo and any colour are readable", async (context) => {
  const directory = await mkdtemp(join(tmpdir(), "ovation-"));
  context.after(() => rm(directory, { recursive: true }));
  const logo = join(directory, "logo.svg");
  await writeFile(logo, LOGO);
  for (const color of ["#0a7cff", "#ffff00", "#000"]) {
    const server = await Server.start(context, "--brand-name", "Talks & <Things>", "--brand-logo", logo, "--brand-color", color);
    for (const colorScheme of ["dark", "light"])
      for (const target of ["/r/talk", "/r/talk?view=stage", "/r/talk?view=stage&qr=off"]) {
        const page = await live(await open(context, browser, server.url(target), { colorScheme }));
        const brand = page.locator("#brand");
        assert.equal(await brand.textContent(), "Talks & <Things>");
        assert.ok(await brand.isVisible(), target);
        assert.ok(await brand.locator("img").evaluate((it) => it.naturalWidth > 0), "the logo is shown");
        assert.equal(await page.title(), "talk · Talks & <Things>");
        await flawless(page);
        if (color === "#0a7cff" && !target.includes("off")) await picture(page, `brand-${target.includes("stage") ? "stage" : "room"}-${colorScheme}`);
        await page.close();
      }
  }
});

test("a logo runs no script, even when it is opened as a document", async (context) => {
  const directory = await mkdtemp(join(tmpdir(), "ovation-"));
  context.after(() => rm(directory, { recursive: true }));
  const logo = join(directory, "logo.png");
  await writeFile(logo, LOGO);
  const server = await Server.start(context, "--brand-logo", logo);
  const page = await open(context, browser, server.url("/pages/logo"), { expected: [/Content Security Policy|sandbox/] });
  assert.equal(await page.title(), "");
  const { headers } = await fetch(server.url("/pages/logo"));
  assert.equal(headers.get("content-type"), "image/svg+xml");
  assert.equal(headers.get("x-content-type-options"), "nosniff");
});

test("bad settings of the look are refused with a reason", async (context) => {
  const directory = await mkdtemp(join(tmpdir(), "ovation-"));
  context.after(() => rm(directory, { recursive: true }));
  const large = join(directory, "large.png");
  await writeFile(large, Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), Buffer.alloc(200_000)]));
  const page = join(directory, "page.svg");
  await writeFile(page, "<html></html>");
  for (const [flag, value, reason] of [
    ["--brand-color", "red", "write a colour as #rrggbb or #rgb"],
    ["--brand-name", "x".repeat(61), "longer than 60 characters"],
    ["--brand-logo", join(directory, "none.png"), "can't read the file"],
    ["--brand-logo", directory, "not a regular file"],
    ["--brand-logo", large, "larger than 128 KiB"],
    ["--brand-logo", page, "not SVG, PNG, JPEG or WebP"],
    ["--theme", "blue", "light, dark"],
  ]) {
    const run = promisify(execFile)(binary, ["--no-snapshot", flag, value], { cwd: directory });
    const { code, stderr } = await run.then(() => ({ code: 0 }), (error) => error);
    assert.equal(code, 2, `${flag} ${value}`);
    assert.ok(stderr.includes(flag) && stderr.includes(reason), stderr);
  }
});

test("the overlay has counts and hearts over nothing", async (context) => {
  const server = await Server.start(context);
  await server.burst(["love", "clap"], 2468);
  await eventually(async () => (await server.counts()).love, 1234);
  for (const viewport of [{ width: 800, height: 120 }, { width: 400, height: 900 }, { width: 1920, height: 1080 }]) {
    const page = await live(await open(context, browser, server.url("/r/talk?view=overlay"), { viewport, colorScheme: "dark" }));
    await eventually(() => page.locator(".reaction .count").first().textContent(), "1,234");
    const visible = await page.evaluate(() =>
      [...document.querySelectorAll("body *")].filter((it) => it.checkVisibility() && it.childElementCount === 0 && it.textContent.trim() && !it.closest("#summary, noscript")).map((it) => it.className),
    );
    assert.deepEqual([...new Set(visible)].sort(), ["count", "picture"]);
    assert.equal(await page.locator("button:visible, a:visible, input:visible").count(), 0);
    const scrolls = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth || document.documentElement.scrollHeight > innerHeight);
    assert.equal(scrolls, false);
    const boxes = await page.locator(".reaction").evaluateAll((all) => all.map((it) => it.getBoundingClientRect().toJSON()));
    for (const { left, top, right, bottom } of boxes)
      assert.ok(left >= 0 && top >= 0 && right <= viewport.width && bottom <= viewport.height, JSON.stringify(boxes));
    const [{ left, top, height }] = boxes;
    const alpha = async (x, y) => {
      const clip = { x, y, width: 1, height: 1 };
      return decode(await page.screenshot({ omitBackground: true, clip })).data[3];
    };
    assert.equal(await alpha(2, 2), 0, "the background is transparent");
    assert.ok((await alpha(Math.round(left + 40), Math.round(top + height / 2))) > 200, "the counts are not");
    if (viewport.width === 1920) {
      await server.react("love");
      await eventually(
        () =>
          page.evaluate(() => {
            const context = new OffscreenCanvas(400, 200).getContext("2d", { willReadFrequently: true });
            context.drawImage(document.getElementById("sky"), 0, 0, 400, 200);
            return context.getImageData(0, 0, 400, 200).data.some((value) => value > 0);
          }),
        true,
      );
      await picture(page, "overlay");
    }
    await page.close();
  }
});

const VECTOR = [
  "111111101001101111111",
  "100000101111001000001",
  "101110101100101011101",
  "101110100101001011101",
  "101110101011101011101",
  "100000100010001000001",
  "111111101010101111111",
  "000000000100000000000",
  "100111111001010010111",
  "000000001101110011110",
  "101011110001100101011",
  "100000000000111000111",
  "110000100011111001000",
  "000000001010111010110",
  "111111101001000011100",
  "100000101100001101110",
  "101110101110011010011",
  "101110101100111000100",
  "101110100101110011111",
  "100000100011100101111",
  "111111101100110100000",
];
const LARGE_VECTOR =
  "cdygvm3cv 6c89gdv0h 93dkoji3h 936eptgt9 935ad4kt9 6d4mk9rnl cenaj8hhb 1kh0log0 99gwfopz0 9l0wmjdwf 2h6ifbd2i 5cegr3u8s 28whruxlt axrdn28qn 4lgjy44f6 4cwjsficf 70agdatqb 302v6v7vj bt8ei3hp2 5nuhs0o5a aw7m183qq 88bqbu8tb 8b5j580gm 8zlpj1use 9cdhmx52z 44fwj88wx 40a646i7i e73vs2gu 6se1bghug 2jlqem9n1 84uits84u 6fnxvwup9 38cf9y7mb 8n9387yy5 jm7la70u 5vu8pwuh3 7jp3m3zsg xzddhjx ce0nc7jo4 6dento7xa 93hifc54r 934ml6927 93ex42obq 6cmto1sjg ceqlj3v0y";
