"""Comparisons of any figures, as `edgekit.bench` would have measured them."""

from dataclasses import replace

from edgekit.bench.comparison import (
    COST_FIGURES,
    Costs,
    Difference,
    Fit,
    Floor,
    Memory,
    ModelResult,
    Pair,
    Prompt,
    PromptChoice,
    PromptTrial,
    Ratio,
    Score,
    Settings,
    TaskComparison,
    TaskText,
    TimedFigure,
)
from edgekit.bench.environment import Conditions, Environment

INPUTS = ("One cat sleeps.", "Two dogs run fast.", "Three birds sing.", "Four fish swim.", "Five hens lay eggs.")
REFERENCES = tuple((text,) for text in ("Eine Katze.", "Zwei Hunde.", "Drei Vögel.", "Vier Fische.", "Fünf Hennen."))


def figure(value, spread=0.02, rounds=7):
    steps = [1 + spread * (2 * index / (rounds - 1) - 1) for index in range(rounds)]
    return TimedFigure(value, value * (1 - spread), value * (1 + spread), tuple(value * step for step in steps))


def model(
    name, quality, ms, memory=100.0, kind="seq2seq", half_width=1.0, spread=0.02, outputs=None, price=None, **changes
):
    """A model of so much quality, latency and memory; everything else follows from these."""
    costs = Costs(
        latency_ms_p50=figure(ms, spread),
        latency_ms_p95=figure(2.5 * ms, spread),
        first_output_ms=figure(ms / 4 if kind == "causal-lm" else ms, spread),
        ms_per_word=figure(ms / 9, spread),
        ms_per_sentence=figure(1.1 * ms, spread),
        words_per_second=figure(9000 / ms, spread),
        words_per_second_bulk=figure(18000 / ms, spread),
        cpu_seconds_per_1000_words=figure(ms / 9, spread),
        cpu_seconds_per_1000_words_bulk=figure(ms / 18, spread),
        joules_per_1000_words=None,
        price_per_million_words=None if price is None else figure(price, spread),
        load_ms=figure(150.0, spread, 3),
        item_latency_ms=tuple(ms * factor for factor in (0.4, 0.7, 0.9, 1.0, 1.1, 1.4, 2.5)),
    )
    measured = ModelResult(
        name=name,
        model=name.split()[0],
        precision="int8",
        kind=kind,
        bundle=name.replace(" ", "-"),
        source="hub",
        size_mb=memory / 3,
        quality={
            "chrf": Score(quality, (quality - half_width, quality + half_width)),
            "bleu": Score(quality / 2, (quality / 2 - half_width, quality / 2 + half_width)),
        },
        outputs=outputs or tuple(reference for (reference,) in REFERENCES),
        cleaned=2 if kind == "causal-lm" else 0,
        prompt=PROMPT if kind == "causal-lm" else None,
        costs=costs,
        memory=Memory(1.2 * memory, memory, 0.9 * memory, "cgroup MemoryMax", None),
        fit=None,
    )
    return replace(measured, **changes)


_LABELLED = Prompt("labelled", "completion", "", "English: {input}\nGerman:", " {output}\n\n", 4, ("\n",))
_PLAIN = Prompt("plain", "chat", "Translate to German.", "{input}", "{output}", 0, ())
PROMPT = PromptChoice(
    chosen="labelled",
    trials=(PromptTrial(_LABELLED, 31.25), PromptTrial(_PLAIN, None, "the model has no chat template")),
    devset="flores-dev",
    devset_sha256="ab" * 32,
    devset_items=40,
    shown="English: Good morning.\nGerman: Guten Morgen.\n\nEnglish: One cat sleeps.\nGerman:",
)


def pair(first, second, half_width=1.0, p_value=None, without=()):
    """The pair as its two models' figures have it; the difference's interval is ``half_width`` to both sides."""
    quality = {}
    for metric, score in first.quality.items():
        points = score.points - second.quality[metric].points
        p = (0.0005 if abs(points) > half_width else 0.4) if p_value is None else p_value
        quality[metric] = Difference(points, (points - half_width, points + half_width), p)
    ratios = {}
    for name in COST_FIGURES:
        one, other = getattr(first.costs, name), getattr(second.costs, name)
        if one is not None and other is not None and name not in without:
            # As if the rounds' ratios strayed by as much as the noisier of the two.
            spread = max(one.high / one.median, other.high / other.median)
            median = one.median / other.median
            ratios[name] = Ratio(median, median / spread, median * spread)
    return Pair(first.name, second.name, quality, ratios)


def comparison(*models, pairs=None, warnings=(), floors=(("copying the input", 20.0), ("empty output", 0.0)), **task):
    """A comparison of models; of pairs, where none are given, what `pair` makes of every two."""
    if pairs is None:
        pairs = [pair(one, other) for at, one in enumerate(models) for other in models[at + 1 :]]
    return TaskComparison(
        task=replace(TASK, **task),
        settings=SETTINGS,
        environment=ENVIRONMENT,
        conditions=Conditions(0.02, 0.0, (2400.0, 3100.0), 0, None, (0.98, 1.03)),
        models=tuple(models),
        floors=tuple(
            Floor(name, {m: Score(value, (max(value - 0.5, 0.0), value + 0.5)) for m in ("chrf", "bleu")})
            for name, value in floors
        ),
        pairs=tuple(pairs),
        warnings=tuple(warnings),
    )


def fitting(measured, fits, memory_mb=512.0, cores=1):
    reason = None if fits else "it was killed while loading"
    return replace(measured, fit=Fit(memory_mb, cores, fits, reason, 13.5 if fits else None))


TASK = TaskText(
    task="translate:en-de",
    metric="chrf",
    metrics={"chrf": "nrefs:1|case:mixed|version:2.6.0", "bleu": "nrefs:1|tok:13a|version:2.6.0"},
    source_language="en",
    target_language="de",
    testset="tatoeba",
    sha256="cd" * 32,
    license="CC BY 2.0 FR",
    inputs=INPUTS,
    references=REFERENCES,
    words=19,
    timed_items=(0, 1, 2, 3, 4),
    timed_items_bulk=(0, 1, 2, 3, 4),
)
SETTINGS = Settings(
    threads=1,
    rounds=7,
    tight=0.05,
    limit=5,
    resamples=1000,
    seed=12345,
    price_per_hour=None,
    command="edgekit bench --cpu marian-en-de smollm2-135m --task translate:en-de --limit 5",
)
ENVIRONMENT = Environment(
    cpu="AMD EPYC",
    architecture="x86_64",
    isa_flags=("avx2", "avx512_vnni"),
    cores_physical=2,
    cores_logical=2,
    cores_usable=2,
    memory_bytes=25_276_502_016,
    governor=None,
    os="Linux 6.18",
    python="3.11.7",
    versions={"edgekit": "0.1.0", "onnxruntime": "1.32.0", "numpy": "2.4.6", "sacrebleu": None},
    load_average_1m=0.2,
    background_cores_before=0.01,
)
