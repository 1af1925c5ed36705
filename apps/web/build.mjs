// node build.mjs FOLDER: the page as it is served, with its two libraries.

import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2];
if (!out) throw new Error("name the folder to write: node build.mjs dist");
const own = ["index.html", "style.css", "icon.svg", "app.webmanifest", "gpu.js", "main.js", "store.js", "worker.js"];
const core = readdirSync(join(here, "core")).map((name) => `core/${name}`);
const plain = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"];
// Kept once a page asked for them: most never do, and they are as large again.
const gpu = ["ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"];
const vendor = {
  "vendor/tokenizers.min.mjs": "@huggingface/tokenizers/dist/tokenizers.min.mjs",
  ...Object.fromEntries(
    [...plain, ...gpu].map((name) => [`vendor/${name}`, `onnxruntime-web/dist/${name}`]),
  ),
};
mkdirSync(join(out, "core"), { recursive: true });
mkdirSync(join(out, "vendor"), { recursive: true });
for (const name of [...own, ...core]) cpSync(join(here, name), join(out, name));
for (const [name, from] of Object.entries(vendor)) cpSync(join(here, "node_modules", from), join(out, name));
const files = [...own, ...core, ...Object.keys(vendor)].sort();
const hash = createHash("sha256");
for (const name of files) hash.update(name).update(readFileSync(join(out, name)));
const worker = readFileSync(join(here, "sw.js"), "utf8")
  .replace("const FILES = [];", `const FILES = ${JSON.stringify([".", ...files.filter((name) => !gpu.includes(name.slice(7)))])};`)
  .replace("const LATER = [];", `const LATER = ${JSON.stringify(gpu.map((name) => `vendor/${name}`))};`)
  .replace('"edge-0"', JSON.stringify(`edge-${hash.digest("hex").slice(0, 16)}`));
writeFileSync(join(out, "sw.js"), worker);
writeFileSync(join(out, "offered.json"), "{}\n"); // a server that brings a model says so here
const size = [...own, ...core].reduce((sum, name) => sum + readFileSync(join(out, name)).length, worker.length);
console.log(`${files.length + 1} files; the app's own code is ${size} bytes`);
