"""Rendering with a model's chat template: what comes out, what is refused, what cannot happen."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from chat_tokenizer import CHATML, make_tokenizer, set_template
from distilabel_endpoints.chat_templates import ChatRenderer, load_renderer
from distilabel_endpoints.errors import ConfigurationError, ConversationError, InstallationError
from distilabel_endpoints.template_guard import RENDER_SECONDS

HELLO = [{"role": "user", "content": "Hello"}]
CANARY = [{"role": "user", "content": "CANARY secret"}]
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"

Load = Callable[[Any], ChatRenderer]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tokenizer."""
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def load(folder: Path, tmp_path: Path) -> Load:
    """Loads the tokenizer with another chat template."""

    def load(template: Any) -> ChatRenderer:
        for file in folder.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        set_template(tmp_path, template)
        return load_renderer(str(tmp_path), None)

    return load


def hurried(renderer: ChatRenderer) -> ChatRenderer:
    """The same renderer with a clock on which the time is over at the tenth reading."""
    readings = itertools.count()
    step = RENDER_SECONDS / 10
    return ChatRenderer(
        renderer.tokenizer_id, renderer.tokenizer, clock=lambda: next(readings) * step
    )


def test_a_conversation_ends_where_the_answer_begins(folder: Path) -> None:
    """The generation prompt is always added, after an assistant's message as well."""
    renderer = load_renderer(str(folder), None)
    messages = [{"role": "system", "content": "Be brief."}, *HELLO]
    assert renderer.render(messages) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )
    told = [*HELLO, {"role": "assistant", "content": "Hi"}]
    assert renderer.render(told).endswith("Hi<|im_end|>\n<|im_start|>assistant\n")
    assert messages == [{"role": "system", "content": "Be brief."}, *HELLO]


def test_tools_and_special_tokens_reach_the_template(load: Load) -> None:
    """`tools` is `None` when there are none, as templates test for it."""
    renderer = load(
        "{{ bos_token }}{% if tools is none %}none{% else %}{{ tools|tojson }}{% endif %}"
    )
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    assert renderer.render(HELLO) == "<s>none"
    assert renderer.render(HELLO, []) == "<s>none"
    assert renderer.render(HELLO, [tool]) == "<s>" + json.dumps([tool])


def test_a_prompt_has_one_first_token(load: Load) -> None:
    """The template's own is left out if the server's tokenizer puts one there, and only that."""
    renderer = load("{{ bos_token }}[INST] {{ messages[0]['content'] }}")
    assert renderer.render(HELLO) == "<s>[INST] Hello"
    sent = renderer.prompt(HELLO)
    assert sent == "[INST] Hello"
    assert renderer.tokenizer(sent)["input_ids"].count(renderer.tokenizer.bos_token_id) == 1
    bare = ChatRenderer(renderer.tokenizer_id, renderer.tokenizer)
    assert bare.prompt(HELLO) == "<s>[INST] Hello"


def test_a_template_without_a_first_token(folder: Path) -> None:
    """Nothing is taken from a prompt that does not begin with it."""
    renderer = load_renderer(str(folder), None)
    assert renderer.adds_bos
    assert renderer.prompt(HELLO) == renderer.render(HELLO)


@pytest.mark.parametrize(
    "template",
    [
        CHATML,
        "{{ messages[0]['content'] }}",
        "{% for m in messages %}{{ m.content | trim }}{% endfor %}",
    ],
)
def test_text_parts_are_joined_for_a_template_of_texts(template: str, load: Load) -> None:
    """A line each, as servers join them; another part is refused."""
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    renderer = load(template)
    asked = [{"role": "user", "content": parts}]
    assert renderer.render(asked) == renderer.render([{"role": "user", "content": "one\ntwo"}])
    image = {"type": "image_url", "image_url": {"url": "http://i"}}
    with pytest.raises(ConversationError, match="takes text only"):
        renderer.render([{"role": "user", "content": [*parts, image]}])


def test_parts_reach_a_template_that_takes_them(load: Load) -> None:
    """It decides itself what becomes of them."""
    renderer = load(
        "{% for part in messages[0]['content'] %}"
        "{{ part.text if part.type == 'text' else '<image>' }}{% endfor %}"
    )
    image = {"type": "image_url", "image_url": {"url": "http://i"}}
    asked = [{"role": "user", "content": [image, {"type": "text", "text": "what?"}]}]
    assert renderer.render(asked) == "<image>what?"


def test_variables_of_a_template(load: Load) -> None:
    """They are what the template reads, and no more."""
    renderer = load("{{ 'think' if enable_thinking is undefined or enable_thinking else 'no' }}")
    assert renderer.prompt(HELLO) == "think"
    assert renderer.prompt(HELLO, None, {"enable_thinking": False}) == "no"


