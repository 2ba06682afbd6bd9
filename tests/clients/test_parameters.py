"""Generation parameters: every cell of the table, every wrong value, and nothing dropped."""

from __future__ import annotations

import math
from typing import Any

import pytest

from distilabel_endpoints._clients.parameters import (
    PARAMETERS,
    accepted_parameters,
    check_parameters,
    compile_parameters,
    take_template_variables,
)
from distilabel_endpoints.config import MAX_NEW_TOKENS
from distilabel_endpoints.errors import ParameterError
from distilabel_endpoints.records import Route, Server

HUB_CHAT, HUB_TEXT = Route.HUB_CHAT, Route.HUB_TEXT
OPENAI_CHAT, OPENAI_TEXT = Route.OPENAI_CHAT, Route.OPENAI_TEXT
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
JSON_OBJECT = {"type": "json_object"}
BIAS = {"5": -1.5}


def test_variables_of_a_template_are_not_sent() -> None:
    """They are taken out of `extra_body` where the prompt is rendered here."""
    given = {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}, "x": 1}}
    assert take_template_variables(given) == {"enable_thinking": False}
    assert given == {"extra_body": {"x": 1}}
    for none in ({}, {"extra_body": None}, {"extra_body": {"x": 1}}):
        assert take_template_variables(dict(none)) == {}


@pytest.mark.parametrize("wrong", [3, {1: 2}, {"tokenize": True}, {"chat_template": "x"}])
def test_what_is_not_a_variable_of_a_template(wrong: Any) -> None:
    """Rendering decides it; a template that was not looked at is not rendered."""
    with pytest.raises(ParameterError, match="chat_template_kwargs"):
        take_template_variables({"extra_body": {"chat_template_kwargs": wrong}})


def test_tgi_gets_as_many_stops_as_it_takes() -> None:
    """The first four, with a warning; other servers get all."""
    stops = [*"abcdef"]
    for route, server in ((HUB_TEXT, Server.UNKNOWN), (HUB_CHAT, Server.TGI)):
        with pytest.warns(UserWarning, match="the first 4 of 6"):
            options = compile_parameters({"stop_sequences": stops}, route, server).options
        assert options["stop"] == [*"abcd"]
    options = compile_parameters({"stop_sequences": stops}, HUB_CHAT, Server.VLLM).options
    assert options["stop"] == stops


Cell = dict[str, Any] | None
"""What a set parameter adds to the options; `None`: an error."""


def body(**fields: Any) -> Cell:
    return {"extra_body": fields}


def same(**fields: Any) -> tuple[Cell, ...]:
    return (fields,) * 4


# A value, and what it becomes on hub_chat, hub_text, openai_chat and openai_text.
TABLE: dict[str, tuple[Any, tuple[Cell, ...]]] = {
    "max_new_tokens": (
        7,
        ({"max_tokens": 7}, {"max_new_tokens": 7}, {"max_tokens": 7}, {"max_tokens": 7}),
    ),
    "temperature": (
        0.5,
        (
            {"temperature": 0.5},
            {"temperature": 0.5, "do_sample": True},
            {"temperature": 0.5},
            {"temperature": 0.5},
        ),
    ),
    "top_p": (0.9, same(top_p=0.9)),
    "top_k": (5, (body(top_k=5), {"top_k": 5}, body(top_k=5), body(top_k=5))),
    "typical_p": (
        0.4,
        (body(typical_p=0.4), {"typical_p": 0.4}, body(typical_p=0.4), body(typical_p=0.4)),
    ),
    "repetition_penalty": (
        1.1,
        (
            body(repetition_penalty=1.1),
            {"repetition_penalty": 1.1},
            body(repetition_penalty=1.1),
            body(repetition_penalty=1.1),
        ),
    ),
    "frequency_penalty": (-2, same(frequency_penalty=-2)),
    "presence_penalty": (
        2,
        ({"presence_penalty": 2}, None, {"presence_penalty": 2}, {"presence_penalty": 2}),
    ),
    "stop_sequences": (["a", "b"], same(stop=["a", "b"])),
    "seed": (0, same()),
    "do_sample": (
        False,
        ({"temperature": 0}, {"do_sample": False}, {"temperature": 0}, {"temperature": 0}),
    ),
    "return_full_text": (True, (None, {"return_full_text": True}, None, {"echo": True})),
    "watermark": (True, (None, {"watermark": True}, None, None)),
    "logprobs": (True, ({"logprobs": True}, {}, {"logprobs": True}, {"logprobs": 0})),
    "logit_bias": (
        BIAS,
        ({"logit_bias": BIAS}, None, {"logit_bias": BIAS}, {"logit_bias": BIAS}),
    ),
    "tools": ([TOOL], ({"tools": [TOOL]}, {}, {"tools": [TOOL]}, {})),
    "tool_choice": ("auto", ({"tool_choice": "auto"}, None, {"tool_choice": "auto"}, None)),
    "tool_prompt": ("use it", ({"tool_prompt": "use it"}, None, body(tool_prompt="use it"), None)),
    "response_format": (
        JSON_OBJECT,
        (body(response_format=JSON_OBJECT), None, {"response_format": JSON_OBJECT}, None),
    ),
    "extra_body": ({"min_p": 0.1}, (body(min_p=0.1), None, body(min_p=0.1), body(min_p=0.1))),
}  # fmt: skip
ROUTES = (HUB_CHAT, HUB_TEXT, OPENAI_CHAT, OPENAI_TEXT)
CELLS = [
    pytest.param(name, value, route, cell, id=f"{name}-{route}")
    for name, (value, cells) in TABLE.items()
    for route, cell in zip(ROUTES, cells, strict=True)
]


