"""Graphs that optimum exported, as bundles: equal to transformers, alone and in batches, in every precision.

Each tiny model is exported once. transformers' own search is the reference for ids, its forward pass for logits.
"""

import json
import shutil

import numpy as np
import onnx_ir as ir
import pytest
import safetensors.numpy
import torch

import edgekit
from edgekit.bundle.read import open_bundle, verify_bundle
from edgekit.errors import BundleError, InputError, ModelNotFoundError, OutputError, SourceError, UnsupportedError
from edgekit.export import export, import_onnx
from edgekit.export.sources.local_directory import read_directory
from edgekit.export.sources.onnx_directory import read_onnx_directory
from edgekit.gate.forced import FloatModel
from edgekit.quantize.bundle import quantize_bundle
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.scheme import named_scheme
from tests.export import optimum_models

TEXT_MODELS = [name for name in optimum_models.MODELS if name not in optimum_models.SEQ2SEQ]
# Of different lengths: a batch of them has rows with gaps.
PROMPTS = [[7, 250, 31], [40, 5, 6, 99, 18, 200, 201, 77, 3, 12, 8], [60], [9, 9, 120, 44, 5, 6]]
NEW_TOKENS = 14
QUANTIZED_ERROR = {"int8": 0.05, "int8-dynamic": 0.05, "int4": 0.4}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """The fp32 bundle of each model."""
    folder = tmp_path_factory.mktemp("imported")
    return {name: import_onnx(optimum_models.exported(name), "fp32", folder / name) for name in optimum_models.MODELS}


def _until_eos(ids, eos=2):
    return ids[: ids.index(eos)] if eos in ids else ids


def _relative(found, expected):
    return float(np.sqrt(np.mean((found - expected) ** 2)) / expected.std())


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_text_model_gives_transformers_logits_and_greedy_ids_alone_and_in_a_batch(bundles, name):
    _, model = optimum_models.checkpoint(name)
    generator = edgekit.load(bundles[name])
    with torch.no_grad():
        logits = model(torch.tensor(PROMPTS[1:2])).logits[0].numpy()
    np.testing.assert_allclose(generator.logits(PROMPTS[1]), logits, atol=1e-4)
    expected = [
        _until_eos(
            model.generate(torch.tensor([ids]), max_new_tokens=NEW_TOKENS, do_sample=False)[0, len(ids) :].tolist()
        )
        for ids in PROMPTS
    ]
    assert [generator.generate_ids([ids], max_new_tokens=NEW_TOKENS)[0] for ids in PROMPTS] == expected
    assert generator.generate_ids(PROMPTS, max_new_tokens=NEW_TOKENS) == expected


def test_text_model_streams_scores_and_samples_as_any_bundle_does(bundles):
    generator = edgekit.load(bundles["opt"])
    text = generator.generate("The weather", max_new_tokens=8)
    assert "".join(generator.stream("The weather", max_new_tokens=8)) == text
    assert generator.generate("The weather", max_new_tokens=8, prompt_lookup=True) == text
    assert generator.generate("The weather", max_new_tokens=8, temperature=1.0, top_k=1) == text
    (score,) = generator.score(["The weather is fine"])
    logits = generator.logits(score.ids).astype(np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = log_probabilities[np.arange(len(score.ids) - 1), score.ids[1:]]
    np.testing.assert_allclose(score.log_probabilities, expected, atol=1e-4)


@pytest.mark.parametrize("beams", [1, 4])
def test_encoder_decoder_gives_transformers_ids_alone_and_in_a_batch(bundles, beams):
    _, model = optimum_models.checkpoint("blenderbot")
    translator = edgekit.load(bundles["blenderbot"])
    rows = [[*ids, 2] for ids in PROMPTS]
    options = {"max_length": NEW_TOKENS + 2, "num_beams": beams, "do_sample": False, "early_stopping": False}
    expected = [_until_eos(model.generate(torch.tensor([ids]), **options)[0, 1:].tolist()) for ids in rows]
    assert len(set(map(tuple, expected))) > 1
    alone = [translator.generate_ids([ids], beams=beams, max_length=NEW_TOKENS)[0] for ids in rows]
    assert alone == expected
    assert translator.generate_ids(rows, beams=beams, max_length=NEW_TOKENS) == expected


def test_encoder_decoder_translates_texts_in_its_own_tokens(bundles):
    translator = edgekit.load(bundles["blenderbot"])
    ids = translator.source_tokenizer.encode("The weather is fine")
    found = translator.generate_ids([[*ids, 2]])[0]
    assert translator.translate("The weather is fine") == translator.target_tokenizer.decode(found)


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("opt", "int8"), ("gpt_neox", "int8-dynamic"), ("bloom", "int4"), ("blenderbot", "int8")],
)
def test_quantised_bundle_is_close_and_gives_a_row_of_a_batch_what_it_gives_the_row_alone(
    bundles, tmp_path, name, scheme
):
    kind = "seq2seq" if name == "blenderbot" else "causal-lm"
    path = quantize_bundle(bundles[name], output=tmp_path / "quantised", scheme=named_scheme(kind, scheme))
    assert all(check.ok for check in verify_bundle(path))
    manifest = open_bundle(path).manifest
    assert manifest.quantization.activations == (
        "dynamic per block" if name in ("opt", "bloom", "phi") else "dynamic per row"
    )
    weights = [bundle / "weights.safetensors" for bundle in (path, bundles[name])]
    assert weights[0].stat().st_size < 0.55 * weights[1].stat().st_size
    model, in_float = edgekit.load(path), edgekit.load(bundles[name])
    rows = [[*ids, 2] for ids in PROMPTS] if kind == "seq2seq" else PROMPTS
    limit = {"max_length": NEW_TOKENS} if kind == "seq2seq" else {"max_new_tokens": NEW_TOKENS}
    assert model.generate_ids(rows, **limit) == [model.generate_ids([ids], **limit)[0] for ids in rows]
    if kind == "causal-lm":
        difference = _relative(model.logits(PROMPTS[1]), in_float.logits(PROMPTS[1]))
        assert 0 < difference < QUANTIZED_ERROR[scheme]


