"""The manifest of a decoder-only bundle: what it holds, and each thing that does not fit together."""

import copy
import dataclasses
import json

import pytest

from edgekit.bundle.manifest import (
    Chat,
    FileRecord,
    Generation,
    Graph,
    Languages,
    Manifest,
    Port,
    Quantization,
    SelfCheck,
    Source,
    StateTensor,
    TensorQuantization,
    TextGeneration,
    TokenizerFiles,
)
from edgekit.errors import BundleError
from tests.bundle.tiny_bundle import tiny_manifest

CACHE = ("batch", 2, "capacity", 8)
IN_BLOCKS = TensorQuantization("uint4", "q_scale", "per-block", 32, "q_zero_point", "q_offset")
GOOD = Manifest(
    kind="causal-lm",
    name="tiny-lm",
    precision="int4",
    architecture={"model_type": "llama"},
    languages=Languages(None, None),
    task="text-generation",
    source=Source("local", "tiny", None, "Apache-2.0"),
    quantization=Quantization("int4", None, {"q": IN_BLOCKS, "table": TensorQuantization("int8", "s", "per-channel")}),
    graphs={
        "model": Graph(
            "model.onnx",
            (Port("input_ids", "int64", ("batch", "sequence_length")), Port("past_key_0", "float32", CACHE)),
            (Port("next_ids", "int64", ("outputs",)), Port("present_key_0", "float32", CACHE)),
        )
    },
    state=(StateTensor("key_0", "past_key_0", "present_key_0", "float32", CACHE, "appended", 0, 2, 64, "empty"),),
    generation=TextGeneration(1, (2, 5), None, 64, True),
    tokenizer=TokenizerFiles("tokenizer.json", "tokenizer.json", 6, 6),
    shortlist=None,
    self_check=SelfCheck((1, 3), (4, 4)),
    measured=None,
    created_by={"edgekit": "0.1.0"},
    files={
        name: FileRecord(4, "0123456789abcdef" * 4)
        for name in ("model.onnx", "tokenizer.json", "chat_template.jinja", "weights.safetensors")
    },
    chat=Chat("chat_template.jinja", {"bos_token": "<s>", "eos_token": "</s>"}),
)
VALUES = json.loads(GOOD.to_json())


def read(values):
    return Manifest.from_json(json.dumps(values), "m/bundle.json")


def edited(path, value):
    values = copy.deepcopy(VALUES)
    place = values
    *outer, last = path.split("/")
    for key in outer:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[int(last) if isinstance(place, list) else last] = value
    return values


def test_manifest_survives_a_round_trip():
    assert read(VALUES) == GOOD
    assert read(VALUES).to_json() == GOOD.to_json()


def test_json_keys_are_the_frozen_ones_of_schema_version_1():
    assert VALUES["generation"] == {
        "bos_token_id": 1, "eos_token_ids": [2, 5], "pad_token_id": None, "context_length": 64, "adds_bos": True,
    }  # fmt: skip
    special_tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    assert VALUES["chat"] == {"template": "chat_template.jinja", "special_tokens": special_tokens}
    assert VALUES["quantization"]["tensors"]["q"] == {
        "dtype": "uint4", "scale": "q_scale", "granularity": "per-block", "block_size": 32,
        "zero_point": "q_zero_point", "offset": "q_offset",
        "activations": None, "activation_scale": None,
    }  # fmt: skip


def test_each_kind_has_its_own_generation():
    assert isinstance(read(VALUES).generation, TextGeneration)
    files = {name: FileRecord(4, "0" * 64) for name in ("encoder.onnx", "decoder.onnx", "tokenizer.json")}
    seq2seq = dataclasses.replace(tiny_manifest(), files=files)
    assert isinstance(Manifest.from_json(seq2seq.to_json(), "m").generation, Generation)


def test_a_bundle_from_before_there_were_blocks_and_chat_still_loads():
    values = edited("quantization/tensors", {"table": {"dtype": "int8", "scale": "s", "granularity": "per-channel"}})
    del values["chat"]
    manifest = read(values)
    assert manifest.chat is None
    assert manifest.quantization.tensors["table"].block_size is None


