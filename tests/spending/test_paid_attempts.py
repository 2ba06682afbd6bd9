"""The engine under a budget: what is sent, in which order, and what is left, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_client import ScriptedClient, run_virtual, scheduler_for

from distilabel_endpoints._engine.generations import RowPlan, answer_row
from distilabel_endpoints.records import (
    Answer,
    Completion,
    Failure,
    FailureKind,
    Request,
    Result,
    Usage,
)
from distilabel_endpoints.spending.account import Account, Ask, read_earlier
from distilabel_endpoints.spending.amounts import PICODOLLARS, Price
from distilabel_endpoints.spending.budget import Budget, parse_budget
from distilabel_endpoints.spending.reservation import Bound

PROMPT = "x" * 36  # with the room for a template: 100 tokens at most


@dataclass
class Biller:
    """A server that bills what it generates, also for those who do not get to see it."""

    faults: float = 0.0
    seed: int = 0
    least: int = 1
    billed: int = 0
    most_billed: int = 0
    budget: int = 1 << 60
    lengths: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    async def __call__(self, request: Request) -> Answer | Failure:
        await asyncio.sleep(self.rng.uniform(0.1, 2))
        kind = self.rng.random()
        if kind < self.faults / 3:
            return Failure(kind=FailureKind.THROTTLE, message="later", status=429)
        most = request.max_new_tokens or 0
        wanted = self.lengths.get(request.ordinal, self.rng.randint(self.least, 2 * most))
        tokens = min(most, wanted)
        prompt = self.rng.randint(10, 100)
        self.billed += prompt + tokens
        assert self.billed <= self.budget
        if kind < 2 * self.faults / 3:
            return Failure(kind=FailureKind.TRANSIENT, message="reset", code="reset")
        if kind < self.faults:
            await asyncio.sleep(700)  # longer than an attempt may take
        reason = "length" if tokens == most else "stop"
        completion = Completion(text="x" * tokens, finish_reason=reason)
        return Answer(completions=(completion,), usage=Usage(prompt, tokens))


def plan(ordinal: int, tokens: int = 100, *, grows: bool = False) -> RowPlan:
    """A row that may be answered with so many tokens, and with twice as many when that was cut."""
    request = Request(ordinal=ordinal, prompt=PROMPT, max_new_tokens=tokens)
    longer = Request(ordinal=ordinal, prompt=PROMPT, max_new_tokens=2 * tokens, grown=True)
    return RowPlan(request=request, longer=longer if grows else None)


async def drive(
    account: Account,
    script: Callable[[Request], Any],
    plans: list[RowPlan],
    *,
    slots: int = 16,
    watch: Callable[[], None] = lambda: None,
) -> list[Result]:
    """The results of all rows that the account paid for."""
    client = ScriptedClient(script)
    scheduler = scheduler_for(client, max_concurrency=slots)
    results: list[Result] = []

    async def work(row: RowPlan) -> Result:
        watch()
        return await answer_row(scheduler, row)

    await scheduler.drive(plans, work, results.append, None, account)
    await scheduler.aclose()
    return results


def account_of(budget: Budget, **given: Any) -> Account:
    """An account on the running loop's clock."""
    clock = asyncio.get_running_loop().time
    return Account(budget, Bound(), clock=clock, **given)


@settings(max_examples=60, deadline=None)
@given(st.integers(300, 30_000), st.floats(0, 0.6), st.integers(0, 10**6), st.booleans())
def test_the_bill_stays_within_the_budget(most: int, faults: float, seed: int, grows: bool) -> None:
    """Under resets, time-outs, refusals and longer answers, at every instant."""
    biller = Biller(faults, seed, budget=most)

    async def main() -> Account:
        account = account_of(Budget(tokens=most))

        def watch() -> None:
            assert account.ledger.exposure.tokens <= most

        plans = [plan(n, grows=grows) for n in range(150)]
        results = await drive(account, biller, plans, watch=watch)
        assert account.is_exhausted or len(results) == 150
        assert account.ledger.reserved.tokens == 0
        assert account.ledger.open_rows == 0
        assert biller.billed <= account.ledger.spent.tokens <= most
        return account

    run_virtual(main)


def test_the_tail_does_not_starve() -> None:
    """With little left, rows are sent fewer at a time, and all but one attempt's worth is used."""

    async def main() -> None:
        account = account_of(Budget(tokens=20_000))
        lengths = dict.fromkeys(range(1000), 5)
        biller = Biller(lengths=lengths)
        results = await drive(account, biller, [plan(n, 2000) for n in range(1000)], slots=64)
        assert len(results) > 150
        left = 20_000 - account.ledger.spent.tokens
        assert 0 <= left < 2100
        assert account.is_exhausted

    run_virtual(main)


def test_smaller_rows_run_when_a_large_one_cannot_be_paid() -> None:
    """What will never fit steps aside; what is behind it in the queue is sent."""

    async def main() -> None:
        account = account_of(Budget(tokens=1000))
        plans = [plan(0), plan(1, 5000), plan(2)]
        results = await drive(account, Biller(lengths={0: 9, 2: 9}), plans)
        assert sorted(result.ordinal for result in results) == [0, 2]
        assert account.is_exhausted

    run_virtual(main)


