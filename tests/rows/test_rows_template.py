"""Prompt templates: what they can do, and that nothing gets out or runs away."""

from __future__ import annotations

import resource
import threading
import time
from typing import Any

import pytest

from distilabel_endpoints.errors import ConfigurationError, ConversationError, InputError
from distilabel_endpoints.rows.template import PromptTemplate

ROW: dict[str, Any] = {
    "name": "Ann",
    "n": 5,
    "tags": ["a", "b"],
    "meta": {"x": 1, "é": "<>"},
    "text": "one two\nthree ",
    "nothing": None,
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Hello {{ name }}!\n", "Hello Ann!\n"),
        (
            "{{ tags|join(', ') }} {{ n * 2 + 1 }} {{ n * n }} {{ 7 % n }} {{ -n }}",
            "a, b 11 25 2 -5",
        ),
        ("{{ name ~ n ~ '!' }} {{ name + 'a' }} {{ name * 2 }}", "Ann5! Anna AnnAnn"),
        ("{% for t in tags %}{{ loop.index }}/{{ loop.length }}{{ t }} {% endfor %}", "1/2a 2/2b "),
        ("{% for t in tags %}{{ loop.cycle('-', '+') }}{{ t }}{% endfor %}", "-a+b"),
        ("{% for t in [] %}{% else %}none{% endfor %}", "none"),
        ("{% for k, v in meta.items() %}{{ k }}={{ v }};{% endfor %}", "x=1;é=<>;"),
        (
            "{% for x in [1,[2,[3]]] recursive %}{{ x if x is number else loop(x) }}{% endfor %}",
            "123",
        ),
        ("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(name) }}{{ f(n) }}", "<Ann><5>"),
        (
            "{% set s = namespace(c=0) %}{% for i in [4] %}{% set s.c = i %}{% endfor %}{{ s.c }}",
            "4",
        ),
        ("{% set x %}a{{ n }}{% endset %}{{ x }}{% filter upper %}b{% endfilter %}", "a5B"),
        ("{% set a, b = (1, 2) %}{{ a }}{{ b }} {{ (1, 2)[1] }} {{ name[1:] }}", "12 2 nn"),
        ("{{ meta|tojson }}", '{"x": 1, "é": "<>"}'),
        ("{{ tags|map('upper')|list }} {{ [1, 2, 3]|select('odd')|list }}", "['A', 'B'] [1, 3]"),
        (
            "{{ name.upper() }} {{ text.split()|length }} {{ text.replace('one', '1')|trim }}",
            "ANN 3 1 two\nthree",
        ),
        ("{{ text|indent(2) }}", "one two\n  three "),
        ("{{ 'many' if n > 9 }}.", "."),
        (
            "{{ missing|default('?') }} {{ missing is defined }} {{ nothing is none }}",
            "? False True",
        ),
        (
            "{{ 'a' in tags }} {{ n > 3 }} {{ 1 < n < 9 }} {{ 'x' if n == 5 else 'y' }}",
            "True True True x",
        ),
        (
            "{{ row.name }} {{ row['name'] }} {{ tags|sum(start=0) if n < 0 else 'ok' }}",
            "Ann Ann ok",
        ),
        (
            "{{ [3, 1, 2]|sort|first }} {{ [1, 2]|sum }} {{ 1.26|round(1) }} {{ '7'|int + 1 }}",
            "1 3 1.3 8",
        ),
        ("{% set j = joiner(', ') %}{% for t in tags %}{{ j() }}{{ t }}{% endfor %}", "a, b"),
    ],
)
def test_what_templates_can_do(template: str, text: str) -> None:
    """The usual means of jinja2 work as there; JSON is not escaped for HTML."""
    assert PromptTemplate(template).render(ROW) == text


ESCAPES = [
    "{{ lipsum.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ ().__class__.__bases__[0].__subclasses__() }}",
    "{{ name|attr('__class__') }}",
    "{{ [name]|map(attribute='__class__')|first }}",
    "{{ '{0.__class__}'.format(name) }}",
    "{{ name.upper }}",
    "{{ meta.items }}",
    "{{ row.get }}",
    "{{ '{x.__class__}'.format_map({'x': name}) }}",
    "{{ self.__init__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ dict.__base__ }}",
    "{{ range.mro() }}",
    "{{ row.clear() }}",
    "{{ tags.append(1) }}",
    "{{ meta.update({}) }}",
    "{{ name|random }}",
    "{{ config.items() }}",
    "{{ request.application }}",
    "{{ open('/etc/passwd') }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends 'x' %}",
    "{% set x = name.__class__ %}{{ x }}",
    "{{ caller() }}",
    "{% for x in name.__dir__() %}{% endfor %}",
    "{% call(x) name.__str__() %}{% endcall %}",
]


