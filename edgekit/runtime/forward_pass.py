"""One run of a decoder-only graph with all that it reads and writes bound in place; it may run any number of times.

The inputs and outputs are those of `edgekit.graph.causal_lm`: ids of ``count`` texts, how many tokens of each are in
the buffers already, and the rows of which logits, or the most likely next id, are asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgekit.bundle.manifest import StateTensor
from edgekit.runtime.session import run_graph
from edgekit.runtime.state_buffers import StateBuffers


class ForwardPass:
    """Runs ``tokens`` ids of each of ``count`` slots.

    onnxruntime works on a bound array's memory where it is, so each one is kept alive here.

    Attributes:
        input_ids: ``int64 [count, tokens]``, to be filled in before a run.
        past_lengths: ``int32 [count]``, tokens of each slot that are in the buffers; to be filled in too.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        states: Sequence[StateTensor],
        buffers: StateBuffers,
        slots: range,
        tokens: int,
        output_rows: NDArray[np.int64],
        output: tuple[str, NDArray[Any]],
        *,
        as_several: bool = False,
    ) -> None:
        """Binds everything.

        Args:
            session: of the graph.
            states: the manifest's.
            buffers: their memory, with room for ``tokens`` more, and one if ``as_several``.
            slots: which texts run.
            tokens: ids of each.
            output_rows: ``int64 [outputs]``, indices into ``count x tokens``.
            output: ``("next_ids", int64 [outputs])`` or ``("logits", float32 [outputs, vocabulary])``, to be written.
            as_several: whether a single token is calculated as it is among several, which takes a little longer.
        """
        count = len(slots)
        self.input_ids = np.zeros((count, tokens), np.int64)
        self.past_lengths = np.zeros(count, np.int32)
        inputs: dict[str, NDArray[Any]] = {
            "input_ids": self.input_ids,
            "past_lengths": self.past_lengths,
            "sequence_lengths": np.full(count, tokens, np.int32),
            "added_queries": np.array([as_several and tokens == 1], np.int64),
            "output_rows": output_rows,
        }
        self._session, self._binding = session, session.io_binding()
        self._values: list[tuple[NDArray[Any], ort.OrtValue]] = []
        for name, array in inputs.items():
            self._binding.bind_ortvalue_input(name, self._value(array))
        for state, array in zip(states, buffers.bound(slots), strict=True):
            value = self._value(array)
            self._binding.bind_ortvalue_input(state.past, value)
            self._binding.bind_ortvalue_output(state.present, value)
        self._binding.bind_ortvalue_output(output[0], self._value(output[1]))

    def _value(self, array: NDArray[Any]) -> ort.OrtValue:
        value = ort.OrtValue.ortvalue_from_numpy(array)
        self._values.append((array, value))
        return value

    def run(self) -> None:
        """Runs the graph.

        Raises:
            BundleError: onnxruntime can't.
        """
        run_graph(self._session.run_with_iobinding, self._binding)
