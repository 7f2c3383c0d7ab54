"""The networks against transformers' own, the optimiser, interrupted runs, and what is published."""

import csv
import json
import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    PreTrainedTokenizerFast,
)

import edgekit
from edgekit.export import export
from models.training.batches import Stage, make_batch
from models.training.decoder_only import DecoderOnly
from models.training.layers import Dropout, SmoothedCrossEntropy
from models.training.networks import DECODER_ONLY, DEFAULT_SIZES, SEQ2SEQ, Ids
from models.training.optimiser import Optimiser, orthogonalise
from models.training.publish import model_config, rename
from models.training.search import translate
from models.training.seq2seq import Seq2Seq
from models.training.vocabulary import Vocabulary
from models.training.weights import EMBEDDING, Spec, Weights
from tests.training_runs import CPU, TINY, open_run, train_steps

PAD, SEPARATOR = 49, 48
BOTH = pytest.mark.parametrize("model", [SEQ2SEQ, DECODER_ONLY])


def network(model, dtype=torch.float32):
    """With weights away from their start, biases and norms too."""
    torch.manual_seed(0)
    made = (Seq2Seq if model == SEQ2SEQ else DecoderOnly)(TINY[model], Ids(PAD, SEPARATOR), dtype, CPU, 3)
    made.weights.master.add_(torch.randn_like(made.weights.master) * 0.05)
    made.weights.refresh(made.weights.master)
    return made


def published(model, weights):
    """The transformers model with these weights."""
    config = model_config(model, TINY[model], SEPARATOR)
    del config["torch_dtype"]
    theirs = MarianMTModel(MarianConfig(**config)) if model == SEQ2SEQ else LlamaForCausalLM(LlamaConfig(**config))
    state = {name: value.clone() for name, value in rename(weights.named(weights.master), model).items()}
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not unexpected
    assert all("embed" in name or name == "lm_head.weight" for name in missing), missing
    return theirs.eval()


def logits_and_labels(model, theirs, ours, batch):
    """transformers' logits for a batch, and the target piece or -100 at each place."""
    if model == SEQ2SEQ:
        labels = batch.target.masked_fill(batch.target == PAD, -100)
        mask = (batch.source != PAD).long()
        return theirs(input_ids=batch.source, attention_mask=mask, labels=labels).logits, labels
    ids = ours.join(batch)
    logits = theirs(input_ids=ids, attention_mask=(ids != PAD).long()).logits[:, :-1]
    labels = ids[:, 1:].clone()
    labels[(torch.arange(labels.shape[1]) < batch.source_lengths[:, None] - 1) | (labels == PAD)] = -100
    return logits, labels


PAIRS = ([[5, 6, 7, 0], [8, 9, 0]], [[11, 12, 0], [13, 14, 15, 16, 0]])


@BOTH
def test_loss_and_gradients_are_those_of_transformers(model):
    ours = network(model)
    theirs = published(model, ours.weights)
    batch = make_batch(*PAIRS, PAD, CPU)
    loss = ours.loss(batch)
    loss.backward()
    logits, labels = logits_and_labels(model, theirs, ours, batch)
    flat, wanted = logits.reshape(-1, 50), labels.reshape(-1)
    assert loss.item() == pytest.approx(functional.cross_entropy(flat, wanted).item(), abs=1e-5)
    assert ours.nats(batch) == pytest.approx(8 * loss.item(), rel=1e-5)
    functional.cross_entropy(flat, wanted, label_smoothing=0.1).backward()
    gradients = rename({name: leaf.grad for name, leaf in ours.weights.leaves.items() if name != EMBEDDING} | {
        EMBEDDING: ours.weights.embedding_gradient
    }, model)  # fmt: skip
    parameters = dict(theirs.named_parameters())
    compared = 0
    for name, gradient in gradients.items():
        if name == "final_logits_bias":
            continue
        # transformers keeps <pad>, which starts a target, where it is; it learns here.
        rows = slice(0, PAD) if "shared" in name else slice(None)
        torch.testing.assert_close(gradient[rows], parameters[name].grad[rows], atol=1e-5, rtol=1e-4, msg=name)
        compared += 1
    assert compared == sum("embed_positions" not in name for name in parameters)