def test_a_template_for_tools_is_used_where_there_is_one(load: Load) -> None:
    """Some models have several templates; `default` must be among them."""
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    tool = {"type": "function", "function": {"name": "f"}}
    renderer = load(named)
    assert (renderer.render(HELLO), renderer.render(HELLO, [tool])) == ("plain", "tools")
    with pytest.raises(ConfigurationError, match="no chat template"):
        load([{"name": "rag", "template": "x"}])


def test_tokens_are_counted_as_the_model_sees_them(folder: Path) -> None:
    """A special token counts once and nothing is added at the ends."""
    renderer = load_renderer(str(folder), None)
    assert renderer.count_tokens("<|im_start|>") == 1
    assert renderer.count_tokens("<|im_start|>é<|im_end|>") == 4
    assert renderer.count_tokens("") == 0
    assert renderer.count_tokens("Hello world " * 2000) > 2048


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (None, "has no chat template"),
        ("{% for %}", "malformed in line 1"),
        ("a\n{{ b }\n", "malformed in line 2"),
        ("{{ 9 ** 9 }}", "uses **"),
        ("{% for i in range(99) %}{{ 9 **(99 ** 99) }}{% endfor %}", "uses **"),
        (ENDLESS, "does not come to an end"),
    ],
)
def test_an_unusable_template_is_refused_when_loaded(load: Load, template: Any, says: str) -> None:
    """Not at the first of ten million rows."""
    with pytest.raises(ConfigurationError, match=r"tokenizer_id '.*'") as caught:
        load(template)
    assert says in str(caught.value)


def test_a_template_may_refuse_a_greeting(load: Load) -> None:
    """The conversation tried out at loading says nothing about the user's own."""
    renderer = load("{% if messages|length < 2 %}{{ raise_exception('two') }}{% endif %}ok")
    assert renderer.render(HELLO * 2) == "ok"
    assert load("{{ dict(**{'a': 1}) }}{{ dict(a=1 , ** {'b': 2}) }}").render(HELLO)


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    """No folder, a folder without a tokenizer, a broken file."""
    for missing in (str(tmp_path / "nothing"), "./nothing", "~nobody/nothing"):
        with pytest.raises(ConfigurationError, match="there is no such folder"):
            load_renderer(missing, None)
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        load_renderer(str(tmp_path), None)
    make_tokenizer(tmp_path / "broken")
    (tmp_path / "broken" / "tokenizer.json").write_text('{"model": 5}')
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        load_renderer(str(tmp_path / "broken"), None)


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is a command that fixes it."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InstallationError, match=r"pip install 'distilabel-endpoints\[tokenizer\]'"):
        load_renderer("any", None)


def test_a_refusal_tells_the_templates_words_only(load: Load) -> None:
    """`raise_exception` may quote the conversation; we do not."""
    renderer = load(
        "{% if messages[0]['role'] != 'system' %}"
        "{{ raise_exception('Only a system role may start, not ' + messages[0]['content']) }}"
        "{% endif %}"
    )
    with pytest.raises(ConversationError) as caught:
        renderer.render(CANARY)
    assert "Only a system role may start, not … …" in str(caught.value)
    assert "CANARY" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ messages[0].nothing.at_all }}", "'dict object' has no attribute 'nothing'"),
        ("{{ nothing() }}", "'nothing' is undefined"),
        ("{{ messages[0]['content'] + 1 }}", "fails on it (TypeError)"),
        ("{{ 1 / 0 }}", "fails on it (ZeroDivisionError)"),
        ("{{ {}[messages[0].content]() }}", "refuses it"),
        ("{{ messages[0].content.index('~') }}", "fails on it (ValueError)"),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "fails on it (RecursionError)"),
        ("{% include 'other' %}", "fails on it (TypeError)"),
        ("{{ 'a' * 20000000 }}", "writes more than 16,777,216 characters"),
    ],
)
def test_a_template_that_fails_is_a_conversation_error(
    load: Load, template: str, says: str
) -> None:
    """With the kind of failure, without the conversation."""
    renderer = load(template)
    with pytest.raises(ConversationError) as caught:
        renderer.render(CANARY)
    assert says in str(caught.value)
    assert "CANARY" not in str(caught.value)


@pytest.mark.promise("S11")
@pytest.mark.parametrize(
    "expression",
    [
        "lipsum.__globals__['os'].system({path})",
        "cycler.__init__.__globals__.os.system({path})",
        "joiner.__init__.__globals__.os.system({path})",
        "namespace.__init__.__globals__.os.system({path})",
        "dict.__class__.__mro__[1].__subclasses__()",
        "''.__class__.__mro__[1].__subclasses__()",
        "''['__class__']['__mro__']",
        "(''|attr('__class__')|attr('__mro__'))[1]",
        "'{{0.__class__.__mro__}}'.format('')",
        "('%s' % self.__init__.__globals__)",
        "self._TemplateReference__context.environment",
        "raise_exception.__globals__['sys'].modules['os'].system({path})",
        "strftime_now.__globals__['os'].system({path})",
        "tojson.__globals__",
        "(messages|tojson).__class__.__base__.__subclasses__()",
        "range.__class__.__base__",
        "messages.append(1)",
        "messages[0].update(role='system')",
        "messages[0].__setitem__('role', 'system')",
    ],
)
def test_a_hostile_template_reaches_nothing(load: Load, tmp_path: Path, expression: str) -> None:
    """No attribute with underscores, no change of the conversation, no command."""
    trace = tmp_path / "trace"
    expression = expression.format(path=f"'touch {trace}'")
    messages = [dict(HELLO[0])]
    try:
        written = load("{{ " + expression + " }}").render(messages)
    except ConversationError:
        written = ""
    assert not trace.exists()
    assert messages == HELLO
    assert not any(word in written for word in ("class", "module", "function", "object at"))