@pytest.mark.promise("S11")
@pytest.mark.parametrize("template", ESCAPES)
def test_nothing_gets_out(template: str) -> None:
    """Private attributes, changing methods, other templates and randomness are refused."""
    with pytest.raises(InputError):
        PromptTemplate(template).render(ROW)
    assert ROW["tags"] == ["a", "b"]
    assert len(ROW["meta"]) == 2


def grown(start: str, step: str) -> str:
    """A template that makes `ns.x` anew from itself, 99 times."""
    loop = "{% for i in range(99) %}{% set ns.x = " + step + " %}{% endfor %}"
    return "{% set ns = namespace(x=" + start + ") %}" + loop


RUNAWAYS = [
    "{{ range(10**9) }}",
    "{% for i in range(1000000000) %}{% endfor %}",
    "{{ range(99999)|list * 1000 }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% set r = range(99999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
    "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for i in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "{{ 'a' * 1000000000 }}",
    "{{ 1000000000 * 'a' }}",
    "{{ (1,) * 1000000000 }}",
    "{{ 10**(10**9) }}",
    "{{ 2 ** -1000000000 }}",
    grown("3", "ns.x * ns.x"),
    grown("'ab'", "ns.x + ns.x"),
    grown("[1]", "ns.x + ns.x"),
    "{% for i in range(99999) %}" + "y" * 1000 + "{% endfor %}",
    "{% for i in range(99999) %}{{ 'x' * 999 }}{% endfor %}",
]


@pytest.mark.promise("S11")
@pytest.mark.parametrize("template", RUNAWAYS)
def test_nothing_runs_away(template: str) -> None:
    """Loops, recursion and growth end in little time and memory, as an error."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.thread_time()
    with pytest.raises(InputError, match="template"):
        PromptTemplate(template).render(ROW)
    assert time.thread_time() - start < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize(
    "template",
    [
        "{" * 31,
        "{% if %}",
        "{{ x|nope }}",
        "{{ x is nope }}",
        "{% block a %}",
        "{{ 2 ** n }}",
        "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
        "{{ " + "-" * 60_000 + "1 }}",
        "{{ " + "+".join(["n"] * 13_000) + " }}",
        "x" * 70_000,
    ],
)
def test_templates_that_do_not_compile(template: str) -> None:
    """Wrong, too deep and too long templates are refused before any row."""
    with pytest.raises(ConfigurationError, match="template"):
        PromptTemplate(template)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ missing }}", "'missing' is undefined; columns: 'name', 'n', 'tags'"),
        ("{% for x in missing %}{% endfor %}", "'missing' is undefined"),
        ("{{ missing ~ 'x' }}", "'missing' is undefined"),
        ("{{ name.foo }}", "has no attribute 'foo'"),
        ("{{ [missing] }}", "'missing' is undefined"),
        ("{{ {'a': missing}|tojson }}", "'missing' is undefined"),
        ("{{ meta.nope }}", "has no attribute 'nope'"),
        ("{{ meta.items|length }}", "has no attribute 'items'"),
        ("{% if meta.copy %}x{% endif %}", "has no attribute 'copy'"),
        ("{{ 'a' if missing else 'b' }}", "'missing' is undefined"),
        ("{{ tags.count }}", "has no attribute 'count'"),
        ("{{ range }}", "is printed"),
        ("{{ 1 / 0 }}", "it raised ZeroDivisionError"),
        ("{{ secret|int + name }}", "it raised TypeError"),
        ("{{ secret.index('x') }}", "it raised ValueError"),
    ],
)
def test_failures_are_told_without_content(template: str, message: str) -> None:
    """The error names what is missing or what was raised, and quotes nothing of the row."""
    with pytest.raises(ConversationError, match="template: ") as caught:
        PromptTemplate(template).render({**ROW, "secret": "canary"})
    assert message in str(caught.value)
    assert "canary" not in str(caught.value)


def test_works_in_any_thread() -> None:
    """The limits need neither the main thread nor a signal, and threads do not share them."""
    template = PromptTemplate(
        "{% for i in range(n) %}{% for j in range(9999) %}{% endfor %}{% endfor %}ok"
    )
    outcomes: dict[int, str] = {}

    def render(n: int) -> None:
        try:
            outcomes[n] = template.render({"n": n})
        except ConversationError as error:
            outcomes[n] = str(error)

    threads = [threading.Thread(target=render, args=(n,)) for n in (1, 50_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes[1] == "ok"
    assert "more than 1 s" in outcomes[50_000]


def test_a_column_may_be_called_row() -> None:
    """The row's own column wins over the name for all columns."""
    assert PromptTemplate("{{ row }}").render({"row": "mine"}) == "mine"


