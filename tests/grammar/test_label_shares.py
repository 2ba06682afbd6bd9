"""Labels by log-probabilities: the shares that answers show, against all there is to know."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.grammar.labels import TOLERANCE, Evidence, LabelSet, steps_of
from fuzzing import examples

Model = Callable[[str], dict[str, float]]
"""What comes after a text: tokens and their probabilities."""


def entries_of(path: list[str], model: Model, *, top: int = 20) -> list[dict[str, Any]]:
    """Log-probabilities of an answer that a model wrote, as servers list them."""
    text, entries = "", []
    for token in path:
        after = model(text)
        ranked = sorted(after.items(), key=lambda item: -item[1])[:top]
        listed = [{"token": t, "logprob": math.log(p)} for t, p in ranked if p]
        entries.append({"token": token, "logprob": math.log(after[token]), "top_logprobs": listed})
        text += token
    return entries


def held_to(options: list[str], model: Model) -> list[str]:
    """What a model writes whose answer is held to some texts: the likeliest token that fits."""
    text, path = "", list[str]()
    while text not in options:
        fitting = {
            token: p
            for token, p in model(text).items()
            if any(option.startswith(text + token) for option in options)
        }
        token = max(fitting, key=lambda each: fitting[each])
        path.append(token)
        text += token
    return path


def asked(labels: list[str], model: Model, *, top: int = 20) -> tuple[dict[str, float], int]:
    """The shares that all answers together show, and how many there were."""
    evidence = Evidence(LabelSet(tuple(labels)))
    texts, count = labels, 0
    while texts:
        count += 1
        path = held_to(texts, model)
        steps = steps_of("".join(path), entries_of(path, model, top=top))
        assert steps
        evidence.add(steps)
        texts = evidence.next_texts()
    return evidence.shares(), count


def table(**after: dict[str, float]) -> Model:
    """A model by what comes after each text; `_` stands for the empty one."""
    return lambda text: after["_" if text == "" else text.strip().replace(" ", "_")]


def test_single_tokens_need_one_answer() -> None:
    """Shares of what the labels have between them; what else might come does not count."""
    model = table(_={"yes": 0.3, "no": 0.1, "Perhaps": 0.6})
    shares, count = asked(["yes", "no"], model)
    assert shares == pytest.approx({"yes": 0.75, "no": 0.25})
    assert count == 1


def test_capitals_and_white_space_are_one_label() -> None:
    """A model that would write "Yes" or " yes" means yes; labels that differ in capitals do not."""
    model = table(_={"yes": 0.05, "Yes": 0.5, " yes": 0.05, "no": 0.1, "NO": 0.1, "?": 0.2})
    assert asked(["yes", "no"], model)[0] == pytest.approx({"yes": 0.75, "no": 0.25})
    shares, _ = asked(["no", "NO", "yes"], model)
    assert shares["yes"] == pytest.approx(0.1 / 0.3)
    assert shares["no"] == pytest.approx(0.1 / 0.3)


def test_labels_that_share_their_beginning() -> None:
    """What comes after the shared token decides between them, also where another label is likelier:
    that takes a second answer."""
    model = table(
        _={"very": 0.4, "bad": 0.5, "x": 0.1},
        very={" good": 0.75, " bad": 0.25},
    )
    shares, count = asked(["very good", "very bad", "bad"], model)
    assert shares == pytest.approx(
        {"bad": 0.5 / 0.9, "very good": 0.3 / 0.9, "very bad": 0.1 / 0.9}
    )
    assert count == 2


def test_a_label_that_begins_another() -> None:
    """The longer one is taken as far as the model goes on to it."""
    model = table(_={"yes": 0.8, "no": 0.2}, yes={" please": 0.25, ".": 0.7, "!": 0.05})
    shares, count = asked(["yes", "yes please", "no"], model)
    assert shares == pytest.approx({"yes": 0.6, "yes please": 0.2, "no": 0.2})
    assert count == 2
    pieces = table(_={"pos": 0.9, "neg": 0.1}, pos={"itive": 0.9, ",": 0.1}, neg={"x": 1.0})
    shares, _ = asked(["pos", "positive", "neg"], pieces)
    assert shares == pytest.approx({"positive": 0.81, "neg": 0.1, "pos": 0.09})


def test_a_label_that_is_not_listed_is_asked_for() -> None:
    """Where the listed tokens leave room for it, another answer shows how likely it is."""
    model = table(_={"the": 0.5, "a": 0.3, "yes": 0.1, "no": 0.1})
    shares, count = asked(["yes", "no"], model, top=2)
    assert shares == pytest.approx({"yes": 0.5, "no": 0.5})
    assert count == 2
    rare = table(_={"yes": 0.9, "the": 0.0002, "no": 0.0001, "x": 0.0997})
    shares, count = asked(["yes", "no"], rare, top=3)
    assert shares["yes"] > 1 - TOLERANCE
    assert count == 1


def test_only_the_answers_own_tokens_count() -> None:
    """Thinking before it, white space around it and what ends it are not the label."""
    model = table(_={"yes": 0.5, "no": 0.5})
    thinking = [{"token": "no", "logprob": -0.1}, {"token": "</think>", "logprob": -0.1}]
    line = {"token": "\n", "logprob": 0.0, "top_logprobs": []}
    end = {"token": "<|im_end|>", "logprob": 0.0}
    steps = steps_of("yes", [*thinking, line, *entries_of(["yes"], model), end])
    assert [step.token for step in steps] == [b"\n", b"yes", b"<|im_end|>"]
    assert steps_of("yes", None) == []
    assert steps_of("yes", [{"token": "no"}]) == []
    assert steps_of("", [line]) == []


def test_characters_that_are_cut_by_tokens() -> None:
    """A token may hold a part of a character: bytes are put together."""
    first, second = "是".encode(), "否".encode()
    half = {"token": "\ufffd", "bytes": list(first[:2]), "logprob": math.log(0.75)}
    other = {"token": "否", "bytes": list(second), "logprob": math.log(0.25)}
    rest = {"token": "\ufffd", "bytes": list(first[2:]), "logprob": 0.0}
    steps = steps_of("是", [{**half, "top_logprobs": [half, other]}, rest])
    evidence = Evidence(LabelSet(("是", "否")))
    evidence.add(steps)
    assert evidence.shares() == pytest.approx({"是": 0.75, "否": 0.25})


@pytest.mark.parametrize("labels", [("a",), ("a", " "), ("a", "a "), tuple(map(str, range(101)))])
def test_labels_that_cannot_be_told_apart(labels: tuple[str, ...]) -> None:
    """Fewer than two, an empty one, two that are the same, too many: refused."""
    with pytest.raises(ConfigurationError, match="label"):
        LabelSet(labels)


LABELS = st.lists(st.text("abA ", min_size=1, max_size=5).map(str.strip), min_size=2, max_size=5)
LETTERS = ("a", "b", "A", "B", " ", "c", ".")
TOKENS = (*LETTERS, "ab", "ba", "aa", "Ab", " a", " b")


@st.composite
def models(draw: st.DrawFn, tokens: tuple[str, ...]) -> Model:
    """A model that gives every token some probability after every text."""
    weights = draw(st.lists(st.integers(1, 1000), min_size=7, max_size=23))

    def model(text: str) -> dict[str, float]:
        sharp = [
            weights[(len(text) * 7 + sum(text.encode()) + n) % len(weights)] ** 2
            for n in range(len(tokens))
        ]
        return {token: w / sum(sharp) for token, w in zip(tokens, sharp, strict=True)}

    return model


def enumerated(labels: LabelSet, model: Model) -> dict[str, float]:
    """The same by following every text to its end."""
    weights = dict.fromkeys(labels.labels, 0.0)
    stack: list[tuple[str, float, int | None]] = [("", 1.0, None)]
    while stack:
        text, mass, whole = stack.pop()
        if len(text) > 12:
            continue
        for token, probability in model(text).items():
            reached = (text + token).encode()
            complete, ahead = labels.complete(reached), labels.ahead(reached)
            best = whole if complete is None else complete
            if ahead:
                stack.append((text + token, mass * probability, best))
            elif best is not None:
                weights[labels.labels[best]] += mass * probability
    total = sum(weights.values())
    return {label: weight / total for label, weight in weights.items()}


DISTINCT = LABELS.filter(lambda texts: len({t.casefold() for t in texts if t}) == len(texts))


@settings(deadline=None, max_examples=examples(25))
@given(DISTINCT, st.one_of(models(LETTERS), models(TOKENS)))
def test_shares_are_those_of_full_enumeration(labels: list[str], model: Model) -> None:
    """Whatever the labels and the model: no share is off from what all texts together give by more
    than what is known to be unknown."""
    evidence, texts = Evidence(LabelSet(tuple(labels))), labels
    while texts:
        path = held_to(texts, model)
        evidence.add(steps_of("".join(path), entries_of(path, model)))
        texts = evidence.next_texts()
    shares, truth = evidence.shares(), enumerated(LabelSet(tuple(labels)), model)
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    for label, share in shares.items():
        assert share == pytest.approx(truth[label], abs=evidence.unknown + 1e-3)
