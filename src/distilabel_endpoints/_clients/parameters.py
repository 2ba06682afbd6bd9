"""Generation parameters: one table from our names to each route's keyword arguments.

Rules
- Nothing is dropped in silence: a parameter the route or the server cannot take is an error that
  names the routes that can.
- Values are checked here, before any request; an unknown name is an error with the nearest one.
- In a column, `name` is a keyword of the client's method and `+name` a key of `extra_body`.
- What asks for nothing is not sent: see `_OFF`, `do_sample` and `_respect_tgi_bounds`.

What a generation parameter's value may be: one check per kind of value.

A check gives back `None` for a value that will do, else the words for what would have done.
"""

from __future__ import annotations

import difflib
import math
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from distilabel_endpoints.config import MAX_NEW_TOKENS
from distilabel_endpoints.errors import ParameterError
from distilabel_endpoints.grammar.as_written import as_written
from distilabel_endpoints.records import Route, Server

__all__ = [
    "BEYOND_OPENAI",
    "PARAMETERS",
    "Check",
    "Compiled",
    "Parameter",
    "accepted_parameters",
    "biases",
    "check_parameters",
    "compile_parameters",
    "extra",
    "instance_of",
    "integer",
    "number",
    "stops",
    "take_template_variables",
    "tools",
]

Check = Callable[[Any], str | None]

_TGI_STOPS: Final = 4
"""TGI's default of `--max-stop-sequences`; it refuses a request with more."""
_TOKEN_ID: Final = re.compile(r"[0-9]{1,9}")
_OURS: Final = ("inputs", "max_tokens", "messages", "n", "prompt", "stream", "stream_options")


def integer(least: int, most: int | None = None) -> Check:
    """A whole number; `True` is none."""
    bounds = f"an integer from {least} to {most}" if most is not None else f"an integer >= {least}"

    def check(value: Any) -> str | None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        fits = whole and value >= least and (most is None or value <= most)
        return None if fits else bounds

    return check


def number(low: float, high: float = math.inf, *, open_low: bool = False) -> Check:
    """A finite number; `True` is none."""
    sign = ">" if open_low else ">="
    bounds = f"a number {sign} {low:g}" + (f" and <= {high:g}" if high < math.inf else "")

    def check(value: Any) -> str | None:
        real = isinstance(value, int | float) and not isinstance(value, bool)
        fits = real and low <= value <= min(high, sys.float_info.max)
        return None if fits and not (open_low and value == low) else bounds

    return check


_bias: Final = number(-100, 100)


def instance_of(kind: type | tuple[type, ...], name: str) -> Check:
    """Anything of `kind`, which messages call `name`."""
    return lambda value: None if isinstance(value, kind) else name


def stops(value: Any) -> str | None:
    """One stop sequence, or several."""
    texts = [value] if isinstance(value, str) else value
    fits = isinstance(texts, list | tuple) and all(isinstance(t, str) and t for t in texts)
    return None if fits else "a non-empty string, or a list of them"


def biases(value: Any) -> str | None:
    """Token ids, as numbers or as JSON has them, and a bias for each."""
    fits = isinstance(value, Mapping) and all(
        type(key) in {int, str} and _TOKEN_ID.fullmatch(str(key)) and _bias(bias) is None
        for key, bias in value.items()
    )
    return None if fits else "a mapping of token ids to numbers from -100 to 100"


def tools(value: Any) -> str | None:
    """At least one tool definition."""
    fits = isinstance(value, list | tuple) and all(isinstance(tool, Mapping) for tool in value)
    return None if fits and value else "a non-empty list of tool definitions (mappings)"


def extra(value: Any) -> str | None:
    """Fields of the body, without those that say what is asked and how it is read."""
    fits = isinstance(value, Mapping) and all(
        isinstance(name, str) and name not in _OURS for name in value
    )
    return None if fits else f"a mapping of names to values, with none of {', '.join(_OURS)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One row of the table: what it must be, and where it goes on each route."""

    check: Check
    hub_chat: str | None = None
    hub_text: str | None = None
    openai_chat: str | None = None
    openai_text: str | None = None
    refused_by: frozenset[Server] = frozenset()
    """Servers whose chat or completions API does not take it, on top of the routes above."""
    names: Mapping[Server, str] = field(default_factory=dict)
    """Servers that call it something else in the body."""

    def column(self, route: Route) -> str | None:
        match route:
            case Route.HUB_CHAT:
                return self.hub_chat
            case Route.HUB_TEXT:
                return self.hub_text
            case Route.OPENAI_CHAT:
                return self.openai_chat
            case Route.OPENAI_TEXT:
                return self.openai_text


