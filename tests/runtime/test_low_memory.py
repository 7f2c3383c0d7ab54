"""A translator that holds little memory: the same translations, one decoder at a time, small batches."""

import pytest

import edgekit
from edgekit.errors import InputError
from edgekit.runtime import Translator, memory
from edgekit.runtime.greedy import GreedySearch
from edgekit.runtime.seq2seq_search import LOW_MEMORY_BATCH_TOKENS
from edgekit.runtime.session import session_options
from tests.runtime.causal_lm_bundles import byte_level, write_text_bundle

TEXTS = ["Good morning!", "I am reading a book.", "Where is the station, please?", "Yes."] * 6


@pytest.fixture(scope="module")
def small(embedded_int8):
    return edgekit.load(embedded_int8, low_memory=True)


def test_translations_are_the_same(small, embedded_int8):
    usual = Translator.load(embedded_int8)
    assert small.translate(TEXTS) == usual.translate(TEXTS)
    assert small.n_best(TEXTS[:4], 2) == usual.n_best(TEXTS[:4], 2)


def test_one_decoder_is_held_at_a_time(small):
    search = small._search
    small.translate("Yes.", beams=2)
    assert (search._greedy_search, search.has_beam_search) == (None, True)
    small.translate("Yes.")
    assert search._greedy_search is not None
    assert not search.has_beam_search


def test_both_decoders_stay_unless_memory_is_to_be_saved(embedded_int8):
    usual = Translator.load(embedded_int8)
    usual.translate("Yes.", beams=2)
    assert usual._search._greedy_search is not None
    assert usual._search.has_beam_search


def test_batches_are_small_whatever_is_asked_for(small, monkeypatch):
    search, sizes = GreedySearch.search, []

    def recorded(self, rows, *arguments):
        sizes.append(len(rows) * max(map(len, rows)))
        return search(self, rows, *arguments)

    monkeypatch.setattr(GreedySearch, "search", recorded)
    small.translate(TEXTS, batch_tokens=4096)
    assert len(sizes) > 1
    assert max(sizes) <= LOW_MEMORY_BATCH_TOKENS


def test_sessions_keep_nothing_between_runs():
    small, usual = session_options(low_memory=True), session_options()
    assert (small.enable_cpu_mem_arena, small.enable_mem_pattern) == (False, False)
    assert (usual.enable_cpu_mem_arena, usual.enable_mem_pattern) == (True, True)


def test_memory_is_that_of_the_sessions_that_are_held(monkeypatch):
    loaded, taken = memory.LoadedSessions(), iter([100, 120, 120, 150])
    monkeypatch.setattr(memory, "private_bytes", lambda: next(taken))
    for graph in ("encoder", "decoder"):
        with loaded.measure(graph):
            pass
    loaded.forget("beam_decoder")
    assert loaded.size_bytes == 50
    loaded.forget("decoder")
    assert loaded.size_bytes == 20


def test_freed_memory_is_given_back_where_the_c_library_can(monkeypatch):
    asked = []
    library = type("Library", (), {"malloc_trim": lambda self, kept: asked.append(kept)})
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: library())
    memory.give_back_freed()
    assert asked == [0]
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())  # another C library
    memory.give_back_freed()
    monkeypatch.setattr(memory.sys, "platform", "win32")
    memory.give_back_freed()
    assert asked == [0]


def test_only_the_side_that_is_encoded_gets_the_tables_for_it(two_tokenizers_bundle):
    translator = Translator.load(two_tokenizers_bundle)
    translator.translate("Good morning!")
    assert "_segmenter" in vars(translator.source_tokenizer)
    assert "_segmenter" not in vars(translator.target_tokenizer)


def test_a_text_generator_has_no_such_mode(llama_case, tmp_path):
    bundle = write_text_bundle(tmp_path / "lm", llama_case, byte_level())
    with pytest.raises(InputError, match=r"low_memory is for translation models; .*lm generates text: leave it out"):
        edgekit.load(bundle, low_memory=True)
