// BPE segmentation: neighbours are merged, the best merge first. docs/bundle-format.md, "BPE".

/** Returns `segment(text)`: pairs of a piece and its id. `ids` maps a piece to its id, `merges` are best first. */
export function createBpe(ids, merges, unknownId, symbols) {
  const ranks = new Map(merges.map(([left, right], rank) => [`${left} ${right}`, rank]));
  const longestFirst = [...symbols].sort((a, b) => b.length - a.length);
  const splitter = new RegExp(`(${longestFirst.map((symbol) => symbol.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")).join("|")})`, "u");

  function merge(text) {
    const pieces = [...text];
    for (;;) {
      let best = Infinity;
      let place = -1;
      for (let index = 0; index + 1 < pieces.length; index += 1) {
        const rank = ranks.get(`${pieces[index]} ${pieces[index + 1]}`) ?? Infinity;
        if (rank < best) [best, place] = [rank, index];
      }
      if (place < 0) return pieces.map((piece) => [piece, ids.get(piece) ?? unknownId]);
      pieces.splice(place, 2, pieces[place] + pieces[place + 1]);
    }
  }

  return function segment(text) {
    const parts = symbols.length ? text.split(splitter) : [text];
    return parts.flatMap((part, index) => (index % 2 ? [[part, ids.get(part)]] : merge(part)));
  };
}
