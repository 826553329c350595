// Visitors of a room: pages that tap and record what their room tells them, and a crowd that posts.
import { Agent, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { open, site } from "../support.mjs";

/** What a browser logs about a lost connection. */
export const LOST = [/WebSocket connection to/, /net::ERR_/, /Failed to load resource/, /blocked by CORS/];

/** A page with a room of its own, and nothing to see. */
const html = (host) => `<!doctype html><html lang="en"><title>A visitor</title><link rel="icon" href="data:,">
<script type="module">
  import { OvationRoom } from "http://${host}/ovation.js";
  const log = { accepted: 0, falls: [], refused: [], states: [] };
  const room = new OvationRoom({ room: "talk", host: "${host}" });
  let last = new Map();
  room.addEventListener("counts", ({ detail: { counts } }) => {
    for (const [kind, count] of last) if ((counts.get(kind) ?? 0) < count) log.falls.push([kind, count, counts.get(kind) ?? 0]);
    last = counts;
  });
  room.addEventListener("state", ({ detail: { state, mode, reason } }) => {
    const [before] = log.states.slice(-1);
    if (before?.state === state && before.mode === mode) return;
    log.states.push({ state, mode, reason, at: Date.now() });
  });
  room.addEventListener("refused", ({ detail }) => {
    log.refused.push(detail);
    last.set(detail.kind, (last.get(detail.kind) ?? 0) - detail.taps);
  });
  let timer;
  const tap = (kind) => {
    if (room.react(kind)) log.accepted++;
  };
  /** Taps at a rate. With a prefix, each tap is of a kind of its own. */
  const start = (perSecond, kind, isUnique) => {
    const began = performance.now();
    let tried = 0;
    timer = setInterval(() => {
      const due = ((performance.now() - began) * perSecond) / 1000;
      for (; tried < due; tried++) tap(isUnique ? kind + log.accepted : kind);
    }, 20);
  };
  const stop = () => clearInterval(timer);
  window.visit = { log, room, tap, start, stop };
  room.connect();
</script>`;

/** Opens a page that visits the room at this address. */
export async function visitor(context, browser, host, options = {}) {
  const foreign = await site(context, { "/": ["text/html", html(host)] });
  const page = await open(context, browser, foreign, { allowed: [host], expected: LOST, ...options });
  await page.waitForFunction(() => window.visit);
  return page;
}

export const state = (page) => page.evaluate(() => [visit.room.state, visit.room.queued]);
export const log = (page) => page.evaluate(() => visit.log);
export const shown = (page) => page.evaluate(() => Object.fromEntries(visit.room.counts));
/** Waits until a visitor has entered the room this often. */
export async function entered(page, times = 1) {
  const isIn = (times) => visit.room.state === "open" && visit.log.states.filter(({ state }) => state === "open").length >= times;
  try {
    await page.waitForFunction(isIn, times, { timeout: 90_000, polling: 50 });
  } catch (error) {
    const { states } = await log(page);
    throw new Error(`not in the room for the ${times}th time: ${JSON.stringify(states.slice(-6))}, now ${Date.now()}`, { cause: error });
  }
}

const newSession = () => crypto.randomUUID().replaceAll("-", "");

/** Posts reactions at a rate, each until it is counted, with a number so that none counts twice. Returns
 * a function that stops and returns how many were counted. */
export function crowd(context, server, kind, perSecond) {
  const agent = new Agent({ keepAlive: true });
  let session = newSession();
  let id = 1;
  const post = (body) =>
    new Promise((resolve) => {
      const url = server.url(`/parties/main/talk?session=${session}`);
      const sent = request(url, { method: "POST", agent, timeout: 2000 }, (answer) => {
        answer.resume();
        answer.on("end", () => resolve(answer.statusCode));
        answer.on("error", () => resolve(0));
      });
      sent.on("error", () => resolve(0));
      sent.on("timeout", () => sent.destroy());
      sent.end(body);
    });
  let counted = 0;
  let isOver = false;
  const run = (async () => {
    const began = performance.now();
    let skipped = 0;
    while (!isOver) {
      const due = ((performance.now() - began) * perSecond) / 1000;
      if (counted + skipped >= due) await sleep(5);
      else {
        const status = await post(JSON.stringify({ kind, n: 1, id }));
        if (status === 200) {
          counted++;
          id++;
          continue;
        }
        // A server that was killed knows no session.
        if (status === 412) [session, id] = [newSession(), 1];
        skipped++;
        await sleep(50);
      }
    }
    agent.destroy();
    return counted;
  })();
  const stop = () => {
    isOver = true;
    return run;
  };
  context.after(stop);
  return stop;
}
