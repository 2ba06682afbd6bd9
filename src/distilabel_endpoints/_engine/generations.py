"""One row: as many completions as were asked for, each one checked.

Rules
- A server that gives several choices is asked once, so the prompt is paid once; if fewer come
  back than asked for, that is remembered and the rest is fetched one by one.
- An answer that does not fit its grammar is asked for again as often as allowed, then it is a
  failure with the text kept.
- An answer that was cut off may be asked for once more, longer. That never takes away what there
  is: if it fails, the answer stays as it was.
- A row may take more answers than one to say one thing (labels): what they show comes of all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from distilabel_endpoints._engine.scheduler import Scheduler
from distilabel_endpoints.errors import run_error
from distilabel_endpoints.records import (
    Answer,
    Completion,
    Failure,
    FailureKind,
    Request,
    Result,
    Usage,
)

__all__ = ["Inquiry", "RowPlan", "answer_row"]

_CUT_OFF: Final = (
    "Raise max_new_tokens, keep cut-off answers with on_length='keep', or retry "
    "them with on_length='grow:2x'."
)
_SPENT: Final = (
    "Raise max_new_tokens, ask for less thinking, or retry such answers with on_length='grow:4x'."
)
# Seeds stay below this: the smallest range among the servers is a signed 32-bit integer.
_SEEDS: Final = 2**31


class Inquiry(Protocol):
    """What is asked of a row beyond its first answer, and what comes of all its answers."""

    def evidence(self) -> Any:
        """What the answers of one row show: nothing yet."""
        ...

    def next_request(self, evidence: Any, completion: Completion) -> Request | Failure | None:
        """Take an answer in: the next request, nothing, or why no row can be answered so."""
        ...

    def conclude(self, evidence: Any, completion: Completion) -> Completion:
        """The first answer, with what all of them show."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlan:
    """What one row asks for."""

    request: Request
    wanted: int = 1
    """How many completions."""
    check: Callable[[str], str | None] | None = field(default=None, repr=False)
    """Why a text is not acceptable, or `None` when it is."""
    format: str | None = None
    """What `check` checks, in the word of `structured_output`."""
    check_retries: int = 0
    """Further tries for an answer that was not acceptable."""
    takes_cut_off: bool = True
    """Whether an answer that was cut off at its longest is one."""
    longer: Request | None = field(default=None, repr=False)
    """What is asked instead, once, for answers that were cut off; `None`: they stay."""
    inquiry: Inquiry | None = field(default=None, repr=False)
    """For one completion: what is asked beyond it."""
    key: Any = field(default=None, repr=False)
    """The caller's own; it comes back in the result."""
    answer: Callable[[], Awaitable[Result]] | None = field(default=None, repr=False)
    """A user's own way to the row's result, in place of the requests."""


@dataclass(slots=True)
class _Row:
    plan: RowPlan
    request: Request
    completions: list[Completion | None]
    failures: list[Failure | None]
    usages: list[Usage] = field(default_factory=list)
    cut_off: set[int] = field(default_factory=set)
    attempts: int = 0
    is_growing: bool = False

    def file(self, slot: int, completion: Completion | None, failure: Failure | None) -> None:
        """How generation `slot` stands now."""
        if self.is_growing and failure is not None and self._is_better_than(failure, slot):
            return
        self.completions[slot] = None if failure else completion
        self.failures[slot] = failure

    def _is_better_than(self, failure: Failure, slot: int) -> bool:
        """Whether what there is of a generation says more than the failure to get a longer one."""
        return self.completions[slot] is not None or failure.kind is not FailureKind.CONTENT


async def answer_row(scheduler: Scheduler, plan: RowPlan) -> Result:
    """Every completion the plan asks for, or the failure in its place.

    Raises:
        RunError: no row can be answered.
    """
    if plan.answer is not None:
        return replace(await plan.answer(), key=plan.key)
    row = _Row(plan, plan.request, [None] * plan.wanted, [None] * plan.wanted)
    await _fetch(scheduler, row, list(range(plan.wanted)))
    if plan.longer is not None and row.cut_off:
        row.request, row.is_growing = plan.longer, True
        await _fetch(scheduler, row, sorted(row.cut_off))
        row.is_growing = False
    for _ in range(plan.check_retries):
        again = [i for i, failure in enumerate(row.failures) if _is_off_grammar(failure)]
        if not again:
            break
        await _fetch(scheduler, row, again, shift=True)
    if plan.inquiry is not None and row.completions[0] is not None:
        await _inquire(scheduler, row, plan.inquiry, row.completions[0])
    return Result(
        ordinal=plan.request.ordinal,
        completions=tuple(row.completions),
        failures=tuple(row.failures),
        usages=tuple(row.usages),
        attempts=row.attempts,
        key=plan.key,
    )


async def _inquire(scheduler: Scheduler, row: _Row, inquiry: Inquiry, first: Completion) -> None:
    """Ask on until the first answer has all that is to be known beside it."""
    evidence = inquiry.evidence()
    following = inquiry.next_request(evidence, first)
    while isinstance(following, Request):
        outcome = await scheduler.complete(replace(following, n=1))
        row.attempts += 1
        if isinstance(outcome, Failure):
            row.file(0, None, outcome)
            return
        row.usages.append(outcome.usage)
        following = inquiry.next_request(evidence, outcome.completions[0])
    if isinstance(following, Failure):
        raise run_error(following)
    row.file(0, inquiry.conclude(evidence, first), None)


