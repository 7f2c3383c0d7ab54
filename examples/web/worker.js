// Runs the model beside the page, so that the page stays responsive.
//
// In: {bundle} once, then {text}. Out: {ready}, then {lines, milliseconds} for each text; {failure} instead of either.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
import { Translator } from "../node/lib/translator.js";

// More threads need a page that is cross-origin isolated, which a static server seldom makes it.
ort.env.wasm.numThreads = 1;
let translator;

async function load(bundle) {
  const read = async (name) => {
    const response = await fetch(`${bundle}/${name}`);
    if (!response.ok) throw new Error(`${response.url}: ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  };
  const weights = await read("weights.safetensors");
  return Translator.load(ort, read, async (name) =>
    ort.InferenceSession.create(await read(name), {
      externalData: [{ path: "weights.safetensors", data: weights }],
      logSeverityLevel: 3,
      extra: { session: { disable_quant_qdq: "1" } }, // docs/bundle-format.md, "Session options"
    }),
  );
}

async function answer({ bundle, text }) {
  if (bundle) {
    translator = await load(bundle);
    const { name, languages } = translator.manifest;
    return { ready: `${name}, ${languages.source} to ${languages.target}` };
  }
  const start = performance.now();
  const lines = [];
  for (const line of text.split("\n")) lines.push(await translator.translate(line));
  return { lines, milliseconds: Math.round(performance.now() - start) };
}

addEventListener("message", ({ data }) => {
  answer(data).then(postMessage, (error) => postMessage({ failure: error.message }));
});