@BOTH
def test_greedy_search_does_not_depend_on_what_else_is_in_the_batch(model, work):
    vocabulary = Vocabulary(work)
    sizes = replace(TINY[model], vocabulary=len(vocabulary))
    ids = Ids(vocabulary.pad, vocabulary.separator)
    ours = (Seq2Seq if model == SEQ2SEQ else DecoderOnly)(sizes, ids, torch.float32, CPU)
    sources = ["The old king sees the dog today.", "The dog."]
    together = translate(ours, sources, vocabulary, CPU)
    alone = [translate(ours, [source], vocabulary, CPU)[0] for source in sources]
    assert together[0] == alone[0]
    assert together[1].startswith(alone[1])  # alone it may not be as long


def test_dropout_drops_its_share_keeps_the_mean_and_repeats_for_a_seed():
    dropout = Dropout(torch.float32, CPU)
    ones = torch.ones(1000, 100)
    assert dropout(ones) is ones
    dropout.probability = 0.1
    dropout.seed(5)
    first, second = dropout(ones), dropout(ones)
    dropout.seed(5)
    assert torch.equal(dropout(ones), first)
    assert not torch.equal(first, second)
    assert (first == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert first.max().item() == pytest.approx(1 / 0.9)


def test_smoothed_cross_entropy_of_more_rows_than_a_chunk():
    hidden = torch.randn(600, 8, dtype=torch.float64, requires_grad=True)
    weight, labels = torch.randn(20, 8, dtype=torch.float64, requires_grad=True), torch.randint(20, (600,))
    total = torch.zeros(20, 8, dtype=torch.float64)
    loss = SmoothedCrossEntropy.apply(hidden, weight, labels, total)
    loss.backward()
    found = hidden.grad.clone()
    hidden.grad = None
    logits = hidden @ weight.T
    functional.cross_entropy(logits, labels, label_smoothing=0.1).backward()
    torch.testing.assert_close(found, hidden.grad, atol=1e-7, rtol=1e-4)
    torch.testing.assert_close(total, weight.grad, atol=1e-7, rtol=1e-4)
    assert loss.item() == pytest.approx(functional.cross_entropy(logits, labels).item(), abs=1e-6)


@pytest.mark.parametrize("shape", [(16, 16), (16, 64), (64, 16)])
def test_orthogonalised_matrices_have_singular_values_near_1(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape), torch.float32))
    assert values.min() > 0.43
    assert values.max() < 1.57


def test_one_step_of_each_kind_of_weight():
    specs = {EMBEDDING: Spec((4, 2), 0.0), "bias": Spec((2,), 0.0), "matrix": Spec((2, 2), 0.0)}
    weights = Weights(specs, torch.float32, CPU)
    weights.embedding_gradient[1, 0] = 0.5
    weights.leaves["matrix"].grad.copy_(torch.tensor([[3.0, 0.0], [0.0, 0.1]]))
    Optimiser(weights, torch.float32, every=1).update(0, 1e-2)
    found = weights.named(weights.master)
    # AdamW's first step is its learning rate, half of the other, against the sign of the gradient.
    assert found[EMBEDDING][1, 0] == pytest.approx(-5e-3, rel=1e-4)
    assert found[EMBEDDING].count_nonzero() == 1
    # Muon's has singular values near 1, here those of the identity, times 0.2 sqrt(2) and the learning rate.
    step = 1e-2 * 0.2 * math.sqrt(2)
    assert np.diag(found["matrix"].numpy()) == pytest.approx([-step, -step], rel=0.57)
    torch.testing.assert_close(weights.leaves["matrix"], found["matrix"])


@BOTH
def test_both_models_have_about_as_many_weights(model):
    count = {
        name: len(kind(DEFAULT_SIZES[name], Ids(7999, 7998), torch.bfloat16, CPU).weights.master)
        for name, kind in ((SEQ2SEQ, Seq2Seq), (DECODER_ONLY, DecoderOnly))
    }
    assert abs(count[model] / count[SEQ2SEQ] - 1) < 0.05
    assert count[model] < 20e6


@BOTH
def test_an_interrupted_run_ends_with_the_same_weights(model, work, tmp_path, monkeypatch):
    monkeypatch.setattr("models.training.batches.CURRICULUM", (Stage(0, 14, 1024),))
    whole = open_run(tmp_path / "whole", work, model)
    assert train_steps(whole, 12)
    for steps in (5, 12):
        run = open_run(tmp_path / "parts", work, model)
        if steps == 12:
            run.load(tmp_path / "parts" / "state.pt")
            assert run.step == 5
        train_steps(run, steps)
    assert torch.equal(run.network.weights.master, whole.network.weights.master)
    assert torch.equal(run.average, whole.average)
    assert run.position == whole.position
    assert run.seconds > 0
    assert not torch.equal(whole.average, whole.network.weights.master)


