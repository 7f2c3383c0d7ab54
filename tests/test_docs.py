"""The documentation does what it says: its examples run, its commands and links exist."""

import ast
import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest

from edgekit.cli.main import COMMANDS, LazyGroup

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    return [code for found, code in FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


@pytest.fixture
def exported(embedded_int8, tmp_path, monkeypatch):
    """A current directory with the bundle that the pages speak of."""
    (tmp_path / "marian-en-de-int8").symlink_to(embedded_int8)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "pycon")], ids=lambda page: page.name)
def test_the_examples_of_a_page_run_and_give_what_it_says(page, exported):
    code = "\n".join(blocks(page, "pycon"))
    examples = doctest.DocTestParser().get_doctest(code, {}, page.name, str(page), 0)
    assert examples.examples
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(examples, out=report.append)
    assert not runner.failures, "".join(report)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_the_other_python_blocks_are_python(page):
    for code in blocks(page, "python"):
        ast.parse(code)


def test_every_command_of_a_page_exists_with_its_options():
    seen = set()
    for page in PAGES:
        for line in "\n".join(blocks(page, "bash")).splitlines():
            words = shlex.split(line, comments=True)
            if not words or words[0] != "edgekit":
                continue
            assert words[1] in COMMANDS, f"{page.name}: {line}"
            command = LazyGroup().get_command(None, words[1])
            known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
            options = {word for word in words[2:] if word.startswith("-")}
            assert options <= known, f"{page.name}: {line}"
            seen.add(words[1])
    assert {"export", "quantize", "pack", "translate", "bench", "serve"} <= seen


def test_the_reference_is_made_of_the_modules_that_define_what_apps_use():
    command = next(block for block in blocks(ROOT / "docs" / "README.md", "bash") if "pdoc" in block)
    modules = [importlib.import_module(name) for name in re.findall(r"\bedgekit[\w.]*", command)]
    defined = {name for module in modules for name, value in vars(module).items() if is_of(value, module)}
    used = {"load", "pivot", "Translator", "TextGenerator", "TranslationOptions", "GenerationOptions", "Cancellation"}
    assert used | {"Memory", "PivotTranslator", "export", "import_onnx", "quantize_bundle", "EdgekitError"} <= defined


def is_of(value, module):
    """Whether a module defines a value: pdoc shows no other."""
    return getattr(value, "__module__", None) == module.__name__


def test_every_link_of_a_page_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
