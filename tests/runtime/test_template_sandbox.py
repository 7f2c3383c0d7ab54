"""Chat templates as transformers renders them; those of a stranger end in time, in little memory, and inside."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from edgekit.runtime import template_limits
from edgekit.runtime.template_limits import LimitError
from edgekit.runtime.template_sandbox import MOST_SOURCE_CHARACTERS, RefusedMessagesError, compile_template, render

MESSAGES = [
    {"role": "system", "content": "Be brief. <b>&amp;</b>"},
    {"role": "user", "content": "  Grüße!\n\nWie geht's? 😀 "},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nGut."},
    {"role": "user", "content": "x"},
]
LLAMA3 = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}{{ system_message }}"""
QWEN3 = """{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string
           and not(message.content.startswith('<tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}
    {%- else %}{%- set content = '' %}{%- endif %}
    {%- if message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>' + message.role + '\\n' + content }}{{- reasoning_content ~ loop.last }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}"""
TEMPLATES = {
    "llama 3": LLAMA3,
    "qwen 3": QWEN3,
    "blocks are trimmed": "{% if true %}\n  a\n  {% endif %}\nb\n\n  {# comment #}\nc {{ messages|length }}\n",
    "tojson escapes nothing": "{{ messages|tojson }}{{ messages[1]|tojson(indent=2, sort_keys=true) }}"
    "{{ 'é'|tojson(ensure_ascii=true) }}",
    "loop controls": "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% break %}"
    "{% endfor %}",
    "generation blocks": "{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}{% endfor %}",
    "printed values": "{{ 1 }}{{ 1.5 }}{{ none }}{{ true }}{{ [1, 'a'] }}{{ {'a': (1, 2)} }}{{ nothing }}"
    "{{ 'a' ~ 1 ~ none }}",
    "loops": "{% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{{ loop.length }}{{ loop.revindex }}{% else %}"
    "x{% endfor %}"
    "{% for x in [] %}{% else %}none{% endfor %}{% for c in 'abc' if c != 'b' %}{{ loop.index }}{{ c }}{% endfor %}"
    "{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}{% for i in range(3) %}{{ loop.last }}{% endfor %}",
    "recursive loops": "{% for x in [[1, [2]], [3]] recursive %}{% if x is iterable %}[{{ loop(x) }}]{% else %}"
    "{{ x }}{% endif %}{% endfor %}",
    "macros": "{% macro f(m, sep='-') %}{{ m.role }}{{ sep }}{{ caller() if caller else '' }}{% endmacro %}"
    "{{ f(messages[0]) }}{% call f(messages[1], sep='+') %}inner{% endcall %}{% set x %}{{ f(messages[1]) }}"
    "{% endset %}{{ x|upper }}",
    "filters": "{{ messages|map(attribute='role')|join(', ') }}"
    "{{ messages|selectattr('role', 'equalto', 'user')|list|length }}"
    "{{ 'a\nb'|indent(2) }}{{ 'a\nb'|indent(2, true) }}{{ x|default('d') }}{{ 'ab'|replace('a', 'c') }}"
    "{{ [3, 1]|sort|first }}"
    "{{ '<'|e }}{{ ('a', 'b')|last }}{{ {'b': 1, 'a': 2}|dictsort }}{{ '7'|int + 1 }}"
    "{{ [1, 2, 3]|reject('odd')|list }}",
    "operators": "{{ 2 ** 10 }}{{ 7 // 2 }}{{ 7 % 4 }}{{ -3 * 2 }}{{ 'ab' * 3 }}{{ [1] + [2] }}{{ 1 in [1] }}"
    "{{ 'a' 'b' }}{{ 7 / 2 }}",
    "methods": "{{ 'a,b'.split(',')[1] }}{{ ' x '.strip() }}{{ 'aXbX'.replace('X', 'y', 1) }}{{ '-'.join(['a', 'b']) }}"
    "{{ {'a': 1}.get('b', 2) }}{{ [1, 2].index(2) }}{{ 'title'.title() }}{{ 'abc'[1:] }}{{ messages[-1].content }}",
    "namespaces": "{% set ns = namespace(found=false, n=1) %}{% set ns.n = ns.n + 1 %}{% set ns.l = [1] + [2] %}"
    "{{ ns.n }}{{ ns.l }}{{ ns.found }}",
    "time": "{{ strftime_now('%Y-%m')|length }}",
}  # fmt: skip


