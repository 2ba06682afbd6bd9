"""What a server does with parameters: a client that learns which are refused, and which ignored.

Rules
- Only what means the same without them, or in other words, is adapted: `max_tokens` is
  `max_completion_tokens` on newer models, `stream_options` asks for token counts, `stream` for the
  same answer in pieces, or not. Any other parameter that is refused is the user's to change.
- What was learned holds as long as the client: a run, and every call of an object that is loaded.
- A refused request is sent again within its attempt, so no row pays for what was not known yet.
- How much a model is to think is sent in the server's own fields; if it refuses them, in the next
  best (`reasoning.py`).
- What an answer shows to be ignored is reported once; nothing is changed for it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from distilabel_endpoints._clients.error_text import load, read_words
from distilabel_endpoints._clients.parameters import BEYOND_OPENAI
from distilabel_endpoints._clients.reasoning import fields_of, with_fields
from distilabel_endpoints.records import Answer, Client, Failure, Request, Server

__all__ = ["AdaptingClient", "refused_parameter"]

logger = logging.getLogger("distilabel_endpoints")

_REFUSES: Final = re.compile(
    r"unsupported|unrecogni[sz]ed|unknown (?:parameter|field|name|argument)|extra.forbidden"
    r"|extra inputs are not permitted|extraneous key|(?:is|are) not (?:a )?(?:supported|permitted"
    r"|allowed|valid field)|do(?:es)? not support|additional properties"
    r"|unexpected (?:keyword|field|parameter|argument|key|propert)",
    re.IGNORECASE,
)
"""How servers say that they do not take a parameter; a wrong value of one is another matter."""
_OUR_OPTION: Final = re.compile(r"\b(?:stream_options|include_usage)\b")
_NEWER_NAME: Final = re.compile(r"\buse\W{0,3}max_completion_tokens", re.IGNORECASE)
_WHOLE: Final = "stream=false"
"""Stands for the parameter that is refused by servers that stream only."""
_N: Final = r"(?<![\w'])n(?![\w'])"
_ONE_CHOICE: Final = re.compile(
    r"(['`\"])n\1"
    rf"|{_N}\W{{1,3}}(?:must|should|has to|needs|can ?not|may only|is not|(?:in|out)?valid|value"
    r"|parameter|input should|greater|larger)\b"
    rf"|{_N} ?(?:>=?|!=) ?\d|{_N} ?==? ?\d{{1,3}}\b.{{0,40}}(?:support|allow|permit|accept|valid)"
    rf"|(?:only|parameters?|argument|field|value of|support\w{{0,4}}|invalid)\W{{1,3}}{_N}"
    r"|best_of|num_return|(?:multiple|one|single) (?:completion )?(?:choice|completion|candidate)",
    re.IGNORECASE,
)
"""How servers say that they give one answer to a request. The scheduler's caller learns it."""
_STREAMS_ONLY: Final = re.compile(
    r"only supports? (?:the )?stream|non.stream\w*(?: \w+){0,2} (?:not supported|calls)"
    r"|stream(?:ing)? (?:is required|must be)|stream\W{0,3}=\W{0,3}true|enable the stream",
    re.IGNORECASE,
)
"""How servers say that they answer in streams only: Alibaba and Fireworks for some requests."""
_DEEPEST: Final = 6


def refused_parameter(body: bytes, request: Request) -> str | None:
    """The parameter of `request` that an error says the server does not take, if it is one.

    OpenAI names it in `param`, others in their words; these have the place of pydantic errors.
    """
    words = read_words(body, request).plain
    sent = _names(request)
    if not request.stream and _STREAMS_ONLY.search(words):
        return _WHOLE
    loaded = load(body)
    if request.n > 1 and ("n" in _params(loaded) or _ONE_CHOICE.search(words)):
        return "n"
    if "max_tokens" in sent and _NEWER_NAME.search(words):
        return "max_tokens"
    params = [*_params(loaded)]
    if _REFUSES.search(words):
        named: list[str] = [*params, *re.findall(r"\w+", words)]
        if (name := next((name for name in named if name in sent), None)) is not None:
            return name
    # Its value is always the same, so whatever an error says of it, the server does not take it.
    is_ours = "stream_options" in params or _OUR_OPTION.search(words) is not None
    return "stream_options" if is_ours and "stream_options" in sent else None


def _names(request: Request) -> frozenset[str]:
    """The keys of the request's body that are parameters."""
    streamed = ("stream_options", "stream") if request.stream else (_WHOLE,)
    seed = ("seed",) if request.seed is not None else ()
    return frozenset({*request.options, *request.options.get("extra_body", ()), *streamed, *seed})


def _params(error: Any, depth: int = 0) -> Iterator[str]:
    """What `param` names, wherever it is in an error."""
    if isinstance(error, dict) and depth < _DEEPEST:
        if isinstance(param := error.get("param"), str):
            yield param.rpartition(".")[2]
        for inner in error.values():
            yield from _params(inner, depth + 1)


