"""Prompt templates: what they can do, and that nothing gets out or runs away."""

from __future__ import annotations

import resource
import threading
import time
from typing import Any

import pytest

from distilabel_endpoints.errors import ConfigurationError, ConversationError, InputError
from distilabel_endpoints.rows import template as sandbox
from distilabel_endpoints.rows.metering import MAX_SIZE, extent, product_size
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
            "{{ tags|join(', ') }} {{ n * 2 + 1 }} {{ n ** 2 }} {{ 7 % n }} {{ -n }}",
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
    "{{ lipsum() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ ().__class__.__bases__[0].__subclasses__() }}",
    "{{ name|attr('__class__') }}",
    "{{ [name]|map(attribute='__class__')|first }}",
    "{{ '{0.__class__}'.format(name) }}",
    "{{ '{x.__class__}'.format_map({'x': name}) }}",
    "{{ self.__init__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ dict.__base__ }}",
    "{{ range.mro() }}",
    "{{ row.clear() }}",
    "{{ tags.append(1) }}",
    "{{ meta.update({}) }}",
    "{{ name.encode() }}",
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


def repeated(body: str) -> str:
    """A template that does something with ten million characters, many times."""
    return "{% set big = 'x' * 10**7 %}{% for i in range(9999) %}" + body + "{% endfor %}"


RUNAWAYS = [
    "{{ range(10**9) }}",
    "{% for i in range(10**9) %}{% endfor %}",
    "{{ range(99999)|list * 1000 }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) if a is even %}{% for b in 'xyz' * 9 %}{% endfor %}{% endfor %}",
    "{% set r = range(99999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
    "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for i in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ (1,) * 10**9 }}",
    "{{ 10**(10**9) }}",
    "{{ 2**(-10**9) }}",
    grown("3", "ns.x * ns.x"),
    grown("3", "ns.x ** 9"),
    grown("'ab'", "ns.x + ns.x"),
    grown("'ab'", "ns.x ~ ns.x"),
    grown("[1]", "[ns.x, ns.x]"),
    grown("1", "(ns.x, ns.x)"),
    grown("1", "{1: ns.x, 2: ns.x}"),
    "{{ 'a'.ljust(10**10) }}",
    "{{ 'a'.zfill(10**10) }}",
    "{{ 'ab'.translate({97: 'x' * 10**6}) }}",
    "{{ '{:>9999999999}'.format('x') }}",
    "{{ '%9999999999d' % 1 }}",
    "{{ '%9999999999d'|format(1) }}",
    "{{ 'x'|center(10**10) }}",
    "{{ ('a\n' * 10**5)|indent(10**5) }}",
    "{{ ('a\n' * 10**6)|indent('x' * 10**6) }}",
    "{{ ('a' * 10**6)|replace('a', 'b' * 10**4) }}",
    "{{ ('a' * 10**6).replace('a', 'b' * 10**4) }}",
    "{{ ('a' * 10**5)|list|join('b' * 10**5) }}",
    "{{ ('a' * 10**5)|list|join(d='b' * 10**5) }}",
    "{{ ([[1]] * 10**5)|sum(start=[])|length }}",
    "{{ ('éa ' * 5 * 10**6).split()|length }}",
    "{{ ('éa\n' * 5 * 10**6).splitlines()|length }}",
    "{{ ('éa,' * 5 * 10**6).rsplit(',')|length }}",
    "{{ ('éa ' * 5 * 10**6)|title|length }}",
    "{{ ('é' * 10**7)|list|length }}",
    "{{ ('é' * 10**7)|sort|length }}",
    "{{ ('é' * 10**7)|groupby('x')|length }}",
    "{{ ('é' * 10**7)|join|length }}",
    "{{ ('éa\n' * 5 * 10**6)|indent(0)|length }}",
    "{% set a = 'é' * 10**7 %}" + "".join(f"{{% set a{n} = a + '{n}' %}}" for n in range(99)),
    "{{ 1.5|round(10**9, 'ceil') }}",
    "{{ meta|tojson(indent=10**9) }}",
    "{{ meta|tojson(10**9) }}",
    "{{ name|truncate(10**12) }}",
    "{{ range(99999)|select('in', range(99999)|list)|list|length }}",
    "{{ range(99999)|map('string')|map('upper')|map('lower')|join('x' * 999) }}",
    "{% set x %}{% for i in range(99999) %}"
    + "y" * 1000
    + "{% endfor %}{% endset %}{{ x|length }}",
    "{% for i in range(99999) %}" + "y" * 1000 + "{% endfor %}",
    "{% for i in range(99999) %}{{ 'x' * 999 }}{% endfor %}",
    repeated("{% if big == big ~ 'y' %}{% endif %}"),
    repeated("{% set y = big[1:] %}"),
    "{% set big = 'x' * 10**7 %}" + "{% if 'y' in big %}{% endif %}" * 2000,
]


@pytest.mark.promise("S11")
@pytest.mark.parametrize("template", RUNAWAYS)
def test_nothing_runs_away(template: str) -> None:
    """Whatever a template asks for, it ends in little time and memory, as an error."""
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
    assert "steps" in outcomes[50_000] or "more than 1 s" in outcomes[50_000]


def test_a_column_may_be_called_row() -> None:
    """The row's own column wins over the name for all columns."""
    assert PromptTemplate("{{ row }}").render({"row": "mine"}) == "mine"


def test_large_columns_can_be_used() -> None:
    """A column of the largest size passes through a template."""
    text = "é" * 4_000_000
    assert PromptTemplate("{{ text|trim }}").render({"text": text}) == text


@pytest.mark.parametrize(
    ("value", "size"),
    [("abc", 67), ([1, 2], 192), ({"a": "bc"}, 64 + 65 + 66), (range(10**9), 64 * 10**9 + 64)],
)
def test_extent(value: Any, size: int) -> None:
    """Characters count one, things 64."""
    assert extent(value) == size


def test_extent_stops_counting() -> None:
    """Lists that hold one another many times over are not walked to the end."""
    value: Any = [0] * 1000
    for _ in range(10):
        value = [value] * 1000
    assert extent(value) > MAX_SIZE
    assert extent([0] * 10**6) > MAX_SIZE
    assert product_size([0], -5) == 0
    assert product_size(1.5, 2) == 0


def test_offered_filters_exist() -> None:
    """Each filter on the list is one of jinja2's."""
    environment = sandbox._Environment()
    assert {"join", "tojson", "upper"} <= set(environment.filters)
    assert not {"random", "attr", "format", "center", "pprint"} & set(environment.filters)
