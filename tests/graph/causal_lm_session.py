"""Runs a decoder-only graph with its cache in one place, as the runtime does, but step by step as a test asks."""

import numpy as np
import onnxruntime as ort

from edgekit.graph.causal_lm import MODEL_FILE, write_causal_lm
from edgekit.runtime.session import create_session


class CausalLMSession:
    """A written graph and, for one batch, its cache."""

    def __init__(self, directory, config, weights, precision="fp32", batch=1, capacity=32):
        write_causal_lm(directory, config, weights, precision)
        self.config, self.precision = config, precision
        self.session = create_session(directory / MODEL_FILE)
        self.start(batch, capacity)

    def start(self, batch, capacity=32):
        """Begins with an empty cache, filled with what must never be read."""
        shape = (batch, self.config.key_value_heads, capacity, self.config.head_dim)
        names = [f"{name}_{layer}" for layer in range(self.config.layers) for name in ("key", "value")]
        self.cache = {name: np.full(shape, np.nan, np.float32) for name in names}
        self.lengths = np.zeros(batch, np.int32)

    def run(self, rows, width=None, every=False, filler=0, alone=False):
        """Feeds some more ids of each row; returns the logits after each row's last (or after every) token.

        One id of each row is calculated as among several, unless ``alone``.
        """
        counts = np.array([len(row) for row in rows], np.int32)
        ids = np.full((len(rows), width or counts.max()), filler, np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
        starts = np.arange(len(rows)) * ids.shape[1]
        rows_of = zip(starts, counts, strict=True)
        wanted = [start + np.arange(count) if every else [start + count - 1] for start, count in rows_of]
        feeds = {
            "input_ids": ids,
            "past_lengths": self.lengths,
            "sequence_lengths": counts,
            "added_queries": np.array([not alone and ids.shape[1] == 1], np.int64),
            "output_rows": np.concatenate(wanted).astype(np.int64),
        }
        binding = self.session.io_binding()
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        for name, array in self.cache.items():
            value = ort.OrtValue.ortvalue_from_numpy(array)
            binding.bind_ortvalue_input(f"past_{name}", value)
            binding.bind_ortvalue_output(f"present_{name}", value)
        binding.bind_output("logits")
        binding.bind_output("next_ids")
        self.session.run_with_iobinding(binding)
        self.lengths = self.lengths + counts
        outputs = dict(zip(("logits", "next_ids"), (v.numpy() for v in binding.get_outputs()[-2:]), strict=True))
        return outputs["logits"]