def rendered(source, messages=MESSAGES, **variables):
    variables = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": True, **variables}
    return render(compile_template(source), variables, sum(len(message["content"]) for message in messages))


@pytest.mark.parametrize("source", TEMPLATES.values(), ids=TEMPLATES)
def test_templates_are_rendered_as_transformers_renders_them(source):
    (expected,), _ = render_jinja_template(
        [MESSAGES], chat_template=source, add_generation_prompt=True, bos_token="<s>"
    )
    assert rendered(source, bos_token="<s>") == expected
    assert expected


def test_a_template_that_refuses_says_why():
    source = (
        "{% if messages[0].role != 'user' %}{{ raise_exception('The first message must be a user\\'s') }}{% endif %}"
    )
    with pytest.raises(RefusedMessagesError, match="The first message must be a user's"):
        rendered(source)


OUTSIDE = {
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "a class by a filter": "{{ (''|attr('__class__')).mro() }}",
    "a class by map": "{{ (messages|map(attribute='__class__')|first).mro() }}",
    "globals of a function": "{{ raise_exception.__globals__['re'].sub }}",
    "globals of a macro": "{% macro f() %}{% endmacro %}{{ f.__init__.__globals__.x }}",
    "changing the caller's list": "{{ messages.append(1) }}",
    "changing the caller's message": "{{ messages[0].update({'a': 1}) }}",
    "a method that makes bytes": "{{ (1).to_bytes(9) }}",
    "a method of a class": "{{ dict.fromkeys([1]) }}",
    "str.format": "{{ '{0.__class__}'.format(1) }}",
    "str.format_map": "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "the context": "{{ self._TemplateReference__context.environment }}",
    "another template": "{% include 'other' %}",
    "an import": "{% import 'os' as os %}",
    "a filter that no chat needs": "{{ 'a'|xmlattr }}",
    "a global that no chat needs": "{{ lipsum() }}",
    "a loop's environment": "{% for m in messages %}{{ loop._undefined.x.y }}{% endfor %}",
}


@pytest.mark.parametrize("source", OUTSIDE.values(), ids=OUTSIDE)
def test_nothing_outside_the_sandbox_is_reached(source):
    before = [dict(message) for message in MESSAGES]
    with pytest.raises(Exception, match=r"unsafe|no loader|No filter|undefined|no attribute"):
        rendered(source)
    assert before == MESSAGES


