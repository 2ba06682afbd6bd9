"""P1 to P3: how near a run comes to the least time its latencies allow.

    .venv/bin/python -m benchmarks efficiency

Efficiency is the greedy bound over the wall time (latency lognormal, mean 1 s, sigma 0.8). Beside
our clients, with nothing set and told the number of slots: raw aiohttp and both stock clients,
told the number of slots. Our runs take about a minute; those by hand have 6,000 rows at most.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace

from benchmarks.endpoint import served
from benchmarks.load import named, spend
from benchmarks.spent import Load
from benchmarks.tables import Bar, note, print_bars, print_table, size


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

    rows: int
    wall: float
    efficiency: float
    rejected: float
    peak: int
    cpu_ms: float

    @property
    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        return (
            f"{self.rows:,}",
            f"{self.wall:.1f}",
            f"{self.efficiency:.3f}",
            f"{100 * self.rejected:.2f} %",
            str(self.peak),
            f"{self.cpu_ms:.2f}",
        )


QUEUE_64 = Scenario(named="64 slots, queueing", slots=64, rows=size(4_000, 300))
QUEUE_512 = Scenario(named="512 slots, queueing", slots=512, rows=size(30_000, 1_000))
REFUSE_256 = Scenario(named="256 slots, refusing", slots=256, rows=size(15_000, 600), refuses=True)
HEADS = ("client", "rows", "wall s", "efficiency", "rejected", "in flight at most", "CPU ms/row")
OURS = ("ours-hub", "ours-openai")
BY_HAND = ("aiohttp", "hub", "openai")
BY_HAND_ROWS = 6_000


def measure(scenario: Scenario, client: str, *, told: bool) -> Found:
    """One run."""
    with served(*scenario.flags) as endpoint:
        at_once = scenario.slots if told else None
        spent = spend(client, Load(url=endpoint.url, rows=scenario.rows, at_once=at_once))
    found = Found(
        rows=scenario.rows,
        wall=spent.wall,
        efficiency=endpoint.bound(scenario.slots) / spent.wall,
        rejected=endpoint.rejected,
        peak=int(endpoint.counted["peak_in_flight"]),
        cpu_ms=1000 * spent.cpu / scenario.rows,
    )
    note(f"efficiency: {scenario.named}, {client}, told={told}: {found.efficiency:.3f}")
    return found


def by_hand(scenario: Scenario, client: str) -> tuple[str, ...]:
    """As the table shows it: a client that gives a row up ends there, as its user would."""
    try:
        short = replace(scenario, rows=min(scenario.rows, BY_HAND_ROWS))
        return measure(short, client, told=True).cells
    except subprocess.CalledProcessError:
        return ("failed", *[""] * (len(HEADS) - 2))


def show(scenario: Scenario) -> tuple[list[Found], list[Found]]:
    """Print a scenario's table; ours with nothing set, and ours told."""
    unset = [measure(scenario, client, told=False) for client in OURS]
    told = [measure(scenario, client, told=True) for client in OURS]
    hand = [by_hand(scenario, client) for client in BY_HAND]
    names = [f"{named(client)}, nothing set" for client in OURS]
    names += [f"{named(client)}, max_concurrency={scenario.slots}" for client in OURS]
    names += [named(client) for client in BY_HAND]
    cells = [found.cells for found in (*unset, *told)] + hand
    rows = [(name, *shown) for name, shown in zip(names, cells, strict=True)]
    print_table(scenario.named, HEADS, rows)
    return unset, told


def main() -> None:
    """Print the tables and the targets."""
    few_unset, few_told = show(QUEUE_64)
    many_unset, many_told = show(QUEUE_512)
    refused, _ = show(REFUSE_256)
    print_bars(
        _worst("P1", "64 slots, nothing set, efficiency", few_unset, 0.92),
        _worst("P1", "512 slots, nothing set, efficiency", many_unset, 0.92),
        _worst("P2", "64 slots, max_concurrency given, efficiency", few_told, 0.97),
        _worst("P2", "512 slots, max_concurrency given, efficiency", many_told, 0.97),
        _worst("P3", "refusing endpoint, nothing set, efficiency", refused, 0.88),
        Bar(
            "P3",
            "refusing endpoint, nothing set, rejected",
            100 * max(found.rejected for found in refused),
            2,
            unit="%",
        ),
    )


def _worst(name: str, what: str, found: list[Found], bar: float) -> Bar:
    """Both clients have to reach it."""
    return Bar(name, what, min(one.efficiency for one in found), bar, at_least=True, unit="")


if __name__ == "__main__":
    main()