def test_another_seed_gives_other_weights(work, tmp_path):
    runs = [open_run(tmp_path / str(seed), work, SEQ2SEQ, seed) for seed in (1, 2)]
    for run in runs:
        train_steps(run, 2)
    assert not torch.equal(runs[0].network.weights.master, runs[1].network.weights.master)


def test_sigterm_saves_and_stops(work, tmp_path, monkeypatch):
    run = open_run(tmp_path, work, SEQ2SEQ)
    step = run.train_step

    def step_and_signal(batch, cooldown):
        step(batch, cooldown)
        if run.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(run, "train_step", step_and_signal)
    assert not train_steps(run, 1000)
    other = open_run(tmp_path, work, SEQ2SEQ)
    other.load(tmp_path / "state.pt")
    assert other.step == run.step == 3


def test_a_run_of_other_options_is_refused(work, tmp_path):
    train_steps(open_run(tmp_path, work, SEQ2SEQ), 1)
    with pytest.raises(ValueError, match=r"state.pt: expected a run with .*'seed': 2.*found .*'seed': 1"):
        open_run(tmp_path, work, SEQ2SEQ, seed=2).load(tmp_path / "state.pt")


def test_a_cool_down_brings_the_rate_to_0_and_leaves_the_run_alone(work, tmp_path):
    run = open_run(tmp_path, work, DECODER_ONLY)
    train_steps(run, 6)
    before = (tmp_path / "state.pt").read_bytes()
    cooled = open_run(tmp_path / "cooldown-4", work, DECODER_ONLY)
    cooled.load(tmp_path / "state.pt")
    cooled.start_cooldown()
    assert cooled.position.stage.longest == 110
    assert cooled.rate(4) == cooled.options.rate
    assert train_steps(cooled, 1 << 40, cooldown=4)
    assert (cooled.step, cooled.rate(4)) == (10, 0.0)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_the_log_grows_by_a_row_with_scores(work, tmp_path):
    run = open_run(tmp_path, work, SEQ2SEQ)
    train_steps(run, 2)
    train_steps(run, 4)
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["steps"]) for row in rows] == [2, 4]
    assert 0 < int(rows[0]["pairs"]) < int(rows[1]["pairs"])
    assert float(rows[0]["processor_hours"]) < float(rows[1]["processor_hours"])
    assert 0 < float(rows[1]["everyday_nats"]) < 10
    assert 0 <= float(rows[1]["chrf"]) <= 100


def test_the_published_marian_translates_as_in_training_and_exports(trained, work, tmp_path):
    folder = trained[SEQ2SEQ]
    tokenizer, model = (
        MarianTokenizer.from_pretrained(folder),
        MarianMTModel.from_pretrained(folder, dtype=torch.float32),
    )
    vocabulary, text = Vocabulary(work), "The old dog sees the king."
    ids = tokenizer(text).input_ids
    assert ids == [*vocabulary.encode(text), 0]
    generated = model.generate(torch.tensor([ids]), max_length=20)[0].tolist()
    bundle = export(str(folder), "fp32", tmp_path / "bundle")
    exported = edgekit.load(str(bundle)).generate_ids([ids], max_length=20)[0]
    assert exported[:15] == [i for i in generated if i not in (0, vocabulary.pad)][:15]


def test_the_published_language_model_answers_a_chat(trained, work):
    folder = trained[DECODER_ONLY]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    vocabulary, text = Vocabulary(work), "The old  dog sees the king."
    ids = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=True)
    assert ids == [*vocabulary.encode(text), vocabulary.separator]
    for other in (" Der alte Hund", "the dog ", "Where is Zürich, x?"):
        assert tokenizer(other, add_special_tokens=False).input_ids == vocabulary.encode(other)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    generated = model.generate(torch.tensor([ids]), max_new_tokens=20)[0].tolist()
    assert tokenizer.decode(generated[len(ids) :], skip_special_tokens=True) == vocabulary.decode(generated[len(ids) :])


@BOTH
def test_published_weights_are_half_precision_and_named_by_the_config(trained, model):
    folder = trained[model]
    config = json.loads((folder / "config.json").read_text())
    assert config["vocab_size"] == 96
    assert config["torch_dtype"] == "float16"
    size = (folder / "model.safetensors").stat().st_size
    assert size < 2.2 * 60_000
