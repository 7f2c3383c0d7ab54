"""`edgekit generate`: prompts, conversations, what is refused, and what a terminal gets."""

import contextlib
import io
import os
import pty
import re
import select
import subprocess
import sys

import pytest

from edgekit.cli.generate import converse, describe_speed, show_controls, write_text
from edgekit.runtime import TextGenerator
from tests.bundle.tiny_bundle import build_tiny_bundle
from tests.cli.command import assert_fails, edgekit, edgekit_here
from tests.runtime.causal_lm_bundles import byte_level, write_text_bundle

FEW = ("--max-new-tokens", "12")


@pytest.fixture(scope="module")
def bundle(endless_llama):
    return endless_llama


@pytest.fixture(scope="module")
def generator(bundle):
    return TextGenerator.load(bundle)


@pytest.fixture
def piped(monkeypatch):
    """Gives stdin these bytes, in this process."""

    def pipe(data):
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        monkeypatch.setattr(sys, "stdin", os.fdopen(reading))

    return pipe


def test_text_goes_on_from_an_argument_as_from_stdin(bundle, generator):
    expected = generator.generate("The children 😀", max_new_tokens=12) + "\n"
    done = edgekit("generate", bundle, "The children 😀", *FEW)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    for stdin in ("The children 😀", "The children 😀\n", "The children 😀\r\n"):
        assert edgekit_here("generate", bundle, *FEW, stdin=stdin).stdout == expected
    # Only the newline that ends the last line is no part of the prompt.
    longer = generator.generate("The children 😀\n", max_new_tokens=12) + "\n"
    assert edgekit_here("generate", bundle, *FEW, stdin="The children 😀\n\n").stdout == longer != expected


def test_a_message_is_answered_by_the_models_template(bundle, generator):
    messages = [{"role": "user", "content": "Hello!"}]
    expected = generator.chat(messages, max_new_tokens=12) + "\n"
    assert expected != generator.generate("Hello!", max_new_tokens=12) + "\n"
    done = edgekit_here("generate", bundle, "--chat", "Hello!", *FEW)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    done = edgekit_here("generate", bundle, "--chat", *FEW, stdin="Hello!\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    told = [{"role": "system", "content": "Be brief."}, *messages]
    done = edgekit_here("generate", bundle, "--chat", "Hello!", "--system", "Be brief.", *FEW)
    assert done.stdout == generator.chat(told, max_new_tokens=12) + "\n" != expected


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--temperature", "1", "--seed", "7"], {"temperature": 1.0, "seed": 7}),
        (["--temperature", "1", "--seed", "7", "--top-k", "2"], {"temperature": 1.0, "seed": 7, "top_k": 2}),
        (["--temperature", "2", "--seed", "7", "--top-p", ".3"], {"temperature": 2.0, "seed": 7, "top_p": 0.3}),
        (["--temperature", "2", "--seed", "7", "--min-p", ".3"], {"temperature": 2.0, "seed": 7, "min_p": 0.3}),
        (["--repetition-penalty", "9"], {"repetition_penalty": 9.0}),
        (["--stop", "e", "--stop", "s"], {"stop": ("e", "s")}),
    ],
)
def test_each_option_reaches_the_model(bundle, generator, arguments, options):
    expected = generator.generate("The children", max_new_tokens=30, **options)
    assert expected != generator.generate("The children", max_new_tokens=30)
    done = edgekit_here("generate", bundle, "The children", "--max-new-tokens", "30", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected + "\n", "")


def test_verbose_tells_the_speed_on_stderr(bundle):
    done = edgekit_here("generate", bundle, "The children", *FEW, "--verbose")
    assert done.returncode == 0
    assert re.fullmatch(r"\d+ tokens, the first after \d+\.\d\d s, then \d+\.\d tokens/s\n", done.stderr), done.stderr


def test_speed_in_words():
    assert describe_speed(64, 0.12, 0.6) == "64 tokens, the first after 0.12 s, then 105.0 tokens/s"
    assert describe_speed(1, 0.5, 0.0) == "1 token, the first after 0.50 s"


