import pytest

from edgekit.bench.tasks import load_task
from edgekit.errors import InputError
from edgekit.quality.parallel_text import load_testset

TASK = """
name = "grammar"
instruction = "Correct the grammar."
metric = ["exact", "chrf"]
languages = "en"
[test]
input = "test.src"
reference = "test.ref"
[dev]
file = "dev.tsv"
"""


@pytest.fixture
def grammar(tmp_path):
    (tmp_path / "test.src").write_text("he go\nshe run\n")
    (tmp_path / "test.ref").write_text("he goes\nshe runs\n")
    (tmp_path / "dev.tsv").write_text("HE  go\the goes\n" + "".join(f"we goes {i}\twe go {i}\n" for i in range(20)))
    path = tmp_path / "grammar.toml"
    path.write_text(TASK)
    return path


def test_a_translation_has_packaged_text_on_both_sides():
    task = load_task("translate:pt-en", limit=7)
    assert (task.test.name, len(task.test), task.metrics) == ("flores-dev", 7, ("chrf", "bleu"))
    assert task.test.inputs == load_testset("flores-dev", "pt", "en").sources[:7]
    assert task.words["instruction"] == "Translate from Portuguese to English."
    development = task.development(5)
    assert (len(development.items), len(development.examples)) == (5, 4)
    assert len(development.sha256) >= 64


def test_development_items_are_neither_examples_nor_test_items(grammar):
    task = load_task(str(grammar))
    development = task.development(100)
    shown = {given for given, _ in development.examples}
    assert len(shown) == 3
    # "HE  go" is the first test item but for case and spaces.
    assert not shown & set(development.items.inputs)
    assert len(shown) + len(development.items) == 20
    assert "HE  go" not in (*shown, *development.items.inputs)


def test_a_task_of_ones_own(grammar):
    task = load_task(str(grammar), limit=1)
    assert (task.name, task.metrics, task.single_line, task.max_new_tokens) == (
        "grammar",
        ("exact", "chrf"),
        True,
        None,
    )
    assert (task.source_language, task.target_language) == ("en", "en")
    assert (task.test.inputs, task.test.references) == (("he go",), (("he goes",),))
    assert {prompt.style for prompt in task.prompts} == {"completion", "chat"}


def test_prompts_of_the_users_own(grammar, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[[prompt]]\nname = "mine"\nstyle = "chat"\nask = "{input}"\n')
    task = load_task("translate:en-de", prompt_file=str(file))
    assert [prompt.name for prompt in task.prompts] == ["mine"]
    assert not task.needs_development
    grammar.write_text(TASK + file.read_text())
    assert [prompt.name for prompt in load_task(str(grammar)).prompts] == ["mine"]
    with pytest.raises(InputError, match=r"grammar\.toml has prompts of its own, to which --prompt does not apply"):
        load_task(str(grammar), prompt_file=str(file))
    file.write_text("prompts = 1\n")
    with pytest.raises(InputError, match=r"mine\.toml: unknown key 'prompts'; expected \[\[prompt\]\] tables alone"):
        load_task("translate:en-de", prompt_file=str(file))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("translate", r"expected translate:SOURCE-TARGET, such as translate:en-pt, or the path of a \.toml file"),
        ("translate:en", r"expected translate:SOURCE-TARGET"),
        ("translate:en-en", r"expected two languages in the task, found en twice"),
        ("translate:en-xx", r"no test set is packaged for en-xx; give your own .* --testset FILE\.tsv"),
        ("absent.toml", r"absent\.toml: cannot be read"),
    ],
)
def test_tasks_that_are_none_are_refused(spec, message):
    with pytest.raises(InputError, match=message):
        load_task(spec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name =", "nome ="), r"grammar\.toml: unknown key 'nome'; expected name, instruction, metric"),
        (('"exact"', '"comet"'), r"expected one or more of chrf, bleu, rouge-l, exact, gleu as metric, found \['co"),
        (('["exact", "chrf"]', "[]"), r"expected one or more of chrf"),
        (('languages = "en"', 'languages = "en de"'), r'expected a language such as "en", or two'),
        (('languages = "en"', 'output = "lines"'), r"expected line or text as output, found 'lines'"),
        (('languages = "en"', "max_new_tokens = 0"), r"expected a whole number from 1 as max_new_tokens, found 0"),
        (('"grammar"', "3"), r"expected texts as name and instruction, found 3"),
        (("[test]", "[other]"), r"unknown key 'other'"),
        (("[test]\n", "[dev2]\n"), r"unknown key 'dev2'"),
        (('input = "test.src"', 'input = "dev.tsv"'), r"test\.ref: expected as many lines as dev\.tsv, 21, found 2"),
    ],
)
def test_bad_task_files_are_refused_in_one_line(grammar, change, message):
    grammar.write_text(TASK.replace(*change))
    with pytest.raises(InputError, match=message):
        load_task(str(grammar))


def test_a_task_needs_test_text_and_its_own_alone(grammar):
    with pytest.raises(InputError, match=r"--testset belongs to translate:SOURCE-TARGET; .* names its own test text"):
        load_task(str(grammar), testset="flores-dev")
    grammar.write_text('name = "x"\n')
    with pytest.raises(InputError, match=r"expected a \[test\] table with input and reference, found none"):
        load_task(str(grammar))


def test_a_prompt_cannot_be_chosen_on_nothing(grammar, tmp_path):
    grammar.write_text(TASK[: TASK.index("[dev]")])
    with pytest.raises(InputError, match=r"chosen on development text, and none is packaged; give .* --dev FILE\.tsv"):
        load_task(str(grammar)).development(5)
    few = tmp_path / "few.tsv"
    few.write_text("a b\tb\nshe run\tshe runs\n")
    with pytest.raises(InputError, match=r"few: expected 4 or more development items .* and one to choose .* found 1"):
        load_task(str(grammar), dev=str(few)).development(5)
