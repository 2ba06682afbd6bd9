"""One row's generations: asked together or one by one, again, and how they fail."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from scripted_client import (
    ScriptedClient,
    answer,
    at_once,
    failure,
    run_virtual,
    scheduler_for,
)

from distilabel_endpoints._engine.generations import RowPlan, answer_row
from distilabel_endpoints.errors import RunError
from distilabel_endpoints.records import (
    Answer,
    Completion,
    Failure,
    FailureKind,
    Request,
    Result,
)

ROW = Request(ordinal=0, prompt="row 0", seed=7)


def answered(client: ScriptedClient, plan: RowPlan, *, choices: int | None = None) -> Result:
    """The row's result, from a server that gives at most that many choices at once."""

    async def main() -> Result:
        scheduler = scheduler_for(client, max_concurrency=4)
        scheduler.choices_limit = choices
        return await answer_row(scheduler, plan)

    return run_virtual(main)


def test_an_answer_that_fits_is_not_asked_for_again() -> None:
    """Tries are left over: they are for answers that do not fit."""
    client = ScriptedClient(at_once)
    plan = RowPlan(request=ROW, check=lambda text: None if text == "yes" else "no", check_retries=3)
    assert answered(client, plan).status == "ok"
    assert len(client.sent) == 1


def test_generations_that_were_asked_for_together_fail_together() -> None:
    """One refusal of one request is the failure of each of them; none is asked for by itself."""

    async def refuse(_: Request) -> Answer | Failure:
        return failure(FailureKind.ROW, code="context_length_exceeded", status=400)

    client = ScriptedClient(refuse)
    result = answered(client, RowPlan(request=ROW, wanted=3))
    assert [end and end.code for end in result.failures] == ["context_length_exceeded"] * 3
    assert (result.completions, result.attempts) == ((None, None, None), 1)
    assert [request.n for request in client.sent] == [3]


def test_the_runs_end_waits_for_generations_that_are_in_flight() -> None:
    """One of them ends the run: the others are paid for, so they are not cancelled."""

    async def script(request: Request) -> Answer | Failure:
        if request.seed == 7:
            return failure(FailureKind.LOCAL, code="no_file")
        await asyncio.sleep(5)
        return answer()

    client = ScriptedClient(script)
    with pytest.raises(RunError):
        answered(client, RowPlan(request=ROW, wanted=3), choices=1)
    assert sorted(request.seed or 0 for request in client.sent) == [7, 8, 9]
    assert client.cancelled == 0


def completed(**fields: Any) -> Answer:
    """An answer with one completion, which stopped by itself unless something else is given."""
    return Answer(completions=(Completion(**{"text": "yes", "finish_reason": "stop", **fields}),))


def scripted(*outcomes: Answer | Failure) -> ScriptedClient:
    """These one after the other, and the last one again and again."""
    left = list(outcomes)

    async def script(_: Request) -> Answer | Failure:
        return left.pop(0) if len(left) > 1 else left[0]

    return ScriptedClient(script)


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"finish_reason": "content_filter"}, "content_filter", "filter stopped"),
        ({"finish_reason": "repetition"}, "repetition", "repeated itself"),
        ({"finish_reason": "length"}, "length", "cut off at max_new_tokens"),
        ({"text": None, "finish_reason": "length"}, "budget_spent", "used up before"),
        (
            {"text": None, "finish_reason": "length", "reasoning": "hm"},
            "budget_spent",
            "in the model's thinking",
        ),
    ],
)
def test_an_answer_that_did_not_come_to_its_end_fails_with_its_text(
    fields: dict[str, Any], code: str, words: str
) -> None:
    """The code names why it ended, and what the model wrote is kept beside it."""
    plan = RowPlan(request=ROW, takes_cut_off=False)
    result = answered(scripted(completed(**fields)), plan)
    (failed,) = result.failures
    assert failed is not None
    assert (failed.code, failed.text) == (code, fields.get("text", "yes"))
    assert words in failed.message
    assert result.completions == (None,)


def test_an_answer_that_does_not_fit_is_asked_for_again_with_another_seed() -> None:
    """As often as allowed; then it has failed, and the last text is kept."""
    client = scripted(completed(text="maybe", finish_reason="length"))
    plan = RowPlan(request=ROW, check=lambda _: "neither yes nor no", check_retries=2)
    (failed,) = answered(client, plan).failures
    assert failed is not None
    assert (failed.code, failed.text) == ("off_schema", "maybe")
    assert "raise that" in (failed.hint or "")
    assert len({request.seed for request in client.sent}) == len(client.sent) == 3


