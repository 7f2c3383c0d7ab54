// The target ids that a source sentence may need. docs/bundle-format.md, "The shortlist".

export class Shortlist {
  /** Takes the bytes of shortlist.npz and the manifest's `shortlist.first`. */
  constructor(bytes, first) {
    const arrays = readNpz(bytes);
    this.offsets = arrays["offsets.npy"];
    this.targetIds = arrays["target_ids.npy"];
    this.first = first;
  }

  /** Returns the candidates of a sentence, ascending, int64. */
  candidates(sourceIds) {
    const ids = new Set(Array.from({ length: this.first }, (_, id) => id));
    for (const source of sourceIds) {
      for (const id of this.targetIds.subarray(this.offsets[source], this.offsets[source + 1])) ids.add(id);
    }
    return BigInt64Array.from([...ids].sort((a, b) => a - b), BigInt);
  }
}

/** The arrays of an .npz whose members are stored, not compressed, by name. */
function readNpz(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length - 22; // the end-of-directory record, without a comment
  const arrays = {};
  let entry = view.getUint32(end + 16, true);
  for (let count = view.getUint16(end + 10, true); count > 0; count -= 1) {
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((at) => view.getUint16(entry + at, true));
    const name = new TextDecoder().decode(bytes.subarray(entry + 46, entry + 46 + nameLength));
    const header = view.getUint32(entry + 42, true);
    const start = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
    arrays[name] = readNpy(bytes.slice(start, start + view.getUint32(entry + 24, true)));
    entry += 46 + nameLength + extraLength + commentLength;
  }
  return arrays;
}

function readNpy(bytes) {
  const headerLength = new DataView(bytes.buffer).getUint16(8, true);
  const dtype = /'descr': '([^']+)'/.exec(new TextDecoder().decode(bytes.subarray(10, 10 + headerLength)))[1];
  const types = { "|u1": Uint8Array, "<u2": Uint16Array, "<u4": Uint32Array };
  if (!types[dtype]) throw new Error(`shortlist.npz holds ${dtype}; expected unsigned integers`);
  return new types[dtype](bytes.buffer.slice(10 + headerLength));
}