class AdaptingClient:
    """Sends through `client` what its server takes.

    Args:
        client: owned.
        name: for people: the endpoint's URL.
        server: which one it is, as far as that is known.
        provider: who answers behind the router, if the answers do not say.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        *,
        server: Server = Server.OPENAI,
        provider: str | None = None,
    ) -> None:
        self._client = client
        self._provider = provider
        self._name = name
        self._server = server
        self._refused_fields: set[str] = set()
        self._refused: set[str] = set()
        self._ignored: set[str] = set()

    async def complete(self, request: Request) -> Answer | Failure:
        """Send one request: once, and once more for each parameter that is found refused."""
        # The request itself, each parameter once, and the other words for the thinking.
        for _ in range(len(_ADAPTED) + 2):
            fields = self._reasoning_fields(request)
            sent = self._adapted(request, fields)
            outcome = await self._client.complete(sent)
            if isinstance(outcome, Answer):
                self._notice(request, outcome)
                return self._attributed(outcome)
            if (name := _refused_field(outcome, fields)) is not None:
                if not self._says_otherwise(name, request):
                    return replace(outcome, hint=_NO_REASONING)
            elif not self._learns(outcome.parameter, sent):
                break
        return outcome

    def _attributed(self, answer: Answer) -> Answer:
        """The answer, with who gave it."""
        if self._provider is None or answer.provider is not None:
            return answer
        named = tuple(replace(c, provider=self._provider) for c in answer.completions)
        return replace(answer, completions=named, provider=self._provider)

    def _reasoning_fields(self, request: Request) -> Mapping[str, Any]:
        """How much is to be thought, in the first words that were not refused; else the best."""
        if request.reasoning is None or request.prompt is not None:
            return {}
        known = fields_of(request.reasoning, self._server)
        return next((f for f in known if self._refused_fields.isdisjoint(f)), known[0])

    def _says_otherwise(self, name: str, request: Request) -> bool:
        """Whether there are other words for what was refused."""
        is_new = name not in self._refused_fields
        self._refused_fields.add(name)
        fields = self._reasoning_fields(request)
        if name in fields:
            return False
        if is_new:
            replacements = ", ".join(fields)
            logger.warning(
                "%s does not take %s; %s is sent instead", self._name, name, replacements
            )
        return True

    def _notice(self, request: Request, answer: Answer) -> None:
        """Report what the server ignores, or may ignore without anybody seeing it."""
        for name in _ignored(request, answer):
            self._report(name, f"ignores {name}: answers are as without it")
        if self._server is Server.UNKNOWN:
            for name in BEYOND_OPENAI & {*request.options.get("extra_body", ())}:
                self._report(
                    name, f"was not recognised; answers do not show whether it heeds {name}"
                )

    def _report(self, name: str, what: str) -> None:
        if name not in self._ignored:
            self._ignored.add(name)
            logger.warning("%s %s", self._name, what)

    def _adapted(self, request: Request, fields: Mapping[str, Any]) -> Request:
        refused = self._refused
        if fields:
            request = replace(request, options=with_fields(request.options, fields))
        if not refused:
            return request
        if "max_tokens" in refused and "max_tokens" in request.options:
            request = replace(request, options=_renamed(request.options))
        return replace(
            request,
            stream=(request.stream or _WHOLE in refused) and "stream" not in refused,
            counts_stream=request.counts_stream and "stream_options" not in refused,
        )

    def _learns(self, parameter: str | None, sent: Request) -> bool:
        """Whether a refusal can be answered by sending the same request in another form."""
        if parameter not in _ADAPTED or parameter not in _names(sent):
            return False
        if parameter not in self._refused:
            self._refused.add(parameter)
            logger.warning("%s does not take %s; %s", self._name, parameter, _ADAPTED[parameter])
        return True

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()


def _ignored(request: Request, answer: Answer) -> Iterator[str]:
    """The parameters of a request that its answer shows to have had no effect."""
    wants_json = _wants_json(request)
    if not (request.logprobs or wants_json):
        return
    whole = [c for c in answer.completions if c.finish_reason == "stop" and c.text]
    if request.logprobs and whole and not any(c.logprobs for c in answer.completions):
        yield "logprobs"
    if wants_json and not all(c.tool_calls or _is_json(c.text or "") for c in whole):
        yield "response_format"


def _wants_json(request: Request) -> bool:
    options = request.options
    extra = options.get("extra_body") or {}
    wanted = options.get("response_format", extra.get("response_format"))
    return isinstance(wanted, Mapping) and str(wanted.get("type")).startswith("json")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _refused_field(failure: Failure, fields: Mapping[str, Any]) -> str | None:
    """Which of the fields a refusal is about: an older server may know one, and not its value."""
    if failure.status not in _BODY_REFUSED:
        return None
    return next((f for f in fields if f == failure.parameter or f in failure.message), None)


_BODY_REFUSED: Final = frozenset({400, 422, 500, 501})
_NO_REASONING: Final = (
    "The server takes no such setting for this model: leave reasoning (--reasoning) out, or use a "
    "model and a server that have one."
)
_ADAPTED: Final[Mapping[str, str]] = {
    "max_tokens": "max_completion_tokens is sent instead",
    "stream_options": "it is left out, so streamed answers come without token counts",
    "stream": "answers are asked for whole",
    _WHOLE: "answers are asked for as streams",
}


def _renamed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with `max_tokens` under its newer name, unless that is there already."""
    kept = {name: value for name, value in options.items() if name != "max_tokens"}
    limit = {"max_completion_tokens": options["max_tokens"]}
    return {**kept, "extra_body": {**limit, **kept.get("extra_body", {})}}
