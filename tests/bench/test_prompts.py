import pytest

from edgekit.bench.comparison import Prompt
from edgekit.bench.prompts import MOST_SHOTS, builtin_prompts, read_prompts, read_toml, render, show
from edgekit.errors import InputError

WORDS = {"instruction": "Translate.", "source_language": "English", "target_language": "German"}
EXAMPLES = [("One.", "Eins."), ("Two.", "Zwei."), *[("x", "y")] * MOST_SHOTS]
GOOD = {"name": "mine", "style": "completion", "ask": "{input} =>", "answer": " {output}\n", "shots": 1}


def by_name(kind):
    return {prompt.name: prompt for prompt in builtin_prompts(kind)}


def test_a_completion_ends_where_the_output_begins():
    rendered = render(by_name("translation")["labels-1"], "Three.", EXAMPLES, WORDS)
    assert rendered == "English: One.\nGerman: Eins.\n\nEnglish: Three.\nGerman:"
    assert show(rendered) == rendered


def test_a_chat_shows_examples_as_turns():
    prompt = Prompt("mine", "chat", "{instruction}", "{input}", "{output}", 1, ())
    rendered = render(prompt, "Three.", EXAMPLES, WORDS)
    assert [turn["role"] for turn in rendered] == ["system", "user", "assistant", "user"]
    assert [turn["content"] for turn in rendered] == ["Translate.", "One.", "Eins.", "Three."]
    assert show(rendered) == "<system> Translate.\n<user> One.\n<assistant> Eins.\n<user> Three."


@pytest.mark.parametrize("kind", ["translation", "general"])
def test_the_bare_message_is_a_candidate_of_every_task(kind):
    rendered = render(by_name(kind)["message-only"], "Three.", [], WORDS)
    assert rendered == [{"role": "user", "content": "Three."}]


@pytest.mark.parametrize("kind", ["translation", "general"])
def test_candidates_are_of_both_styles_and_can_be_rendered(kind):
    prompts = builtin_prompts(kind)
    assert {prompt.style for prompt in prompts} == {"completion", "chat"}
    for prompt in prompts:
        assert "Three." in show(render(prompt, "Three.", EXAMPLES, WORDS))


def test_text_that_spells_a_placeholder_stays_text():
    (prompt,) = read_prompts([GOOD], "mine.toml")
    examples = [("{output}", "{input}")]
    assert render(prompt, "{instruction} {x}", examples, WORDS) == "{output} => {input}\n{instruction} {x} =>"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shot": 1}, r"mine\.toml, prompt 1: unknown key 'shot'; expected name, style, shots"),
        ({"style": "instruct"}, r"expected completion or chat as style, found 'instruct'"),
        ({"shots": -1}, r"expected 0 to 16 as shots, found -1"),
        ({"shots": True}, r"expected 0 to 16 as shots, found True"),
        ({"shots": 17}, r"expected 0 to 16 as shots, found 17"),
        ({"stop": "x"}, r"expected a list of texts as stop, found 'x'"),
        ({"stop": [""]}, r"expected a list of texts as stop"),
        ({"ask": 3}, r"expected a text as ask, found 3"),
        ({"name": ""}, r"expected a name, found none"),
        ({"ask": "Translate:"}, r"expected \{input\} in ask, found none"),
        ({"answer": "x"}, r"expected \{output\} in answer, found none"),
        ({"ask": "{input} {text}"}, r"unknown placeholder \{text\} in ask; expected \{input\}, \{output\}"),
        ({"begin": "{input}"}, r"\{input\} does not belong in begin"),
        ({"ask": "{input} {output}"}, r"\{output\} does not belong in ask"),
    ],
)
def test_bad_prompts_are_refused_in_one_line(change, message):
    with pytest.raises(InputError, match=message):
        read_prompts([GOOD | change], "mine.toml")


def test_prompts_need_names_of_their_own():
    with pytest.raises(InputError, match=r"two prompts are named 'mine'; rename one"):
        read_prompts([GOOD, GOOD], "mine.toml")
    for none in (None, [], {}, ["x"]):
        with pytest.raises(InputError, match=r"expected one or more \[\[prompt\]\] tables, found none"):
            read_prompts(none, "mine.toml")


def test_files_that_are_no_toml_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.toml: cannot be read: No such file"):
        read_toml(tmp_path / "absent.toml")
    for number, content in enumerate([b"a = ", b"\xff"]):
        path = tmp_path / f"{number}.toml"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"expected TOML, found something else"):
            read_toml(path)