def _everywhere(check: Check, name: str, hub_text: str | None = None) -> Parameter:
    return Parameter(
        check=check,
        hub_chat=name,
        hub_text=hub_text or name,
        openai_chat=name,
        openai_text=name,
    )


def _in_body(check: Check, name: str, *refused_by: Server, **names: str) -> Parameter:
    return Parameter(
        check=check,
        hub_chat=f"+{name}",
        hub_text=name,
        openai_chat=f"+{name}",
        openai_text=f"+{name}",
        refused_by=frozenset(refused_by),
        names={Server(server): renamed for server, renamed in names.items()},
    )


PARAMETERS: Final[Mapping[str, Parameter]] = {
    "max_new_tokens": _everywhere(integer(1), "max_tokens", "max_new_tokens"),
    "temperature": _everywhere(number(0), "temperature"),
    "top_p": _everywhere(number(0, 1, open_low=True), "top_p"),
    "top_k": _in_body(integer(1), "top_k", Server.TGI, Server.OPENAI),
    "typical_p": _in_body(
        number(0, 1, open_low=True),
        "typical_p",
        Server.TGI,
        Server.OPENAI,
        Server.VLLM,
        Server.SGLANG,
    ),
    "repetition_penalty": _in_body(
        number(0, open_low=True),
        "repetition_penalty",
        Server.TGI,
        Server.OPENAI,
        llamacpp="repeat_penalty",
    ),
    "frequency_penalty": _everywhere(number(-2, 2), "frequency_penalty"),
    "presence_penalty": Parameter(
        check=number(-2, 2),
        hub_chat="presence_penalty",
        openai_chat="presence_penalty",
        openai_text="presence_penalty",
    ),
    "stop_sequences": _everywhere(stops, "stop"),
    "seed": _everywhere(integer(0), "seed"),
    "do_sample": Parameter(
        check=instance_of(bool, "True or False"),
        hub_chat="",
        hub_text="do_sample",
        openai_chat="",
        openai_text="",
    ),
    "return_full_text": Parameter(
        check=instance_of(bool, "True or False"), hub_text="return_full_text", openai_text="echo"
    ),
    "watermark": Parameter(check=instance_of(bool, "True or False"), hub_text="watermark"),
    "logprobs": Parameter(
        check=instance_of(bool, "True or False"),
        hub_chat="logprobs",
        hub_text="details",
        openai_chat="logprobs",
        openai_text="",
    ),
    "top_logprobs": Parameter(
        check=integer(0, 20),
        hub_chat="top_logprobs",
        hub_text="top_n_tokens",
        openai_chat="top_logprobs",
        openai_text="",
    ),
    "logit_bias": Parameter(
        check=biases,
        hub_chat="logit_bias",
        openai_chat="logit_bias",
        openai_text="logit_bias",
        refused_by=frozenset({Server.TGI}),
    ),
    "tools": Parameter(check=tools, hub_chat="tools", openai_chat="tools"),
    "tool_choice": Parameter(
        check=instance_of((str, Mapping), "a string or a mapping"),
        hub_chat="tool_choice",
        openai_chat="tool_choice",
    ),
    "tool_prompt": Parameter(
        check=instance_of(str, "a string"),
        hub_chat="tool_prompt",
        openai_chat="+tool_prompt",
        refused_by=frozenset(
            {Server.OPENAI, Server.VLLM, Server.SGLANG, Server.LLAMACPP, Server.ROUTER}
        ),
    ),
    "response_format": Parameter(
        check=instance_of(Mapping, "a mapping"),
        hub_chat="+response_format",
        openai_chat="response_format",
    ),
    "extra_body": Parameter(check=extra, hub_chat="+", openai_chat="+", openai_text="+"),
}
"""Every parameter of `generate`. An empty column: expressed through other keywords, see below."""

BEYOND_OPENAI: Final = frozenset(
    name for name, parameter in PARAMETERS.items() if Server.OPENAI in parameter.refused_by
)
"""Parameters that OpenAI's API does not have. A server that was not recognised may ignore them."""

_OFF: Final[Mapping[str, tuple[Any, ...]]] = {
    "return_full_text": (False,),
    "watermark": (False,),
    "logprobs": (False,),
    "stop_sequences": ([], ()),
    "logit_bias": ({},),
    "extra_body": ({},),
}
"""Values that ask for what every route does anyway; there is nothing to send."""

