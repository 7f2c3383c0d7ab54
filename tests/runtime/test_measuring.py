"""What `edgekit bench` asks of a `TextGenerator`: ids one by one, texts of a known length, without drafts."""

import pytest

from edgekit.errors import InputError
from edgekit.runtime import TextGenerator
from edgekit.runtime.prompt_lookup import PromptLookup
from tests.runtime.causal_lm_bundles import byte_level, write_text_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, llama_case):
    """A model whose EOS is what it chooses first after `PROMPT`."""
    directory = tmp_path_factory.mktemp("measured")
    chosen = TextGenerator.load(write_text_bundle(directory / "free", llama_case, byte_level())).generate_ids(
        [PROMPT], max_new_tokens=1
    )
    return write_text_bundle(directory / "ending", llama_case, byte_level(), eos_token_ids=tuple(chosen[0]))


PROMPT = list(range(3, 60))


def test_text_goes_on_behind_eos_where_it_is_ignored(bundle):
    generator = TextGenerator.load(bundle)
    assert generator.generate_ids([PROMPT], max_new_tokens=9) == [[]]
    (ids,) = generator.generate_ids([PROMPT], max_new_tokens=9, ignore_eos=True)
    assert len(ids) == 9
    assert (ids[0],) == generator.manifest.generation.eos_token_ids


def test_ids_come_one_by_one(bundle):
    generator = TextGenerator.load(bundle)
    stream = generator.stream_ids(PROMPT, max_new_tokens=9, ignore_eos=True)
    first = next(stream)
    assert [first, *stream] == generator.generate_ids([PROMPT], max_new_tokens=9, ignore_eos=True)[0]
    assert list(generator.stream_ids(PROMPT, max_new_tokens=9)) == []


def test_one_text_may_be_drafted(bundle, monkeypatch):
    drafted = []
    draft = PromptLookup.draft
    monkeypatch.setattr(PromptLookup, "draft", lambda self, most: drafted.append(most) or draft(self, most))
    generator = TextGenerator.load(bundle)
    (plain,) = generator.generate_ids([PROMPT], max_new_tokens=9, ignore_eos=True)
    assert drafted == []
    assert generator.generate_ids([PROMPT], max_new_tokens=9, ignore_eos=True, prompt_lookup=True) == [plain]
    assert drafted
    with pytest.raises(InputError, match="prompt_lookup must be True or False, found 1"):
        generator.generate_ids([PROMPT], prompt_lookup=1)


def test_wrong_ids_to_stream_are_refused_before_the_first(bundle):
    generator = TextGenerator.load(bundle)
    with pytest.raises(InputError, match="stream_ids: the prompt must hold ids of the vocabulary, 0 to 319, found 320"):
        generator.stream_ids([1, 320])
    with pytest.raises(InputError, match="the prompt has 160 tokens; tiny takes at most 159"):
        generator.stream_ids([1] * 160)
