"""P4 to P6: CPU per request at an endpoint that answers at once, beside the libraries and peers.

    .venv/bin/python -m benchmarks cost

The CPU of the client's process alone, after as many rows to warm up as there are in flight, twice.
All clients take turns, several times over; the table has the medians. "over aiohttp" is the ratio
to raw aiohttp in the same run. Peers take part where `python -m benchmarks peers` has made their
environments.
"""

from __future__ import annotations

import subprocess
from functools import partial
from math import isnan, nan
from statistics import median

from benchmarks.endpoint import served
from benchmarks.load import contenders, flags_for, named, spend
from benchmarks.spent import Load
from benchmarks.tables import Bar, print_bars, print_table, size
from benchmarks.turns import in_turns

LEVELS = (64, 512)
ROWS = size(3_000, 600)
ROUNDS = size(3, 1)


def milliseconds(client: str, at_once: int) -> float:
    """CPU per request of one client, once."""
    with served(*flags_for(client)) as endpoint:
        load = Load(url=endpoint.url, rows=ROWS, at_once=at_once, warm=2 * at_once)
        return 1000 * spend(client, load).cpu / ROWS


def tried(client: str, at_once: int) -> float:
    """As `milliseconds`; not a number where a client that is not ours gave a request up."""
    try:
        return milliseconds(client, at_once)
    except subprocess.CalledProcessError:
        if client.startswith("ours"):
            raise
        return nan


def measure(clients: list[str]) -> dict[str, dict[int, float]]:
    """The medians of all rounds."""
    pairs = [(client, at_once) for at_once in LEVELS for client in clients]
    taken = in_turns("cost", ROUNDS, {pair: partial(tried, *pair) for pair in pairs})
    return {
        client: {at_once: _middle(taken[client, at_once]) for at_once in LEVELS}
        for client in clients
    }


def _middle(costs: list[float]) -> float:
    """The median of the rounds that a client came through."""
    return median([cost for cost in costs if not isnan(cost)] or [nan])


def main() -> None:
    """Print the table and the targets."""
    costs = measure(contenders())
    few, many = LEVELS
    least = costs["aiohttp"]
    rows = [
        (
            named(client),
            f"{cost[few]:.2f}",
            f"{cost[few] / least[few]:.1f}",
            f"{cost[many]:.2f}",
            f"{cost[many] / least[many]:.1f}",
            f"{cost[many] / cost[few]:.2f}",
        )
        for client, cost in costs.items()
    ]
    heads = ("client", "ms at 64", "over aiohttp", "ms at 512", "over aiohttp", "512 over 64")
    print_table(f"CPU per request, {ROWS:,} chats, median of {ROUNDS}", heads, rows)
    hub, openai = costs["ours-hub"], costs["ours-openai"]
    print_bars(
        Bar("P4", "hub client, 64 in flight, over raw aiohttp", hub[few] / least[few], 3),
        Bar("P5", "openai client, 64 in flight, over raw aiohttp", openai[few] / least[few], 4.5),
        Bar("P6", "hub client, 512 in flight over 64", hub[many] / hub[few], 1.2),
        Bar("P6", "openai client, 512 in flight over 64", openai[many] / openai[few], 1.2),
    )


if __name__ == "__main__":
    main()
