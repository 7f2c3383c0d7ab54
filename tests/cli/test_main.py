"""The lazy group, and the one line and exit status of every kind of failure."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from edgekit import __version__
from edgekit.cli.main import COMMANDS, EXTRA_OF_MODULE, group, one_line, run
from edgekit.errors import BundleError

FULL_DISK = Path("/dev/full")


def edgekit(*args, env=None, **kwargs):
    """Run `python -m edgekit` in a process of its own."""
    kwargs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60} | kwargs
    return subprocess.run(
        [sys.executable, "-m", "edgekit", *args], text=True, env=os.environ | (env or {}), check=False, **kwargs
    )


@pytest.fixture
def verify_does(monkeypatch):
    """Replace the command `edgekit verify` by one that calls the given function."""

    def replace(body):
        monkeypatch.setitem(sys.modules, "edgekit.cli.verify", SimpleNamespace(command=click.command()(body)))

    return replace


def exit_status(*args):
    with pytest.raises(SystemExit) as stopped:
        run(list(args))
    return stopped.value.code


def raising(error):
    def body():
        raise error

    return body


def test_help_lists_every_command_and_imports_none():
    probe = (
        "import sys\n"
        "from edgekit.cli.main import run\n"
        "try:\n    run(['--help'])\n"
        "except SystemExit as stopped:\n    assert stopped.code == 0\n"
        "print(sorted(name for name in sys.modules if name.startswith('edgekit')), file=sys.stderr)\n"
        "print([name for name in ('rich', 'numpy', 'onnxruntime') if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.splitlines() == ["['edgekit', 'edgekit.cli', 'edgekit.cli.main', 'edgekit.errors']", "[]"]
    for name, short_help in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert short_help in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_its_help_with_an_example(name, capsys):
    assert exit_status(name, "--help") == 0
    printed = capsys.readouterr()
    assert f"Usage: edgekit {name}" in printed.out
    assert re.search(r"^  Examples?:$", printed.out, flags=re.MULTILINE)
    assert printed.err == ""


def test_version_goes_to_stdout():
    done = edgekit("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"edgekit {__version__}\n", "")


def test_unknown_command_suggests_the_closest_and_exits_2(capsys):
    assert exit_status("tranlate") == 2
    printed = capsys.readouterr()
    assert "No such command 'tranlate'. Did you mean 'translate'?" in printed.err
    assert printed.out == ""


def test_unknown_option_exits_2_with_empty_stdout(capsys):
    assert exit_status("completion", "--frobnicate") == 2
    printed = capsys.readouterr()
    assert "No such option" in printed.err
    assert printed.out == ""


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_cli_extra_one_line_says_how_to_get_it(missing):
    probe = f"import sys; sys.modules[{missing!r}] = None; from edgekit.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (f'edgekit: the command line needs {missing}; pip install "edgekit[cli]" brings it\n')


def test_an_interruption_while_the_command_line_is_imported_exits_130_without_a_message(tmp_path):
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    done = edgekit("--help", env={"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])})
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (BundleError("bundle.json: schema version 9"), "edgekit: bundle.json: schema version 9"),
        (BundleError("two\n  lines \x1b[31m"), r"edgekit: two lines \x1b[31m"),
        (
            ModuleNotFoundError("No module named 'sacrebleu'", name="sacrebleu"),
            'edgekit: this needs sacrebleu, which is not installed; pip install "edgekit[bench]" brings it',
        ),
        (
            ModuleNotFoundError("No module named 'onnx_ir.passes'", name="onnx_ir.passes"),
            'edgekit: this needs onnx_ir, which is not installed; pip install "edgekit[export]" brings it',
        ),
        (OSError(28, "No space left on device"), "edgekit: No space left on device"),
        (PermissionError(13, "Permission denied", "out/bundle.json"), "edgekit: out/bundle.json: Permission denied"),
        (ConnectionError("registry refused"), "edgekit: registry refused"),
        (click.ClickException("not now"), "edgekit: not now"),
    ],
)
def test_a_users_failure_is_one_line_and_status_1(error, line, verify_does, capfd):
    verify_does(raising(error))
    assert exit_status("verify") == 1
    printed = capfd.readouterr()
    assert printed.err == line + "\n"
    assert printed.out == ""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 11.7 MiB"),
        ImportError("onnxruntime_pybind11_state.so: failed to map segment from shared object"),
        ImportError("numpy's advice\nOriginal error was: libopenblas.so: cannot allocate memory in static TLS block"),
        ImportError("Exception caught: std::bad_alloc"),
        RuntimeError("can't start new thread"),
    ],
)
def test_a_lack_of_memory_is_one_line_wherever_it_shows(error, verify_does, capfd):
    verify_does(raising(error))
    assert exit_status("verify") == 1
    assert capfd.readouterr() == (
        "",
        "edgekit: out of memory; free some or raise the process's limit, choose a smaller model or precision, "
        "or give less text\n",
    )


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'edgekit.bundel'", name="edgekit.bundel"),
        RuntimeError("no thread of thought"),
    ],
)
def test_a_fault_of_edgekit_keeps_its_traceback(error, verify_does):
    verify_does(raising(error))
    with pytest.raises(type(error), match=str(error)):
        run(["verify"])


def test_interruption_exits_130_without_a_message(verify_does, capsys):
    verify_does(raising(KeyboardInterrupt()))
    assert exit_status("verify") == 130
    printed = capsys.readouterr()
    assert (printed.out, printed.err.strip()) == ("", "")


def test_a_question_without_stdin_is_a_failure_not_an_interruption(verify_does, capsys, monkeypatch):
    verify_does(lambda: click.confirm("Sure?", abort=True))
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
    assert exit_status("verify") == 1
    assert "edgekit: stopped: a question needs an answer, and stdin is at its end" in capsys.readouterr().err


def test_a_commands_own_status_is_kept(verify_does):
    verify_does(lambda: click.get_current_context().exit(1))
    assert exit_status("verify") == 1


def test_a_commands_result_is_not_a_status(verify_does):
    verify_does(lambda: "a value")
    assert exit_status("verify") == 0


@pytest.mark.skipif(not FULL_DISK.is_char_device(), reason="needs /dev/full")
def test_full_disk_behind_stdout_is_one_line():
    with FULL_DISK.open("w") as full:
        done = edgekit("completion", "zsh", stdout=full)
    assert done.returncode == 1
    assert done.stderr == "edgekit: No space left on device\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX pipes")
def test_closed_pipe_ends_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = edgekit("completion", "zsh", stdout=writer)
    finally:
        os.close(writer)
    assert done.returncode == 1
    assert done.stderr == ""


def test_an_encoding_that_cannot_hold_the_output_is_named(verify_does, capsys):
    verify_does(lambda: "für €".encode("latin-1"))
    assert exit_status("verify") == 1
    assert capsys.readouterr().err == (
        "edgekit: the output's encoding latin-1 has no '\\u20ac'; set PYTHONIOENCODING=utf-8\n"
    )


def test_one_line_joins_lines_and_escapes_control_characters():
    assert one_line("  a\n\n b\x00\x07\u202e c ") == r"a b\x00\x07\u202e c"
    assert one_line("für 猫") == "für 猫"


def test_shell_completion_offers_commands_without_importing_them():
    env = {"_EDGEKIT_COMPLETE": "bash_complete", "COMP_WORDS": "edgekit ver", "COMP_CWORD": "1"}
    done = edgekit(env=env)
    assert done.stdout == "plain,verify\n"
    offered = group.shell_complete(click.Context(group), "")
    assert [(item.value, item.help) for item in offered[: len(COMMANDS)]] == list(COMMANDS.items())


@pytest.mark.parametrize(
    ("shell", "mark"),
    [
        ("bash", "complete -o nosort -F _edgekit_completion edgekit"),
        ("zsh", "#compdef edgekit"),
        ("fish", "complete --no-files --command edgekit"),
        ("powershell", "Register-ArgumentCompleter -Native -CommandName edgekit"),
    ],
)
def test_completion_script_names_the_command_and_its_variable(shell, mark, capsys):
    assert exit_status("completion", shell) == 0
    script = capsys.readouterr().out
    assert mark in script
    assert f"_EDGEKIT_COMPLETE={shell}_complete" in script.replace("$env:", "").replace(" = '", "=")


def test_completion_for_an_unknown_shell_lists_the_known_ones(capsys):
    assert exit_status("completion", "tcsh") == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish', 'powershell'" in capsys.readouterr().err


def test_every_optional_module_has_an_extra_that_exists():
    assert set(EXTRA_OF_MODULE.values()) <= {"cli", "export", "optimum", "serve", "bench"}
