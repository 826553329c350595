// The npm package, and the snippets of docs/embed.md as a site would use them: built with the
// installed package, and run in a browser.
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { compile as compileSvelte } from "svelte/compiler";
import { compileScript, compileTemplate, parse } from "vue/compiler-sfc";
import { Server, browser as launch, eventually, open, site } from "./support.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const run = promisify(execFile);

let browser;
/** A project of its own, in which the package is installed. */
let project;
before(async () => {
  browser = await launch();
  project = await mkdtemp(join(tmpdir(), "ovation-"));
  execFileSync("npm", ["pack", here("../../src/web/npm"), "--pack-destination", project, "--silent"], { stdio: ["ignore", "ignore", "inherit"] });
  const [tarball] = await readdir(project);
  await writeFile(join(project, "package.json"), '{ "private": true, "type": "module" }');
  execFileSync("npm", ["install", "--offline", "--no-audit", "--no-fund", "--silent", `./${tarball}`], { cwd: project });
});
after(async () => {
  await browser.close();
  await rm(project, { recursive: true });
});

/** The first snippet of docs/embed.md in a language. */
async function snippet(language) {
  const page = await readFile(here("../../docs/embed.md"), "utf8");
  const [, code] = new RegExp(`\`\`\`${language}\n([^]*?)\n\`\`\``).exec(page) ?? [];
  assert.ok(code, `a snippet in ${language}`);
  return code;
}

const compilers = {
  name: "compilers",
  setup({ onLoad }) {
    onLoad({ filter: /\.vue$/ }, async ({ path }) => {
      const { descriptor } = parse(await readFile(path, "utf8"), { filename: path });
      const compilerOptions = { isCustomElement: (tag) => tag === "ovation-reactions" };
      const script = compileScript(descriptor, { id: "reactions", genDefaultAs: "component" });
      const { code, errors } = compileTemplate({
        id: "reactions",
        filename: path,
        source: descriptor.template.content,
        compilerOptions: { ...compilerOptions, bindingMetadata: script.bindings },
      });
      assert.deepEqual(errors, []);
      return { contents: `${script.content}\n${code}\ncomponent.render = render;\nexport default component;`, loader: "js" };
    });
    onLoad({ filter: /\.svelte$/ }, async ({ path }) => {
      const { js, warnings } = compileSvelte(await readFile(path, "utf8"), { filename: path, generate: "client" });
      assert.deepEqual(warnings, []);
      return { contents: js.code, loader: "js" };
    });
  },
};

/** Bundles the files of the project from its `main.js`. */
async function bundle(files) {
  for (const [name, content] of Object.entries(files)) await writeFile(join(project, name), content);
  const { outputFiles } = await build({
    absWorkingDir: project,
    entryPoints: ["main.js"],
    bundle: true,
    format: "esm",
    splitting: true,
    write: false,
    outdir: "out",
    jsx: "automatic",
    nodePaths: [here("node_modules")],
    conditions: ["browser"],
    define: { "process.env.NODE_ENV": '"production"', __VUE_OPTIONS_API__: "true", __VUE_PROD_DEVTOOLS__: "false", __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: "false" },
    plugins: [compilers],
    logLevel: "error",
  });
  return Object.fromEntries(outputFiles.map(({ path, text }) => [path.slice(join(project, "out").length), ["text/javascript", text]]));
}

const html = (body) =>
  `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A site</title><link rel="icon" href="data:,"></head><body>${body}</body></html>`;

test("the snippet in plain HTML works", async (context) => {
  const server = await Server.start(context);
  const code = (await snippet("html")).replace("https://talks.example/ovation.js", server.url("/ovation.js"));
  const foreign = await site(context, { "/": ["text/html", html(code)] });
  const page = await open(context, browser, foreign, { allowed: [server.address] });
  await page.getByRole("button", { name: "love" }).click();
  await eventually(() => server.counts(), { love: 1 });
});