def test_wrong_options_are_one_line(bundle):
    done = edgekit_here("generate", bundle, "x", "--temperature", "-1")
    assert_fails(done, 1, "temperature must be a number from 0, found -1.0")
    assert_fails(edgekit_here("generate", bundle, "x", "--top-p", "7"), 1, "top_p must be a number above 0, up to 1")
    assert_fails(edgekit_here("generate", bundle, "", *FEW), 1, "expected a prompt, found an empty one; give some text")
    assert_fails(edgekit_here("generate", bundle, "x " * 500), 1, "tokens; tiny takes at most 159")
    done = edgekit_here("generate", bundle, "x", "--system", "y")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--system belongs to a conversation: add --chat" in done.stderr


def test_a_prompt_that_is_missing_is_one_line(bundle, piped, monkeypatch):
    piped(b"")
    assert_fails(edgekit_here("generate", bundle), 1, "expected a prompt on stdin, found none; give it as an argument")
    piped(b"\n")
    assert_fails(edgekit_here("generate", bundle, "--chat"), 1, "expected a prompt on stdin, found none")
    monkeypatch.setattr("edgekit.cli.generate.MAX_STDIN_BYTES", 2**20)
    with open("/dev/zero", encoding="utf-8") as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        assert_fails(edgekit_here("generate", bundle), 1, "a prompt of at most 1 MiB on stdin, found more")
    monkeypatch.setattr(sys, "stdin", None)
    assert_fails(edgekit_here("generate", bundle), 1, "found it closed; give a prompt as an argument, or a file with <")


def test_a_prompt_of_another_encoding_is_said_or_refused(bundle, piped):
    piped("\ufeffThe children".encode("utf-16-le"))
    assert_fails(edgekit_here("generate", bundle), 1, "expected UTF-8 on stdin, found UTF-16; iconv -f UTF-16 -t UTF-8")
    piped(b"The caf\xe9")
    done = edgekit_here("generate", bundle, *FEW)
    assert done.returncode == 0
    assert done.stderr.startswith("the prompt is not UTF-8, and its other characters are lost; iconv -f LATIN1 -t")


def test_a_model_that_translates_is_named_with_its_command(tmp_path, bundle):
    translator = build_tiny_bundle(tmp_path / "tiny")
    done = edgekit_here("generate", translator, "x")
    assert_fails(done, 1, f"translates and doesn't generate text; `edgekit translate {translator}` runs it")
    done = edgekit_here("translate", bundle, "x")
    assert_fails(done, 1, f"generates text and doesn't translate; `edgekit generate {bundle}` runs it")
    # A recipe's task is known before anything is fetched or exported.
    done = edgekit_here("generate", "marian-en-de", "x")
    assert_fails(done, 1, "marian-en-de translates and doesn't generate text")
    done = edgekit_here("translate", "smollm2-135m", "x")
    assert_fails(done, 1, "smollm2-135m generates text and doesn't translate; `edgekit generate smollm2-135m` runs it")


def test_a_model_without_a_template_holds_no_conversation(llama_case, tmp_path):
    bundle = write_text_bundle(tmp_path / "plain", llama_case, byte_level(), chat=None)
    done = edgekit_here("generate", bundle, "--chat", "x")
    assert_fails(done, 1, "has no chat template")


def pieces_then(error):
    yield "Good "
    yield "mor"
    raise error


def test_an_interrupted_text_ends_in_a_newline_and_status_130(bundle, monkeypatch, capsys):
    pieces = []
    with pytest.raises(KeyboardInterrupt):
        write_text(None, pieces_then(KeyboardInterrupt), verbose=False, pieces=pieces)
    assert (capsys.readouterr().out, pieces) == ("Good mor\n", ["Good ", "mor"])
    monkeypatch.setattr(TextGenerator, "stream", lambda *_, **__: pieces_then(KeyboardInterrupt))
    done = edgekit_here("generate", bundle, "x")
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "Good mor\n", "")