def test_tool_calls_are_not_checked_as_text() -> None:
    """What is called is the answer; there is no text that could fit."""
    call = ({"function": {"name": "f", "arguments": "{}"}},)
    plan = RowPlan(request=ROW, check=lambda _: "never", format="json")
    assert answered(scripted(completed(text=None, tool_calls=call)), plan).status == "ok"


def test_whether_answers_have_their_format_is_noted() -> None:
    """One that has not is enough: the server does not hold all answers to it."""

    async def main() -> dict[str, bool]:
        scheduler = scheduler_for(scripted(completed(text="yes"), completed(text="no")))
        plan = RowPlan(request=ROW, check=lambda t: None if t == "yes" else "no", format="regex")
        for _ in range(2):
            await answer_row(scheduler, plan)
        return scheduler.formats

    assert run_virtual(main) == {"regex": False}


def test_an_answer_that_was_cut_off_is_asked_for_once_more_and_longer() -> None:
    """The longer text takes its place; if there is none, the first one stays."""
    longer = replace(ROW, max_new_tokens=20)
    plan = RowPlan(request=replace(ROW, max_new_tokens=10), longer=longer)
    cut = completed(text="yes, bec", finish_reason="length")
    grown = scripted(cut, completed(text="yes, because"))
    assert answered(grown, plan).completions[0] == Completion(
        text="yes, because", finish_reason="stop"
    )
    assert [request.max_new_tokens for request in grown.sent] == [10, 20]
    broken = scripted(cut, failure(FailureKind.ROW, status=400))
    assert answered(broken, plan).completions == cut.completions
    assert len(broken.sent) == 2


def test_a_server_that_gives_fewer_choices_is_asked_one_by_one_from_then_on() -> None:
    """What came is kept, and the rest is fetched; so it is if `n` is refused."""
    client = scripted(completed())
    result = answered(client, RowPlan(request=ROW, wanted=3))
    assert len([c for c in result.completions if c is not None]) == 3
    assert [request.n for request in client.sent] == [3, 1, 1]
    refused = failure(FailureKind.ROW, status=400, parameter="n")
    client = scripted(refused, completed())
    assert answered(client, RowPlan(request=ROW, wanted=2)).status == "ok"
    assert [request.n for request in client.sent] == [2, 1, 1]


class Following:
    """Asks twice more, or as it is given."""

    def __init__(self, end: Failure | None = None) -> None:
        self.end = end

    def evidence(self) -> list[Completion]:
        return []

    def next_request(
        self, evidence: list[Completion], completion: Completion
    ) -> Request | Failure | None:
        evidence.append(completion)
        return ROW if len(evidence) < 3 else self.end

    def conclude(self, evidence: list[Completion], completion: Completion) -> Completion:
        return replace(completion, text=f"{completion.text} of {len(evidence)}")


def test_what_is_asked_beyond_the_first_answer_is_part_of_the_row() -> None:
    """Its requests count, and the first answer has what all of them show."""
    result = answered(scripted(completed()), RowPlan(request=ROW, inquiry=Following()))
    assert [c and c.text for c in result.completions] == ["yes of 3"]
    assert (result.attempts, len(result.usages)) == (3, 3)


def test_an_inquiry_that_fails_fails_its_row() -> None:
    """Half of an inquiry shows nothing: the row says why there is no more."""
    client = scripted(completed(), failure(FailureKind.ROW, code="too_long", status=400))
    result = answered(client, RowPlan(request=ROW, inquiry=Following()))
    assert [end and end.code for end in result.failures] == ["too_long"]


def test_an_inquiry_that_no_row_can_answer_ends_the_run() -> None:
    """The server does not give what would be needed for any of them."""
    end = failure(FailureKind.RUN, code="no_logprobs")
    with pytest.raises(RunError, match="no"):
        answered(scripted(completed()), RowPlan(request=ROW, inquiry=Following(end)))


def test_a_users_own_answer_takes_the_place_of_the_requests() -> None:
    """Nothing is sent, and the result comes back with the plan's key."""

    async def own() -> Result:
        return Result(ordinal=0, completions=(Completion(text="mine"),), failures=(None,))

    client = scripted(completed())
    result = answered(client, RowPlan(request=ROW, answer=own, key="row"))
    assert (result.completions[0], result.key) == (Completion(text="mine"), "row")
    assert client.sent == []
