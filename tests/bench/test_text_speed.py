import pytest

from edgekit.bench.text_speed import SpeedRequest, TextBenchSettings, measure_speed, speed_requests
from edgekit.bench.worker_process import WorkerError
from edgekit.errors import InputError
from tests.bench.stand_in import stand_in_command

SETTINGS = TextBenchSettings(rounds=3, loads=2)


def measure(variants, context=8192, settings=SETTINGS, advance=lambda _: None):
    return measure_speed(variants, context, "text", settings, advance, stand_in_command)[0]


def test_rates_are_tokens_by_their_time(make_variant):
    # The first request of each kind is the warm-up's.
    variant = make_variant(
        first_seconds={"128": [9, 0.5, 0.25, 1.0], "512": [9, 2, 2, 4], "128+": [9, 9, 9, 9]},
        following_seconds={"128+": [9, 0.63, 0.7, 0.9], "128+lookup": [9, 0.315, 0.63, 0.9]},
        loads=[40, 50],
        peak=1234,
    )
    (found,) = measure([variant])
    assert found.prefill_tokens_per_second == {128: [256, 512, 128], 512: [256, 256, 128]}
    assert found.decode_tokens_per_second == pytest.approx([100, 90, 70])
    assert found.lookup_tokens_per_second == pytest.approx([200, 100, 70])
    assert found.first_token_ms == [500, 250, 1000]
    assert (found.load_ms, found.peak_rss_bytes) == ([40, 50], 1234)
    assert found.decode == SpeedRequest(128, 64)


def test_variants_take_turns_with_prompts_of_their_own(make_variant, tmp_path):
    log = tmp_path / "log"
    measure([make_variant(name, log=str(log)) for name in ("a", "b")], settings=TextBenchSettings(rounds=2, loads=1))
    lines = [line.split() for line in log.read_text().splitlines() if "generate" in line]
    warm_up, timed = lines[:8], lines[8:]
    lengths = ("128", "512", "128", "128")
    assert [line[:3:2] for line in warm_up] == [[name, length] for name in "ab" for length in lengths]
    assert [line[:3:2] for line in timed] == [[name, length] for _ in range(2) for length in lengths for name in "ab"]
    # The ids are 0 to 999 over and over: a prompt begins where the one before it ended, or is the same for lookup.
    starts = [int(line[3]) for line in lines if line[0] == "a"]
    assert starts == [0, 128, 640, 640, 768, 896, 408, 408, 536, 664, 176, 176]


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (8192, [(128, 1), (512, 1), (128, 64), (128, 64)]),
        (512, [(128, 1), (511, 1), (128, 64), (128, 64)]),
        (96, [(95, 1), (48, 48), (48, 48)]),
        (3, [(2, 1), (1, 2), (1, 2)]),
    ],
)
def test_requests_fit_the_context(context, expected):
    found = speed_requests(TextBenchSettings(), context)
    assert [(request.prompt_tokens, request.new_tokens) for request in found] == expected
    assert all(request.prompt_tokens + request.new_tokens <= context for request in found)


def test_progress_counts_the_tokens_of_timed_requests(make_variant):
    done = []
    measure([make_variant("a"), make_variant("b")], advance=done.append)
    assert sum(done) == 2 * 3 * (128 + 1 + 512 + 1 + 2 * (128 + 64))


def test_a_worker_that_dies_is_named(make_variant):
    with pytest.raises(WorkerError, match=r"ended with status 3 while generate; its last line: .*on fire"):
        measure([make_variant(on={"generate": "exit"})])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds must be at least 1, found 0"),
        ({"limit": 0}, "limit must be at least 1, found 0"),
        ({"stride": 0}, "stride must be at least 1, found 0"),
        ({"seed": -1}, "seed must be at least 0, found -1"),
        ({"context": 1}, "context must be at least 2 tokens, found 1"),
        ({"new_tokens": 1}, "new_tokens must be at least 2 tokens, found 1"),
        ({"context": 256}, "stride must be below the context of 256 tokens, found 256"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        TextBenchSettings(**changes)


def test_window_of_a_short_context_is_all_of_it():
    settings = TextBenchSettings(context=512, stride=256)
    assert settings.window(8192) == settings.window(512) == (512, 256)
    assert settings.window(300) == (300, 150)
    assert settings.window(2) == (2, 1)
    assert TextBenchSettings(context=512, stride=100).window(300) == (300, 100)
