// What the examples' tokenizer makes of texts and ids: node tokenize.mjs < {file, size, unknown, texts, ids}
// where `file` is a parsed tokenizer.json; prints {encoded, decoded}.

import { readFileSync } from "node:fs";
import { Tokenizer } from "../../examples/node/lib/tokenizer.js";

const { file, size, unknown, texts, ids } = JSON.parse(readFileSync(0, "utf8"));
const tokenizer = new Tokenizer(file, size, unknown);
const encoded = texts.map((text) => tokenizer.encode(text));
const decoded = ids.map((row) => tokenizer.decode(row));
process.stdout.write(JSON.stringify({ encoded, decoded }));