_NOT_COMPLETED: Final = frozenset(
    {"logprobs", "presence_penalty", "return_full_text", "top_logprobs"}
)
"""What TGI's completions API, a wrapper around its own route, accepts and ignores."""

_ELSEWHERE: Final[Mapping[str, str]] = {
    "best_of": "num_generations",
    "grammar": "structured_output",
    "guided_choice": "structured_output",
    "guided_json": "structured_output",
    "guided_regex": "structured_output",
    "max_completion_tokens": "max_new_tokens",
    "max_length": "max_new_tokens",
    "max_tokens": "max_new_tokens",
    "n": "num_generations",
    "num_return_sequences": "num_generations",
    "stop": "stop_sequences",
    "top_n_tokens": "top_logprobs",
}
"""What other libraries call what has a name here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """Parameters ready for one route, shared by all rows of a call."""

    options: Mapping[str, Any]
    """Keyword arguments of the client's method, without prompt, model, `n` and `seed`."""
    max_new_tokens: int
    seed: int | None
    tools: list[Mapping[str, Any]] | None
    """For the chat template, if the prompt is rendered here."""


def check_parameters(parameters: Mapping[str, Any], *, where: str = "") -> dict[str, Any]:
    """Check names and values; give back those that were set, in the table's order.

    Raises:
        ParameterError: an unknown name (with the nearest one), or a value out of bounds.
    """
    for name in parameters:
        if name not in PARAMETERS:
            nearest = difflib.get_close_matches(name, PARAMETERS, 1, 0.5)
            meant = _ELSEWHERE.get(name) or (nearest[0] if nearest else None)
            hint = f" Did you mean '{meant}'?" if meant else ""
            raise ParameterError(
                f"{where}unknown generation parameter '{name}'.{hint} "
                f"Known: {', '.join(sorted(PARAMETERS))}."
            )
    kept = {name: parameters[name] for name in PARAMETERS if parameters.get(name) is not None}
    for name, value in kept.items():
        if (wanted := PARAMETERS[name].check(value)) is not None:
            raise ParameterError(f"{where}'{name}' must be {wanted}; got {value!r:.80}.")
    _check_together(kept, where)
    return kept


def _check_together(parameters: Mapping[str, Any], where: str) -> None:
    temperature, sample = parameters.get("temperature"), parameters.get("do_sample")
    if sample is True and temperature == 0:
        raise ParameterError(f"{where}'do_sample'=True contradicts 'temperature'=0.")
    if parameters.get("top_logprobs") is not None and not parameters.get("logprobs"):
        raise ParameterError(f"{where}'top_logprobs' needs 'logprobs'=True.")


def accepted_parameters(route: Route, server: Server) -> tuple[str, ...]:
    """The names of the parameters that `server` takes on `route`."""
    return tuple(name for name in PARAMETERS if _is_accepted(name, route, server))


def _is_accepted(name: str, route: Route, server: Server) -> bool:
    try:
        _column(name, route, server)
    except ParameterError:
        return False
    return True


def compile_parameters(parameters: Mapping[str, Any], route: Route, server: Server) -> Compiled:
    """Turn parameters that were checked into the keyword arguments of `route`.

    Raises:
        ParameterError: the route or the server cannot take one; the message names what can.
    """
    parameters = {
        name: value for name, value in parameters.items() if value not in _OFF.get(name, ())
    }
    options: dict[str, Any] = {}
    body: dict[str, Any] = {}
    newer = parameters.get("extra_body", {}).get("max_completion_tokens")
    limit = parameters.get("max_new_tokens") or (newer if type(newer) is int else MAX_NEW_TOKENS)
    if newer is None:
        parameters = {"max_new_tokens": limit, **parameters}
    for name, value in parameters.items():
        column = _column(name, route, server)
        if column == "+":
            body |= _not_twice(value, {**parameters, **options, **body})
        elif column.startswith("+"):
            body[PARAMETERS[name].names.get(server, column[1:])] = value
        elif column and name != "seed":
            options[column] = value
    _express(options, parameters, route, server)
    if route is Route.HUB_CHAT and server is not Server.TGI and "response_format" in body:
        body["response_format"] = as_written(body["response_format"])
    if body:
        options["extra_body"] = body
    return Compiled(
        options=options,
        max_new_tokens=limit,
        seed=parameters.get("seed"),
        tools=list(parameters["tools"]) if parameters.get("tools") else None,
    )


_RENDERING: Final = frozenset(
    {
        *("add_generation_prompt", "chat_template", "continue_final_message", "conversation"),
        *("documents", "max_length", "padding", "return_assistant_tokens_mask", "return_dict"),
        *("return_tensors", "tokenize", "tokenizer_kwargs", "tools", "truncation"),
    }
)
"""What rendering itself decides; a template's variables have other names."""


