// Access tokens in pages: the element fetches a new one, and the room's page hides its own.
import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Server, browser as launch, eventually, live, open, site } from "./support.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

const secret = randomBytes(24).toString("base64url");

/** A token for the room `talk` that holds for `seconds`. */
function token(seconds) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { channel: "main/talk", exp: Math.floor(Date.now() / 1000) + seconds };
  const message = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${message}.${createHmac("sha256", secret).update(message).digest("base64url")}`;
}

/** Starts a server whose clients need tokens. */
async function start(context) {
  const directory = await mkdtemp(join(tmpdir(), "ovation-"));
  context.after(() => rm(directory, { recursive: true }));
  const file = join(directory, "secret");
  await writeFile(file, secret, { mode: 0o600 });
  return Server.start(context, "--token-secret-file", file);
}

/** The counts of the room. */
async function counts(server) {
  const headers = { Authorization: `Bearer ${token(60)}` };
  return (await fetch(server.url("/party/talk"), { headers })).json();
}

test("the element comes back with a new token when its token expires", async (context) => {
  const server = await start(context);
  const page = `<!doctype html><html lang="en"><meta charset="utf-8"><title>A talk</title><link rel="icon" href="data:,">
    <ovation-reactions room="talk" kinds="clap"></ovation-reactions>
    <script>document.querySelector("ovation-reactions").token = () => newToken();</script>
    <script type="module" src="${server.url("/ovation.js")}"></script></html>`;
  const foreign = await site(context, { "/": ["text/html", page] });
  let fetched = 0;
  const states = [];
  const setup = async (session) => {
    await session.exposeFunction("newToken", () => token(++fetched === 1 ? 4 : 600));
    await session.exposeFunction("note", (state) => states.push(state));
    await session.addInitScript(() => addEventListener("ovation:state", ({ detail }) => note(detail.state)));
  };
  const tab = await open(context, browser, foreign, { allowed: [server.address], setup });
  const button = tab.getByRole("button", { name: "clap" });
  await button.click();
  await eventually(() => counts(server), { clap: 1 });
  await eventually(() => fetched, 2);
  await eventually(() => states.at(-1), "open");
  await button.click();
  await eventually(() => counts(server), { clap: 2 });
  assert.ok(states.includes("waiting") && !states.includes("refused"), states.join());
});

test("the room's page takes its token out of the address and keeps it", async (context) => {
  const server = await start(context);
  const tab = await open(context, browser, server.url(`/r/talk?title=Talk&token=${token(600)}`));
  await live(tab);
  assert.equal(tab.url(), server.url("/r/talk?title=Talk"));
  await tab.reload();
  await live(tab);
  assert.equal(tab.url(), server.url("/r/talk?title=Talk"));
});

test("a page without a token says so", async (context) => {
  const server = await start(context);
  const tab = await open(context, browser, server.url("/r/talk"));
  await tab.locator('#state[data-state="refused"]').waitFor({ state: "attached" });
  assert.match(await tab.locator("body").innerText(), /new link/);
});
