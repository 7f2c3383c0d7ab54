"""The clients that people have, unchanged: openai, libretranslatepy, Prometheus, a browser's first request."""

import urllib.error

import openai
import pytest
from libretranslatepy import LibreTranslateAPI
from prometheus_client.parser import text_string_to_metric_families

import edgekit
from edgekit.runtime import TextGenerator

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello 😀"}]


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as found:
        yield found


@pytest.fixture(scope="module")
def generator(endless_llama):
    return TextGenerator.load(endless_llama)


@pytest.fixture(scope="module")
def translator(embedded_int8):
    return edgekit.load(embedded_int8)


def test_openai_chat_is_the_models_own_answer(client, generator):
    answer = client.chat.completions.create(model="tiny-fp32", messages=MESSAGES, max_completion_tokens=20)
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == generator.chat(MESSAGES, max_new_tokens=20)
    assert choice.finish_reason == "length"
    assert (answer.object, answer.model) == ("chat.completion", "tiny-fp32")
    assert answer.usage.completion_tokens == 20
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 20


def test_openai_chat_streams_the_same_text_and_its_counts(client, generator):
    chunks = list(
        client.chat.completions.create(
            model="tiny-fp32",
            messages=MESSAGES,
            max_tokens=20,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    *pieces, last = chunks
    assert pieces[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in pieces)
    assert text == generator.chat(MESSAGES, max_new_tokens=20)
    assert [chunk.choices[0].finish_reason for chunk in pieces[-2:]] == [None, "length"]
    assert (last.choices, last.usage.completion_tokens) == ([], 20)
    assert len({chunk.id for chunk in chunks}) == 1


def test_openai_completions_take_texts_and_ids(client, generator):
    texts = ["The children", "one two three"]
    answer = client.completions.create(model="tiny-fp32", prompt=texts, max_tokens=8)
    assert [choice.text for choice in answer.choices] == generator.generate(texts, max_new_tokens=8)
    ids = [generator.encode(text) for text in texts]
    by_ids = client.completions.create(model="tiny-fp32", prompt=ids, max_tokens=8)
    assert [choice.text for choice in by_ids.choices] == [choice.text for choice in answer.choices]
    assert by_ids.usage.prompt_tokens == sum(map(len, ids))
    one = client.completions.create(model="tiny-fp32", prompt=ids[0], max_tokens=8)
    assert one.choices[0].text == answer.choices[0].text


def test_openai_sampling_is_the_librarys(client, generator):
    options = {"temperature": 0.8, "top_p": 0.9, "seed": 7}
    answer = client.completions.create(model="tiny-fp32", prompt="The", max_tokens=12, **options)
    assert answer.choices[0].text == generator.generate("The", max_new_tokens=12, **options)


def test_openai_stop_ends_a_text_before_it(client, generator):
    whole = generator.generate("The children", max_new_tokens=20)
    stop = whole[5:7]
    answer = client.completions.create(model="tiny-fp32", prompt="The children", max_tokens=20, stop=stop)
    assert answer.choices[0].text == whole[: whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


def test_openai_lists_the_models(client):
    assert [model.id for model in client.models.list()] == ["marian-en-de-int8", "marian-en-de-fp32", "tiny-fp32"]


def test_openai_errors_are_the_clients_own_classes(client):
    with pytest.raises(openai.NotFoundError, match=r"the model 'gpt-4' does not exist; this server has tiny-fp32"):
        client.chat.completions.create(model="gpt-4", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match=r"marian-en-de-int8 translates; POST /translate asks it"):
        client.chat.completions.create(model="marian-en-de-int8", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match=r"temperature must be a number from 0, found -1") as caught:
        client.chat.completions.create(model="tiny-fp32", messages=MESSAGES, temperature=-1)
    assert caught.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError, match=r"tools is not supported by this server") as caught:
        client.chat.completions.create(
            model="tiny-fp32", messages=MESSAGES, tools=[{"type": "function", "function": {"name": "f"}}]
        )
    assert (caught.value.param, caught.value.code) == ("tools", "unsupported_parameter")
    with pytest.raises(openai.BadRequestError, match=r"takes at most 159"):
        client.completions.create(model="tiny-fp32", prompt="one two three " * 60)


def test_libretranslatepy_translates_and_lists(server, translator):
    client = LibreTranslateAPI(server.url)
    text = "Good morning!\n\n  How are you?\n"
    lines = translator.translate(["Good morning!", "How are you?"])
    assert client.translate(text, "en", "de") == f"{lines[0]}\n\n  {lines[1]}\n"
    assert client.languages() == [
        {"code": "en", "name": "English", "targets": ["de"]},
        {"code": "de", "name": "German", "targets": []},
    ]
    with pytest.raises(urllib.error.HTTPError, match="501"):
        client.detect("Good morning!")


def test_prometheus_reads_the_metrics(server, translator):
    server.post("/translate", {"q": "Hello", "source": "en", "target": "de"})
    families = {family.name for family in text_string_to_metric_families(server.get("/metrics")[1].decode())}
    assert {"edgekit_requests", "edgekit_request_seconds", "edgekit_batch_texts", "edgekit_characters"} <= families
    assert server.metric('edgekit_requests_total{path="/translate",status="200"}') >= 1


def test_the_page_needs_nothing_but_this_server(server):
    status, headers, page = server.request("GET", "/")
    assert status == 200
    assert b"http:" not in page
    assert b"https:" not in page
    assert "default-src 'none'" in headers["content-security-policy"]
    assert server.get("/health") == (200, {"status": "ok"})
