// Translates lines: node translate.js BUNDLE < lines.txt

import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { Translator } from "./lib/translator.js";

const options = {
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  logSeverityLevel: 3,
  // docs/bundle-format.md, "Session options".
  extra: { session: { disable_quant_qdq: "1", x64quantprecision: "1" } },
};

const bundle = process.argv[2];
if (!bundle) {
  console.error("usage: node translate.js BUNDLE < lines.txt");
  process.exit(2);
}
const translator = await Translator.load(
  ort,
  async (name) => new Uint8Array(await readFile(join(bundle, name))),
  (name) => ort.InferenceSession.create(join(bundle, name), options),
);
const lines = readFileSync(0, "utf8").replace(/\n$/, "").split("\n");
for (const line of lines) console.log(await translator.translate(line));
