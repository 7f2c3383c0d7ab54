"""Greedy translations of the embedded checkpoint are transformers', id for id, on 500 sentences of the test sets."""

import pytest
import torch
from transformers import MarianMTModel

from edgekit.quality.parallel_text import load_testset
from edgekit.recipes import embedded_dir
from edgekit.runtime import load

SENTENCES = 500
BATCH = 50
# Real translations of these sentences are shorter; what runs on would only take time.
MAX_LENGTH = 80


@pytest.fixture(scope="module")
def translator(embedded_fp32):
    return load(embedded_fp32)


@pytest.fixture(scope="module")
def sources(translator):
    sets = [load_testset("flores-dev", "en", "de").first(150), load_testset("tatoeba", "en", "de").first(350)]
    texts = [text for found in sets for text in found.sources]
    ids = [[*translator.source_tokenizer.encode(text), 0] for text in texts]
    return sorted(ids, key=len)


def generate(sources):
    """Target ids without EOS, from transformers; the last id that it may write is the forced EOS."""
    model = MarianMTModel.from_pretrained(embedded_dir("marian-en-de")).eval()
    pad_id = model.config.pad_token_id
    outputs = []
    for start in range(0, len(sources), BATCH):
        rows = sources[start : start + BATCH]
        width = max(map(len, rows))
        ids = torch.tensor([row + [pad_id] * (width - len(row)) for row in rows])
        mask = (torch.arange(width) < torch.tensor([[len(row)] for row in rows])).long()
        with torch.no_grad():
            found = model.generate(
                input_ids=ids, attention_mask=mask, num_beams=1, do_sample=False, max_new_tokens=MAX_LENGTH + 1
            )
        outputs += [row[: row.index(0)] if 0 in row else row for row in found[:, 1:].tolist()]
    return outputs


def test_500_sentences_translate_as_with_transformers(translator, sources):
    assert len(sources) == SENTENCES
    expected = generate(sources)
    found = translator.generate_ids(sources, max_length=MAX_LENGTH)
    assert sum(one != other for one, other in zip(found, expected, strict=True)) == 0
    assert sum(len(row) < MAX_LENGTH for row in found) > 450  # the others never end, in transformers neither


def test_fixed_translations(embedded_fp32, embedded_int8):
    texts = ["Good morning!", "The children are playing in the garden.", "Tom is my friend."]
    expected = ["Guten Morgen!", "Die Kinder spielen im Garten.", "Tom ist mein Freund."]
    for bundle in (embedded_fp32, embedded_int8):
        assert load(bundle).translate(texts) == expected
