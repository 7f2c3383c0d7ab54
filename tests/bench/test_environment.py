import os
import subprocess
import sys
from dataclasses import replace

import pytest

from edgekit.bench.environment import (
    CpuReading,
    background_cores,
    busy_reason,
    read_cpu,
    read_environment,
    read_governor,
)


def test_background_is_what_the_machine_used_beyond_our_own_time():
    before = CpuReading(clock=100.0, machine=1000.0, own=50.0)
    # Of 14 CPU seconds in 10 s, our processes used 9: others half a core.
    assert background_cores(before, CpuReading(110.0, 1014.0, 59.0)) == pytest.approx(0.5)
    # Clocks of different grain can make our own time larger than the machine's.
    assert background_cores(before, CpuReading(110.0, 1008.0, 59.0)) == 0


def test_quiet_machine_gives_no_reason(quiet_machine):
    assert busy_reason(quiet_machine) is None
    assert busy_reason(quiet_machine, 0.2) is None


@pytest.mark.parametrize(
    ("changes", "during", "reason"),
    [
        ({}, 0.8, "other work used 0.80 cores during the timed rounds"),
        ({"background_cores_before": 1.5}, 0.1, "other work used 1.50 cores just before the measurement"),
        ({"load_average_1m": 4.2}, None, "the load average was 4.2 on 4 usable cores"),
        ({"load_average_1m": None}, None, None),
        ({"load_average_1m": 1.0}, None, None),
    ],
)
def test_busy_machine_is_told_with_its_figure(quiet_machine, changes, during, reason):
    assert busy_reason(replace(quiet_machine, **changes), during) == reason


def test_own_cpu_time_counts_other_processes_and_passes_over_ended_ones():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    running = subprocess.Popen(
        [sys.executable, "-c", "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        running.stdout.readline()
        alone, with_others = read_cpu([]), read_cpu([ended.pid, running.pid])
    finally:
        running.communicate(b"\n")
    assert with_others.own - alone.own >= 0.15
    assert with_others.clock >= alone.clock


def test_governors_are_read_where_there_are_any(tmp_path):
    assert read_governor(tmp_path) is None
    for cpu, governor in ((0, "powersave"), (1, "performance"), (2, "powersave")):
        directory = tmp_path / f"cpu{cpu}" / "cpufreq"
        directory.mkdir(parents=True)
        (directory / "scaling_governor").write_text(f"{governor}\n")
    assert read_governor(tmp_path) == "performance, powersave"


def test_this_machine_is_described():
    environment = read_environment()
    assert environment.cpu
    assert 1 <= environment.cores_usable <= (os.cpu_count() or 1)
    assert environment.memory_bytes > 100_000_000
    assert environment.versions["edgekit"] == "0.1.0"
    assert environment.versions["onnxruntime"]
    assert environment.versions["sacrebleu"]
    assert environment.background_cores_before >= 0
