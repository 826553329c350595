// A tab that a test can put to sleep. Playwright keeps its pages visible, and a browser freezes only
// hidden ones, so this speaks to a browser of its own.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import WebSocket from "ws";
import { browserPath } from "../support.mjs";

export class Tab {
  #socket;
  #browser;
  #target;
  #session;
  #sent = 0;
  #answers = new Map();

  /** Opens a page in a new browser. */
  static async open(context, url) {
    const tab = new Tab();
    const profile = await mkdtemp(join(tmpdir(), "ovation-"));
    const args = ["--headless=new", "--no-sandbox", "--remote-debugging-port=0", `--user-data-dir=${profile}`];
    const browser = spawn(browserPath, args, { stdio: ["ignore", "ignore", "pipe"] });
    tab.#browser = browser.pid;
    context.after(async () => {
      const ended = once(browser, "exit");
      // Ends its other processes, too.
      await tab.#send("Browser.close");
      await ended;
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    });
    for await (const line of createInterface(browser.stderr)) {
      const [, address] = /^DevTools listening on (ws:.*)/.exec(line) ?? [];
      if (!address) continue;
      tab.#socket = new WebSocket(address);
      break;
    }
    browser.stderr.resume();
    await once(tab.#socket, "open");
    tab.#socket.on("message", (text) => {
      const { id, ...answer } = JSON.parse(text);
      tab.#answers.get(id)?.(answer);
    });
    const { targetId } = await tab.#send("Target.createTarget", { url });
    const { sessionId } = await tab.#send("Target.attachToTarget", { targetId, flatten: true });
    tab.#target = targetId;
    tab.#session = sessionId;
    return tab;
  }

  async #send(method, params = {}) {
    const id = ++this.#sent;
    const answered = new Promise((resolve) => this.#answers.set(id, resolve));
    this.#socket.send(JSON.stringify({ id, method, params, sessionId: this.#session }));
    const { result, error } = await answered;
    assert.ok(!error, `${method}: ${error?.message}`);
    return result;
  }

  /** Evaluates an expression in the page. */
  async evaluate(expression) {
    const { result, exceptionDetails } = await this.#send("Runtime.evaluate", { expression, returnByValue: true });
    assert.ok(!exceptionDetails, exceptionDetails?.exception?.description);
    return result.value;
  }

  /** Waits until an expression is true in the page. */
  async until(expression, patience = 90_000) {
    const deadline = Date.now() + patience;
    while (!(await this.evaluate(expression))) {
      assert.ok(Date.now() < deadline, `${expression} after ${patience} ms`);
      await sleep(20);
    }
  }

  /** Puts the page to sleep. The browser may freeze it, like a tab in the background of a phone: then
   * it closes the page's WebSockets. Or the processes of the pages stop, like those of a laptop. */
  async sleep(way) {
    if (way === "frozen") await this.#send("Page.setWebLifecycleState", { state: "frozen" });
    else for (const pid of this.#renderers()) process.kill(pid, "SIGSTOP");
  }

  /** Wakes and shows the page. */
  async wake(way) {
    if (way !== "frozen") {
      for (const pid of this.#renderers()) process.kill(pid, "SIGCONT");
      return;
    }
    await this.#send("Page.setWebLifecycleState", { state: "active" });
    // The browser shows a page that comes to the front, and this one is there unless another is.
    await this.#send("Target.createTarget", { url: "about:blank" });
    await this.#send("Target.activateTarget", { targetId: this.#target });
  }

  /** The processes of the browser that run pages. */
  #renderers() {
    const processes = execFileSync("ps", ["-eo", "pid=,ppid=,args="], { encoding: "utf8" }).trim().split("\n");
    const all = processes.map((line) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line).slice(1));
    const parents = new Map(all.map(([pid, parent]) => [Number(pid), Number(parent)]));
    const isOwn = (pid) => pid === this.#browser || (pid > 1 && isOwn(parents.get(pid) ?? 0));
    return all.filter(([pid, , args]) => args.includes("--type=renderer") && isOwn(Number(pid))).map(([pid]) => Number(pid));
  }
}