MUCH = {
    "a huge power": ("{{ 10**10**10 }}", "huge numbers"),
    "a large power of a power": ("{{ (9**999) * (9**999) }}", "huge numbers"),
    "a number doubled": (
        "{% set ns = namespace(n=2) %}{% for i in range(99) %}{% set ns.n = ns.n + ns.n %}{% endfor %}",
        "huge numbers",
    ),
    "a text times a number": ("{{ 'a' * 10**10 }}", "makes too much"),
    "a number times a list": ("{{ 10**9 * [1] }}", "makes too much"),
    "a text doubled by ~": (
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "makes too much",
    ),
    "a text doubled by +": (
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "makes too much",
    ),
    "a list in itself twice": (
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "makes too much",
    ),
    "a tuple in itself twice, compared": (
        "{% set ns = namespace(x=(1,)) %}{% for i in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}"
    "{{ ns.x == 1 }}",
        "makes too much",
    ),
    "a dict in itself twice, as JSON": (
        "{% set ns = namespace(x={}) %}{% for i in range(60) %}{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}"
        "{{ ns.x|tojson }}",
        "makes too much",
    ),
    "long output": ("{% for i in range(100000) %}{{ 'a' * 1000 }}{% endfor %}", "makes too much"),
    "a long block": ("{% set x %}{% for i in range(100000) %}{{ 'a' * 1000 }}{% endfor %}{% endset %}"
    "", "makes too much"),
    "replace": ("{{ ('a' * 10000)|replace('a', 'b' * 10000) }}", "makes too much"),
    "the method replace": ("{{ ('a' * 10000).replace('a', 'b' * 10000) }}", "makes too much"),
    "join": ("{{ (['b'] * 10000)|join('a' * 10000) }}", "makes too much"),
    "the method join": ("{{ ('a' * 10000).join(['b'] * 10000) }}", "makes too much"),
    "indented JSON": ("{{ [[[[1] * 10000]]]|tojson(indent=900) }}", "makes too much"),
    "JSON's separators": ("{{ [1]|tojson(separators=('a' * 10000, 'b')) }}", "long separator"),
    "indent": ("{{ 'a'|indent(10**9) }}", "passes 1000000000 to the filter indent"),
    "indent by text": ("{{ ('\n' * 10000)|indent('a' * 10000) }}", "makes too much"),
    "batch": ("{{ [1]|batch(10**9, 0)|list }}", "passes 1000000000 to the filter batch"),
    "a width of %": ("{{ '%1000000000d' % 1 }}", "formats text with %, which is not supported"),
    "a width of the time": ("{{ strftime_now('%1000000000d') }}", "formats the time with a width"),
    "a namespace in itself": ("{% set x = namespace() %}{% set x.a = x %}{{ x }}"
    "", "prints an object of type Namespace"),
    "a namespace in a list": ("{% set x = namespace() %}{{ [x] }}", "uses a namespace as a value"),
    "a long source": ("a" * (MOST_SOURCE_CHARACTERS + 1), f"longer than {MOST_SOURCE_CHARACTERS} characters"),
}  # fmt: skip


@pytest.mark.parametrize(("source", "message"), MUCH.values(), ids=MUCH)
def test_what_grows_huge_is_stopped(source, message, monkeypatch):
    monkeypatch.setattr(template_limits, "MOST_MADE", 1_000_000)
    with pytest.raises(LimitError, match=message):
        rendered(source)


LONG = {
    "nested loops": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "a macro that calls itself twice": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}"
    "{% endmacro %}{{ f(60) }}",
    "filters of filters": "{% for i in range(100000) %}{{ range(100000)|map('string')|reject('string')|list }}"
    "{% endfor %}",
    "a loop in a loop's call": "{% for x in range(99999) recursive %}{{ loop(range(99999)) if loop.depth < 9 }}"
    "{% endfor %}",
}  # fmt: skip


@pytest.mark.parametrize("source", LONG.values(), ids=LONG)
def test_what_does_not_end_is_stopped(source, monkeypatch):
    monkeypatch.setattr(template_limits, "MOST_SECONDS", 0.05)
    with pytest.raises(LimitError, match=r"takes more than 0\.05 seconds"):
        rendered(source)


@pytest.mark.parametrize(
    "source",
    [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% block a %}{{ self.a() }}{% endblock %}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    ],
)
def test_recursion_is_an_exception(source):
    with pytest.raises(RecursionError):
        rendered(source)


def test_a_long_conversation_may_be_rendered():
    """What a template may make grows with what it was given."""
    messages = [{"role": "user", "content": "a" * 100_000}] * 20
    assert len(rendered(QWEN3, messages)) > 2_000_000


def test_memory_stays_bounded():
    code = f"""
import resource
from edgekit.runtime.template_sandbox import compile_template, render
from edgekit.runtime import template_limits

template_limits.MOST_MADE = 1_000_000
compile_template("a")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for source in {[source for source, _ in MUCH.values()]!r}:
    try:
        render(compile_template(source), {{"messages": []}}, 0)
    except Exception:
        pass
    else:
        raise SystemExit(source)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200_000  # KiB


def test_threads_have_limits_of_their_own():
    template = compile_template("{% for m in messages %}{{ m.content * 100 }}{% endfor %}")

    def one(number):
        messages = [{"role": "user", "content": "ab"[number % 2] * 50}]
        return render(template, {"messages": messages}, 50)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(64))) == ["a" * 5000, "b" * 5000] * 32
