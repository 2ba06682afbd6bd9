"""One call of `generate` and its kin: what is the same for all rows, and one row's plan.

Everything a caller can get wrong is checked here, before any request goes out.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from distilabel_endpoints._clients.parameters import (
    Compiled,
    compile_parameters,
    take_template_variables,
)
from distilabel_endpoints._clients.reasoning import Reasoning, fields_of, template_variables
from distilabel_endpoints._engine.generations import RowPlan
from distilabel_endpoints.chat_templates import ChatRenderer
from distilabel_endpoints.conversations import Checked, checked_text, validate_messages
from distilabel_endpoints.errors import (
    ConfigurationError,
    ConversationError,
    InputError,
    ParameterError,
)
from distilabel_endpoints.grammar import Grammar, check, constrain, parse_grammar
from distilabel_endpoints.llms.inputs import Input
from distilabel_endpoints.records import Conversation, Request, Route, Server

__all__ = ["LONG_ANSWER", "Call", "Planner", "growth", "plan_in_dialects"]

Planner = Callable[[int, Input], RowPlan]
"""Makes the plan of one row from its number and its input."""

LONG_ANSWER: Final = 2048
"""With `stream="auto"`, answers that may be longer than this many tokens are read as a stream:
gateways close a connection on which nothing comes for about a minute."""
_SENDS_PROMPTS: Final = frozenset({Route.HUB_TEXT, Route.OPENAI_TEXT})
_GROW: Final = re.compile(r"grow:(\d{1,4}(?:\.\d{1,4})?)x")


def growth(on_length: str) -> float | None:
    """How many times `max_new_tokens` the second try for an answer that was cut off may have.

    Args:
        on_length: `keep`, `fail`, or `grow:2x` with any factor over 1.

    Returns:
        None if there is no second try.

    Raises:
        ConfigurationError: it is nothing of that.
    """
    if on_length in {"keep", "fail"}:
        return None
    match = _GROW.fullmatch(on_length)
    if match is None or float(match[1]) <= 1:
        raise ConfigurationError(
            f"on_length is {on_length!r}; it must be 'keep', 'fail', or 'grow:2x' with a factor "
            "over 1."
        )
    return float(match[1])


@dataclass(slots=True, kw_only=True)
class Call:
    """The parameters of one call, ready for one route and server.

    Raises, when made: `ParameterError`, `SchemaError`.
    """

    route: Route
    server: Server
    num_generations: int
    parameters: Mapping[str, Any]
    structured_output: Mapping[str, Any] | None
    structured_output_retries: int
    stream: bool | Literal["auto"]
    renderer: ChatRenderer | None = field(repr=False)
    on_length: str = "keep"
    """As `growth` takes it."""
    reasoning: Reasoning | None = None
    """How much is to be thought."""
    others: tuple[Call, ...] = field(default=(), repr=False)
    """The same call in the words of each other server that may get it."""
    longer: Call | None = field(init=False, repr=False, default=None)
    _compiled: Compiled = field(init=False, repr=False)
    _options: dict[Grammar | None, Mapping[str, Any]] = field(init=False, repr=False)
    _grammar: Grammar | None = field(init=False)

    _variables: Mapping[str, Any] = field(init=False, repr=False)
    """The chat template's own, beside messages and tools."""

    def __post_init__(self) -> None:
        sent = dict(self.parameters)
        self._variables = take_template_variables(sent) if self.renderer else {}
        self._check_reasoning(sent)
        self._compiled = compile_parameters(sent, self.route, self.server)
        self._options = {None: self._compiled.options}
        wanted = self.structured_output
        self._grammar = parse_grammar(wanted) if wanted is not None else None
        if self._grammar is not None:
            self.options_for(self._grammar)
        factor = growth(self.on_length)
        if factor is not None:
            most = math.ceil(factor * self._compiled.max_new_tokens)
            parameters = {**self.parameters, "max_new_tokens": most}
            longer = tuple(call.longer for call in self.others if call.longer)
            self.longer = replace(self, parameters=parameters, on_length="keep", others=longer)

    def _check_reasoning(self, sent: Mapping[str, Any]) -> None:
        """How much the model is to think can be sent, and no parameter sets it too."""
        if self.reasoning is None:
            return
        if self.route in _SENDS_PROMPTS:
            fields = template_variables(self.reasoning)
            beside = self._variables
            self._variables = {**fields, **self._variables}
        else:
            fields = fields_of(self.reasoning, self.server)[0]
            beside = sent.get("extra_body") or {}
        if twice := sorted(fields.keys() & beside.keys() - {"chat_template_kwargs"}):
            raise ParameterError(
                f"reasoning is sent as '{twice[0]}', which a parameter sets, too. Keep one."
            )

    def plan(self, index: int, input_: Input) -> RowPlan:
        """What input number `index` asks for.

        Raises:
            InputError: its messages or its structured output are wrong; the message says which.
        """
        try:
            return self._plan(index, input_)
        except InputError as error:
            raise type(error)(f"inputs[{index}]: {error}") from None

    def _plan(self, index: int, input_: Input) -> RowPlan:
        content, grammar = self._split(input_)
        messages, prompt = self._content(content)
        seed = self._compiled.seed
        request = Request(
            ordinal=index,
            messages=messages,
            prompt=prompt,
            options=self.options_for(grammar),
            seed=None if seed is None else seed + index * self.num_generations,
            stream=self._streams(),
            max_new_tokens=self._compiled.max_new_tokens,
            logprobs=bool(self.parameters.get("logprobs")),
            reasoning=self.reasoning,
            dialects=self._dialects(grammar),
        )
        return RowPlan(
            request=request,
            wanted=self.num_generations,
            check=_checker(grammar),
            format=None if grammar is None else grammar.format.value,
            check_retries=self.structured_output_retries,
            takes_cut_off=self.on_length != "fail",
            longer=None if self.longer is None else self.longer.lengthened(request, grammar),
        )

    def lengthened(self, request: Request, grammar: Grammar | None) -> Request:
        """A request of another call as this one would have made it."""
        return replace(
            request,
            options=self.options_for(grammar),
            stream=self._streams(),
            max_new_tokens=self._compiled.max_new_tokens,
            grown=True,
            dialects=self._dialects(grammar),
        )

    def _dialects(self, grammar: Grammar | None) -> tuple[Mapping[str, Any], ...]:
        return tuple(call.options_for(grammar) for call in self.others)

    def _content(self, content: Any) -> tuple[Conversation | None, str | None]:
        """What the route takes: messages, or the prompt that they or a text make."""
        sends_prompt = self.route in _SENDS_PROMPTS
        if isinstance(content, str):
            if not sends_prompt:
                raise ConversationError(
                    "a text is sent as it is by text generation only, and this path takes "
                    "conversations. Make it [{'role': 'user', 'content': text}]."
                )
            return None, checked_text(content)
        is_checked = isinstance(content, Checked)
        messages = content.messages if is_checked else validate_messages(content)
        if not sends_prompt:
            return messages, None
        if self.renderer is None:
            raise ConversationError("without tokenizer_id, this path takes texts only.")
        return None, self.renderer.prompt(messages, self._compiled.tools, self._variables)

    def _split(self, input_: Input) -> tuple[Any, Grammar | None]:
        if not isinstance(input_, tuple):
            return input_, self._grammar
        pair: tuple[Any, ...] = input_
        if len(pair) != 2 or not isinstance(pair[1], Mapping):
            raise ConversationError(
                "a tuple must be (messages, structured_output), the second a mapping."
            )
        return pair[0], parse_grammar(pair[1])

    def _streams(self) -> bool:
        if self.stream == "auto":
            return self._compiled.max_new_tokens > LONG_ANSWER
        return self.stream

    def options_for(self, grammar: Grammar | None) -> Mapping[str, Any]:
        """The options with what constrains the answer on this server; made once per grammar."""
        if grammar not in self._options:
            assert grammar is not None
            constraint = constrain(grammar, self.server, self.route)
            if constraint is None:
                warnings.warn(
                    f"{self.server.value} cannot constrain structured_output of format "
                    f"'{grammar.format}' on this path; answers are only checked.",
                    UserWarning,
                    stacklevel=2,
                )
            self._options[grammar] = _merged(self._compiled.options, constraint or {})
        return self._options[grammar]


def _checker(grammar: Grammar | None) -> Callable[[str], str | None] | None:
    if grammar is None:
        return None
    return lambda text: check(grammar, text)


def _merged(options: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The options with a constraint, which must not meet one that is there already."""
    body, added = options.get("extra_body", {}), more.get("extra_body", {})
    present = {*options, *body}
    for name in sorted({*more, *added} - {"extra_body"}):
        if name in present:
            raise ParameterError(
                f"structured_output is sent to this server as '{name}', which a parameter sets, "
                "too. Keep one."
            )
    merged = {**options, **more}
    if body and added:
        merged["extra_body"] = {**body, **added}
    return merged


def plan_in_dialects(calls: Sequence[Call]) -> Planner:
    """One row's plan with the options of every dialect, from one call for each."""
    first, *others = calls
    return replace(first, others=tuple(others)).plan if others else first.plan