def options(route: Route, server: Server = Server.UNKNOWN, **given: Any) -> dict[str, Any]:
    """The options, without what stands in them when nothing is given."""
    compiled = dict(compile_parameters(given, route, server).options)
    least = compile_parameters({}, route, server).options
    return {k: v for k, v in compiled.items() if k not in least or least[k] != v}


@pytest.mark.parametrize(("name", "value", "route", "cell"), CELLS)
def test_every_cell_of_the_table(name: str, value: Any, route: Route, cell: Cell) -> None:
    """A parameter becomes what the route's method takes, or an error that names another way."""
    if cell is not None:
        assert options(route, **{name: value}) == cell
        return
    with pytest.raises(ParameterError) as caught:
        options(route, **{name: value})
    able = [r for r, c in zip(ROUTES, TABLE[name][1], strict=True) if c is not None]
    assert f"'{name}'" in str(caught.value)
    assert all(other in str(caught.value) for other in (route, *able))


def test_the_table_is_whole() -> None:
    """Every parameter has its row here; `top_logprobs`, which needs another, its own test."""
    assert {*TABLE, "top_logprobs"} == set(PARAMETERS)


def test_what_stands_there_when_nothing_is_given() -> None:
    """The default length always, and TGI's details, which bring reason and counts."""
    for route in ROUTES:
        compiled = compile_parameters({}, route, Server.UNKNOWN)
        name = "max_new_tokens" if route is HUB_TEXT else "max_tokens"
        details = {"details": True} if route is HUB_TEXT else {}
        assert compiled.options == {name: MAX_NEW_TOKENS, **details}
        assert (compiled.max_new_tokens, compiled.seed, compiled.tools) == (128, None, None)


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (HUB_CHAT, {"logprobs": True, "top_logprobs": 3}),
        (HUB_TEXT, {"top_n_tokens": 3}),
        (OPENAI_CHAT, {"logprobs": True, "top_logprobs": 3}),
        (OPENAI_TEXT, {"logprobs": 3}),
    ],
)
def test_top_logprobs(route: Route, expected: dict[str, Any]) -> None:
    """How many alternatives: a number of its own, or, on completions, the number itself."""
    assert options(route, logprobs=True, top_logprobs=3) == expected


