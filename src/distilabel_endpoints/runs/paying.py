"""What a run pays with: its budget, the price of its target, and the ledger in its journal.

Rules
- A budget in dollars needs a price that somebody names. Without one nothing is sent.
- What was spent is in the journal under one name, for every run, with or without a budget.
- If it cannot be written any more, nothing more is sent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from distilabel_endpoints._store.journal import Journal
from distilabel_endpoints._store.store import Store
from distilabel_endpoints.errors import ConfigurationError, RunError
from distilabel_endpoints.run_state import RunEnding, Spent
from distilabel_endpoints.spending.account import Account, Ask, spent_of
from distilabel_endpoints.spending.amounts import PICODOLLARS, Price, show_dollars
from distilabel_endpoints.spending.budget import Budget, parse_budget
from distilabel_endpoints.spending.forecast import LEAST_ROWS
from distilabel_endpoints.spending.prices import Pricing, given_price
from distilabel_endpoints.spending.reservation import Bound

if TYPE_CHECKING:  # `status` reads what was spent, and loads nothing that sends
    from distilabel_endpoints._engine.loop import Lease
    from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM

__all__ = [
    "SpendingOptions",
    "change_budget",
    "close_account",
    "halt_reason",
    "no_limit",
    "open_account",
    "pricing_of",
    "refusal_of",
    "spent_in",
]

_FOR_A_YES: Final = (
    "The forecast is ready. Run the same command with --yes (yes=True in Python) to answer "
    "the other rows; those of the pilot are not sent again."
)
_NOTE: Final = "spent"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendingOptions:
    """What a run may spend, and whether it shows what it will spend first."""

    budget: Budget = field(default_factory=Budget)
    price: Price | None = None
    """What the user says a token costs."""
    pilot: int | None = None
    """Answer N random rows first, and forecast the run from them."""
    yes: bool = False
    """Answer the others after the forecast, whatever it says."""

    @classmethod
    def of(
        cls, *, budget: object, price_in: object, price_out: object, pilot: object, yes: bool
    ) -> SpendingOptions:
        """From what users write.

        Raises:
            ConfigurationError: one of it is not what it should be.
        """
        if pilot is not None and (type(pilot) is not int or pilot < LEAST_ROWS):
            raise ConfigurationError(
                f"pilot is a number of rows, {LEAST_ROWS} or more, from which the whole run is "
                f"forecast; got {pilot!r}. 200 is a good number."
            )
        price = given_price(price_in, price_out)
        return cls(budget=parse_budget(budget), price=price, pilot=pilot, yes=yes)


def pricing_of(llm: InferenceEndpointsLLM, options: SpendingOptions) -> Pricing:
    """What the target costs: by the user, else by the router, the control plane or a list.

    Raises:
        ConfigurationError: a budget in dollars, and no price is known.
    """
    if options.price is not None:
        return Pricing(price=options.price)
    pricing = _by_the_hour(llm) or llm.pricing()
    if options.budget.picodollars is not None and not pricing.is_known:
        raise ConfigurationError(
            f"a budget of {options.budget.text} needs a price, and none is known: "
            f"{pricing.reason}. Give --price-in and --price-out (price_in and price_out in "
            "Python), or a budget in tokens such as '3Mtok'."
        )
    return pricing


def _by_the_hour(llm: InferenceEndpointsLLM) -> Pricing | None:
    """Of a dedicated endpoint: its hardware, times the replicas that it can grow to."""
    if llm.endpoint_name is None:
        return None
    from distilabel_endpoints.lifecycle.life import Plane

    plane = Plane.of(llm)
    try:
        price = plane.price(plane.read())
    except RunError as error:
        return Pricing(reason=f"the endpoint cannot be read ({error})")
    if price is None:
        return Pricing(reason="the list of hardware has no price for the endpoint's")
    return Pricing(hourly=math.ceil(price.most * PICODOLLARS))


def open_account(
    options: SpendingOptions,
    pricing: Pricing,
    journal: Journal,
    lease: Lease,
    *,
    bound: Bound,
    began: float,
    give_up: Callable[[], None],
) -> Account:
    """The run's account, with what earlier processes spent.

    Args:
        options: the budget.
        pricing: what tokens or hours cost.
        journal: keeps the notes.
        lease: of the engine that asks the account.
        bound: the most that an attempt may cost.
        began: the clock's reading when the run began.
        give_up: ends the sending, when no further note can be written.
    """

    def noted(error: Exception | None) -> None:
        if error is None:
            # The account belongs to the engine's loop, and this is the journal's thread.
            lease.loop.call_soon_threadsafe(account.saved)
        else:
            give_up()

    def save(ask: Ask) -> None:
        try:
            journal.write_note(_NOTE, ask.note, noted)
        except Exception:  # noqa: BLE001 - the writer's own; the next flush raises it
            give_up()

    with journal.reader() as reader:
        earlier = reader.note(_NOTE)
    account = Account(
        options.budget,
        bound,
        clock=time.monotonic,
        began=began,
        hourly=pricing.hourly,
        earlier=earlier,
        save=save,
    )
    return account


def refusal_of(budget: Budget, pricing: Pricing, *, unlimited: int) -> str | None:
    """Why this cannot become the budget of a run that is in progress; None if it can.

    Args:
        budget: that is wanted.
        pricing: what the run knew of prices when it began.
        unlimited: rows that set no limit on the length of their answers.
    """
    if budget.picodollars is not None and not pricing.is_known:
        return (
            f"the budget stays, as {budget.text} needs a price and the run began without one: "
            "stop it, and resume with --price-in and --price-out"
        )
    if budget.limits_cost and unlimited:
        return f"the budget stays: {no_limit(unlimited)}"
    return None


async def change_budget(account: Account, budget: Budget) -> None:
    """On the engine's own loop."""
    account.change_budget(budget)


def close_account(account: Account, journal: Journal) -> None:
    """Note what was spent, now that nothing is under way."""
    journal.write_note(_NOTE, account.note())


def spent_in(store: Store) -> Spent | None:
    """What the run of this store has spent; `None` if it never sent anything."""
    note = store.note(_NOTE)
    return None if note is None else spent_of(note)


def no_limit(rows: int) -> ConfigurationError:
    """The error for a budget, and answers that may be of any length."""
    return ConfigurationError(
        f"{rows:,} rows set no limit on the length of their answers, so no budget can hold. Give "
        "them max_tokens, or leave the budget out."
    )


def halt_reason(halted: RunEnding | None, spent: Spent | None) -> str | None:
    """Why rows are left though nothing went wrong, and what to do."""
    if halted is RunEnding.PILOT:
        return _FOR_A_YES
    if halted is RunEnding.BUDGET and spent is not None:
        return _out_of_budget(spent)
    return None


def _out_of_budget(spent: Spent) -> str:
    """Why a run ended at its budget, and what to do."""
    amounts = [f"{spent.tokens:,} tokens"]
    if spent.dollars is not None:
        amounts.insert(0, show_dollars(spent.dollars))
    return (
        f"The budget of {spent.budget} does not pay for another attempt: {', '.join(amounts)} "
        f"are spent in {spent.seconds:,.0f} s. Resume with a larger --budget (budget in Python)."
    )
