"""A small `TaskComparison` made by hand: a translator and a language model, three items, three rounds."""

from edgekit.bench import comparison as c
from edgekit.bench.environment import Conditions


def timed(median, spread=0.1):
    low, high = median * (1 - spread), median * (1 + spread)
    return c.TimedFigure(median, low, high, (low, median, high))


def make_costs(ms=5.0, price=None):
    """Costs of a model that takes ``ms`` for an item of four words."""
    rate = 4e3 / ms
    return c.Costs(
        latency_ms_p50=timed(ms),
        latency_ms_p95=timed(2 * ms),
        first_output_ms=timed(ms / 2),
        ms_per_word=timed(ms / 4),
        ms_per_sentence=timed(ms),
        words_per_second=timed(rate),
        words_per_second_bulk=timed(3 * rate),
        cpu_seconds_per_1000_words=timed(1e3 / rate),
        cpu_seconds_per_1000_words_bulk=timed(1e3 / rate / 3),
        joules_per_1000_words=None,
        price_per_million_words=None if price is None else timed(price * 1e6 / 3600 / (3 * rate)),
        load_ms=timed(20.0),
        item_latency_ms=(ms, 2 * ms, ms / 2),
    )


PROMPTS = (
    c.Prompt("labels-2", "completion", "", "English: {input}\nGerman:", " {output}\n\n", 2, ("\n",)),
    c.Prompt("message-only", "chat", "", "{input}", "{output}", 0, ()),
)


def make_model(name, chrf, outputs, ms=5.0, prompt=None, fit=None):
    model, precision = name.split()
    return c.ModelResult(
        name=name,
        model=model,
        precision=precision,
        kind="seq2seq" if prompt is None else "causal-lm",
        bundle=f"{model}-{precision}",
        source=f"pypi {model} 1.0",
        size_mb=17.5,
        quality={"chrf": c.Score(chrf, (chrf - 2, chrf + 2)), "bleu": c.Score(chrf / 2, (chrf / 2 - 2, chrf / 2 + 2))},
        outputs=outputs,
        cleaned=0 if prompt is None else 1,
        prompt=prompt,
        costs=make_costs(ms),
        memory=c.Memory(120.0, 100.0, 95.0, "RLIMIT_DATA", 40.0),
        fit=fit,
    )


def make_comparison(environment):
    """``firefox-en-de int8`` against ``smollm2-135m int8``: 60 against 20 chrF, at a sixteenth of the time."""
    prompt = c.PromptChoice(
        chosen="labels-2",
        trials=(c.PromptTrial(PROMPTS[0], 21.5), c.PromptTrial(PROMPTS[1], None, "the model has no chat template")),
        devset="valid",
        devset_sha256="cd" * 32,
        devset_items=40,
        shown="English: A dog.\nGerman: Ein Hund.\n\nEnglish: The dog sleeps.\nGerman:",
    )
    task = c.TaskText(
        task="translate:en-de",
        metric="chrf",
        metrics={"chrf": "chrF2|nrefs:1", "bleu": "BLEU|nrefs:1"},
        source_language="en",
        target_language="de",
        testset="dogs",
        sha256="ab" * 32,
        license="CC0 1.0",
        inputs=("The dog sleeps well.", "A cat runs very far.", "Birds <sing> & fly high."),
        references=(("Der Hund schläft gut.",), ("Eine Katze läuft sehr weit.",), ("Vögel singen und fliegen hoch.",)),
        words=14,
        timed_items=(0, 1, 2),
        timed_items_bulk=(0, 1, 2),
    )
    first = make_model("firefox-en-de int8", 60.0, ("Der Hund schläft gut.", "Eine Katze läuft weit.", "Vögel singen."))
    second = make_model("smollm2-135m int8", 20.0, ("Der Hund.", "", "<b>Birds</b>"), ms=80.0, prompt=prompt)
    difference = c.Difference(40.0, (35.0, 45.0), 0.000999)
    ratios = {"latency_ms_p50": c.Ratio(0.0625, 0.06, 0.065), "words_per_second": c.Ratio(16.0, 15.5, 16.5)}
    return c.TaskComparison(
        task=task,
        settings=c.Settings(1, 3, 0.05, None, 1000, 12345, None, "edgekit bench firefox-en-de smollm2-135m"),
        environment=environment,
        conditions=Conditions(0.02, 0.0, (3100.0, 3200.0), 0, None, (0.99, 1.01)),
        models=(first, second),
        floors=(
            c.Floor("copying the input", {"chrf": c.Score(15.0, (13.0, 17.0)), "bleu": c.Score(1.0, (0.0, 2.0))}),
            c.Floor("empty output", {"chrf": c.Score(0.0, (0.0, 0.0)), "bleu": c.Score(0.0, (0.0, 0.0))}),
        ),
        pairs=(c.Pair(first.name, second.name, {"chrf": difference, "bleu": difference}, ratios),),
        warnings=("rounds of smollm2-135m int8 disagree",),
    )