WRONG: dict[str, list[Any]] = {
    "max_new_tokens": [0, -1, 1.0, "5", True, math.nan],
    "temperature": [-0.1, math.nan, math.inf, "hot", True, 10**400],
    "top_p": [0, 1.1, math.nan, False, "x", None.__class__],
    "top_k": [0, -1, 2.5, True],
    "typical_p": [0, 1.01, math.nan],
    "repetition_penalty": [0, -1, math.inf, True],
    "frequency_penalty": [-2.1, 2.1, math.nan, True],
    "presence_penalty": [-2.1, 2.1, math.nan, True],
    "stop_sequences": ["", [""], ["a", ""], [1], 5, {"a": 1}, b"a"],
    "seed": [-1, 1.0, True, "0"],
    "do_sample": [0, 1, "yes"],
    "return_full_text": [0, 1, "yes"],
    "watermark": [0, 1, "yes"],
    "logprobs": [0, 5, "yes"],
    "top_logprobs": [-1, 21, True, 1.0],
    "logit_bias": [[], {"a": 1}, {"1": "x"}, {"1": math.nan}, {"1": 101}, {1: True}, {-1: 1},
                   {"٣": 1}, {True: 1}, {1.0: 1}],
    "tools": [[], {}, "f", [1], [[]]],
    "tool_choice": [1, ["auto"], True],
    "tool_prompt": [1, ["a"]],
    "response_format": ["json", ["json"], 1],
    "extra_body": [[], "x", {1: 2}, {"messages": []}, {"stream": True}, {"n": 2}, {"prompt": ""},
                   {"max_tokens": 5}, {"inputs": ""}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_wrong_value_is_an_error(name: str, value: Any) -> None:
    """The error names the parameter, what it must be and where it was given."""
    with pytest.raises(ParameterError, match=rf"^here: '{name}' (must be|needs) "):
        check_parameters({name: value}, where="here: ")


def test_every_parameter_has_wrong_values() -> None:
    """No parameter takes everything."""
    assert set(WRONG) == set(PARAMETERS)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("max_tokens", "max_new_tokens"), ("max_completion_tokens", "max_new_tokens"),
        ("stop", "stop_sequences"), ("temprature", "temperature"), ("topp", "top_p"),
        ("n", "num_generations"), ("guided_json", "structured_output"),
        ("grammar", "structured_output"), ("top_n_tokens", "top_logprobs"),
        ("frequence_penalty", "frequency_penalty"),
    ],
)  # fmt: skip
def test_an_unknown_name_gets_the_nearest(name: str, nearest: str) -> None:
    """A slip, or another library's name, is answered with ours."""
    with pytest.raises(ParameterError, match=f"'{name}'. Did you mean '{nearest}'"):
        check_parameters({name: 1})


def test_a_name_like_no_other_gets_the_list() -> None:
    """Where nothing is near, the known names still are."""
    with pytest.raises(ParameterError, match=r"'zzz'\. Known: .*do_sample.*watermark\.$"):
        check_parameters({"zzz": 1})


def test_none_is_not_set() -> None:
    """`None` is the same as leaving a parameter out, for all of them at once."""
    assert check_parameters(dict.fromkeys(PARAMETERS)) == {}
    compiled = compile_parameters({}, OPENAI_CHAT, Server.UNKNOWN)
    assert compiled.options == {"max_tokens": MAX_NEW_TOKENS}


def test_what_two_good_sets_make_together_is_checked() -> None:
    """Each of the parameters may be right, and all of them not."""
    with pytest.raises(ParameterError, match="contradicts"):
        check_parameters({"temperature": 0, "do_sample": True})
    with pytest.raises(ParameterError, match="'top_logprobs' needs"):
        check_parameters({"top_logprobs": 5})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"do_sample": False}, {"do_sample": False}),
        ({"do_sample": True}, {"do_sample": True}),
        ({"temperature": 0}, {"do_sample": False}),
        ({"temperature": 0.0, "top_p": 0.5, "top_k": 9, "typical_p": 0.5}, {"do_sample": False}),
        ({"do_sample": False, "top_p": 0.5}, {"do_sample": False}),
        ({"temperature": 1.0}, {"temperature": 1.0, "do_sample": True}),
        ({"temperature": 0.7, "do_sample": False}, {"temperature": 0.7, "do_sample": False}),
        ({"top_p": 1}, {}),
        ({"top_p": 1.0, "typical_p": 1}, {}),
        ({"top_p": 0.99}, {"top_p": 0.99}),
    ],
)
def test_tgis_own_route_is_told_greedy_or_not(given: Any, expected: Any) -> None:
    """TGI has no temperature of 0 and no top_p of 1, and samples as soon as it sees a top_k."""
    assert options(HUB_TEXT, Server.TGI, **given) == expected


@pytest.mark.parametrize("route", [HUB_CHAT, OPENAI_CHAT, OPENAI_TEXT])
def test_greedy_is_a_temperature_of_0_elsewhere(route: Route) -> None:
    """`do_sample` is said through the temperature; saying both at odds is an error."""
    assert options(route, do_sample=True) == {}
    assert options(route, do_sample=True, temperature=0.5) == {"temperature": 0.5}
    assert options(route, do_sample=False, temperature=0) == {"temperature": 0}
    assert options(route, Server.TGI, top_p=1) == {}
    assert options(route, Server.VLLM, top_p=1) == {"top_p": 1}
    with pytest.raises(ParameterError, match="'do_sample'=False contradicts 'temperature'>0"):
        options(route, do_sample=False, temperature=0.5)


