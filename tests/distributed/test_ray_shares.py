"""The shares of a ceiling under any order of reports, losses and deaths."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from distilabel_endpoints.ray.shares import LEASE, Share, Shares, WorkerReport


def report(demand: int = 1000, holding: int = 0, **pauses: float) -> WorkerReport:
    return WorkerReport(holding=holding, demand=demand, pauses=pauses)


def settle(ledger: Shares, demands: dict[str, int], now: float = 0.0) -> dict[str, int]:
    """Everybody reports until nothing changes any more, holding what it was given."""
    held = dict.fromkeys(demands, 0)
    for _ in range(6):
        for name, demand in demands.items():
            share = ledger.report(name, report(demand, held[name]), now)
            assert share.ceiling is not None
            held[name] = share.ceiling
    return held


@dataclass
class Worker:
    """A worker as it really is: what it keeps to, and what it has in flight."""

    ceiling: int = 0
    in_flight: int = 0
    lost: int = 0


class LedgerMachine(RuleBasedStateMachine):
    """Workers send, report, lose answers and die while the clock goes on."""

    @initialize(ceiling=st.integers(1, 50))
    def start(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.ledger = Shares(ceiling)
        self.now = 0.0
        self.workers: dict[str, Worker] = {}

    @rule(name=st.sampled_from("abcd"), demand=st.integers(0, 80), lost=st.booleans())
    def reports(self, name: str, demand: int, lost: bool) -> None:
        worker = self.workers.setdefault(name, Worker())
        holding = max(worker.ceiling, worker.in_flight)
        share = self.ledger.report(name, report(demand, holding), self.now)
        assert share.ceiling is not None
        if not lost:
            worker.ceiling = share.ceiling

    @rule(name=st.sampled_from("abcd"), change=st.integers(-20, 20))
    def sends(self, name: str, change: int) -> None:
        worker = self.workers.get(name)
        if worker is not None:
            allowed = max(worker.in_flight, worker.ceiling)
            worker.in_flight = min(max(0, worker.in_flight + change), allowed)

    @rule(name=st.sampled_from("abcd"))
    def dies(self, name: str) -> None:
        self.workers.pop(name, None)

    @rule(seconds=st.floats(0, LEASE / 4))
    def passes(self, seconds: float) -> None:
        """Time goes on; the living report at least as often as they must."""
        self.now += seconds
        for name in list(self.workers):
            self.reports(name, 10, lost=False)

    @invariant()
    def never_above_the_ceiling(self) -> None:
        assert sum(w.in_flight for w in self.workers.values()) <= self.ceiling
        assert self.ledger.used <= self.ceiling


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_equal_demands_get_equal_shares() -> None:
    """Workers that could all use everything share evenly, and nothing is left over."""
    held = settle(Shares(100), {"a": 1000, "b": 1000, "c": 1000})
    assert sorted(held.values()) == [33, 33, 34]


def test_what_one_cannot_use_goes_to_the_others() -> None:
    """A worker with little to do keeps little; the rest is the others'."""
    held = settle(Shares(100), {"a": 5, "b": 1000, "c": 1000})
    assert held["a"] == 5
    assert held["b"] + held["c"] == 95


def test_an_idle_worker_keeps_one() -> None:
    """Who has nothing to do may begin with one at once when a block comes."""
    held = settle(Shares(10), {"a": 0, "b": 1000})
    assert held == {"a": 1, "b": 9}


def test_a_share_grows_only_after_another_was_confirmed_to_shrink() -> None:
    """The second worker waits for the first to say that it holds less."""
    ledger = Shares(10)
    first = ledger.report("a", report(holding=0), 0.0)
    assert first.ceiling == 10
    assert ledger.report("b", report(), 0.0).ceiling == 0
    assert ledger.report("a", report(holding=10), 0.1).ceiling == 5
    assert ledger.report("b", report(), 0.2).ceiling == 0
    assert ledger.report("a", report(holding=5), 0.3).ceiling == 5
    assert ledger.report("b", report(), 0.4).ceiling == 5


def test_a_dead_workers_share_lapses() -> None:
    """A silent worker's share is free after a lease, and not before."""
    ledger = Shares(10)
    ledger.report("dead", report(), 0.0)
    assert ledger.report("new", report(), LEASE - 0.1).ceiling == 0
    assert ledger.report("new", report(), LEASE + 0.1).ceiling == 10
    assert ledger.workers == 1


def test_workers_take_turns_where_permits_are_fewer() -> None:
    """With two permits for five workers, each of them gets to send before long."""
    ledger, names = Shares(2), "abcde"
    held = dict.fromkeys(names, 0)
    served: set[str] = set()
    for tick in range(300):
        for name in names:
            share = ledger.report(name, report(holding=held[name]), tick * 0.1)
            assert share.ceiling is not None
            held[name] = share.ceiling
            served.update({name} if share.ceiling else {})
    assert served == set(names)


def test_a_lost_ledger_lets_nobody_grow_for_a_lease() -> None:
    """Made anew while workers send, it gives each what it holds until all have reported."""
    ledger = Shares(10, grows_at=LEASE)
    assert ledger.report("a", report(holding=6), 1.0).ceiling == 6
    assert ledger.report("b", report(holding=0), 1.0).ceiling == 0
    assert ledger.report("c", report(holding=4), 2.0).ceiling == 4
    assert ledger.used == 10


def test_a_pause_reaches_everybody_for_as_long_as_it_lasts() -> None:
    """One worker's Retry-After is every worker's, less the time that has gone by."""
    ledger = Shares(None)
    ledger.report("a", report(url=8.0), 100.0)
    told = ledger.report("b", report(), 103.0)
    assert told == Share(ceiling=None, pauses={"url": 5.0})
    assert ledger.report("b", report(), 109.0).pauses == {}


def test_without_a_ceiling_there_are_no_shares() -> None:
    """Each worker's own limit is all there is."""
    assert Shares(None).report("a", report(), 0.0).ceiling is None
