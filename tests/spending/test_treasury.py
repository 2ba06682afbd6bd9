"""One ledger for a job of several workers, whatever is answered late, lost or killed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilabel_endpoints.records import Answer, Failure, FailureKind, Request, Usage
from distilabel_endpoints.spending.account import Account, Ask, Reservation
from distilabel_endpoints.spending.amounts import Cost
from distilabel_endpoints.spending.budget import Budget
from distilabel_endpoints.spending.reservation import Bound
from distilabel_endpoints.spending.treasury import LEASE, Treasury, most_of

RESET = Failure(kind=FailureKind.TRANSIENT, message="reset", code="reset")


@dataclass
class Worker:
    """One worker: its account, what it has under way, and what it has asked."""

    name: str
    account: Account
    asks: list[Ask]
    flying: list[Reservation] = field(default_factory=list)
    answered: list[Ask] = field(default_factory=list)

    def send(self, tokens: int) -> bool:
        wanted = self.account.reservation(Request(ordinal=0, prompt="x", max_new_tokens=tokens))
        fits = self.account.fits(wanted, has_begun=False)
        if fits:
            self.account.reserve(wanted)
            self.flying.append(wanted)
        return fits

    def can_ever_send(self, tokens: int) -> bool:
        request = Request(ordinal=0, prompt="x", max_new_tokens=tokens)
        return self.account.is_affordable(self.account.reservation(request))


class Job:
    """Workers, the treasury, and what the server bills them."""

    def __init__(self, most: int, workers: int) -> None:
        self.budget = Budget(tokens=most)
        self.treasury = Treasury(self.budget.cost, Cost(), {})
        self.now = 0.0
        self.billed = 0
        self.lost = 0
        self.workers = [self.join(n) for n in range(workers)]

    def join(self, number: int) -> Worker:
        asks: list[Ask] = []
        account = Account(self.budget, Bound(), clock=lambda: self.now, save=asks.append)
        return Worker(f"worker {number}, after {self.lost}", account, asks)

    def answer(self, worker: Worker, *, is_heard: bool = True) -> None:
        """The treasury answers; if that is not heard, the worker asks the same again later."""
        if not worker.asks:
            worker.account.hear(self.treasury.look(worker.name, self.now).limit)
            return
        grant = self.treasury.grant(worker.name, worker.asks[0], self.now)
        if is_heard:
            worker.answered.append(worker.asks.pop(0))
            worker.account.saved(grant)

    def end(self, worker: Worker, share: float, *, is_known: bool) -> None:
        if worker.flying:
            reserved = worker.flying.pop()
            used = [int(share * tokens) for tokens in reserved.tokens]
            self.billed += sum(used)
            outcome = Answer(completions=(), usage=Usage(*used)) if is_known else RESET
            worker.account.settle(reserved, outcome)

    def lose(self, number: int) -> None:
        """A worker is killed; what was in flight is billed, and another takes its place."""
        self.billed += sum(sum(reserved.tokens) for reserved in self.workers[number].flying)
        self.lost += 1
        self.workers[number] = self.join(number)

    def restart(self) -> None:
        """The treasury itself is killed, and reads its books again."""
        before = self.treasury
        self.treasury = Treasury(self.budget.cost, before.earlier, before.notes, self.now)

    def resume(self) -> None:
        """All of it is killed, and another job begins with what this one may have spent."""
        for number in range(len(self.workers)):
            self.lose(number)
        earlier = sum(most_of(note).tokens for note in self.treasury.notes.values())
        earlier += self.treasury.earlier.tokens
        self.treasury = Treasury(self.budget.cost, Cost(earlier), {}, self.now)

    def granted(self) -> int:
        notes = self.treasury.notes.values()
        return self.treasury.earlier.tokens + sum(most_of(note).tokens for note in notes)


OFTEN = [
    "send",
    "send",
    "send",
    "answer",
    "answer",
    "unheard",
    "late",
    "end",
    "end",
    "reset",
    "rest",
    "tick",
]
STEP = st.tuples(
    st.sampled_from([*OFTEN, *OFTEN, "lose", "restart", "resume"]),
    st.integers(0, 2),
    st.integers(1, 400),
    st.floats(0, 1),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, min_size=20, max_size=150), st.integers(500, 20_000))
def test_all_workers_together_keep_to_the_budget(steps: list[Any], most: int) -> None:
    """Whatever is sent, answered late or twice, lost or killed, the bill is within the budget."""
    job = Job(most, 3)
    for what, number, tokens, share in steps:
        worker = job.workers[number]
        match what:
            case "send":
                worker.send(tokens)
            case "answer" | "unheard":
                job.answer(worker, is_heard=what == "answer")
            case "late":  # an old question is carried out once more
                for ask in worker.answered[-2:-1]:
                    job.treasury.grant(worker.name, ask, job.now)
            case "end" | "reset":
                job.end(worker, share, is_known=what == "end")
            case "rest":
                if not worker.flying:
                    worker.account.note_exactly()
            case "tick":
                job.now += 20 * share
            case "lose":
                job.lose(number)
            case "restart":
                job.restart()
            case "resume":
                job.resume()
        assert job.billed <= job.granted() <= most
        for worker in job.workers:
            granted = most_of(job.treasury.notes.get(worker.name, NOTHING)).tokens
            assert worker.account.ledger.exposure.tokens <= granted


NOTHING = {"most_tokens": 0, "most_picodollars": 0}


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(800, 6000), st.integers(1, 4), st.booleans())
def test_the_money_is_spent_and_nobody_waits_for_ever(
    seed: int, most: int, workers: int, is_lossy: bool
) -> None:
    """Workers with rows without end stop by themselves, with less left than one attempt costs."""
    draw = random.Random(seed)
    job = Job(most, workers)
    size = draw.randint(50, 200)
    losses = 2 if is_lossy else 0
    for _ in range(20_000):
        job.now += draw.choice([0.0, 0.01, 0.3])
        number = draw.randrange(workers)
        worker = job.workers[number]
        if worker.can_ever_send(size) and draw.random() < 0.5:
            worker.send(size)
        if draw.random() < 0.5:
            job.answer(worker)
        if draw.random() < 0.3:
            job.end(worker, draw.random(), is_known=True)
        if losses and draw.random() < 0.001:
            losses -= 1
            job.lose(number)
        if not any(w.can_ever_send(size) or w.flying or w.asks for w in job.workers):
            break
    else:
        pytest.fail(f"workers still wait: {job.treasury.notes}")
    for worker in job.workers:
        worker.account.note_exactly()
        job.answer(worker)
    left = most - job.granted()
    request = Request(ordinal=0, prompt="x", max_new_tokens=size)
    assert left < sum(Bound().tokens(request))


def test_a_lost_worker_is_not_waited_for() -> None:
    """What it had reserved is spent; until it is taken for lost, others wait for that money."""
    job = Job(1000, 2)
    first, second = job.workers
    first.send(500)
    job.answer(first)
    assert first.send(500)
    second.send(500)
    job.answer(second)
    assert second.can_ever_send(500)
    assert not second.send(500)
    job.now = LEASE + 1
    job.answer(second)
    assert not second.can_ever_send(500)


def test_what_one_gives_back_another_may_spend() -> None:
    """A worker at rest keeps what it spent and no more; the rest is there for the others."""
    job = Job(1000, 2)
    first, second = job.workers
    first.send(300)
    job.answer(first)
    first.send(300)
    job.end(first, 0.1, is_known=True)
    while not first.account.note_exactly():
        job.answer(first)
    spent = first.account.ledger.spent
    assert most_of(job.treasury.notes[first.name]) == spent
    second.send(600)
    job.answer(second)
    assert second.send(600)


def test_a_lowered_budget_holds_for_all_workers_together() -> None:
    """What each was granted ahead ends with the larger budget; what is under way finishes."""
    job = Job(20_000, 2)
    for worker in job.workers:
        worker.send(300)
        job.answer(worker)
        assert worker.send(300)
    lower = Budget(tokens=1000)
    job.treasury.limit = lower.cost
    for worker in job.workers:
        worker.account.change_budget(lower)
    for worker in job.workers * 4:
        job.answer(worker)
        worker.send(300)
    assert sum(worker.account.ledger.exposure.tokens for worker in job.workers) <= 1000


def test_a_worker_that_sent_little_is_counted() -> None:
    """Without a budget nothing waits for a note; one is written all the same when it rests."""
    asks: list[Ask] = []
    account = Account(Budget(), Bound(), clock=lambda: 0.0, save=asks.append)
    worker = Worker("w", account, asks)
    assert worker.send(100)
    account.settle(worker.flying.pop(), Answer(completions=(), usage=Usage(3, 4)))
    assert not account.note_exactly()
    assert (asks[-1].note["tokens"], asks[-1].most.tokens) == (7, 7)
