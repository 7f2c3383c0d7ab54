"""Drafts repeat what followed before; a text is the same with and without them, in fewer runs."""

import dataclasses

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.runtime import TextGenerator, causal_search, prompt_lookup
from edgekit.runtime.forward_pass import ForwardPass
from edgekit.runtime.prompt_lookup import PromptLookup, runs_agree
from edgekit.runtime.state_buffers import StateBuffers
from tests.graph.causal_lm_checkpoints import make_llama
from tests.runtime.causal_lm_bundles import CONTEXT, byte_level, sized, write_text_bundle

VOCAB = 320
PROMPTS = [[5, 6, 7] * 12, list(range(3, 40)), [9], [*range(60, 90), *range(60, 75)]]


class TestDrafts:
    @pytest.mark.parametrize(
        ("ids", "most", "draft"),
        [
            ([1, 2, 3, 4, 5, 1, 2, 3], 4, [4, 5]),  # as if one token had held lately
            ([1, 2, 3, 4, 5, 1, 2, 3], 1, [4]),
            ([1, 2, 3, 4, 5, 1, 2, 3], 0, []),
            ([1, 2, 9, 8, 7, 1, 2], 4, [9, 8]),  # two equal ones, where there are no three
            ([2, 9, 8, 7, 1, 2], 4, [9, 8]),  # one
            ([1, 2, 3, 7, 5, 2, 3, 8, 1, 2, 3], 1, [7]),  # three before two, though those are nearer
            ([1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3], 1, [8]),  # the last of several
            ([1, 2, 3, 4], 4, []),
            ([4, 4, 4, 4], 4, [4, 4]),  # a repetition goes on
            ([1, 2, 1, 2, 1], 4, [2, 1]),
            ([1], 4, []),
            ([], 4, []),
            ([1, 2, 3, 4, 5, 1, 2, 3], 99, [4, 5]),
        ],
    )
    def test_what_followed_before_is_the_draft(self, ids, most, draft):
        assert PromptLookup(ids).draft(most) == draft

    def test_ids_that_are_chosen_count_too(self):
        lookup = PromptLookup([1, 2, 3])
        lookup.extend([4, 5])
        lookup.extend([1, 2, 3])
        assert lookup.draft(4) == [4, 5]

    def test_a_draft_is_as_long_as_what_held_lately(self):
        """Half of what held is the last draft's; 1.75 tokens for each that held, and one."""
        lookup, lengths = PromptLookup([1, 2, 3, 4, 5, 6, 1, 2, 3]), []
        for accepted in (0, 0, 1, 2, 4, 4):
            lengths.append(len(lookup.draft(9)))
            lookup.judge(accepted)
        assert lengths == [2, 1, 1, 2, 3, 4]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A model that repeats itself, with heads for which several queries round as one does."""
    sizes = {"hidden_size": 144, "intermediate_size": 208, "num_attention_heads": 3, "num_key_value_heads": 1}
    case = sized(make_llama(vocab_size=VOCAB, max_position_embeddings=CONTEXT, head_dim=64, **sizes), VOCAB)
    config = dataclasses.replace(case.config, d_model=144, ffn_dim=208, attention_heads=3)
    case = dataclasses.replace(case, config=config)
    return write_text_bundle(tmp_path_factory.mktemp("lm") / "tiny", case, byte_level(), eos_token_ids=())


@pytest.fixture
def runs(monkeypatch):
    """How many tokens each step of the search ran."""
    counts = []
    run = causal_search._Batch._run
    monkeypatch.setattr(
        causal_search._Batch, "_run", lambda self, tokens, ids: counts.append(tokens) or run(self, tokens, ids)
    )
    return counts


def generate_undrafted(bundle, prompt, count):
    """The text on the same settings, where nothing is ever alike."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PromptLookup, "draft", lambda self, most: [])
        return TextGenerator.load(bundle).generate_ids([prompt], max_new_tokens=count, prompt_lookup=True)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("count", [1, 2, 3, 100, 1000])
def test_a_text_is_the_same_with_and_without_drafts(bundle, runs, prompt, count):
    expected = generate_undrafted(bundle, prompt, count)
    assert set(runs) <= {1}
    runs.clear()
    drafting = TextGenerator.load(bundle)
    assert drafting.generate_ids([prompt], max_new_tokens=count, prompt_lookup=True) == expected
    assert list(drafting.stream_ids(prompt, max_new_tokens=count, prompt_lookup=True)) == expected[0]


def test_a_text_that_repeats_takes_fewer_runs(bundle, runs, monkeypatch):
    """Whatever this CPU's kernels: what holds is decided by the verifying run."""
    monkeypatch.setattr(causal_search, "runs_agree", lambda *arguments: True)
    (ids,) = TextGenerator.load(bundle).generate_ids([PROMPTS[0]], max_new_tokens=100, prompt_lookup=True)
    assert len(ids) == 100
    assert len(runs) < 95
    assert max(runs) == 1 + prompt_lookup.MOST_DRAFTED


