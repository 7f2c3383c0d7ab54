"""Whether a decoder-only graph just written calculates what its weights say; nothing leaves an exporter unchecked."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from edgekit.bundle.manifest import Manifest, SelfCheck
from edgekit.errors import EdgekitError
from edgekit.graph.causal_lm import MODEL_FILE, cache_tensors
from edgekit.graph.causal_lm_config import CausalLMConfig
from edgekit.graph.causal_lm_reference import CausalLMReference
from edgekit.graph.check import FLOAT_TOLERANCE, INT8_TOLERANCE, logits_difference
from edgekit.graph.weights_file import Weights
from edgekit.runtime.causal_search import CausalSearch, Row
from edgekit.runtime.prefix_cache import PrefixCache
from edgekit.runtime.session import create_session, run_graph

PROMPT_LENGTH = 8
STEPS = 3
# Ids behind the prompt that are no part of it, and entries of the cache that nothing has filled: both hold what would
# show in the logits if the graph looked at them.
PADDING, ROOM = 2, 4
UNFILLED = 1e4
# With which the self-check in a bundle goes on.
SELF_CHECK_TOKENS = 16


def check_causal_lm(directory: Path, config: CausalLMConfig, weights: Weights, precision: str) -> float:
    """Compares the graph in ``directory`` with the numpy reference, over fixed ids: a prompt, then single tokens.

    In fp32 a single wrong bias is seen. In int8 and int4 a fault is seen that costs more than quantising the
    activations itself does; see `edgekit.graph.check`.

    Returns:
        The root mean square difference of the logits as a share of their standard deviation.

    Raises:
        EdgekitError: it is above the tolerance; a fault of edgekit or of onnxruntime on this machine.
    """
    length = min(PROMPT_LENGTH + STEPS, config.context_length)
    ids = np.random.default_rng(0).integers(0, config.vocab_size, length)
    found, next_ids = _run(directory, config, ids)
    expected = CausalLMReference(config, weights, precision).logits(ids)
    difference = logits_difference(found, expected)
    allowed = FLOAT_TOLERANCE
    if precision != "fp32":
        in_float = CausalLMReference(config, weights, "fp32").logits(ids)
        allowed += INT8_TOLERANCE * logits_difference(expected, in_float)
    if not difference <= allowed or not np.array_equal(next_ids, found.argmax(axis=1)):
        raise EdgekitError(
            f"the {precision} graph differs from its weights by {difference:.2g} of the logits' spread (at most "
            f"{allowed:.2g} is expected); nothing was written. Please report this with your CPU's name"
        )
    return difference


def record_continuation(directory: Path, manifest: Manifest) -> Manifest:
    """Goes on from the ids of ``manifest.self_check`` with the graph in ``directory`` and records what comes out."""
    search = CausalSearch(manifest, create_session(directory / MODEL_FILE), PrefixCache(0))
    row = Row(list(manifest.self_check.input_ids), SELF_CHECK_TOKENS)
    for _ in search.run([row]):
        pass
    return dataclasses.replace(manifest, self_check=SelfCheck(manifest.self_check.input_ids, tuple(row.ids)))


def _run(directory: Path, config: CausalLMConfig, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits after every id, and what the graph chooses there."""
    session = create_session(directory / MODEL_FILE)
    states = cache_tensors(config)
    shape = (1, config.key_value_heads, len(ids) + PADDING + ROOM, config.head_dim)
    cache = {state.past: np.full(shape, UNFILLED, np.float32) for state in states}
    names = ["logits", "next_ids", *(str(state.present) for state in states)]
    logits, choices = [], []
    position = 0
    prompt = ids[:PROMPT_LENGTH]
    for fed in (prompt, *(ids[start : start + 1] for start in range(len(prompt), len(ids)))):
        padded = np.concatenate([fed, ids[:PADDING]]) if position == 0 else fed
        feeds = {
            "input_ids": padded[None],
            "past_lengths": np.array([position], np.int32),
            "sequence_lengths": np.array([len(fed)], np.int32),
            "added_queries": np.zeros(1, np.int64),
            "output_rows": np.arange(len(fed)),
        }
        found, chosen, *presents = run_graph(session.run, names, feeds | cache)
        logits.append(found)
        choices.append(chosen)
        cache = {state.past: present for state, present in zip(states, presents, strict=True)}
        position += len(fed)
    return np.concatenate(logits), np.concatenate(choices)
