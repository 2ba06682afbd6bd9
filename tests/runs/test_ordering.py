"""The order rows are sent in: long ones first, those that begin alike together, bounded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import distilabel_endpoints
from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints._engine.generations import RowPlan
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.records import Request
from distilabel_endpoints.runs.ordering import arranged
from distilabel_endpoints.testing import SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]


def plan(n: int, text: str, tokens: int = 128, wanted: int = 1) -> RowPlan:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    return RowPlan(
        request=Request(ordinal=n, messages=messages, max_new_tokens=tokens), wanted=wanted
    )


def order(*plans: RowPlan, look_ahead: int = 100) -> list[int]:
    return [one.request.ordinal for one in arranged(plans, look_ahead)]


def document(name: str, question: str) -> str:
    return f"{name} " * 400 + question


def test_rows_with_one_document_go_together() -> None:
    """In the place of the first of them; the others keep their order."""
    texts = [document("a", "1"), document("b", "1"), "short", document("a", "2"), "brief"]
    texts += [document("b", "2"), document("a", "3")]
    assert order(*(plan(n, text) for n, text in enumerate(texts))) == [0, 3, 6, 1, 5, 2, 4]


def test_what_all_rows_begin_with_does_not_count() -> None:
    """One long instruction before every row: the documents after it still tell them apart."""
    shared = "Answer from the text. " * 50
    texts = [shared + document(name, "?") for name in "abab"]
    assert order(*(plan(n, text) for n, text in enumerate(texts))) == [0, 2, 1, 3]
    assert order(*(plan(n, f"{shared}{n}") for n in range(5))) == [0, 1, 2, 3, 4]


def test_long_answers_go_first() -> None:
    """By the tokens a row may bring, all its generations together."""
    plans = [plan(0, "a", 10), plan(1, "b", 500), plan(2, "c", 10), plan(3, "d", 200, wanted=4)]
    assert order(*plans) == [3, 1, 0, 2]


def test_rendered_prompts_and_content_in_parts() -> None:
    """Both are told apart by how they begin."""
    prompts = [Request(ordinal=n, prompt=document(name, "?")) for n, name in enumerate("aba")]
    assert order(*(RowPlan(request=request) for request in prompts)) == [0, 2, 1]
    parts: list[list[dict[str, Any]]] = [
        [{"role": "user", "content": [{"type": "text", "text": document(name, "?")}]}]
        for name in "aba"
    ]
    requests = [Request(ordinal=n, messages=message) for n, message in enumerate(parts)]
    assert order(*(RowPlan(request=request) for request in requests)) == [0, 2, 1]


texts = st.sampled_from("abc").map(lambda name: document(name, "?")) | st.text(max_size=20)
rows = st.lists(st.tuples(texts, st.sampled_from([1, 16, 128])), max_size=40)


@given(rows, st.integers(1, 12))
def test_each_row_once_and_not_far_from_its_place(
    given_rows: list[tuple[str, int]], look_ahead: int
) -> None:
    """A permutation within stretches of the look-ahead, and never more than that is pulled."""
    pulled = 0

    def source() -> Iterator[RowPlan]:
        nonlocal pulled
        for n, (text, tokens) in enumerate(given_rows):
            pulled += 1
            yield plan(n, text, tokens)

    sent = []
    for one in arranged(source(), look_ahead):
        sent.append(one.request.ordinal)
        assert pulled <= len(sent) - 1 + look_ahead
    assert sorted(sent) == list(range(len(given_rows)))
    assert all(abs(place - ordinal) < look_ahead for place, ordinal in enumerate(sent))


def test_large_rows_shorten_the_look_ahead() -> None:
    """A few megabytes of text are looked at together, not thousands of huge rows."""
    pulled = 0

    def source() -> Iterator[RowPlan]:
        nonlocal pulled
        for n in range(2000):
            pulled += 1
            yield plan(n, str(n) * 20_000)

    next(arranged(source()))
    assert pulled < 1000


def test_a_run_sends_in_this_order_and_writes_in_its_own(
    simulated_endpoint: Make, tmp_path: Path
) -> None:
    """Rows of two documents in turn: on the wire one document after the other."""
    endpoint = simulated_endpoint()
    texts = [document("ab"[n % 2], str(n)) for n in range(6)]
    output = tmp_path / "out.jsonl"
    with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=1) as llm:
        distilabel_endpoints.generate_dataset(
            llm, [{"prompt": text} for text in texts], output, progress=open_progress("quiet")
        )
    sent = [record.body["messages"][0]["content"] for record in endpoint.generations]
    assert sent == [*texts[::2], *texts[1::2]]
    assert [json.loads(line)["prompt"] for line in output.read_text().splitlines()] == texts