@pytest.mark.promise("S11")
@pytest.mark.parametrize(
    "body",
    [
        ENDLESS,
        "{% macro f(x) %}{% if x %}{{ f(x-1) }}{{ f(x-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% set ns = namespace(n=0) %}"
        + ENDLESS.replace("{% endfor %}", "{% set ns.n = ns.n + 1 %}{% endfor %}"),
        "{{ lipsum(n=99999999) }}",
        "{% for a in range(99999) %}{{ range(99999)|map('string')|join|length }}{% endfor %}",
    ],
    ids=["loops", "macros", "namespace", "lipsum", "filters"],
)
def test_a_template_that_does_not_end_is_stopped(load: Load, body: str) -> None:
    """Whatever it is busy with, and the next conversation is rendered as ever."""
    renderer = load("{% if messages|length > 1 %}" + body + "{% endif %}ok")
    with pytest.raises(ConversationError, match="took more than 1 s on it"):
        hurried(renderer).render(HELLO * 2)
    assert sys.gettrace() is None
    assert renderer.render(HELLO) == "ok"


@pytest.mark.promise("S11")
def test_a_huge_range_is_refused_at_once(load: Load) -> None:
    """The sandbox allows a hundred thousand."""
    renderer = load("{% for i in range(1000000000) %}{% endfor %}")
    started = time.process_time()
    with pytest.raises(ConversationError, match="OverflowError"):
        renderer.render(HELLO)
    assert time.process_time() - started < 1


def test_a_debugger_keeps_its_trace_function(folder: Path) -> None:
    """It is set aside for the rendering and put back, also when that fails."""
    renderer = load_renderer(str(folder), None)

    def debugger(frame: FrameType, event: str, argument: Any) -> None:
        return None

    before = sys.gettrace()
    sys.settrace(debugger)
    try:
        renderer.render(HELLO)
        kept = sys.gettrace()
        with pytest.raises(ConversationError):
            renderer.render([{"role": "user"}])
        kept_after_failure = sys.gettrace()
    finally:
        sys.settrace(before)
    assert kept is debugger
    assert kept_after_failure is debugger


def test_one_renderer_serves_many_threads(folder: Path) -> None:
    """Rendering and counting at once give what they give alone."""
    renderer = load_renderer(str(folder), None)
    together = threading.Barrier(4)

    def work(number: int) -> list[tuple[str, int]]:
        together.wait()
        prompts = [
            renderer.render([{"role": "user", "content": f"{number} {n}"}]) for n in range(50)
        ]
        return [(prompt, renderer.count_tokens(prompt)) for prompt in prompts]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    for number, result in enumerate(results):
        for n, (prompt, tokens) in enumerate(result):
            assert f"user\n{number} {n}<" in prompt
            assert tokens == renderer.count_tokens(prompt)


@pytest.mark.promise("S11")
def test_code_in_the_repository_is_never_run(folder: Path, tmp_path: Path) -> None:
    """A tokenizer that names a class of its own is refused or loaded without it."""
    hostile = make_tokenizer(tmp_path / "hostile")
    trace = tmp_path / "trace"
    (hostile / "evil.py").write_text(f"open({str(trace)!r}, 'w')\nclass Evil: pass\n")
    config = json.loads((hostile / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    (hostile / "tokenizer_config.json").write_text(json.dumps(config))
    with suppress(ConfigurationError):
        assert load_renderer(str(hostile), None).render(HELLO)
    assert not trace.exists()


def test_importing_is_free_and_loading_is_silent(folder: Path) -> None:
    """`transformers` is imported at the first load, and says nothing about missing frameworks."""
    code = (
        "import sys; from distilabel_endpoints.chat_templates import load_renderer as load; "
        "early = sorted({'transformers', 'jinja2', 'tokenizers'} & set(sys.modules)); "
        f"print(early, load({str(folder)!r}, None).render([{{'role': 'user', 'content': 'x'}}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] <|im_start|>user\nx")
    assert done.stderr == ""


def test_the_representation_names_the_tokenizer_only(folder: Path) -> None:
    """Neither vocabulary nor clock."""
    assert repr(load_renderer(str(folder), None)) == f"ChatRenderer(tokenizer_id={str(folder)!r})"
    assert "im_start" in CHATML