def test_large_columns_can_be_used() -> None:
    """A column of the largest size passes through a template."""
    text = "é" * 4_000_000
    assert PromptTemplate("{{ text|trim }}").render({"text": text}) == text


def test_a_field_wins_over_a_method() -> None:
    """`order.items` is the field, at any depth; `order.items()` is the method."""
    order = {"items": ["a", "b"], "count": 2, "inner": {"values": 7}}
    template = PromptTemplate(
        "{{ order.items }} {{ order.count }} {{ order.inner.values }} {{ order.items()|length }}"
        "{% for item in order.items %} {{ item }}{% endfor %}"
    )
    assert template.render({"order": order}) == "['a', 'b'] 2 7 3 a b"


def test_a_mark_before_the_template_is_not_sent() -> None:
    """Windows editors put a byte order mark before the text."""
    assert PromptTemplate("\ufeffSay {{ name }}").render(ROW) == "Say Ann"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("Summarise: {prompt}", r"\{prompt\} is sent as it stands. Write \{\{ prompt \}\}"),
        ("{{ other }} and {prompt}", r"\{prompt\} is sent as it stands"),
        ("Summarise this.", "uses no column"),
        ("{% set x = 1 %}{{ x }}", "uses no column"),
        ("{{ promt }}", r"no column 'promt'.*Did you mean 'prompt'\?"),
        ("{{ prompt }}{% if flag %}{% endif %}", r"no column 'flag'.*flag \| default"),
        ("{% for x in xs %}{{ x }}{% endfor %}", "no column 'xs'"),
    ],
)
def test_what_the_columns_show_is_said_before_the_first_row(template: str, message: str) -> None:
    """A template that ignores the row, or needs what is not there, would fail or waste them all."""
    with pytest.raises(ConfigurationError, match=message):
        PromptTemplate(template).check_columns(["prompt", "other"])


@pytest.mark.parametrize(
    "template",
    [
        "{{ prompt }}",
        "{{ row['a column'] }}",
        "{{ prompt }} {{ system|default('') }} {% if flag is defined %}{{ flag }}{% endif %}",
        "{{ prompt }} answer as {json} or {}",
        "{{ '{prompt}' }} {{ prompt }}",
        "{% raw %}{{ other }}{% endraw %}{{ prompt }}",
        "{% set x = prompt %}{{ x }}{{ range(2)|list }}",
    ],
)
def test_templates_that_fit_the_columns(template: str) -> None:
    """Optional columns have a default or a test; braces of other words are text."""
    PromptTemplate(template).check_columns(["prompt", "other"])


def test_nothing_random_is_offered() -> None:
    """A prompt is a function of its row."""
    for template in ("{{ [1, 2]|random }}", "{{ lipsum() }}"):
        with pytest.raises(InputError):
            PromptTemplate(template).render(ROW)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ nothing }}", "a null is printed; write"),
        ("{{ name ~ nothing }}", "a null is printed"),
        ("{% for x in [nothing] %}{{ x }}{% endfor %}{{ name }}", "a null is printed"),
        ("{{ tags|map('upper') }}", "a generator is printed"),
        ("{{ meta.items() }}", "a dict_items is printed"),
        ("{{ self }}{{ name }}", "a TemplateReference is printed"),
    ],
)
def test_what_is_no_text_is_not_printed(template: str, message: str) -> None:
    """Python's words for a null or an object never stand in a prompt."""
    with pytest.raises(ConversationError, match=message):
        PromptTemplate(template).render(ROW)


def test_nulls_that_may_be_left_out() -> None:
    """Who says what stands for a null gets it."""
    template = PromptTemplate(
        "{{ nothing or '' }}{% if nothing %}x{% endif %}{{ [nothing]|tojson }}"
    )
    assert template.render(ROW) == "[null]"


@pytest.mark.parametrize(
    "tag", ["include 'x'", "import 'x' as x", "from 'x' import y", "extends 'x'"]
)
def test_other_templates_are_not_read(tag: str) -> None:
    """A template that needs another one is refused before the first row."""
    with pytest.raises(ConfigurationError, match="which is not allowed"):
        PromptTemplate(f"{{% {tag} %}}{{{{ name }}}}")


def test_columns_with_names_of_jinja() -> None:
    """A column may be called `range`; one whose name is not a word is reached through `row`."""
    template = PromptTemplate("{{ range }}")
    template.check_columns(["range"])
    assert template.render({"range": "far"}) == "far"
    with pytest.raises(ConfigurationError, match=r"write \{\{ row\['a-b'\] \}\}"):
        PromptTemplate("{{ a-b }}").check_columns(["a-b"])