def take_template_variables(parameters: dict[str, Any]) -> Mapping[str, Any]:
    """Take `chat_template_kwargs` out of `extra_body`, for a prompt that is rendered here.

    Raises:
        ParameterError: it is not a mapping of a template's variables.
    """
    body = parameters.get("extra_body")
    if not isinstance(body, Mapping) or "chat_template_kwargs" not in body:
        return {}
    kept = {name: value for name, value in body.items() if name != "chat_template_kwargs"}
    parameters["extra_body"] = kept
    variables = body["chat_template_kwargs"]
    if not isinstance(variables, Mapping) or not all(isinstance(name, str) for name in variables):
        raise ParameterError("'chat_template_kwargs' must be a mapping of names to values.")
    if taken := sorted(_RENDERING & {*variables}):
        raise ParameterError(
            f"'chat_template_kwargs' holds '{taken[0]}', which is not a variable of a template."
        )
    return variables


def _not_twice(extra_body: Mapping[str, Any], others: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in extra_body:
        if name in others:
            raise ParameterError(
                f"'extra_body' holds '{name}', which another parameter sets, too. Keep one."
            )
    return extra_body


def _column(name: str, route: Route, server: Server) -> str:
    parameter = PARAMETERS[name]
    column = parameter.column(route)
    if name == "tools" and column is None:
        return ""  # rendered into the prompt by the chat template
    if column is None:
        able = [other.value for other in Route if parameter.column(other) is not None]
        raise ParameterError(
            f"'{name}' cannot be sent on the path {route.value}. It can on: {', '.join(able)}. "
            f"({_WAYS})"
        )
    ignored = route is Route.OPENAI_TEXT and server is Server.TGI and name in _NOT_COMPLETED
    if ignored or (server in parameter.refused_by and route is not Route.HUB_TEXT):
        out = ", or set tokenizer_id and leave use_openai_client out" if parameter.hub_text else ""
        raise ParameterError(
            f"'{name}' is not understood by {server.value} on the path {route.value}. "
            f"Leave it out{out if server is Server.TGI else ''}."
        )
    return column


_WAYS: Final = (
    "hub_* is the default client, openai_* is use_openai_client=True; "
    "*_text is with tokenizer_id, *_chat without"
)


def _express(
    options: dict[str, Any], parameters: Mapping[str, Any], route: Route, server: Server
) -> None:
    """Parameters that a route says in other words."""
    if "stop" in options:
        stops = options["stop"]
        options["stop"] = [stops] if isinstance(stops, str) else [*stops]
    if parameters.get("do_sample") is False and route is not Route.HUB_TEXT:
        if parameters.get("temperature"):
            raise ParameterError(
                "'do_sample'=False contradicts 'temperature'>0: on this path greedy decoding is "
                "temperature=0. Leave one of them out."
            )
        options["temperature"] = 0
    if route is Route.OPENAI_TEXT and parameters.get("logprobs"):
        options["logprobs"] = parameters.get("top_logprobs", 0)
    if route is Route.HUB_TEXT:
        options["details"] = True  # finish reason and token counts come with the details
        _say_greedy_or_not(options)
    if route is Route.HUB_TEXT or server is Server.TGI:
        _respect_tgi_bounds(options)


def _say_greedy_or_not(options: dict[str, Any]) -> None:
    """TGI's own route has no temperature of 0, takes one of exactly 1 for none at all, and samples
    as soon as there is a top_k, top_p or typical_p."""
    if options.get("temperature") == 0:
        del options["temperature"]
        options["do_sample"] = False
    elif "temperature" in options:
        options.setdefault("do_sample", True)
    if options.get("do_sample") is False and "temperature" not in options:
        for name in ("top_k", "top_p", "typical_p"):
            options.pop(name, None)


def _respect_tgi_bounds(options: dict[str, Any]) -> None:
    """TGI wants top_p and typical_p below 1, and means the same by leaving them out."""
    for name in ("top_p", "typical_p"):
        if options.get(name) == 1:
            del options[name]
    stops = options.get("stop", ())
    if len(stops) > _TGI_STOPS:
        warnings.warn(
            f"TGI takes at most {_TGI_STOPS} stop sequences; the first {_TGI_STOPS} of "
            f"{len(stops)} are sent.",
            UserWarning,
            stacklevel=2,
        )
        options["stop"] = stops[:_TGI_STOPS]