def test_calibrated_scales_fit_imported_products_and_smoothing_is_refused(bundles, tmp_path):
    calibration = calibrate(bundles["opt"], ["The weather is fine today.", "The children are playing."])
    static, smooth = (named_scheme("causal-lm", name) for name in ("int8-static", "int8-smooth"))
    path = quantize_bundle(bundles["opt"], output=tmp_path / "static", scheme=static, calibration=calibration)
    assert open_bundle(path).manifest.quantization.activations == "static"
    found, expected = (edgekit.load(bundle).logits(PROMPTS[1]) for bundle in (path, bundles["opt"]))
    assert 0 < _relative(found, expected) < 0.2
    for scheme in (smooth, named_scheme("causal-lm", "int8-smooth-blocks"), named_scheme("causal-lm", "int4-awq")):
        with pytest.raises(UnsupportedError, match=r"is an imported bundle, which can't be smoothed"):
            quantize_bundle(bundles["opt"], output=tmp_path / "smooth", scheme=scheme, calibration=calibration)


def test_tensors_of_imported_graphs_are_not_tried_one_by_one(bundles):
    with pytest.raises(UnsupportedError, match="imported bundle's tensors can't be tried one by one"):
        FloatModel.read(open_bundle(next(iter(bundles.values()))))


def test_every_weight_is_stored_once_tied_embeddings_and_both_decoders_included(bundles):
    _, model = optimum_models.checkpoint("blenderbot")
    parameters = sum(parameter.numel() for parameter in model.parameters())  # of a tied matrix one
    for name in ("blenderbot", "opt"):
        arrays = safetensors.numpy.load_file(bundles[name] / "weights.safetensors")
        stored = {(array.shape, array.tobytes()) for array in arrays.values()}
        stored |= {(array.T.shape, array.T.copy().tobytes()) for array in arrays.values() if array.ndim == 2}
        assert len(stored) == sum(2 if array.ndim == 2 else 1 for array in arrays.values())
    arrays = safetensors.numpy.load_file(bundles["blenderbot"] / "weights.safetensors")
    assert arrays["embedding.weight"].shape == (optimum_models.VOCABULARY, 32)
    assert parameters * 0.9 < sum(array.size for array in arrays.values()) < parameters * 1.05
    tied = safetensors.numpy.load_file(bundles["opt"] / "weights.safetensors")
    assert "output.weight" not in tied