async def _fetch(scheduler: Scheduler, row: _Row, slots: list[int], *, shift: bool = False) -> None:
    """Fill the slots: all in one request if the server can, the rest one by one."""
    limit = scheduler.choices_limit
    if len(slots) > 1 and limit != 1:
        slots = await _fetch_together(scheduler, row, slots, shift=shift)
    if len(slots) == 1:
        await _fetch_one(scheduler, row, slots[0], shift=shift)
    elif slots:
        # Not a task group: the run's end must not cancel a sibling that is in flight.
        fetches = (_fetch_one(scheduler, row, slot, shift=shift) for slot in slots)
        for error in await asyncio.gather(*fetches, return_exceptions=True):
            if error is not None:
                raise error


async def _fetch_together(
    scheduler: Scheduler, row: _Row, slots: list[int], *, shift: bool
) -> list[int]:
    """One request for all slots. Gives back the slots that are still open."""
    request = _request_for(row, slots[0], len(slots), shift=shift)
    outcome = await scheduler.complete(request)
    row.attempts += 1
    if isinstance(outcome, Failure):
        if outcome.parameter == "n":
            scheduler.choices_limit = 1
            return slots
        for slot in slots:
            row.file(slot, None, outcome)
        return []
    if len(outcome.completions) < len(slots):
        scheduler.choices_limit = len(outcome.completions)
    _place(scheduler, row, slots, outcome)
    return slots[len(outcome.completions) :]


async def _fetch_one(scheduler: Scheduler, row: _Row, slot: int, *, shift: bool) -> None:
    outcome = await scheduler.complete(_request_for(row, slot, 1, shift=shift))
    row.attempts += 1
    if isinstance(outcome, Failure):
        row.file(slot, None, outcome)
    else:
        _place(scheduler, row, [slot], outcome)


def _request_for(row: _Row, slot: int, n: int, *, shift: bool) -> Request:
    """The row's request for `n` completions, the first of which is generation `slot`.

    Each generation has its own seed. A further try moves on, as the same seed would only
    bring the same text.
    """
    seed = row.request.seed
    if seed is not None:
        # 7919: a prime, so that a further try does not land on the seed of a row nearby, as those
        # are one apart.
        seed = (seed + slot + (row.attempts * 7919 if shift else 0)) % _SEEDS
    request = row.request
    if (n, seed) == (request.n, request.seed):
        return request
    return replace(request, n=n, seed=seed)


def _place(scheduler: Scheduler, row: _Row, slots: list[int], answer: Answer) -> None:
    row.usages.append(answer.usage)
    # Fewer may have come: the rest is fetched one by one. Or more, which are left out.
    for slot, completion in zip(slots, answer.completions, strict=False):
        if completion.finish_reason == "length":
            row.cut_off.add(slot)
        objection = _objection(row.plan, completion)
        row.file(slot, completion, objection)
        is_whole = completion.finish_reason == "stop" and completion.tool_calls is None
        if row.plan.format is not None and is_whole:
            scheduler.note_format(row.plan.format, fits=objection is None)


def _objection(plan: RowPlan, completion: Completion) -> Failure | None:
    """Why a completion that came back is not what was asked for."""
    match completion.finish_reason:
        case "content_filter":
            message = "the server's content filter stopped the answer"
            return _refused(completion, "content_filter", message)
        case "repetition":
            message = "the server stopped the answer because it repeated itself"
            return _refused(completion, "repetition", message)
        case "length" if completion.text is None and completion.tool_calls is None:
            return _budget_spent(completion)
        case "length" if not plan.takes_cut_off:
            message = "the answer was cut off at max_new_tokens, and on_length is 'fail'"
            return _refused(completion, "length", message, _CUT_OFF)
    if plan.check is None or completion.tool_calls is not None:
        return None
    reason = plan.check(completion.text or "")
    if reason is None:
        return None
    is_cut = completion.finish_reason == "length"
    hint = "It was cut off at max_new_tokens; raise that." if is_cut else None
    message = f"the answer does not fit structured_output: {reason}"
    return _refused(completion, "off_schema", message, hint)


def _budget_spent(completion: Completion) -> Failure:
    """All tokens went into thinking, or into nothing that can be read: there is no answer."""
    # No count in it: a run's summary groups failures by their message.
    where = "in the model's thinking, " if completion.reasoning else ""
    message = f"max_new_tokens was used up {where}before the answer began"
    return _refused(completion, "budget_spent", message, _SPENT)


def _refused(completion: Completion, code: str, message: str, hint: str | None = None) -> Failure:
    """A failure that keeps what the model wrote."""
    return Failure(
        kind=FailureKind.CONTENT,
        code=code,
        message=message,
        hint=hint,
        text=completion.text,
        reasoning=completion.reasoning,
        finish_reason=completion.finish_reason,
    )


def _is_off_grammar(failure: Failure | None) -> bool:
    return failure is not None and failure.code == "off_schema"