def test_rows_under_way_finish_before_others_begin() -> None:
    """A longer answer for a row that was cut off is paid before the first try of another."""

    async def main() -> None:
        account = account_of(Budget(tokens=760))
        lengths = dict.fromkeys(range(10), 10_000)
        plans = [plan(n, grows=True) for n in range(10)]
        results = await drive(account, Biller(lengths=lengths), plans, slots=4)
        whole = [result for result in results if len(result.usages) == 2]
        assert len(results) == len(whole) > 0

    run_virtual(main)


def test_a_run_without_a_budget_counts_all_the_same() -> None:
    """What was spent is known, failed attempts included."""

    async def main() -> None:
        account = account_of(Budget())
        biller = Biller(0.3, 4)
        results = await drive(account, biller, [plan(n) for n in range(100)])
        assert len(results) == 100
        spent, unknown = account.ledger.spent.tokens, account.ledger.unknown.tokens
        assert spent - unknown < biller.billed <= spent
        assert not account.is_exhausted

    run_virtual(main)


def test_time_runs_out_like_money() -> None:
    """A budget of time ends the run in time; what is in flight near its end may finish."""

    async def main() -> None:
        account = account_of(Budget(seconds=60))
        loop = asyncio.get_running_loop()
        results = await drive(account, Biller(), [plan(n) for n in range(10_000)], slots=4)
        assert 55 < loop.time() <= 60
        assert 100 < len(results) < 1000
        assert account.is_exhausted

    run_virtual(main)


@pytest.mark.parametrize(
    ("first", "then", "most", "ends_before"),
    [
        ("40ktok", "12ktok", 12_000, 1000),
        ("4ktok", "12ktok", 12_000, 1000),
        ("2h", "12ktok", 12_000, 1000),
        ("12ktok", "1h", 1 << 60, 1000),
        ("1h", "30s", 1 << 60, 30),
        ("20s", "40s", 1 << 60, 40),
    ],
)
def test_a_budget_changes_while_it_is_spent(
    first: str, then: str, most: int, ends_before: float
) -> None:
    """The new one holds from then on, smaller or larger, for another thing or for time."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def save(_: Ask) -> None:
            loop.call_later(0.01, account.saved)

        account = account_of(parse_budget(first), save=save)
        loop.call_later(3, account.change_budget, parse_budget(then))
        biller = Biller(budget=most)
        results = await drive(account, biller, [plan(n) for n in range(400)], slots=8)
        assert loop.time() <= ends_before
        if most == 12_000:
            assert 11_700 < account.ledger.spent.tokens <= 12_000
        elif ends_before < 100:
            assert loop.time() > 0.9 * ends_before
        else:
            assert len(results) == 400

    run_virtual(main)


def test_dollars_are_time_where_time_is_paid_for() -> None:
    """With a dollar a minute, five dollars end a run within its fifth minute, and are all used."""

    async def main() -> None:
        account = account_of(parse_budget("$5"), hourly=60 * PICODOLLARS)
        loop = asyncio.get_running_loop()
        plans = [plan(n) for n in range(10_000)]
        results = await drive(account, Biller(), plans, slots=4)
        assert 280 < loop.time() <= 300
        assert len(results) < 10_000
        spent = account.spent()
        assert spent.dollars == 5
        assert spent.unknown_dollars == 0

    run_virtual(main)


def test_an_hour_with_a_budget_in_dollars_uses_it() -> None:
    """Of an hour's work a budget in dollars pays 95 to 100 %, and is never exceeded."""

    async def main() -> None:
        price = Price.per_million(1, 4)
        account = Account(
            parse_budget("$0.25"), Bound(price), clock=asyncio.get_running_loop().time
        )
        biller = Biller(0.1, 3)
        await drive(account, biller, [plan(n) for n in range(10_000)], slots=2)
        assert asyncio.get_running_loop().time() > 1800
        dollars = account.spent().dollars
        assert dollars is not None
        assert 0.95 * 0.25 <= dollars <= 0.25

    run_virtual(main)


def test_attempts_wait_for_a_note_that_allows_them() -> None:
    """Nothing is sent before it is durable that it may be spent."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        notes: list[Mapping[str, Any]] = []
        durable: list[Mapping[str, Any]] = []

        def save(ask: Ask) -> None:
            notes.append(ask.note)
            loop.call_later(0.5, committed)

        def committed() -> None:
            durable.append(notes[-1])
            account.saved()

        account = account_of(Budget(tokens=10_000), save=save)

        async def script(request: Request) -> Answer | Failure:
            allowed = read_earlier(durable[-1]).cost.tokens
            assert account.ledger.exposure.tokens <= allowed <= 10_000
            return await Biller()(request)

        await drive(account, script, [plan(n) for n in range(500)])
        assert account.is_exhausted
        assert account.ledger.spent.tokens > 9_700

    run_virtual(main)
