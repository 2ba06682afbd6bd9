"""How likely each of a few labels is, by the log-probabilities of answers that are held to them.

What is computed: the probability that a free answer begins with a label, given that it begins with
one of them. White space before it and capitals do not matter, unless labels differ in nothing else.
If one label begins another ("yes", "yes please"), the longer one is taken if the answer continues
to it.

Rules
- An answer shows, at each of its tokens, what else might have come: together, a trie of texts.
- A branch that leads to a label but was not followed holds at most its probability. The likeliest
  is followed by another answer, held to that branch, until all that are left may change a share by
  `TOLERANCE` at most, or four for each label were asked for.
- A label that begins with none of the listed tokens, in one of its usual spellings, may still be as
  likely as the last of them: the same rule. An answer held to several shows the likeliest of them.
- Bytes, not characters: a token may end within one.

Pure: answers in, shares out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from distilabel_endpoints.errors import ConfigurationError

__all__ = ["TOLERANCE", "Evidence", "LabelSet", "Step", "steps_of"]

TOLERANCE: Final = 0.01
"""A share may be off by this much for branches that were not followed."""
_FEWEST: Final = 2
_MOST: Final = 100
_MOST_ASKED: Final = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One token of an answer, and what might have come instead, with their probabilities."""

    token: bytes
    listed: Mapping[bytes, float]
    least: float
    """Of the likeliest that the server lists: what it does not list is less likely."""


def steps_of(text: str, entries: Any) -> list[Step]:
    """The steps of an answer's own text: not of thinking before it, nor of what ends it.

    Args:
        text: the answer.
        entries: log-probabilities, one for each token, as `Completion` has them.

    Returns:
        Nothing if there are none, or if they are not those of the text.
    """
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return []
    steps = [_step(entry) for entry in entries]
    wanted, begin = text.strip().encode(), -1
    joined = b""
    for index in range(len(steps) - 1, -1, -1):
        joined = steps[index].token + joined
        if joined.lstrip().startswith(wanted):
            begin = index
            break
    if begin < 0 or not wanted:
        return []
    while begin and not steps[begin - 1].token.strip():
        begin -= 1
    return steps[begin:]


def _step(entry: Mapping[str, Any]) -> Step:
    tops = [top for top in entry.get("top_logprobs") or () if isinstance(top, Mapping)]
    listed = {_bytes(top): _probability(top.get("logprob")) for top in tops}
    least = min(listed.values(), default=0.0)
    listed[_bytes(entry)] = _probability(entry.get("logprob"))
    return Step(_bytes(entry), listed, least)


def _bytes(entry: Mapping[str, Any]) -> bytes:
    raw = entry.get("bytes")
    if isinstance(raw, list) and raw and all(type(b) is int and 0 <= b < 256 for b in raw):
        return bytes(raw)
    return str(entry.get("token") or "").encode(errors="surrogatepass")


def _probability(logprob: Any) -> float:
    if type(logprob) not in {int, float} or math.isnan(logprob):
        return 0.0
    return math.exp(min(logprob, 0.0))


@dataclass(frozen=True)
class LabelSet:
    """Labels that can be distinguished.

    Raises, when made:
        ConfigurationError: fewer than two, too many, an empty one, or two that are the same.
    """

    labels: tuple[str, ...]
    _exact: bool = field(init=False, default=False)
    _folded: tuple[bytes, ...] = field(init=False, default=(), repr=False)

    def __post_init__(self) -> None:
        labels = tuple(label.strip() for label in self.labels)
        if not _FEWEST <= len(labels) <= _MOST or not all(labels):
            raise ConfigurationError(
                f"labels must be {_FEWEST} to {_MOST} texts that are not empty; got {labels!r:.200}"
            )
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None:
            raise ConfigurationError(f"the label {twice!r} is given twice. Keep one.")
        exact = len({label.casefold() for label in labels}) < len(labels)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "_exact", exact)
        object.__setattr__(self, "_folded", tuple(self._fold(label.encode()) for label in labels))

    def _fold(self, text: bytes) -> bytes:
        text = text.lstrip()
        return text if self._exact else _casefold(text)

    def complete(self, text: bytes) -> int | None:
        """The number of the longest label that a text holds whole at its beginning."""
        folded = self._fold(text)
        whole = [n for n, label in enumerate(self._folded) if _begins(folded, label)]
        return max(whole, key=lambda n: len(self._folded[n]), default=None)

    def ahead(self, text: bytes) -> list[int]:
        """The numbers of the labels that a text may still become."""
        folded = self._fold(text)
        return [
            n
            for n, label in enumerate(self._folded)
            if len(label) > len(folded) and label.startswith(folded)
        ]

    def spellings(self, number: int) -> set[str]:
        """How a label may begin an answer."""
        label = self.labels[number]
        if self._exact:
            return {label}
        return {label, label[0].upper() + label[1:], label.upper()}

    def finished(self, text: bytes, number: int) -> str:
        """A text with the rest of a label behind it: what an answer is held to."""
        folded, label = self._fold(text), self.labels[number]
        for end in range(len(label) + 1):
            if self._fold(label[:end].encode()) == folded:
                whole = text + label[end:].encode()
                return whole.decode(errors="replace")
        return label


def _casefold(text: bytes) -> bytes:
    """As `str.casefold`; what is not a whole character yet stays as it is."""
    return text.decode(errors="surrogateescape").casefold().encode(errors="surrogateescape")


