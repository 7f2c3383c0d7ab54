"""One engine with one model in a process of its own, for `peers.py` and `peers_quality.py`.

python engine.py ENGINE MODEL THREADS

Every engine does the same: read a prompt's ids from nothing, then greedy ids one by one, behind EOS too. In, on stdin,
one JSON object a line, ``{"ids": [...], "new_tokens": 64}``, or ``{"text": "..."}`` (edgekit only). Out, on stdout,
after a first ``{"version": "..."}``, ``{"first_seconds": ..., "following_seconds": ..., "ids": [...]}``, or of a text
``{"ids": [...]}``. Timed: from the prompt's ids to the first new id, and from it to the last; loading, JSON and pipes
are not.

``{"ids": [...], "first": 128, "logits": "PATH.npy"}`` scores a text: logits of what follows each id from ``first`` on
go to that file, float32 ``[ids - first, vocabulary]``, and the reply is ``{"rows": ...}``. The Python that runs this
has the engine installed, and need not have edgekit.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Iterator
from time import perf_counter
from typing import Any


class Edgekit:
    """A causal-lm bundle through `edgekit.runtime.TextGenerator`, a step for each token."""

    prompt_lookup = False

    def __init__(self, model: str, threads: int) -> None:
        import edgekit
        from edgekit.runtime import TextGenerator

        self.version = f"edgekit {edgekit.__version__}"
        # Prompts are all different, so there is nothing to remember.
        self._generator = TextGenerator.load(model, threads, prefix_cache_bytes=0)

    def encode(self, text: str) -> list[int]:
        """The text's ids."""
        return self._generator.encode(text)

    def generate(self, ids: list[int], new_tokens: int) -> Iterator[int]:
        """The new ids, one by one."""
        lookup = self.prompt_lookup
        return self._generator.stream_ids(ids, max_new_tokens=new_tokens, ignore_eos=True, prompt_lookup=lookup)

    def logits(self, ids: list[int], first: int) -> Any:
        """Logits behind each id from ``first`` on."""
        return self._generator.logits(ids, first)


class EdgekitLookup(Edgekit):
    """The same with prompt lookup; ids may differ where two are nearly as likely."""

    prompt_lookup = True


class LlamaCpp:
    """A GGUF file through llama.cpp's own C functions, as llama-cpp-python declares them."""

    def __init__(self, model: str, threads: int) -> None:
        import llama_cpp
        import numpy as np

        self._llama, self._numpy = llama_cpp, np
        self.version = f"llama.cpp of llama-cpp-python {llama_cpp.__version__}"
        self._silence = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self._silence, None)
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(model.encode(), llama_cpp.llama_model_default_params())
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = 1024
        parameters.n_threads = parameters.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, parameters)
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))

    def generate(self, ids: list[int], new_tokens: int) -> Iterator[int]:
        """The new ids, one by one; the largest logit is found by numpy, in some 20 µs."""
        llama = self._llama
        self._forget()
        fed = ids
        for _ in range(new_tokens):
            tokens = (llama.llama_token * len(fed))(*fed)
            # A batch from one array asks for the last token's logits only.
            status = llama.llama_decode(self._context, llama.llama_batch_get_one(tokens, len(fed)))
            assert status == 0, status
            chosen = int(self._row(-1).argmax())
            yield chosen
            fed = [chosen]

    def logits(self, ids: list[int], first: int) -> Any:
        """Logits behind each id from ``first`` on; no BOS is added, as the ids go in unchanged."""
        llama = self._llama
        self._forget()
        batch = llama.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for position, token in enumerate(ids):
            batch.token[position], batch.pos[position] = token, position
            batch.n_seq_id[position], batch.seq_id[position][0] = 1, 0
            batch.logits[position] = position >= first
        status = llama.llama_decode(self._context, batch)
        llama.llama_batch_free(batch)
        assert status == 0, status
        return self._numpy.stack([self._row(position) for position in range(first, len(ids))])

    def _forget(self) -> None:
        """Empties the cache."""
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), True)

    def _row(self, position: int) -> Any:
        """The logits behind one id of the last batch, a view that the next batch overwrites."""
        logits = self._llama.llama_get_logits_ith(self._context, position)
        address = ctypes.cast(logits, ctypes.c_void_p).value
        row = (ctypes.c_float * self._vocabulary).from_address(address)
        return self._numpy.frombuffer(row, dtype=self._numpy.float32)


class Genai:
    """A directory of onnxruntime-genai's model builder."""

    def __init__(self, model: str, threads: int) -> None:
        import onnxruntime_genai

        self._genai = onnxruntime_genai
        self.version = f"onnxruntime-genai {onnxruntime_genai.__version__}"
        config = onnxruntime_genai.Config(model)
        # A text goes on behind EOS. An id there must be; SmolLM2's 3 is <repo_name>, which prose does not hold.
        session = {"intra_op_num_threads": threads}
        config.overlay(json.dumps({"model": {"eos_token_id": [3], "decoder": {"session_options": session}}}))
        self._model = onnxruntime_genai.Model(config)

    def generate(self, ids: list[int], new_tokens: int) -> Iterator[int]:
        """The new ids, one by one."""
        parameters = self._genai.GeneratorParams(self._model)
        parameters.set_search_options(max_length=len(ids) + new_tokens, do_sample=False)
        generator = self._genai.Generator(self._model, parameters)
        generator.append_tokens(ids)
        for _ in range(new_tokens):
            generator.generate_next_token()
            yield int(generator.get_next_tokens()[0])

    def logits(self, ids: list[int], first: int) -> Any:
        """Logits behind each id from ``first`` on; the engine calculates them all in any case."""
        parameters = self._genai.GeneratorParams(self._model)
        parameters.set_search_options(max_length=len(ids) + 1, do_sample=False)
        generator = self._genai.Generator(self._model, parameters)
        generator.append_tokens(ids)
        return generator.get_output("logits")[0, first:]


ENGINES = {"edgekit": Edgekit, "edgekit-lookup": EdgekitLookup, "llama.cpp": LlamaCpp, "genai": Genai}


def answer(engine: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The reply to one request; see the module's text."""
    if "text" in request:
        return {"ids": engine.encode(request["text"])}
    if "logits" in request:
        return save_logits(engine.logits(request["ids"], request["first"]), request["logits"])
    start = perf_counter()
    stream = engine.generate(request["ids"], request["new_tokens"])
    ids = [next(stream)]
    first = perf_counter()
    ids += stream
    last = perf_counter()
    assert len(ids) == request["new_tokens"], f"{len(ids)} ids instead of {request['new_tokens']}"
    return {"first_seconds": first - start, "following_seconds": last - first, "ids": ids}


def save_logits(logits: Any, path: str) -> dict[str, int]:
    """Writes them as float32; a window's are too many for JSON."""
    import numpy as np

    np.save(path, logits.astype(np.float32, copy=False))
    return {"rows": len(logits)}


def main(name: str, model: str, threads: str) -> None:
    """Load, then answer until the end of stdin; whatever a library prints goes to stderr."""
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    engine = ENGINES[name](model, int(threads))
    print(json.dumps({"version": engine.version}), file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(engine, json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
