// PartyKit's unchanged client with the real server: it reacts, receives, and reconnects by itself
// after the server is killed and restarted, with the counts intact.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import PartySocket from "partysocket";
import WebSocket from "ws";

const binary = process.env.OVATION ?? new URL("../../target/debug/ovation", import.meta.url).pathname;

async function start(directory, address) {
  const server = spawn(binary, ["--listen", address], { cwd: directory, stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(createInterface(server.stdout), "line");
  return { server, address: line.split(" ").at(-1) };
}

/** Resolves to the next counts for which `isWanted` is true. */
function counts(socket, isWanted) {
  return new Promise((resolve) => {
    socket.addEventListener("message", function listen(event) {
      const counts = JSON.parse(event.data);
      if (isWanted(counts)) {
        socket.removeEventListener("message", listen);
        resolve(counts);
      }
    });
  });
}

test("partysocket reacts, receives and reconnects", { timeout: 30_000 }, async (context) => {
  const directory = await mkdtemp(join(tmpdir(), "ovation-"));
  let { server, address } = await start(directory, "127.0.0.1:0");
  const socket = new PartySocket({ host: address, room: "talk", WebSocket });
  context.after(async () => {
    socket.close();
    server.kill("SIGKILL");
    await rm(directory, { recursive: true });
  });

  assert.deepEqual(await counts(socket, () => true), {});
  const seen = counts(socket, (counts) => counts.love === 1);
  socket.send(JSON.stringify({ kind: "love" }));
  await seen;

  const closed = once(socket, "close");
  const again = counts(socket, () => true);
  const ended = once(server, "exit");
  server.kill("SIGKILL");
  // The snapshot is locked until the process has ended.
  await Promise.all([closed, ended]);
  ({ server } = await start(directory, address));
  assert.deepEqual(await again, { love: 1 });

  const last = counts(socket, (counts) => counts.love === 2);
  socket.send(JSON.stringify({ kind: "love" }));
  await last;
});