def _begins(text: bytes, label: bytes) -> bool:
    """Whether a text begins with a label that ends there: "no, ..." does with "no", "not" not."""
    if not text.startswith(label):
        return False
    rest = text[len(label) :].decode(errors="replace")
    return not (rest[:1].isalnum() and label[-1:].isalnum())


@dataclass(frozen=True, slots=True)
class _Branch:
    """Texts that may hold labels, and were not looked into."""

    text: bytes
    most: float
    """The probability that they have at most."""
    complete: int | None
    ahead: tuple[int, ...]
    held_to: tuple[str, ...]
    """What an answer is held to that looks into them."""
    is_hidden: bool = False
    """Whether they are behind tokens that were not listed, not behind the text itself."""


@dataclass(slots=True)
class _Node:
    """What may come after a text."""

    after: dict[bytes, float] = field(default_factory=dict)
    least: float = 0.0
    bounds: dict[str, float] = field(default_factory=dict)
    """For texts that an answer might have been held to, and was not: less likely than what was."""


class Evidence:
    """What the answers to one conversation show of its labels."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._nodes: dict[bytes, _Node] = {}
        self._requested: set[tuple[bytes, tuple[str, ...]]] = set()
        self._last: _Branch | None = None

    def add(self, steps: Sequence[Step]) -> None:
        """Take an answer's steps in."""
        text, last = b"", self._last
        for step in steps:
            node = self._nodes.setdefault(text, _Node())
            node.after.update(step.listed)
            node.least = max(node.least, step.least)
            if last is not None and last.text == text:
                node.bounds |= dict.fromkeys(last.held_to, step.listed[step.token])
            text += step.token

    def next_texts(self) -> list[str]:
        """What one more answer is to be held to; nothing once all is known that matters."""
        if len(self._requested) >= _MOST_ASKED * len(self._labels.labels):
            return []
        weights, branches = self._weigh()
        left = [b for b in branches if (b.text, b.held_to) not in self._requested]
        unknown = sum(branch.most for branch in left)
        if unknown <= TOLERANCE * (sum(weights) + unknown):
            return []
        self._last = branch = max(left, key=lambda branch: branch.most)
        self._requested.add((branch.text, branch.held_to))
        return [*branch.held_to]

    @property
    def unknown(self) -> float:
        """The share that was not followed: how much any other may be off."""
        weights, branches = self._weigh()
        unknown = sum(branch.most for branch in branches)
        return unknown / ((sum(weights) + unknown) or 1.0)

    def shares(self) -> dict[str, float]:
        """The probability of each label, all together 1, the likeliest first.

        What was not followed is counted for the label that is whole there, else for those ahead.
        """
        weights, branches = self._weigh()
        for branch in branches:
            takers = branch.ahead if branch.complete is None else (branch.complete,)
            if not branch.is_hidden:
                for number in takers:
                    weights[number] += branch.most / len(takers)
        total = sum(weights) or 1.0
        named = dict(zip(self._labels.labels, (w / total for w in weights), strict=True))
        return dict(sorted(named.items(), key=lambda item: -item[1]))

    def _weigh(self) -> tuple[list[float], list[_Branch]]:
        """What is known of each label, and what is not."""
        weights, branches = [0.0] * len(self._labels.labels), list[_Branch]()
        stack: list[tuple[bytes, float, int | None]] = []
        if b"" in self._nodes:
            stack.append((b"", 1.0, None))
        while stack:
            text, mass, whole = stack.pop()
            followed = 0.0
            for reached, share in self._onward(text, mass, whole):
                followed += share
                complete, ahead = self._labels.complete(reached), self._labels.ahead(reached)
                best = whole if complete is None else complete
                if ahead and reached in self._nodes:
                    stack.append((reached, share, best))
                elif ahead:
                    texts = tuple(self._labels.finished(reached, number) for number in ahead)
                    branches.append(_Branch(reached, share, best, tuple(ahead), texts))
                elif best is not None:
                    weights[best] += share
            if whole is not None:
                weights[whole] += max(mass - followed, 0.0)
            branches += self._hidden(text, mass)
        return weights, branches

    def _onward(self, text: bytes, mass: float, whole: int | None) -> Iterator[tuple[bytes, float]]:
        """The texts after one more token that are, or may become, another label than before."""
        for token, probability in self._nodes[text].after.items():
            reached = text + token
            complete = self._labels.complete(reached)
            if token and (self._labels.ahead(reached) or complete not in {None, whole}):
                yield reached, mass * probability

    def _hidden(self, text: bytes, mass: float) -> Iterator[_Branch]:
        """Texts that no listed token leads to: each may be as likely as the last one listed."""
        node, ahead, texts = self._nodes[text], list[int](), list[str]()
        for number in self._labels.ahead(text):
            whole = {self._labels.finished(text, number)}
            for spelled in sorted(whole if text.strip() else self._labels.spellings(number)):
                rest = spelled.encode().lstrip()[len(text.lstrip()) :]
                if not any(token and _overlap(token, rest) for token in node.after):
                    ahead.append(number)
                    texts.append(spelled)
        most = sum(min(node.least, node.bounds.get(each, 1.0)) for each in texts)
        most = min(most, max(1.0 - sum(node.after.values()), 0.0))
        if texts and most:
            numbers = tuple(dict.fromkeys(ahead))
            yield _Branch(text, mass * most, None, numbers, tuple(texts), is_hidden=True)


def _overlap(token: bytes, text: bytes) -> bool:
    return token.startswith(text) or text.startswith(token)
