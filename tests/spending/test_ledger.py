"""The books: spent plus reserved against the budget, whatever attempts, notes and kills do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.records import Answer, Failure, FailureKind, Request, Usage
from distilabel_endpoints.spending.account import Account, Ask, Reservation, read_earlier
from distilabel_endpoints.spending.amounts import Cost, Price
from distilabel_endpoints.spending.budget import Budget, parse_budget
from distilabel_endpoints.spending.ledger import Ledger
from distilabel_endpoints.spending.reservation import Bound

PRICE = Price.per_million("0.3", "1.2")
FREE = Failure(kind=FailureKind.THROTTLE, message="later", status=429)
RESET = Failure(kind=FailureKind.TRANSIENT, message="reset", code="reset")


class World:
    """A run over several processes: its notes, what is in flight, and what the server bills."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.billed = Cost()
        self.now = 0.0
        self.durable: Mapping[str, Any] | None = None
        self.pending: Mapping[str, Any] | None = None
        self.flying: list[Reservation] = []
        self.account = self.begin()

    def begin(self) -> Account:
        self.pending = None
        return Account(
            self.budget,
            Bound(PRICE),
            clock=lambda: self.now,
            earlier=self.durable,
            save=self.save,
        )

    def save(self, ask: Ask) -> None:
        assert self.pending is None, "one note at a time"
        self.pending = ask.note

    def commit(self) -> None:
        if self.pending is not None:
            self.durable, self.pending = self.pending, None
            self.account.saved()

    def send(self, prompt: str, tokens: int, *, has_begun: bool) -> None:
        request = Request(ordinal=0, prompt=prompt, max_new_tokens=tokens)
        wanted = self.account.reservation(request)
        if self.account.fits(wanted, has_begun=has_begun):
            self.account.reserve(wanted)
            self.flying.append(wanted)

    def end(self, number: int, share: float, ending: str) -> None:
        if not self.flying:
            return
        reserved = self.flying.pop(number % len(self.flying))
        used = [int(tokens * share) for tokens in reserved.tokens]
        outcome: Answer | Failure = FREE if ending == "refused" else RESET
        if ending == "answered":
            outcome = Answer(completions=(), usage=Usage(*used))
        if ending != "refused":
            self.billed = self.billed.plus(PRICE.of(*used))
        self.account.settle(reserved, outcome)

    def kill(self, share: float) -> None:
        """What was in flight is generated and billed all the same."""
        for reserved in self.flying:
            self.billed = self.billed.plus(PRICE.of(*(int(n * share) for n in reserved.tokens)))
        self.flying.clear()
        self.account = self.begin()

    def check(self) -> None:
        ledger = self.account.ledger
        assert ledger.exposure.within(self.budget.cost)
        assert self.billed.within(ledger.exposure)
        assert self.billed.within(self.budget.cost)


SEND = st.tuples(st.just("send"), st.integers(0, 300), st.integers(1, 500), st.booleans())
END = st.tuples(
    st.just("end"),
    st.integers(0, 99),
    st.floats(0, 1),
    st.sampled_from(["answered", "reset", "refused"]),
)
COMMIT = st.tuples(st.just("commit"))
TICK = st.tuples(st.just("tick"), st.floats(0, 2))
KILL = st.tuples(st.just("kill"), st.floats(0, 1))
# Much is sent and ends between two kills, as nothing else shows what a kill may cost.
STEPS = st.one_of(SEND, SEND, SEND, END, END, COMMIT, COMMIT, COMMIT, TICK, KILL)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(STEPS, min_size=20, max_size=120),
    st.integers(200, 20_000),
    st.sampled_from(["tokens", "dollars", "both"]),
)
def test_no_budget_is_ever_exceeded(steps: list[tuple[Any, ...]], most: int, kind: str) -> None:
    """Whatever is answered, lost, refused or killed, the bill stays within the budget, always."""
    dollars = PRICE.of(0, most).picodollars
    budget = Budget(
        tokens=None if kind == "dollars" else most,
        picodollars=None if kind == "tokens" else dollars,
    )
    world = World(budget)
    for step in steps:
        match step:
            case ("send", length, tokens, has_begun):
                world.send("x" * length, tokens, has_begun=has_begun)
            case ("end", number, share, ending):
                world.end(number, share, ending)
            case ("commit",):
                world.commit()
            case ("tick", seconds):
                world.now += seconds
            case ("kill", share):
                world.kill(share)
        world.check()


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(500, 5_000))
def test_a_run_ends_with_less_than_one_attempt_left(answers: list[int], most: int) -> None:
    """As long as the dearest attempt can be paid, somebody may send: money is not left over."""
    ledger = Ledger(Budget(tokens=most))
    dearest = Cost(500)
    for used in answers:
        if not ledger.fits(dearest, has_begun=False):
            break
        ledger.reserve(dearest)
        ledger.settle(dearest, Cost(used))
    else:
        return
    assert not ledger.is_affordable(dearest)


