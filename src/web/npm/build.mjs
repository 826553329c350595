// Makes `dist`: the modules that the server sends, and their types. Runs before `npm pack`, and needs
// `npm ci --prefix tests/browser` for the compiler.
import { execFileSync } from "node:child_process";
import { appendFile, copyFile, mkdir, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const MODULES = ["kinds.js", "ovation.js", "element.js", "ovation-extras.js"];

await rm(here("dist"), { recursive: true, force: true });
await mkdir(here("dist"));
for (const name of MODULES) await copyFile(here(`../room/${name}`), here(`dist/${name}`));
await copyFile(here("index.js"), here("dist/index.js"));
await copyFile(here("global.d.ts"), here("dist/global.d.ts"));
const options = ["--allowJs", "--declaration", "--emitDeclarationOnly", "--skipLibCheck"];
const targets = ["--target", "esnext", "--module", "esnext", "--moduleResolution", "bundler", "--lib", "esnext,dom,dom.iterable"];
const compiler = here("../../../tests/browser/node_modules/typescript/bin/tsc");
const files = [...MODULES, "index.js"].map((name) => here(`dist/${name}`));
execFileSync(process.execPath, [compiler, ...options, ...targets, ...files], { stdio: ["ignore", 2, 2] });
await appendFile(here("dist/index.d.ts"), 'import "./global.js";\n');
