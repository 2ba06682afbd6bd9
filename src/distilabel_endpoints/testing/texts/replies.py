"""The texts: deterministic by request, with lengths drawn from it, cut by `stop` and `max_tokens`.

A token is a word with the white space before it. Text comes from the endpoint's `reply` function,
from the constraint that the flavor enforces, or from a vocabulary of 256 made-up words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from hashlib import shake_128
from itertools import product
from math import log

from distilabel_endpoints.testing.answer_request import AnswerRequest
from distilabel_endpoints.testing.endpoint_settings import Settings
from distilabel_endpoints.testing.texts.grammars import Constraint, satisfy

__all__ = ["Text", "count_tokens", "logprob", "write"]

_STARTS = "ba de fi go hu ka le mi no pu ra se ti vo wu ze"
_ENDS = "bel dan far gim kor lum mas nel pir ron sat tev vin wox yar zed"
_WORDS = tuple(a + b for a, b in product(_STARTS.split(" "), _ENDS.split(" ")))
_TOKEN = re.compile(r"\s*\S+|\s+$")


@dataclass(frozen=True, slots=True)
class Text:
    """One answer as text and tokens."""

    text: str
    tokens: tuple[str, ...]
    _: KW_ONLY
    length: bool = False
    """Cut by `max_tokens`."""
    stop: str | None = None
    """The stop sequence that ended it."""
    seed: int = 0
    """Draws whatever else is random about it."""
    listed: tuple[Mapping[str, float], ...] = ()
    """For each token what might have come, if that is known: see `Settings.next_tokens`."""

    def logprobs(self, top: int) -> list[tuple[float, list[tuple[str, float]]]]:
        """For each token its log probability, and the likeliest `top` in its place with theirs."""
        if not self.listed:
            return [
                (logprob(token), [(f"{token}{n or ''}", logprob(token, n)) for n in range(top)])
                for token in self.tokens
            ]
        ranked = [sorted(after.items(), key=lambda item: -item[1])[:top] for after in self.listed]
        return [
            (log(after[token]), [(other, log(p)) for other, p in likeliest])
            for token, after, likeliest in zip(self.tokens, self.listed, ranked, strict=True)
        ]


def count_tokens(text: str) -> int:
    """Words of a prompt; at least one."""
    return max(1, len(text.split()))


def write(
    request: AnswerRequest,
    settings: Settings,
    *,
    limit: int | None,
    stop: Sequence[str] = (),
    constraint: Constraint | None = None,
    keep_stop: bool = False,
    now: float = 0.0,
) -> Text:
    """The answer to `request`. `keep_stop` leaves the stop sequence at its end, as TGI does.

    Raises:
        UnreadableGrammarError: the constraint is not one.
    """
    draw = shake_128(request.key + request.index.to_bytes(8, "big"))
    seed = int.from_bytes(draw.digest(8), "big")
    if settings.next_tokens is not None:
        options = () if constraint is None else _options(constraint)
        return _likeliest(request, settings.next_tokens, options, limit, seed)
    if settings.reply is not None:
        tokens = tuple(_TOKEN.findall(settings.reply(request)))
    elif constraint is not None:
        tokens = tuple(_TOKEN.findall(satisfy(constraint, seed)))
    else:
        length = settings.lengths.tokens((seed + 0.5) / 2**64, now)
        needed = min(length, limit + 1) if limit is not None else length
        words = [_WORDS[byte] for byte in draw.digest(8 + needed)[8:]]
        tokens = (words[0], *(" " + word for word in words[1:]))
    length = limit is not None and len(tokens) > limit
    tokens = tokens[:limit]
    text = "".join(tokens)
    places = [(text.find(mark), mark) for mark in stop if mark and mark in text]
    if not places:
        return Text(text, tokens, length=length, seed=seed)
    at, mark = min(places)
    text = text[: at + len(mark) * keep_stop]
    return Text(text, tuple(_TOKEN.findall(text)), stop=mark, seed=seed)


_SEEDS_OF_OPTIONS = 256


def _options(constraint: Constraint) -> tuple[str, ...]:
    """The texts of a choice, in whichever words: a list, a pattern or a grammar."""
    return tuple(sorted({satisfy(constraint, seed) for seed in range(_SEEDS_OF_OPTIONS)}))


def _likeliest(
    request: AnswerRequest,
    next_tokens: Callable[[AnswerRequest, str], Mapping[str, float]],
    options: Sequence[str],
    limit: int | None,
    seed: int,
) -> Text:
    """The text of the likeliest tokens, held to the options if there are some."""
    text, tokens, listed = "", list[str](), list[Mapping[str, float]]()
    while text not in options and (limit is None or len(tokens) < limit):
        after = next_tokens(request, text)
        fitting = [
            token
            for token in after
            if not options or any(option.startswith(text + token) for option in options)
        ]
        if not fitting:
            break
        token = max(fitting, key=lambda each: after[each])
        tokens.append(token)
        listed.append(after)
        text += token
    is_cut = limit is not None and len(tokens) == limit and text not in options
    return Text(text, tuple(tokens), length=is_cut, seed=seed, listed=tuple(listed))


def logprob(token: str, rank: int = 0) -> float:
    """A log probability for a token that always is the same one."""
    return -round(0.01 + (sum(token.encode(errors="replace")) % 97) / 100 + rank, 4)