def test_rows_under_way_have_a_pot_that_new_rows_leave_alone() -> None:
    """The last money goes to the tries of rows that have begun, not to more rows that begin."""
    ledger = Ledger(Budget(tokens=250))
    ledger.reserve(Cost(100))
    ledger.open_rows = 1
    assert not ledger.fits(Cost(100), has_begun=False)
    assert ledger.fits(Cost(100), has_begun=True)
    ledger.settle(Cost(100), Cost(20))
    ledger.open_rows = 0
    assert ledger.fits(Cost(230), has_begun=False)


def test_an_attempt_whose_cost_nobody_knows_costs_what_it_reserved() -> None:
    """A reset connection settles in full, and is shown as unknown."""
    ledger = Ledger(Budget(tokens=1000))
    ledger.reserve(Cost(300))
    ledger.settle(Cost(300), None)
    assert ledger.spent == Cost(300)
    assert ledger.unknown == Cost(300)
    assert ledger.exposure == Cost(300)


def test_a_killed_process_loses_little_more_than_what_was_in_flight() -> None:
    """After a kill the run counts what was reserved as spent, and a quarter more at most."""
    world = World(Budget(tokens=10_000_000))
    for _ in range(2000):
        for _ in range(max(0, 64 - len(world.flying))):
            world.send("x" * 100, 500, has_begun=False)
            world.commit()
        world.end(0, 0.5, "answered")
        world.now += 0.01
        world.commit()
    exposure = world.account.ledger.exposure.tokens
    reserved = world.account.ledger.reserved.tokens
    assert len(world.flying) >= 60
    lost = read_earlier(world.durable).cost.tokens - exposure
    assert 0 <= lost <= max(reserved, 100 * 340)


def test_a_note_that_allows_less_binds_before_it_is_durable() -> None:
    """What is sent while it is written is within it, so that a kill right after loses nothing."""
    world = World(Budget(tokens=1_000_000))
    for _ in range(40):
        world.send("x" * 100, 500, has_begun=False)
        world.commit()
    for _ in range(40):
        world.end(0, 0.01, "answered")
    world.now += 2
    for _ in range(40):
        world.send("x" * 100, 500, has_begun=False)
    assert world.pending is not None
    world.commit()
    world.kill(1.0)
    world.check()


def test_budgets_are_written_as_people_write_them() -> None:
    """Dollars, tokens and times, each once; a list limits several things."""
    assert parse_budget("$20").picodollars == 20 * 10**12
    assert parse_budget("0.5 USD").picodollars == 5 * 10**11
    assert parse_budget("3Mtok").tokens == 3_000_000
    assert parse_budget("250k tokens").tokens == 250_000
    assert parse_budget("2h").seconds == 7200.0
    assert parse_budget("1h30m").seconds == 5400.0
    both = parse_budget(["$1.25", "90m"])
    assert (both.picodollars, both.seconds, both.tokens) == (1_250_000_000_000, 5400.0, None)
    assert both.text == "$1.25 and 90m"
    assert parse_budget(None) == Budget()
    assert not Budget()


@pytest.mark.parametrize("text", ["20", "", "$", "$0", "tok", "0h", "-$3", "3 apples", 20, [""]])
def test_what_is_not_a_budget_is_refused(text: Any) -> None:
    """With the way to write one; `20` is what a shell makes of "$20"."""
    with pytest.raises(ConfigurationError, match="single quotes"):
        parse_budget(text)


def test_two_budgets_for_one_thing_are_refused() -> None:
    """Which of them holds is not guessed."""
    with pytest.raises(ConfigurationError, match="limit the same"):
        parse_budget(["$20", "$30"])


def test_dollars_stay_counted_over_a_session_without_a_price() -> None:
    """A resume without a price, and one with a lower price, do not make spent dollars less."""
    note: Mapping[str, Any] | None = None
    spent = []
    for price in (Price.per_million(10, 20), None, Price.per_million(1, 2)):
        account = Account(Budget(), Bound(price), clock=lambda: 0.0, earlier=note)
        wanted = account.reservation(Request(ordinal=0, prompt="x", max_new_tokens=100))
        account.reserve(wanted)
        account.settle(wanted, Answer(completions=(), usage=Usage(10, 20)))
        note = account.note()
        spent.append(note["picodollars"])
    first, _, last = spent
    dearest_of_second = 30 * 2_000_000
    assert last >= first + dearest_of_second
