// The Bergamot engine (WebAssembly) with one model in a process of its own: `engine.py`'s protocol, texts only.
// node bergamot.mjs PACKAGE MODEL, where PACKAGE is the installed npm package @browsermt/bergamot-translator and MODEL
// a directory with a Firefox model. Nothing is cached.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Worker } from "node:worker_threads";

const [location, directory] = process.argv.slice(2);
const pair = { from: "en", to: "pt" };
const read = (end) => {
  const name = readdirSync(directory).find((file) => file.endsWith(end));
  const bytes = readFileSync(join(directory, name));
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
};

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
let request = JSON.parse((await lines.next()).value);
const start = performance.now();
// The package's worker is a CommonJS script, but the package says that its scripts are modules: node refuses to load it.
const script = join(location, "worker", "translator-worker.js");
const worker = new Worker(
  `globalThis.require = require;
   globalThis.__filename = ${JSON.stringify(script)};
   globalThis.__dirname = require("node:path").dirname(__filename);
   (0, eval)(require("node:fs").readFileSync(__filename, "utf-8"));`,
  { eval: true },
);
worker.on("error", (error) => {
  throw error;
});
const call = (name, ...args) =>
  new Promise((accept, reject) => {
    worker.once("message", ({ result, error }) => (error ? reject(new Error(error.message)) : accept(result)));
    worker.postMessage({ id: 1, name, args });
  });
await call("initialize", { cacheSize: 0 });
await call("loadTranslationModel", pair, {
  model: read("alphas.bin"),
  shortlist: read("s2t.bin"),
  vocabs: [read(".spm")],
  qualityModel: null,
  config: { "gemm-precision": "int8shiftAlphaAll" },
});
const loaded = performance.now();

const translate = async (texts) => {
  const inputs = texts.map((text) => ({ text, html: false, qualityScores: false }));
  const found = await call("translate", { models: [pair], texts: inputs });
  return found.map((response) => response.target.text);
};
const answer = async ({ sentences, batch }) => {
  const outputs = [];
  const began = performance.now();
  for (let first = 0; first < sentences.length; first += batch) {
    outputs.push(...(await translate(sentences.slice(first, first + batch))));
  }
  const seconds = (performance.now() - began) / 1e3;
  const held = readFileSync("/proc/self/status", "utf-8").match(/VmHWM:\s+(\d+)/)[1];
  return { seconds, outputs, peak_rss_bytes: Number(held) * 1024 };
};

await translate(request.sentences.slice(0, 1));
const { version } = JSON.parse(readFileSync(join(location, "package.json")));
const times = { load_seconds: (loaded - start) / 1e3, first_seconds: (performance.now() - loaded) / 1e3 };
console.log(JSON.stringify({ version, ...times }));
while (request) {
  console.log(JSON.stringify(await answer(request)));
  const { value, done } = await lines.next();
  request = done ? null : JSON.parse(value);
}
await worker.terminate();
process.exit(0);
