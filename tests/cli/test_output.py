"""Progress and consoles: quiet off a terminal, literal about text, and without colour when told."""

import io

import pytest
from rich.table import Table

from edgekit.cli.output import note, progress, stderr_console, stdout_console


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def as_terminal(monkeypatch):
    """Called inside a test (pytest sets its own stderr after the fixtures), makes stderr a terminal of 100 columns."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def replace_stderr():
        stream = Terminal()
        monkeypatch.setattr("sys.stderr", stream)
        return stream

    return replace_stderr


def test_progress_off_a_terminal_writes_nothing(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress("translating", total=3) as bar:
        bar.set_total(4)
        bar.advance(2)
        bar.advance()
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_counts_to_its_total(as_terminal):
    terminal = as_terminal()
    with progress("translating [en]", total=3) as bar:
        bar.advance(2)
        bar.advance()
    shown = terminal.getvalue()
    assert "translating [en]" in shown
    assert "3/3" in shown


def test_progress_in_bytes_takes_a_total_learnt_late(as_terminal):
    terminal = as_terminal()
    with progress("downloading", unit="bytes") as bar:
        bar.set_total(2_000_000)
        bar.advance(2_000_000)
    assert "2.0/2.0 MB" in terminal.getvalue()


def test_progress_ends_with_the_block_when_it_fails(as_terminal):
    terminal = as_terminal()
    with pytest.raises(ValueError, match="broken"), progress("translating", total=3):
        raise ValueError("broken")
    # The cursor, hidden while a bar is shown, is back.
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")


def test_consoles_print_text_as_it_is(capsys):
    stdout_console().print("[bold]x[/bold] :smile: 12", style="red")
    note("[i]not markup")
    assert capsys.readouterr() == ("[bold]x[/bold] :smile: 12\n", "[i]not markup\n")


def test_a_piped_table_is_neither_cut_nor_coloured(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    table = Table("model")
    table.add_row("m" * 300, style="red")
    stdout_console().print(table)
    printed = capsys.readouterr().out
    assert "m" * 300 in printed
    assert "\x1b" not in printed


def test_no_color_is_respected_on_a_terminal(as_terminal, monkeypatch):
    terminal = as_terminal()
    stderr_console().print("x", style="red")
    assert "\x1b[31m" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.truncate(0)
    stderr_console().print("x", style="red")
    assert "\x1b[31m" not in terminal.getvalue()
