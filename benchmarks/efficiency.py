"""P1 to P3: how near a run comes to the least time its latencies allow.

    .venv/bin/python -m benchmarks efficiency

Efficiency is the greedy bound over the wall time (latency lognormal, mean 1 s, sigma 0.8). Beside
our clients, with nothing set and told the number of slots: raw aiohttp and both stock clients,
told the number of slots. All take turns, several times over; the tables have the medians. Our
runs take about a minute; those by hand have 3,000 rows at most.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from statistics import median

from benchmarks.endpoint import served
from benchmarks.load import flags_for, named, spend
from benchmarks.spent import Load
from benchmarks.tables import Bar, print_bars, print_table, size
from benchmarks.turns import in_turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """An endpoint, and how many rows it is given."""

    named: str
    slots: int
    rows: int
    refuses: bool = False

    @property
    def flags(self) -> list[str]:
        """Of the simulated endpoint."""
        mean = str(size(1.0, 0.1))
        flags = ["--slots", str(self.slots), "--latency", mean, "--sigma", "0.8"]
        return [*flags, "--queue", "0"] if self.refuses else flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a run came to."""

    rows: float
    wall: float
    efficiency: float
    rejected: float
    peak: float
    cpu_ms: float

    @property
    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        return (
            f"{self.rows:,.0f}",
            f"{self.wall:.1f}",
            f"{self.efficiency:.3f}",
            f"{100 * self.rejected:.2f} %",
            f"{self.peak:.0f}",
            f"{self.cpu_ms:.2f}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """A client, told the number of slots or not."""

    client: str
    told: bool
    rows: int

    def shown(self, slots: int) -> str:
        """What the table calls it."""
        name = named(self.client)
        if not self.client.startswith("ours"):
            return name
        return f"{name}, max_concurrency={slots}" if self.told else f"{name}, nothing set"


ROUNDS = size(3, 1)
QUEUE_64 = Scenario(named="64 slots, queueing", slots=64, rows=size(4_000, 300))
QUEUE_512 = Scenario(named="512 slots, queueing", slots=512, rows=size(30_000, 1_000))
REFUSE_256 = Scenario(named="256 slots, refusing", slots=256, rows=size(15_000, 600), refuses=True)
HEADS = ("client", "rows", "wall s", "efficiency", "rejected", "in flight at most", "CPU ms/row")
OURS = ("ours-hub", "ours-openai")
BY_HAND = ("aiohttp", "hub", "openai")
BY_HAND_ROWS = 3_000


def measure(scenario: Scenario, one: Try) -> Found:
    """One run."""
    with served(*scenario.flags, *flags_for(one.client)) as endpoint:
        at_once = scenario.slots if one.told else None
        spent = spend(one.client, Load(url=endpoint.url, rows=one.rows, at_once=at_once))
    return Found(
        rows=one.rows,
        wall=spent.wall,
        efficiency=endpoint.bound(scenario.slots) / spent.wall,
        rejected=endpoint.rejected,
        peak=endpoint.counted["peak_in_flight"],
        cpu_ms=1000 * spent.cpu / one.rows,
    )


def tried(scenario: Scenario, one: Try) -> Found | None:
    """As `measure`; None for a client that is not ours and gave a row up, as its user sees it."""
    try:
        return measure(scenario, one)
    except subprocess.CalledProcessError:
        if one.client.startswith("ours"):
            raise
        return None


def compare(scenario: Scenario, tries: Sequence[Try]) -> dict[Try, Found | None]:
    """Print a table of the medians; None where a client came through no round."""
    works = {one: partial(tried, scenario, one) for one in tries}
    taken = in_turns(scenario.named, ROUNDS, works)
    medians = {one: _middle([f for f in found if f]) for one, found in taken.items()}
    failed = ("failed", *[""] * (len(HEADS) - 2))
    rows = [
        (one.shown(scenario.slots), *(found.cells if found else failed))
        for one, found in medians.items()
    ]
    print_table(f"{scenario.named}, median of {ROUNDS}", HEADS, rows)
    return medians


def _middle(found: Sequence[Found]) -> Found | None:
    if not found:
        return None
    names = [field.name for field in fields(Found)]
    return Found(**{name: median(getattr(one, name) for one in found) for name in names})


def show(scenario: Scenario) -> tuple[list[Found], list[Found]]:
    """Print a scenario's table; ours with nothing set, and ours told."""
    unset = [Try(client=client, told=False, rows=scenario.rows) for client in OURS]
    told = [Try(client=client, told=True, rows=scenario.rows) for client in OURS]
    few = min(scenario.rows, BY_HAND_ROWS)
    hand = [Try(client=client, told=True, rows=few) for client in BY_HAND]
    medians = compare(scenario, [*unset, *told, *hand])
    return (
        [found for one in unset if (found := medians[one])],
        [found for one in told if (found := medians[one])],
    )


def main() -> None:
    """Print the tables and the targets."""
    few_unset, few_told = show(QUEUE_64)
    many_unset, many_told = show(QUEUE_512)
    refused, _ = show(REFUSE_256)
    print_bars(
        _worst("P1", "64 slots, nothing set, efficiency", few_unset, 0.98),
        _worst("P1", "512 slots, nothing set, efficiency", many_unset, 0.97),
        _worst("P2", "64 slots, max_concurrency given, efficiency", few_told, 0.985),
        _worst("P2", "512 slots, max_concurrency given, efficiency", many_told, 0.985),
        _worst("P3", "refusing endpoint, nothing set, efficiency", refused, 0.97),
        Bar(
            "P3",
            "refusing endpoint, nothing set, rejected",
            100 * max(found.rejected for found in refused),
            0.2,
            unit="%",
        ),
    )


def _worst(name: str, what: str, found: list[Found], bar: float) -> Bar:
    """Both clients have to reach it."""
    return Bar(name, what, min(one.efficiency for one in found), bar, at_least=True, unit="")


if __name__ == "__main__":
    main()