def test_merged_decoder_and_external_data_give_the_same_bundle(bundles, tmp_path):
    source = optimum_models.exported("blenderbot")
    merged = tmp_path / source.name
    shutil.copytree(source, merged)
    from optimum.onnx import merge_decoders

    decoders = [merged / name for name in ("decoder_model.onnx", "decoder_with_past_model.onnx")]
    merge_decoders(*decoders, save_path=merged / "decoder_model_merged.onnx", strict=False)
    for decoder in decoders:
        decoder.unlink()
    encoder = ir.load(merged / "encoder_model.onnx")
    ir.save(encoder, merged / "encoder_model.onnx", external_data="encoder_model.onnx_data")
    path = import_onnx(merged, "fp32", tmp_path / "bundle")
    rows = [[*ids, 2] for ids in PROMPTS]
    assert edgekit.load(path).generate_ids(rows) == edgekit.load(bundles["blenderbot"]).generate_ids(rows)
    sizes = [(bundle / "weights.safetensors").stat().st_size for bundle in (path, bundles["blenderbot"])]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


def test_export_of_another_architecture_goes_through_optimum_and_says_where_the_weights_came_from(
    bundles, tmp_path, capfd
):
    source, _ = optimum_models.checkpoint("gpt_neox")
    directory = shutil.copytree(source, tmp_path / source.name)
    tokenizer = json.dumps(json.loads((source / "tokenizer.json").read_text(encoding="utf-8")))
    (directory / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    path = export(str(directory), "fp32", tmp_path / "bundle")
    assert capfd.readouterr() == ("", "")
    # Not as transformers writes it.
    assert (path / "tokenizer.json").read_text(encoding="utf-8") == tokenizer
    manifest = open_bundle(path).manifest
    assert (manifest.name, manifest.task, manifest.source.license) == ("tiny-gpt_neox", "text-generation", "mit")
    assert "model.safetensors" in manifest.source.files
    assert manifest.architecture["model_type"] == "gpt_neox"
    ids = {"max_new_tokens": NEW_TOKENS}
    assert edgekit.load(path).generate_ids(PROMPTS, **ids) == edgekit.load(bundles["gpt_neox"]).generate_ids(
        PROMPTS, **ids
    )


def test_missing_tokenizer_is_said_to_be_missing_in_the_checkpoint(tmp_path):
    source, _ = optimum_models.checkpoint("gpt_neox")
    directory = shutil.copytree(source, tmp_path / "copy")
    (directory / "tokenizer.json").unlink()
    graphs = shutil.copytree(optimum_models.exported("gpt_neox"), tmp_path / "graphs")
    (graphs / "tokenizer.json").unlink()
    with pytest.raises(SourceError, match=r"/copy lacks tokenizer\.json; copy the model's own there"):
        read_onnx_directory(graphs, "tiny", read_directory(directory, "tiny"))


def test_architecture_that_optimum_does_not_export_is_refused_in_one_line(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "led", "is_encoder_decoder": true}')
    with pytest.raises(UnsupportedError, match=r"model_type 'led'; edgekit exports .*; optimum doesn't export it"):
        export(str(tmp_path))


def test_without_optimum_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("edgekit.export.sources.local_directory.has_optimum", lambda: False)
    (tmp_path / "config.json").write_text('{"model_type": "opt"}')
    with pytest.raises(UnsupportedError, match=r'model_type \'opt\'; .*; for more, pip install "edgekit\[optimum\]"'):
        export(str(tmp_path))


def test_checkpoint_that_optimum_fails_on_is_refused_in_one_line(tmp_path):
    source, _ = optimum_models.checkpoint("opt")
    directory = tmp_path / "broken"
    shutil.copytree(source, directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "vocab_size": 301}))
    with pytest.raises(UnsupportedError, match=r"optimum can't export this model: .*size mismatch"):
        export(str(directory), "fp32", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def folder(tmp_path):
    """A copy of opt's graphs to be damaged."""
    directory = tmp_path / "damaged"
    shutil.copytree(optimum_models.exported("opt"), directory)
    return directory


def _refused(folder, error, match):
    with pytest.raises(error, match=match):
        import_onnx(folder, "fp32", folder.parent / "out")
    assert not (folder.parent / "out").exists()


def test_folder_without_graphs_or_description_is_refused(folder, tmp_path):
    with pytest.raises(ModelNotFoundError, match="is no directory; give the one that optimum-cli export onnx wrote"):
        import_onnx(tmp_path / "nowhere")
    (folder / "tokenizer.json").unlink()
    _refused(folder, SourceError, "lacks tokenizer.json; copy the model's own there")
    (folder / "model.onnx").rename(folder / "encoder_model.onnx")
    _refused(
        folder, SourceError, "has encoder_model.onnx, and lacks decoder_model.onnx and decoder_with_past_model.onnx"
    )
    (folder / "encoder_model.onnx").unlink()
    _refused(folder, SourceError, "holds neither encoder_model.onnx nor model.onnx")


def test_file_that_is_no_graph_is_refused(folder):
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data[: len(data) // 2])
    _refused(folder, SourceError, "model.onnx: expected an ONNX model, found a broken or truncated field")
    (folder / "model.onnx").write_bytes(b"")
    _refused(folder, SourceError, "model.onnx: expected")


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "missing.bin", "config.json"])
def test_weights_outside_the_folder_or_beyond_a_file_are_refused(folder, location):
    model = ir.load(folder / "model.onnx")
    (folder.parent / "secret").write_bytes(bytes(1 << 20))
    value = model.graph.initializers["model.decoder.embed_tokens.weight"]
    value.const_value = ir.ExternalTensor(
        location, 0, 4 * 300 * 32, ir.DataType.FLOAT, shape=ir.Shape([300, 32]), name=value.name
    )
    ir.save(model, folder / "model.onnx")
    _refused(folder, SourceError, "model.onnx: ")


