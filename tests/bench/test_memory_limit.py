import subprocess
import sys

import pytest

from edgekit.bench import memory_limit
from edgekit.bench.memory_limit import CGROUP, RLIMIT, limited_command, smallest_limit
from edgekit.bench.worker_process import worker_environment


@pytest.mark.parametrize(("needed", "guess"), [(200_000_000, 300_000_000), (200_000_000, 60_000_000), (5, 100)])
def test_search_ends_just_above_what_is_needed(needed, guess):
    tried = []

    def works(limit):
        tried.append(limit)
        return limit >= needed

    found = smallest_limit(works, guess)
    assert needed <= found <= max(1.04 * needed, needed + 2_000_001)
    assert found in tried
    assert len(tried) < 12


def test_search_gives_up_where_nothing_suffices():
    tried = []
    assert smallest_limit(lambda limit: bool(tried.append(limit)), 100) is None
    assert tried == [100, 200, 400, 800]


def run(command):
    return subprocess.run(command, capture_output=True, text=True, env=worker_environment(1), timeout=60, check=False)


def test_the_kernel_refuses_memory_beyond_the_limit():
    taking = [sys.executable, "-c", "print(len(bytearray(100_000_000)))"]
    assert run(limited_command(taking, 300_000_000, None, RLIMIT)).stdout == "100000000\n"
    refused = run(limited_command(taking, 60_000_000, None, RLIMIT))
    assert refused.returncode != 0
    assert "MemoryError" in refused.stderr


def test_a_process_is_kept_on_its_cores():
    counting = [sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))"]
    assert run(limited_command(counting, cores=1)).stdout == "1\n"


def test_systemd_is_used_where_its_limits_hold(tmp_path, monkeypatch):
    # A systemd-run that limits addresses, and one that starts what it is given and limits nothing.
    rest = 'while [ "$1" != "--" ]; do case "$1" in MemoryMax=*) max="${1#MemoryMax=}";; esac; shift; done; shift'
    for name, limit in (("strict", "ulimit -v $(($max / 1024))"), ("lax", "true")):
        script = tmp_path / name / "systemd-run"
        script.parent.mkdir()
        script.write_text(f'#!/bin/sh\n{rest}\n{limit}\nexec "$@"\n')
        script.chmod(0o755)
    memory_limit.limit_kind.cache_clear()
    try:
        monkeypatch.setenv("PATH", f"{tmp_path / 'lax'}:/usr/bin:/bin")
        assert memory_limit.limit_kind() == RLIMIT
        memory_limit.limit_kind.cache_clear()
        monkeypatch.setenv("PATH", f"{tmp_path / 'strict'}:/usr/bin:/bin")
        assert memory_limit.limit_kind() == CGROUP
        command = limited_command(["/bin/true"], 123, 2, CGROUP)
        assert command[0] == str(tmp_path / "strict" / "systemd-run")
        assert command[command.index("MemoryMax=123") + 1 : command.index("--")] == ["-p", "MemorySwapMax=0"]
        assert command[-3:] == ["0", "2", "/bin/true"]
    finally:
        memory_limit.limit_kind.cache_clear()