@pytest.mark.parametrize(
    ("name", "server", "route"),
    [
        ("top_k", Server.TGI, HUB_CHAT), ("top_k", Server.OPENAI, OPENAI_CHAT),
        ("typical_p", Server.VLLM, OPENAI_TEXT), ("typical_p", Server.SGLANG, HUB_CHAT),
        ("typical_p", Server.TGI, HUB_CHAT), ("repetition_penalty", Server.OPENAI, OPENAI_CHAT),
        ("logit_bias", Server.TGI, HUB_CHAT), ("tool_prompt", Server.VLLM, HUB_CHAT),
        ("tool_prompt", Server.ROUTER, OPENAI_CHAT),
    ],
)  # fmt: skip
def test_what_a_server_would_ignore_is_an_error(name: str, server: Server, route: Route) -> None:
    """A server that takes a field and does nothing with it does not get it."""
    with pytest.raises(ParameterError, match=f"'{name}' is not understood by {server} on"):
        options(route, server, **{name: TABLE[name][0]})


def test_llamacpp_has_a_name_of_its_own() -> None:
    """Its repetition penalty is called otherwise."""
    expected = body(repeat_penalty=1.1)
    assert options(OPENAI_CHAT, Server.LLAMACPP, repetition_penalty=1.1) == expected
    assert options(HUB_CHAT, Server.LLAMACPP, repetition_penalty=1.1) == expected


OFF: dict[str, list[Any]] = {
    "return_full_text": [False], "watermark": [False], "logprobs": [False],
    "stop_sequences": [[], ()], "logit_bias": [{}], "extra_body": [{}],
}  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
def test_what_asks_for_nothing_is_no_error_anywhere(route: Route) -> None:
    """`False`, and empty lists, ask for what every route does anyway."""
    for name, values in OFF.items():
        for value in values:
            assert options(route, **{name: value}) == {}


def test_one_stop_sequence_is_a_list_of_one() -> None:
    """The hub's client takes lists only; a tuple is a list too."""
    assert options(HUB_TEXT, stop_sequences="END") == {"stop": ["END"]}
    assert options(HUB_CHAT, stop_sequences=("a", "b")) == {"stop": ["a", "b"]}


def test_the_extra_body_joins_what_is_sent_there() -> None:
    """Fields side by side; one that says what a parameter says is an error."""
    expected = body(top_k=5, min_p=0.1)
    assert options(OPENAI_CHAT, top_k=5, extra_body={"min_p": 0.1}) == expected
    given: dict[str, Any]
    for given in (
        {"top_k": 5, "extra_body": {"top_k": 6}},
        {"seed": 5, "extra_body": {"seed": 6}},
        {"stop_sequences": "a", "extra_body": {"stop": "b"}},
        {"temperature": 1, "extra_body": {"temperature": 0}},
    ):
        with pytest.raises(ParameterError, match="'extra_body' holds"):
            options(OPENAI_CHAT, **given)
    extra = {"seed": 5, "model": "adapter"}
    assert options(HUB_CHAT, extra_body=extra) == {"extra_body": extra}
    assert extra == {"seed": 5, "model": "adapter"}


def test_a_seed_is_a_rows_and_tools_go_into_a_rendered_prompt() -> None:
    """Neither stands in the options that all rows share; both are handed on."""
    for route in ROUTES:
        compiled = compile_parameters({"seed": 0, "tools": (TOOL,)}, route, Server.UNKNOWN)
        assert "seed" not in compiled.options
        assert (compiled.seed, compiled.tools) == (0, [TOOL])


def test_accepted_parameters_are_those_that_do_not_raise() -> None:
    """What is listed for a route and server is what compiles there."""
    for route in ROUTES:
        for server in Server:
            accepted = accepted_parameters(route, server)
            for name, (value, _) in TABLE.items():
                try:
                    compile_parameters({name: value}, route, server)
                    compiled = True
                except ParameterError:
                    compiled = False
                assert (name in accepted) is compiled, (name, route, server)
