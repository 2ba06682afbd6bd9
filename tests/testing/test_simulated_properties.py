"""What holds for any body, any faults and any traffic."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_client import now, run_virtually

from distilabel_endpoints.testing import Fault, Latency, Limits, Respond, Settings
from distilabel_endpoints.testing.endpoint_settings import FLAVORS, FlavorName
from distilabel_endpoints.testing.exchange import Exchange, RefusedError
from distilabel_endpoints.testing.faults import Script
from distilabel_endpoints.testing.limits import Door
from distilabel_endpoints.testing.request_log import Entry, RequestLog
from distilabel_endpoints.testing.routes import openai, tgi
from distilabel_endpoints.testing.routes.route_table import data_routes
from distilabel_endpoints.testing.service import Service
from distilabel_endpoints.testing.wire import Generated, Outcome, encode

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
PARAMETERS = (
    "model messages prompt inputs parameters n stop seed max_tokens stream stream_options tools "
    "tool_choice response_format logprobs top_logprobs grammar structured_outputs guided_choice "
    "guided_json guided_regex regex ebnf json_schema details best_of top_n_tokens top_p "
    "temperature max_new_tokens return_full_text decoder_input_details"
)
NAMES = st.sampled_from(PARAMETERS.split())
MESSAGES = [{"role": "user", "content": "hello"}]


def exchange(body: Any, flavor: FlavorName = "vllm", **options: Any) -> Exchange:
    """A request without a socket."""
    return Exchange(
        settings=Settings(flavor=flavor, model="m", **options),
        flavor=flavor,
        method="POST",
        path="/",
        query={},
        headers={},
        body=body,
        now=0.0,
        origin="",
    )


def answered(answer: Callable[[Exchange], Outcome], request: Exchange) -> Outcome:
    """What the route says, refusals included."""
    try:
        return answer(request)
    except RefusedError as refused:
        return refused.reply


ROUTES = [route.answer for route in data_routes("tgi").values() if route.kind == "generate"]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(FLAVORS),
    st.sampled_from(ROUTES),
    JSON
    | st.dictionaries(NAMES, JSON, max_size=5)
    | st.dictionaries(NAMES, JSON, max_size=3).map(
        lambda body: {"model": "m", "messages": MESSAGES, "prompt": "x", "inputs": "x", **body}
    )
    | JSON.map(lambda value: {"inputs": "x", "parameters": value})
    | st.dictionaries(NAMES, JSON, max_size=3).map(
        lambda value: {"inputs": "x", "parameters": value}
    ),
)
def test_any_body_is_answered_or_refused(
    flavor: FlavorName, answer: Callable[[Exchange], Outcome], body: Any
) -> None:
    """Whatever JSON arrives, the route answers it or says what is wrong: never a crash."""
    outcome = answered(answer, exchange(body, flavor))
    if isinstance(outcome, Generated):
        json.loads(encode(outcome.payload))
        for event in outcome.events or ():
            json.loads(encode(event))
        assert outcome.tokens >= 1
    else:
        assert outcome.status in (400, 404, 422)


@settings(deadline=None)
@given(st.text(), st.integers(1, 3), st.none() | st.integers(1, 8), st.lists(st.text(), max_size=2))
def test_a_streamed_chat_spells_the_whole_one(
    reply: str, n: int, limit: int | None, stop: list[str]
) -> None:
    """For any text, limit and stop: the same texts, reasons and usage, in the same choices."""
    body = {"model": "m", "messages": MESSAGES, "n": n, "max_tokens": limit, "stop": stop}
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    whole = openai.chat(exchange(body, reply=lambda _: reply))
    streamed = openai.chat(exchange({**body, **usage}, reply=lambda _: reply))
    texts, reasons = [""] * n, [None] * n
    *events, last = streamed.events or ()
    for event in events:
        for choice in event["choices"]:
            texts[choice["index"]] += choice["delta"].get("content", "")
            reasons[choice["index"]] = choice["finish_reason"] or reasons[choice["index"]]
    assert texts == [choice["message"]["content"] for choice in whole.payload["choices"]]
    assert reasons == [choice["finish_reason"] for choice in whole.payload["choices"]]
    assert last["usage"] == whole.payload["usage"]
    assert streamed.tokens == whole.tokens


@settings(deadline=None)
@given(st.text(), st.integers(1, 8))
def test_a_streamed_generation_spells_the_whole_one(reply: str, limit: int) -> None:
    """TGI's tokens joined are its text, and its last event says so."""
    body = {"inputs": "x", "parameters": {"max_new_tokens": limit, "details": True}}
    whole = tgi.generate(exchange(body, "tgi", reply=lambda _: reply)).payload
    events = tgi.generate_stream(exchange(body, "tgi", reply=lambda _: reply)).events or ()
    assert "".join(event["token"]["text"] for event in events) == whole["generated_text"]
    assert events[-1]["generated_text"] == whole["generated_text"]
    assert events[-1]["details"]["finish_reason"] == whole["details"]["finish_reason"]