def test_a_model_without_bos_eos_or_padding_is_fine():
    generation = {
        "bos_token_id": None,
        "eos_token_ids": [],
        "pad_token_id": None,
        "context_length": 1,
        "adds_bos": False,
    }
    assert read(edited("generation", generation)).generation == TextGeneration(None, (), None, 1, False)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("graphs/decoder", VALUES["graphs"]["model"], "graphs: expected model, found 'model', 'decoder'"),
        ("graphs/model/file", "model.bin", "graphs.model.file: expected a file that files lists, found 'model.bin'"),
        ("state/0/past", "elsewhere", r"state\[0\]: expected 'elsewhere' among the model inputs, found none"),
        ("state/0/present", "elsewhere", r"state\[0\]: expected 'elsewhere' among the model outputs, found none"),
        ("state/0/initial", "encoder", r"expected another initial than encoder in a bundle without an encoder"),
        ("generation/context_length", 0, "generation.context_length: expected an integer from 1 to 1048576, found 0"),
        ("generation/context_length", 10**9, "generation.context_length: expected an integer from 1 to 1048576"),
        ("generation/eos_token_ids", 2, "generation.eos_token_ids: expected a list of integers from 0, found 2"),
        ("generation/eos_token_ids", [2, 6], "generation.eos_token_ids: expected ids below 6"),
        ("generation/bos_token_id", 6, "generation.bos_token_id: expected ids below 6"),
        ("generation/bos_token_id", None, "generation.bos_token_id: expected an id where adds_bos is true, found null"),
        ("generation/pad_token_id", 99, "generation.pad_token_id: expected ids below 6"),
        ("generation/adds_bos", 1, "generation.adds_bos: expected true or false, found 1"),
        ("generation", {"start_token_id": 1}, "generation.context_length: expected an integer from 1 to 1048576, fou"),
        ("chat/template", "../x.jinja", "chat.template: expected the plain name of a file in the bundle, found"),
        ("chat/template", "x.jinja", "chat.template: expected a file that files lists, found 'x.jinja'"),
        ("chat/special_tokens", {"bos_token": 1}, "chat.special_tokens: expected an object whose values are texts"),
        ("chat", "template", "chat: expected an object, found 'template'"),
        ("tokenizer/target_vocab_size", 7, "tokenizer: expected the same source and target in a causal-lm bundle"),
        ("tokenizer/target", "model.onnx", "tokenizer: expected the same source and target in a causal-lm bundle"),
        (
            "shortlist",
            {"file": "weights.safetensors", "first": 1},
            "shortlist: expected null in a causal-lm bundle, found an object",
        ),
        ("self_check/input_ids", [], "self_check.input_ids: expected at least one id in a causal-lm bundle, found"),
        ("quantization/tensors/q/dtype", "int4", "tensors.q.dtype: expected int8 or uint8 or uint4, found 'int4'"),
        ("quantization/tensors/q/block_size", 8, "tensors.q.block_size: expected an integer from 16 to 256, found 8"),
        (
            "quantization/tensors/q/block_size",
            None,
            "tensors.'q': expected a block_size where granularity is per-block only, found per-block and None",
        ),
        (
            "quantization/tensors/table/block_size",
            32,
            "tensors.'table': expected a block_size where granularity is per-block only, found per-channel and 32",
        ),
        (
            "quantization/tensors/table/zero_point",
            "z",
            "tensors.'table': expected uint4, zero_point and offset where granularity is per-block only, found per-ch",
        ),
        ("quantization/tensors/q/offset", 3, "tensors.q.offset: expected a text, found 3"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(path, value, message):
    with pytest.raises(BundleError, match=message):
        read(edited(path, value))


def test_a_seq2seq_bundle_has_no_chat_and_no_int4():
    files = {name: FileRecord(4, "0" * 64) for name in ("encoder.onnx", "decoder.onnx", "tokenizer.json", "c.jinja")}
    chatty = dataclasses.replace(tiny_manifest(), files=files, chat=Chat("c.jinja"))
    with pytest.raises(BundleError, match="chat: expected null in a seq2seq bundle, found an object"):
        Manifest.from_json(chatty.to_json(), "m")
    int4 = dataclasses.replace(tiny_manifest(), files=files, precision="int4", quantization=Quantization("int4"))
    with pytest.raises(
        BundleError, match=r"quantization.scheme: expected fp32 or int8 in a seq2seq bundle, found int4"
    ):
        Manifest.from_json(int4.to_json(), "m")
