// Unigram segmentation: the pieces whose scores add up highest. docs/bundle-format.md, "Unigram".

const UNKNOWN_PENALTY = 10;

/** Returns `segment(text)`: pairs of a piece and its id. `scored` maps a piece to its `{id, score}`. */
export function createUnigram(scored, unknownId, lowestScore) {
  const unknown = { id: unknownId, score: Math.fround(lowestScore - UNKNOWN_PENALTY) };
  let longest = 1;
  for (const piece of scored.keys()) longest = Math.max(longest, [...piece].length);

  return function segment(text) {
    const characters = [...text];
    const best = new Float32Array(characters.length + 1).fill(-Infinity);
    const last = new Array(characters.length + 1);
    best[0] = 0;
    for (let begin = 0; begin < characters.length; begin += 1) {
      let piece = "";
      for (let end = begin + 1; end <= Math.min(begin + longest, characters.length); end += 1) {
        piece += characters[end - 1];
        const found = scored.get(piece) ?? (end === begin + 1 ? unknown : undefined);
        // SentencePiece adds in float32, and of two equal sums the first one found stays.
        const score = found && Math.fround(best[begin] + found.score);
        if (found && score > best[end]) {
          best[end] = score;
          last[end] = { begin, piece, id: found.id };
        }
      }
    }
    const pieces = [];
    for (let end = characters.length; end > 0; end = last[end].begin) pieces.unshift([last[end].piece, last[end].id]);
    return pieces;
  };
}