def test_drafts_of_which_nothing_holds_change_nothing(bundle, monkeypatch):
    usual = [generate_undrafted(bundle, prompt, 60) for prompt in PROMPTS]
    monkeypatch.setattr(PromptLookup, "draft", lambda self, most: [3] * min(most, 4))
    for prompt, expected in zip(PROMPTS, usual, strict=True):
        assert TextGenerator.load(bundle).generate_ids([prompt], max_new_tokens=60, prompt_lookup=True) == expected


@pytest.mark.parametrize("room", [0, 1, 5])
def test_buffers_that_grow_among_drafts_change_nothing(bundle, room, monkeypatch):
    usual = generate_undrafted(bundle, PROMPTS[0], 100)
    monkeypatch.setattr(causal_search, "FIRST_ROOM", room)
    assert TextGenerator.load(bundle).generate_ids([PROMPTS[0]], max_new_tokens=100, prompt_lookup=True) == usual


def test_a_draft_is_cut_where_the_text_ends(bundle):
    generator = TextGenerator.load(bundle)
    (ids,) = generator.generate_ids([PROMPTS[0]], max_new_tokens=60, prompt_lookup=True)
    generator._search._eos = frozenset([ids[-1]])
    assert generator.generate_ids([PROMPTS[0]], max_new_tokens=60, prompt_lookup=True) == [ids[: ids.index(ids[-1])]]
    text = generator.generate("ababababab", max_new_tokens=60, ignore_eos=True, prompt_lookup=True)
    stop = text[-3:]
    assert (
        generator.generate("ababababab", max_new_tokens=60, ignore_eos=True, stop=stop, prompt_lookup=True)
        == text[: text.index(stop)]
    )


def test_where_kernels_disagree_nothing_is_drafted(bundle, runs, monkeypatch):
    checks = []
    monkeypatch.setattr(causal_search, "runs_agree", lambda *arguments: bool(checks.append(1)))
    generator = TextGenerator.load(bundle)
    for _ in range(2):
        generator.generate_ids([PROMPTS[0]], max_new_tokens=50, prompt_lookup=True)
    assert set(runs) == {1}
    assert checks == [1]  # asked once


@pytest.mark.parametrize(
    "options", [{"temperature": 1.0, "seed": 0}, {"repetition_penalty": 1.2}, {"prompt_lookup": False}]
)
def test_texts_that_are_drawn_or_run_together_are_not_drafted(bundle, runs, options):
    generator = TextGenerator.load(bundle)
    generator.generate_ids([PROMPTS[0]], max_new_tokens=20, **{"prompt_lookup": True, **options})
    generator.generate_ids(PROMPTS, max_new_tokens=20, prompt_lookup=True)
    assert set(runs) == {1}


@pytest.mark.parametrize(
    ("prompts", "options", "several"),
    [
        (PROMPTS[1:2], {"prompt_lookup": True}, True),
        (PROMPTS[1:2], {}, False),
        (PROMPTS[1:2], {"prompt_lookup": True, "temperature": 1.0, "seed": 0}, False),
        (PROMPTS[:2], {"prompt_lookup": True}, False),
    ],
)
def test_single_tokens_are_calculated_as_among_several_where_drafts_may_come(
    bundle, monkeypatch, prompts, options, several
):
    found = set()

    def record(*arguments, as_several):
        if arguments[4] == 1:
            found.add(as_several)
        return ForwardPass(*arguments, as_several=as_several)

    monkeypatch.setattr(causal_search, "ForwardPass", record)
    TextGenerator.load(bundle).generate_ids(prompts, max_new_tokens=CONTEXT, **options)
    assert found == {several}


def test_runs_that_differ_are_seen(bundle):
    search = TextGenerator.load(bundle)._search
    buffers = StateBuffers(search.states, 1, 8)
    ids = [5, 6, 7, 8]
    agreed = runs_agree(search.session, search.states, buffers, ids, 0, VOCAB)
    assert isinstance(agreed, bool)

    class Differs:
        """Whose runs of one size are off in one bit."""

        def __init__(self, size):
            self.size = size

        io_binding = search.session.io_binding

        def run_with_iobinding(self, binding):
            search.session.run_with_iobinding(binding)
            logits = binding.get_outputs()[-1].numpy()
            if len(logits) == self.size:
                logits[0, 0] = np.nextafter(logits[0, 0], np.float32(9e9))

    assert not any(runs_agree(Differs(size), search.states, buffers, ids, 0, VOCAB) for size in range(1, 5))


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_prompt_lookup_is_true_or_false(bundle, value):
    with pytest.raises(InputError, match=f"prompt_lookup must be True or False, found {value!r}"):
        TextGenerator.load(bundle).generate_ids(PROMPTS, prompt_lookup=value)
