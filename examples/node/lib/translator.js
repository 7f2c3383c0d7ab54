// A seq2seq bundle, translating one sentence at a time by greedy search. docs/bundle-format.md, "Greedy search".

import { Shortlist } from "./shortlist.js";
import { Tokenizer } from "./tokenizer.js";

const SHORTEST_LIMIT = 16;
const LENGTH_MULTIPLE = 4;

export class Translator {
  /**
   * Loads a bundle.
   * `ort`: onnxruntime-node or onnxruntime-web. `read(name)`: the bytes of one of the bundle's files.
   * `createSession(name)`: an InferenceSession of one of its graphs.
   */
  static async load(ort, read, createSession) {
    const json = async (name) => JSON.parse(new TextDecoder().decode(await read(name)));
    const manifest = await json("bundle.json");
    if (manifest.schema_version !== 1) throw new Error(`schema version ${manifest.schema_version}; expected 1`);
    if (manifest.kind !== "seq2seq") throw new Error(`a ${manifest.kind} bundle; expected seq2seq`);
    const { source, target, source_vocab_size, target_vocab_size } = manifest.tokenizer;
    const unknownId = manifest.generation.unk_token_id;
    const translator = new Translator();
    translator.ort = ort;
    translator.manifest = manifest;
    translator.source = new Tokenizer(await json(source), source_vocab_size, unknownId);
    translator.target = new Tokenizer(await json(target), target_vocab_size, unknownId);
    const { shortlist } = manifest;
    translator.shortlist = shortlist && new Shortlist(await read(shortlist.file), shortlist.first);
    translator.encoder = await createSession(manifest.graphs.encoder.file);
    translator.decoder = await createSession(manifest.graphs.decoder.file);
    return translator;
  }

  async translate(text) {
    if (!/[\p{L}\p{N}]/u.test(text)) return text;
    const { eos_token_id, max_source_tokens } = this.manifest.generation;
    const ids = [...this.source.encode(text), eos_token_id];
    if (ids.length > max_source_tokens) {
      throw new Error(`${ids.length} tokens; this model takes ${max_source_tokens}: cut the text at sentence ends`);
    }
    return this.target.decode(await this.generate(ids));
  }

  /** Source ids, EOS included, to target ids without EOS. */
  async generate(sourceIds) {
    const { generation, state } = this.manifest;
    const limit = Math.min(
      generation.max_length,
      Math.max(SHORTEST_LIMIT, Math.floor(generation.max_length_factor * sourceIds.length)),
    );
    const feeds = await this.#encode(sourceIds);
    for (const { past, kind, shape } of state) {
      if (kind === "constant") continue;
      const sizes = shape.map((size) => ({ batch: 1, capacity: limit })[size] ?? size);
      const zeros = new Float32Array(sizes.reduce((product, size) => product * size));
      feeds[past] = new this.ort.Tensor("float32", zeros, sizes);
    }
    const output = [];
    let id = BigInt(generation.start_token_id);
    while (output.length < limit) {
      feeds.input_ids = new this.ort.Tensor("int64", [id], [1]);
      feeds.positions = new this.ort.Tensor("int64", [BigInt(output.length)], [1]);
      const results = await this.decoder.run(feeds);
      id = results.next_ids.data[0];
      if (id === BigInt(generation.eos_token_id)) break;
      output.push(Number(id));
      for (const { past, present } of state) if (present) feeds[past] = results[present];
    }
    return output;
  }

  /** Runs the encoder; returns what the decoder is fed unchanged at every step. */
  async #encode(sourceIds) {
    const { generation, state } = this.manifest;
    const length = Math.ceil(sourceIds.length / LENGTH_MULTIPLE) * LENGTH_MULTIPLE;
    const ids = new BigInt64Array(length).fill(BigInt(generation.pad_token_id ?? generation.eos_token_id));
    const mask = new Int32Array(length);
    sourceIds.forEach((id, index) => ((ids[index] = BigInt(id)), (mask[index] = 1)));
    const shared = { attention_mask: new this.ort.Tensor("int32", mask, [1, length]) };
    const feeds = { ...shared, input_ids: new this.ort.Tensor("int64", ids, [1, length]) };
    if (this.shortlist) {
      const candidates = this.shortlist.candidates(sourceIds);
      const size = candidates.length;
      feeds.shortlist = shared.shortlist = new this.ort.Tensor("int64", candidates, [size]);
      feeds.shortlist_bias = new this.ort.Tensor("float32", new Float32Array(size), [1, size]);
    }
    const results = await this.encoder.run(feeds);
    for (const { past, kind } of state) if (kind === "constant") shared[past] = results[past];
    return shared;
  }
}
