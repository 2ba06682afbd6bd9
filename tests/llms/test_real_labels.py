"""Labels on a real model, against full enumeration: each label's text, scored token by token."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import httpx2
import pytest

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.local import LocalEndpoint

QUESTIONS = [
    ("Are cats animals?", ("yes", "no")),
    ("The film was wonderful.", ("positive", "negative", "neutral")),
    ("I waited an hour for cold soup.", ("very good", "good", "bad", "very bad")),
    *(
        pytest.param(question, labels, marks=pytest.mark.prove)
        for question, labels in (
            ("Is the sky blue?", ("yes", "no", "unsure")),
            ("Is two plus two five?", ("yes", "no", "unsure")),
            ("The film was awful.", ("positive", "negative", "neutral")),
            ("Best holiday we ever had!", ("very good", "good", "bad", "very bad")),
            ("Where does the Eiffel tower stand?", ("New York", "New Delhi", "Paris", "not known")),
        )
    ),
]
"""Two labels, three, and some that begin alike; `make prove` takes more of each kind."""


def conversation(question: str, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    asked = f"{question} Answer with one of: {', '.join(labels)}."
    return [{"role": "user", "content": asked}]


def score(client: httpx2.Client, messages: Any, text: str) -> float:
    """The probability that the model writes this text: llama.cpp held to it alone."""
    body = {
        "messages": messages,
        "grammar": f"root ::= {json.dumps(text)}",
        "logprobs": True,
        "top_logprobs": 1,
        "temperature": 0,
        "max_tokens": 16,
    }
    choice = client.post("/v1/chat/completions", json=body).json()["choices"][0]
    assert choice["message"]["content"].strip() == text.strip()
    tokens = [entry for entry in choice["logprobs"]["content"] if entry["token"]]
    written = "".join(entry["token"] for entry in tokens)
    assert written.strip() == text.strip()
    return math.exp(sum(entry["logprob"] for entry in tokens))


def enumerated(endpoint: LocalEndpoint, messages: Any, labels: tuple[str, ...]) -> dict[str, float]:
    """Every label in every usual spelling, alone."""
    weights = {}
    with httpx2.Client(base_url=endpoint.base_url, timeout=60) as client:
        for label in labels:
            spellings = {label, label.capitalize(), label.upper(), label.title()}
            texts = [before + each for before, each in itertools.product(("", " "), spellings)]
            weights[label] = sum(score(client, messages, text) for text in texts)
    total = sum(weights.values())
    return {label: weight / total for label, weight in weights.items()}


@pytest.mark.parametrize(("question", "labels"), QUESTIONS)
def test_shares_are_those_of_full_enumeration(
    local_endpoint: LocalEndpoint, question: str, labels: tuple[str, ...]
) -> None:
    """No label's share is more than 0.03 from what scoring all of them gives."""
    messages = conversation(question, labels)
    llm = InferenceEndpointsLLM(base_url=local_endpoint.base_url, labels=list(labels))
    (output,) = llm.generate_outputs([messages])
    (shares,) = output["distributions"]
    truth = enumerated(local_endpoint, messages, labels)
    assert shares is not None
    assert {label: shares[label] for label in labels} == pytest.approx(truth, abs=0.03)
