"""Logits of a bundle's graphs for given target ids: the encoder once, then step by step with the state carried over."""

import numpy as np

from edgekit.graph.seq2seq import ENCODER_FILE, state_tensors, write_graphs, write_logits_decoder
from edgekit.runtime.batching import pad
from edgekit.runtime.greedy import initial_value
from edgekit.runtime.session import create_session

LOGITS_FILE = "logits.onnx"


class ForcedDecoding:
    """The graphs of one model, with a decoder that shows its logits."""

    def __init__(self, directory, config, weights, precision, shortlist=None):
        """Writes the graphs into ``directory``; ``shortlist`` is an `edgekit.runtime.shortlist.Shortlist`."""
        write_graphs(directory, config, weights, precision)
        write_logits_decoder(directory / LOGITS_FILE, config, weights, precision)
        self.config, self.shortlist = config, shortlist
        self.encoder = create_session(directory / ENCODER_FILE)
        self.decoder = create_session(directory / LOGITS_FILE)

    def logits(self, sources, targets, pad_id=0, capacity=64):
        """``float32 [batch, target length, vocabulary]`` and the greedy choices ``int64 [batch, target length]``.

        Args:
            sources: source ids of each row, EOS included, of any lengths.
            targets: decoder ids ``[batch, target length]``, the start token first.
            pad_id: what shorter rows are filled up with.
            capacity: entries of the caches, at least the target length.
        """
        ids, mask = pad(sources, pad_id)
        feeds = {"input_ids": ids, "attention_mask": mask}
        shared = {"attention_mask": mask}
        if self.shortlist is not None:
            shared["shortlist"], feeds["shortlist_bias"] = self.shortlist.for_batch(sources)
            feeds["shortlist"] = shared["shortlist"]
        outputs = [output.name for output in self.encoder.get_outputs()]
        shared |= dict(zip(outputs, self.encoder.run(None, feeds), strict=True))
        carried = {
            state.past: initial_value(state, len(sources), capacity)
            for state in state_tensors(self.config)
            if state.kind != "constant"
        }
        names = [output.name for output in self.decoder.get_outputs()]
        targets = np.asarray(targets, np.int64)
        logits, choices = [], []
        for position, column in enumerate(targets.T):
            step = {"input_ids": column, "positions": np.full(len(sources), position, np.int64)}
            found = dict(zip(names, self.decoder.run(None, {**step, **shared, **carried}), strict=True))
            logits.append(found.pop("logits"))
            choices.append(found.pop("next_ids"))
            carried = {name.replace("present_", "past_"): value for name, value in found.items()}
        return np.stack(logits, axis=1), np.stack(choices, axis=1)