def test_control_characters_are_shown_on_a_terminal_only(capsys, monkeypatch):
    text = "a\x1b[2J\r\x07b\tc\n👩‍👩‍👧 \x9b"
    assert show_controls(text) == "a\\x1b[2J\\r\\x07b\tc\n👩‍👩‍👧 \\x9b"
    write_text(None, iter([text]), verbose=False)
    assert capsys.readouterr().out == text + "\n"
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", terminal)
    write_text(None, iter([text]), verbose=False)
    assert terminal.getvalue() == show_controls(text) + "\n"


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, *args, stdout=None):
        self.ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "edgekit", "generate", *map(str, args)]
        streams = {"stdin": theirs, "stdout": theirs if stdout is None else stdout, "stderr": theirs}
        env = os.environ | {"TERM": "dumb", "PYTHONIOENCODING": "utf-8"}
        self.process = subprocess.Popen(command, **streams, env=env, start_new_session=True)
        os.close(theirs)

    def expect(self, text):
        """Reads until ``text`` is shown or the other side is closed; all that was shown since the last time."""
        data = b""
        while text not in (shown := data.decode(errors="ignore").replace("\r\n", "\n")):
            assert select.select([self.ours], [], [], 60)[0], f"{text!r} was not shown, but {shown!r}"
            try:
                data += os.read(self.ours, 4096)
            except OSError:  # Linux's way of saying that the other side is closed
                break
        return shown

    def type(self, text):
        os.write(self.ours, text.encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.ours)


def test_a_conversation_goes_on_line_by_line(bundle, generator):
    first = [{"role": "user", "content": "Hello!"}]
    answer = generator.chat(first, max_new_tokens=12)
    second = [*first, {"role": "assistant", "content": answer}, {"role": "user", "content": "Bye."}]
    with Terminal(bundle, "--chat", *FEW) as terminal:
        terminal.expect(">>> ")
        terminal.type("  \nHello!\n")
        # An empty line is no message; the terminal echoes what is typed.
        assert terminal.expect(f"{show_controls(answer)}\n>>> ").startswith("  \n>>> Hello!\n")
        terminal.type("Bye.\n")
        terminal.expect(f"{show_controls(generator.chat(second, max_new_tokens=12))}\n>>> ")
        terminal.type("\x04")
        assert terminal.process.wait(60) == 0


class Interrupted:
    """A model whose first answer is interrupted; keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def stream_chat(self, messages, **options):
        self.asked.append((messages, options))
        return iter(["Yes."]) if len(self.asked) > 1 else pieces_then(KeyboardInterrupt)


def test_ctrl_c_ends_an_answer_and_the_conversation_goes_on(monkeypatch, capsys):
    lines = iter(["Hello!", "Again?"])

    def ask():
        if (line := next(lines, None)) is None:
            raise EOFError
        return line

    monkeypatch.setattr("edgekit.cli.generate.line_reader", lambda: ask)
    model = Interrupted()
    converse(model, [{"role": "system", "content": "Be brief."}], {"top_k": 3}, verbose=False)
    assert capsys.readouterr().out == "Good mor\nYes.\n"
    turns = [("system", "Be brief."), ("user", "Hello!"), ("assistant", "Good mor"), ("user", "Again?")]
    assert [[(message["role"], message["content"]) for message in asked] for asked, _ in model.asked] == [
        turns[:2],
        turns,
    ]
    assert model.asked[0][1] == {"top_k": 3}


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_at_the_mark_ends_the_conversation_with_130(bundle):
    with Terminal(bundle, "--chat", *FEW) as terminal:
        terminal.expect(">>> ")
        # readline waits on, for a key, if the signal comes after the mark is shown and before it begins to wait.
        for _ in range(60):
            terminal.process.send_signal(2)
            with contextlib.suppress(subprocess.TimeoutExpired):
                terminal.process.wait(1)
                break
        assert terminal.process.returncode == 130
        assert "Traceback" not in terminal.expect("\0")


def test_answers_alone_go_to_a_file(bundle, generator, tmp_path):
    with open(tmp_path / "answers", "wb") as file, Terminal(bundle, "--chat", *FEW, stdout=file) as terminal:
        terminal.expect(">>> ")
        terminal.type("Hello!\n")
        terminal.expect(">>> ")
        terminal.type("\x04")
        assert terminal.process.wait(60) == 0
    expected = generator.chat([{"role": "user", "content": "Hello!"}], max_new_tokens=12) + "\n"
    assert (tmp_path / "answers").read_bytes() == expected.encode()


def test_a_terminal_without_a_prompt_is_not_waited_for(bundle):
    with Terminal(bundle) as terminal:
        assert terminal.process.wait(60) == 1
        shown = terminal.expect("\0")
    assert shown.startswith("edgekit: expected a prompt; give it as an argument, with < FILE, or hold a conversation")
    assert shown.count("\n") == 1
