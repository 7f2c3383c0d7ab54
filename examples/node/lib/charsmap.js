// SentencePiece's character normalisation: at each place the longest rule that matches. docs/bundle-format.md, "Charsmap".

const utf8 = new TextEncoder();

export class Charsmap {
  /** Takes the decoded bytes of a precompiled charsmap, and texts that no rule may change. */
  constructor(blob, symbols) {
    const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
    const trieBytes = blob.length ? view.getUint32(0, true) : 0;
    this.units = Uint32Array.from({ length: trieBytes / 4 }, (_, index) => view.getUint32(4 + 4 * index, true));
    this.replacements = blob.subarray(4 + trieBytes);
    this.symbols = [...symbols].sort((a, b) => b.length - a.length).map((symbol) => utf8.encode(symbol));
  }

  apply(text) {
    const bytes = utf8.encode(text);
    const parts = [];
    for (let position = 0; position < bytes.length; ) {
      const [replacement, end] = this.#symbolAt(bytes, position) ?? this.#ruleAt(bytes, position);
      parts.push(...replacement);
      position = end;
    }
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(parts));
  }

  #symbolAt(bytes, start) {
    const symbol = this.symbols.find((symbol) => symbol.every((byte, index) => bytes[start + index] === byte));
    return symbol && [symbol, start + symbol.length];
  }

  /** What stands for the bytes at `start`, and where the text goes on; one character as it is where no rule matches. */
  #ruleAt(bytes, start) {
    let end = start + 1;
    while ((bytes[end] & 0xc0) === 0x80) end += 1;
    let replacement = bytes.subarray(start, end);
    let node = 0;
    for (let position = start; position < bytes.length && this.units.length; position += 1) {
      node ^= offset(this.units[node]) ^ bytes[position];
      // The label of a leaf has bit 31 set, so it equals no byte.
      if (node >= this.units.length || (this.units[node] & 0x800000ff) >>> 0 !== bytes[position]) break;
      if (this.units[node] & 0x100) {
        const begin = this.units[node ^ offset(this.units[node])] & 0x7fffffff;
        replacement = this.replacements.subarray(begin, this.replacements.indexOf(0, begin));
        end = position + 1;
      }
    }
    return [replacement, end];
  }
}

function offset(unit) {
  return (unit >>> 10) << ((unit & 0x200) >> 6);
}