for (const [name, language, file, main] of [
  ["React", "jsx", "Reactions.jsx", (props) => `import { createElement } from "react"; import { createRoot } from "react-dom/client"; import { Reactions } from "./Reactions.jsx";
    createRoot(document.body).render(createElement(Reactions, ${props}));`],
  ["Vue", "vue", "Reactions.vue", (props) => `import { createApp } from "vue"; import Reactions from "./Reactions.vue"; createApp(Reactions, ${props}).mount(document.body);`],
  ["Svelte", "svelte", "Reactions.svelte", (props) => `import { mount } from "svelte"; import Reactions from "./Reactions.svelte"; mount(Reactions, { target: document.body, props: ${props} });`],
]) {
  test(`the snippet for ${name} works`, async (context) => {
    const server = await Server.start(context);
    const props = JSON.stringify({ room: "talk", host: server.address });
    const files = await bundle({ [file]: await snippet(language), "main.js": main(props) });
    const foreign = await site(context, { "/": ["text/html", html('<script type="module" src="/main.js"></script>')], ...files });
    const page = await open(context, browser, foreign, { allowed: [server.address] });
    await page.getByRole("button", { name: "love" }).click();
    await eventually(() => server.counts(), { love: 1 });
    await server.react("clap");
    await page.getByText("2 reactions").waitFor();
  });
}

test("reactions rise from the bundled package", async (context) => {
  const server = await Server.start(context);
  const files = await bundle({ "main.js": 'import "ovation-reactions";' });
  const body = `<ovation-reactions room="talk" host="${server.address}" float></ovation-reactions><script type="module" src="/main.js"></script>`;
  const foreign = await site(context, { "/": ["text/html", html(body)], ...files });
  const page = await open(context, browser, foreign, { allowed: [server.address] });
  await page.locator('ovation-reactions[data-state="open"]').waitFor();
  await page.waitForFunction(() => document.querySelector("ovation-reactions").shadowRoot.querySelector("canvas").width > 300);
});

test("the package has types", async () => {
  const good = `
    import { OvationRoom, picture, type StateDetail } from "ovation-reactions";
    const room = new OvationRoom({ room: "talk", host: "talks.example", presence: true, token: async () => "token" });
    const counts: Map<string, number> = room.counts;
    room.addEventListener("state", (event) => {
      const { state, reason } = (event as CustomEvent<StateDetail>).detail;
      if (state === "refused") console.log(reason?.length);
    });
    const element = document.querySelector("ovation-reactions")!;
    element.room = "other";
    element.addEventListener("ovation:counts", ({ detail }) => console.log(detail.counts.get("love"), detail.own));
    const taken: boolean | undefined = element.room?.react("love");
    console.log(counts, taken, picture("love"), room.here?.toFixed());`;
  const bad = `
    import { OvationRoom } from "ovation-reactions";
    new OvationRoom({ host: "talks.example" });
    new OvationRoom({ room: "talk" }).react(1);
    if (new OvationRoom({ room: "talk" }).state === "ready") console.log();`;
  const check = async (name, code) => {
    await writeFile(join(project, name), code);
    const options = ["--noEmit", "--strict", "--target", "esnext", "--module", "esnext", "--moduleResolution", "bundler", "--lib", "esnext,dom,dom.iterable"];
    const done = run(process.execPath, [here("node_modules/typescript/bin/tsc"), ...options, name], { cwd: project });
    return done.then(() => [], ({ stdout }) => stdout.trim().split("\n").filter((line) => !line.startsWith(" ")));
  };
  assert.deepEqual(await check("good.ts", good), []);
  const found = await check("bad.ts", bad);
  assert.equal(found.length, 3, found.join("\n"));
});

test("the package can be imported without a browser", async () => {
  const { stdout } = await run(process.execPath, ["--input-type=module", "-e", 'import { OvationRoom, picture } from "ovation-reactions"; console.log(typeof OvationRoom, picture("clap"))'], { cwd: project });
  assert.equal(stdout.trim(), "function 👏\ufe0f");
});
