"""Memory per request in flight: how the peak grows with the number of connections.

    .venv/bin/python -m benchmarks memory

Each load in a fresh process, at an endpoint whose every answer takes a second: the peak at the
higher number in flight less that at the lower one, over the difference. For ours that holds the
connection, the row and its request, and the row's place in the window.
"""

from __future__ import annotations

from benchmarks.endpoint import served
from benchmarks.load import named, spend
from benchmarks.spent import Load
from benchmarks.tables import note, print_table, size

FEW, MANY = 128, size(2_048, 512)
SECONDS = size(1.0, 0.5)
CLIENTS = ("ours-hub", "ours-openai", "aiohttp", "openai-aiohttp", "openai")


def peak(client: str, at_once: int) -> float:
    """Megabytes, with so many in flight for a while."""
    with served("--latency", str(SECONDS)) as endpoint:
        rows = size(4, 1) * at_once
        return spend(client, Load(url=endpoint.url, rows=rows, at_once=at_once)).peak_mb


def measure(client: str) -> tuple[str, ...]:
    """One line of the table."""
    few, many = peak(client, FEW), peak(client, MANY)
    note(f"memory: {client} done")
    each = 1024 * (many - few) / (MANY - FEW)
    return named(client), f"{few:.0f}", f"{many:.0f}", f"{each:.1f}"


def main() -> None:
    """Print the table."""
    heads = ("client", f"MB at {FEW}", f"MB at {MANY:,}", "KB each")
    print_table("peak memory by requests in flight", heads, [measure(c) for c in CLIENTS])


if __name__ == "__main__":
    main()
