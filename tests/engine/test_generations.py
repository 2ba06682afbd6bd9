"""One row's generations: asked together or one by one, again, and how they fail."""

from __future__ import annotations

import asyncio

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
from distilabel_endpoints.records import Answer, Failure, FailureKind, Request, Result

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
