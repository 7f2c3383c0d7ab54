import os
from dataclasses import replace

from edgekit.bench.conditions import (
    MachineWatch,
    condition_warnings,
    read_frequency,
    read_quota_seconds,
    read_throttle_events,
    usual_probe_ms,
)
from edgekit.bench.energy import joules_between, read_energy
from edgekit.bench.environment import Conditions

QUIET = Conditions(0.0, 0.0, (3000.0, 3100.0), 0, 0.0, (0.97, 1.01))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def test_a_watch_sees_the_rounds():
    watch = MachineWatch([os.getpid()])
    for _ in range(3):
        watch.begin_round()
    found = watch.finish()
    assert found.background_cores >= 0
    slowest, fastest = found.speed_range
    assert 0 < slowest <= 1 <= fastest
    # In milliseconds: even a slow machine adds up 100,000 numbers in less than a second.
    assert 0 < found.probe_ms < 1000


def test_the_usual_speed_of_several_models_is_that_of_the_one_in_the_middle():
    watched = [replace(QUIET, probe_ms=probe_ms) for probe_ms in (4.0, 9.0, 5.0)]
    assert usual_probe_ms(watched) == 5.0
    assert usual_probe_ms([QUIET]) is None


def test_a_quiet_machine_is_not_warned_of():
    assert condition_warnings(QUIET) == []
    assert (
        condition_warnings(replace(QUIET, frequency_mhz=None, throttle_events=None, quota_throttled_seconds=None)) == []
    )


def test_each_disturbance_is_named():
    disturbed = Conditions(0.0, 0.5, (1500.0, 3000.0), 7, 2.5, (0.5, 1.1))
    assert condition_warnings(disturbed) == [
        "the host gave 0.50 cores' time to other machines",
        "the cores' frequency moved between 1500 and 3000 MHz",
        "cores were slowed for their heat 7 times",
        "a CPU quota held the processes back for 2.5 s",
        "the same small calculation ran at 50 to 110 % of its usual speed in different rounds",
    ]


def test_frequencies_and_heat_are_read_of_all_cores(tmp_path):
    assert (read_frequency(tmp_path), read_throttle_events(tmp_path)) == (None, None)
    for core, (khz, count) in enumerate([(2_000_000, 3), (3_000_000, 4)]):
        write(tmp_path / f"cpu{core}/cpufreq/scaling_cur_freq", khz)
        write(tmp_path / f"cpu{core}/thermal_throttle/core_throttle_count", count)
    assert read_frequency(tmp_path) == 2500
    assert read_throttle_events(tmp_path) == 7
    write(tmp_path / "cpu2/cpufreq/scaling_cur_freq", "<unknown>")
    assert read_frequency(tmp_path) == 2500


def test_quotas_of_both_versions_are_read(tmp_path):
    assert read_quota_seconds(tmp_path) is None
    write(tmp_path / "cpu/cpu.stat", "nr_periods 10\nnr_throttled 2\nthrottled_time 1500000000")
    assert read_quota_seconds(tmp_path) == 1.5
    write(tmp_path / "cpu.stat", "usage_usec 5\nnr_periods 10\nnr_throttled 2\nthrottled_usec 2500000")
    assert read_quota_seconds(tmp_path) == 2.5
    # Without a quota there are no periods.
    write(tmp_path / "cpu/cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_time 0")
    write(tmp_path / "cpu.stat", "usage_usec 5")
    assert read_quota_seconds(tmp_path) is None


def test_energy_is_that_of_the_packages(tmp_path):
    for name, counter in (("intel-rapl:0", 5_000_000), ("intel-rapl:1", 900), ("intel-rapl:0:0", 77)):
        write(tmp_path / name / "energy_uj", counter)
        write(tmp_path / name / "max_energy_range_uj", 1000)
    before = read_energy(tmp_path)
    assert before == {"intel-rapl:0": (5_000_000, 1000), "intel-rapl:1": (900, 1000)}
    write(tmp_path / "intel-rapl:0/energy_uj", 8_000_000)
    # The other counter has wrapped at 1000.
    write(tmp_path / "intel-rapl:1/energy_uj", 400)
    assert joules_between(before, read_energy(tmp_path)) == (3_000_000 + 500) / 1e6


def test_energy_that_cannot_be_read_is_none(tmp_path):
    assert read_energy(tmp_path) is None
    write(tmp_path / "intel-rapl:0/energy_uj", "closed")
    assert read_energy(tmp_path) is None
    assert joules_between(None, {}) is None
    assert joules_between({"a": (1, 9)}, {"b": (1, 9)}) is None
