// Text to ids and back, from a translation bundle's tokenizer.json. docs/bundle-format.md, "The tokenizer".

import { createBpe } from "./bpe.js";
import { Charsmap } from "./charsmap.js";
import { createUnigram } from "./unigram.js";

const SPACE = "▁";
const HIDDEN = " "; // what a piece that no text may become begins with
const utf8 = new TextEncoder();

export class Tokenizer {
  /** Takes the parsed tokenizer.json, and what the manifest says of ids. */
  constructor(file, vocabularySize, unknownId) {
    const { model } = file;
    this.settings = model.sentencepiece;
    this.limit = Math.min(vocabularySize, this.settings.size);
    this.control = new Set(this.settings.control);
    const unigram = model.type === "Unigram";
    this.pieces = unigram
      ? model.vocab.map(([piece]) => piece)
      : Object.keys(model.vocab).sort((a, b) => model.vocab[a] - model.vocab[b]);
    this.fileUnknownId = unigram ? model.unk_id : model.vocab[model.unk_token];
    this.unknownId = unknownId ?? this.fileUnknownId;
    const step = file.normalizer.normalizers.find(({ type }) => type === "Precompiled");
    const blob = Uint8Array.from(atob(step?.precompiled_charsmap ?? ""), (character) => character.charCodeAt(0));
    this.charsmap = new Charsmap(blob, this.settings.user_defined);
    this.byteOfId = new Map();
    this.idOfByte = new Map();
    if (model.byte_fallback) {
      this.pieces.forEach((piece, id) => {
        const byte = /^<0x([0-9A-F]{2})>$/.exec(piece);
        if (byte) this.byteOfId.set(id, parseInt(byte[1], 16)).size && this.idOfByte.set(parseInt(byte[1], 16), id);
      });
    }
    this.segment = unigram ? this.#unigram(model) : this.#bpe(model);
  }

  /** Returns the ids of a text, without EOS. */
  encode(text) {
    const code = /^>>.*?<</su.exec(text)?.[0];
    const codes = this.settings.language_codes ?? {};
    if (code && Object.hasOwn(codes, code)) return [codes[code], ...this.encodePlain(text.slice(code.length))];
    return this.encodePlain(text);
  }

  encodePlain(text) {
    const ids = [];
    let unknown = "";
    for (const [piece, id] of [...this.segment(this.normalize(text)), ["", -1]]) {
      if (id === this.fileUnknownId) {
        unknown += piece;
        continue;
      }
      if (unknown) ids.push(...this.#unknownIds(unknown));
      unknown = "";
      if (id >= 0) ids.push(id < this.limit ? id : this.unknownId);
    }
    return ids;
  }

  normalize(text) {
    const { add_dummy_prefix, remove_extra_whitespaces, treat_whitespace_as_suffix } = this.settings;
    let mapped = this.charsmap.apply(text);
    if (remove_extra_whitespaces) mapped = mapped.replace(/ {2,}/g, " ").replace(/^ +/, "");
    if (!(remove_extra_whitespaces ? mapped : text)) return "";
    mapped = mapped.replaceAll(" ", SPACE);
    if (add_dummy_prefix && !treat_whitespace_as_suffix) mapped = SPACE + mapped;
    if (remove_extra_whitespaces) mapped = mapped.replace(/▁+$/, "");
    return add_dummy_prefix && treat_whitespace_as_suffix ? mapped + SPACE : mapped;
  }

  /** Returns the text of ids without EOS. */
  decode(ids) {
    const { add_dummy_prefix, remove_extra_whitespaces, language_codes } = this.settings;
    let text = "";
    let bytes = [];
    let atStart = add_dummy_prefix || remove_extra_whitespaces;
    for (const id of ids) {
      if (this.byteOfId.has(id)) {
        bytes.push(this.byteOfId.get(id));
        continue;
      }
      text += decodeBytes(bytes);
      bytes = [];
      let piece = this.#textOf(id);
      if (atStart && !text && piece.startsWith(SPACE)) {
        piece = piece.slice(1);
        atStart = remove_extra_whitespaces;
      }
      text += piece.replaceAll(SPACE, " ");
    }
    text += decodeBytes(bytes);
    return language_codes ? text.trim() : text;
  }

  #textOf(id) {
    if (!(id >= 0 && id < this.limit) || id === this.fileUnknownId) return this.settings.unk_surface;
    if (this.control.has(id)) return "";
    return this.pieces[id].startsWith(HIDDEN) ? this.pieces[id].slice(1) : this.pieces[id];
  }

  /** A run of unknown characters: its bytes, a word of a Marian vocabulary, or the unknown id. */
  #unknownIds(run) {
    const ids = this.idOfByte.size ? [...utf8.encode(run)].map((byte) => this.idOfByte.get(byte)) : [this.words?.get(run)];
    return ids.map((id) => (id < this.limit ? id : this.unknownId));
  }

  #reachable() {
    if (this.settings.language_codes) {
      const words = [...this.pieces.entries()].filter(([id, piece]) => piece.startsWith(HIDDEN) && !this.control.has(id));
      this.words = new Map(words.map(([id, piece]) => [piece.slice(1), id]));
    }
    return [...this.pieces.entries()].filter(([id, piece]) => !piece.startsWith(HIDDEN) && !this.byteOfId.has(id));
  }

  #unigram(model) {
    const symbols = new Set(this.settings.user_defined);
    const scored = new Map(this.#reachable().map(([id, piece]) => [piece, { id, score: model.vocab[id][1] }]));
    let lowest = Infinity;
    for (const [piece, { score }] of scored) if (!symbols.has(piece)) lowest = Math.min(lowest, score);
    return createUnigram(scored, model.unk_id, lowest === Infinity ? 0 : lowest);
  }

  #bpe(model) {
    const ids = new Map(this.#reachable().map(([id, piece]) => [piece, id]));
    return createBpe(ids, model.merges, this.fileUnknownId, this.settings.user_defined);
  }
}

/** UTF-8 to text; each byte that belongs to no character is U+FFFD. */
function decodeBytes(bytes) {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let text = "";
  for (let begin = 0; begin < bytes.length; ) {
    let length = 1;
    let found = "\ufffd";
    for (let tried = 1; tried <= 4 && begin + tried <= bytes.length; tried += 1) {
      try {
        found = decoder.decode(Uint8Array.from(bytes.slice(begin, begin + tried)));
        length = tried;
        break;
      } catch {
        // Not yet a character: with one more byte perhaps.
      }
    }
    text += found;
    begin += length;
  }
  return text;
}