@settings(deadline=None)
@given(st.permutations(range(8)), st.integers(0, 3))
def test_answers_do_not_depend_on_order(order: list[int], seed: int) -> None:
    """The same body gets the same bytes, whatever came before it."""

    def ask(row: int) -> bytes:
        body = {"model": "m", "messages": [{"role": "user", "content": f"{row}"}], "seed": seed}
        return encode(openai.chat(exchange(body)).payload)

    expected = {row: ask(row) for row in range(8)}
    assert {row: ask(row) for row in order} == expected
    assert len(set(expected.values())) == 8


@settings(deadline=None)
@given(
    st.lists(st.sampled_from("abc"), max_size=40),
    st.none() | st.integers(1, 5),
    st.none() | st.integers(1, 5),
    st.none() | st.integers(0, 5),
    st.booleans(),
)
def test_faults_hit_what_their_conditions_say(
    rows: list[str], nth: int | None, every: int | None, times: int | None, per_request: bool
) -> None:
    """Counting agrees with a list of what came before."""
    fault = Fault(Respond(500), nth=nth, every=every, times=times, per_request=per_request)
    script = Script((fault,), seed=0)
    seen: dict[str, int] = {}
    hits: dict[str, int] = {}
    for row in rows:
        key = row if per_request else ""
        seen[key] = seen.get(key, 0) + 1
        expected = (
            (nth is None or seen[key] == nth)
            and (every is None or seen[key] % every == 0)
            and (times is None or hits.get(key, 0) < times)
        )
        hits[key] = hits.get(key, 0) + expected
        action = script.pick("/", generates=True, headers={}, raw=row.encode(), now=0.0)
        assert (action is not None) == expected


@settings(deadline=None)
@given(st.integers(1, 600), st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=200))
def test_no_window_sees_more_than_its_rate(per_minute: int, gaps: list[float]) -> None:
    """In any stretch of time, at most the bucket and what refilled meanwhile is let in."""
    door = Door(Settings(limits=Limits(requests_per_minute=per_minute)))
    time, admitted = 0.0, []
    for gap in gaps:
        time += gap
        if door.refuse(1, time) is None:
            admitted.append(time)
    capacity = max(1.0, per_minute / 10)
    for i, start in enumerate(admitted):
        for j in range(i, len(admitted)):
            assert j - i + 1 <= capacity + (admitted[j] - start) * per_minute / 60 + 1e-6


@settings(deadline=None)
@given(
    st.integers(1, 5),
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 10), st.none() | st.integers(0, 15)),
        min_size=1,
        max_size=25,
    ),
)
def test_slots_are_kept_and_given_in_order(
    slots: int, jobs: list[tuple[int, int, int | None]]
) -> None:
    """Never more than the slots, first come first served, nothing lost when clients leave."""

    async def main() -> None:
        log = RequestLog(keep=True)
        service = Service(slots, Latency(per_token=1), seed=0, log=log)
        order: list[int] = []
        running = 0

        async def one(index: int, start: int, tokens: int, patience: int | None) -> None:
            nonlocal running
            await asyncio.sleep(start)
            async with asyncio.timeout(patience):
                arrivals.append(index)
                async with service.turn(Entry("generate", "POST", "/", now()), tokens) as turn:
                    order.append(index)
                    running += 1
                    try:
                        assert running <= slots
                        await turn.spend()
                    finally:
                        running -= 1

        arrivals: list[int] = []
        tasks = [asyncio.create_task(one(i, *job)) for i, job in enumerate(jobs)]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {type(None), TimeoutError}
        assert order == [index for index in arrivals if index in order]
        assert log.statistics().running == 0
        for index, (_, _, patience) in enumerate(jobs):
            assert patience is not None or outcomes[index] is None

    run_virtually(main())


@pytest.mark.parametrize("flavor", FLAVORS)
def test_every_route_is_of_a_known_kind(flavor: FlavorName) -> None:
    """Only POST generates, only GET describes."""
    kinds = {(method, route.kind) for (method, _), route in data_routes(flavor).items()}
    assert kinds == {("POST", "generate"), ("GET", "about")}