def test_graphs_in_half_precision_quantised_or_branching_are_refused(folder):
    path = folder / "model.onnx"
    model = ir.load(path)
    value = next(v for v in model.graph.initializers.values() if v.const_value.size > 1000)
    array = value.const_value.numpy()
    value.const_value = ir.tensor(array.astype(np.float16), name=value.name)
    ir.save(model, path)
    _refused(folder, UnsupportedError, "is FLOAT16, expected FLOAT; export the model in fp32")
    value.const_value = ir.tensor(array, name=value.name)
    node = model.graph[0]
    node.op_type, original = "DynamicQuantizeLinear", node.op_type
    ir.save(model, path)
    _refused(folder, UnsupportedError, "is quantised already \\(it has a DynamicQuantizeLinear\\)")
    node.op_type = original
    model.graph.opset_imports[""] = 11
    ir.save(model, path)
    _refused(folder, UnsupportedError, "has opset 11; edgekit reads 18 to 24: export the model again with")


def test_graph_that_gives_a_batch_something_else_is_refused(folder):
    path = folder / "model.onnx"
    model = ir.load(path)
    # Positions from the ids' places, as if nothing were padded: the mask's first input is replaced by ones.
    mask = next(value for value in model.graph.inputs if value.name == "attention_mask")
    ones = ir.node("ConstantOfShape", [ir.node("Shape", [mask]).outputs[0]], {"value": ir.tensor([1])})
    shape = ones.inputs[0].producer()
    uses = list(mask.uses())
    model.graph.insert_before(model.graph[0], [shape, ones])
    for use in uses:
        if use.node is not shape:
            use.node.replace_input_with(use.idx, ones.outputs[0])
    ir.save(model, path)
    _refused(folder, UnsupportedError, "can't import this ONNX graph: its logits, over a past or in a batch, differ by")


def test_unknown_inputs_are_refused(folder):
    path = folder / "model.onnx"
    model = ir.load(path)
    next(value for value in model.graph.inputs if value.name == "attention_mask").name = "token_type_ids"
    ir.save(model, path)
    _refused(folder, UnsupportedError, "expected an ONNX graph that optimum exported for text-generation-with-past")


def test_search_options_that_edgekit_does_not_follow_are_refused(folder):
    (folder / "generation_config.json").write_text('{"suppress_tokens": [5]}')
    _refused(folder, UnsupportedError, r"unsupported generation options: suppress_tokens=\[5\]")


def test_precision_and_output_are_checked_before_any_work(folder, tmp_path):
    with pytest.raises(InputError, match="unknown precision 'int3'"):
        import_onnx(folder, "int3", tmp_path / "out")
    with pytest.raises(InputError, match="int4 is for decoder-only models"):
        import_onnx(optimum_models.exported("blenderbot"), "int4", tmp_path / "out")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        import_onnx(folder, "fp32", tmp_path / "taken")


def test_bundle_whose_weights_are_damaged_is_refused_when_it_is_quantised(bundles, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundles["opt"], copy)
    data = bytearray((copy / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "weights.safetensors").write_bytes(bytes(data))
    with pytest.raises(BundleError, match=r"weights\.safetensors"):
        quantize_bundle(copy, output=tmp_path / "out")
