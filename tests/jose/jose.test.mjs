// Tokens made by Node's jose, against `ovation token check` and against a running server.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { createHmac, generateKeyPair, randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { SignJWT, UnsecuredJWT, exportJWK } from "jose";
import WebSocket from "ws";

const binary = process.env.OVATION ?? new URL("../../target/debug/ovation", import.meta.url).pathname;
const generate = promisify(generateKeyPair);
const home = await mkdtemp(join(tmpdir(), "ovation-"));
after(() => rm(home, { recursive: true }));

const now = Math.floor(Date.now() / 1000);
const secret = randomBytes(32).toString("base64url");
const pairs = {
  RS256: await generate("rsa", { modulusLength: 2048 }),
  ES256: await generate("ec", { namedCurve: "P-256" }),
  EdDSA: await generate("ed25519"),
};
const pem = (key) => key.export({ type: "spki", format: "pem" });

/** The flags by which a server is given a key, by the key's name. */
const flags = {
  HS256: ["--token-secret-file", join(home, "secret")],
  set: ["--token-key-file", join(home, "set.json")],
};

before(async () => {
  await writeFile(join(home, "secret"), `${secret}\n`);
  await chmod(join(home, "secret"), 0o600);
  const keys = [];
  for (const [alg, { publicKey }] of Object.entries(pairs)) {
    const path = join(home, `${alg}.pem`);
    await writeFile(path, pem(publicKey));
    await chmod(path, 0o644);
    flags[alg] = ["--token-key-file", path];
    keys.push({ ...(await exportJWK(publicKey)), kid: alg, alg, use: "sig" });
  }
  await writeFile(join(home, "set.json"), JSON.stringify({ keys }));
  await chmod(join(home, "set.json"), 0o644);
});

const claims = (changes) => ({ channel: "main/talk", sub: "42", iat: now, exp: now + 3600, ...changes });
const sign = (alg, changes, { kid, key, name = alg } = {}) =>
  new SignJWT(claims(changes))
    .setProtectedHeader({ alg: name, ...(kid && { kid }) })
    .sign(key ?? (alg === "HS256" ? Buffer.from(secret) : pairs[alg].privateKey));

/** What `ovation token check` says of a token for the room main/talk, and its exit code. */
async function check(flags, token) {
  const run = promisify(execFile)(binary, ["token", "check", ...flags, "--room", "main/talk", token]);
  const { stdout, stderr, code = 0 } = await run.catch((error) => error);
  return { code, text: stdout + stderr };
}

/** Calls `use` with the base address of a server. */
async function withServer(flags, use) {
  const directory = await mkdtemp(join(tmpdir(), "ovation-"));
  const args = ["--listen", "127.0.0.1:0", "--no-admin", ...flags];
  const server = spawn(binary, args, { cwd: directory, stdio: ["ignore", "pipe", "inherit"] });
  try {
    const [line] = await once(createInterface(server.stdout), "line");
    await use(`http://${line.split(" ").at(-1)}/party/talk`);
  } finally {
    server.kill("SIGKILL");
    await rm(directory, { recursive: true });
  }
}

const status = async (url, token, options) =>
  (await fetch(url, { ...options, headers: { Authorization: `Bearer ${token}` } })).status;

test("each algorithm is accepted with its key and with no other", async () => {
  for (const alg of ["HS256", ...Object.keys(pairs)]) {
    const token = await sign(alg);
    for (const [name, flag] of Object.entries(flags)) {
      const { code, text } = await check(flag, token);
      assert.equal(code, name === alg ? 0 : 1, `${alg} with ${name}: ${text}`);
    }
    if (alg === "HS256") continue;
    // The keys of the set are chosen by kid.
    assert.equal((await check(flags.set, await sign(alg, {}, { kid: alg }))).code, 0, alg);
    assert.equal((await check(flags.set, await sign(alg, {}, { kid: "another" }))).code, 1, alg);
  }
  // RFC 9864 has a second name for EdDSA.
  const token = await sign("EdDSA", {}, { name: "Ed25519" });
  assert.equal((await check(flags.EdDSA, token)).code, 0);
});

test("claims are checked by the command and by the server", async () => {
  await withServer(flags.HS256, async (url) => {
    for (const [changes, expected, says] of [
      [{}, 200, "accepted"],
      [{ exp: now - 1 }, 401, "expired"],
      [{ expire_at: now - 1 }, 401, "expired"],
      [{ expire_at: 0 }, 200, "without end"],
      [{ exp: undefined }, 200, "without end"],
      [{ nbf: now + 3600 }, 401, "not hold yet"],
      [{ channel: "main/other" }, 403, "another room"],
      [{ channel: "main/*" }, 200, "accepted"],
      [{ channel: "main/ta*" }, 200, "accepted"],
      [{ channel: "main/to*" }, 403, "another room"],
      [{ channel: undefined }, 401, "claims"],
      [{ channel: 1 }, 401, "claims"],
      [{ aud: "ovation" }, 401, "audience"],
      [{ caps: ["watch"] }, 200, "may watch in"],
    ]) {
      const token = await sign("HS256", changes);
      const label = JSON.stringify(changes);
      assert.equal(await status(url, token), expected, label);
      const { code, text } = await check(flags.HS256, token);
      assert.equal(code, expected === 200 ? 0 : 1, `${label}: ${text}`);
      assert.ok(text.includes(says), `${label}: ${text}`);
    }
    const react = (token) => status(url, token, { method: "POST", body: '{"kind":"love"}' });
    assert.equal(await react(await sign("HS256")), 200);
    assert.equal(await react(await sign("HS256", { caps: ["react"] })), 200);
    assert.equal(await react(await sign("HS256", { caps: ["watch"] })), 403);
  });
});

test("forged tokens are refused", async () => {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  for (const [alg, { publicKey }] of Object.entries(pairs)) {
    const message = `${encode({ alg: "HS256" })}.${encode(claims())}`;
    const signature = createHmac("sha256", pem(publicKey)).update(message).digest("base64url");
    const { code, text } = await check(flags[alg], `${message}.${signature}`);
    assert.equal(code, 1, text);
    assert.ok(text.includes("algorithm"), text);
  }
  const unsigned = new UnsecuredJWT(claims()).encode();
  for (const flag of Object.values(flags)) assert.equal((await check(flag, unsigned)).code, 1);
  const other = await generate("ec", { namedCurve: "P-256" });
  const { text } = await check(flags.ES256, await sign("ES256", {}, { key: other.privateKey }));
  assert.ok(text.includes("signature"), text);
});

test("a page's WebSocket brings its token as a subprotocol", async () => {
  await withServer(flags.ES256, async (url) => {
    const protocols = ["ovation", `ovation.token.${await sign("ES256")}`];
    const socket = new WebSocket(url.replace("http", "ws"), protocols);
    const { data } = await new Promise((resolve) => (socket.onmessage = resolve));
    assert.equal(data, "{}");
    assert.equal(socket.protocol, "ovation");
    socket.close();
  });
});
