"""One run of 6,000 chats at 512 slots: wall clock of ours, of the libraries by hand, of peers.

    .venv/bin/python -m benchmarks clients
    .venv/bin/python -m benchmarks peers clients      # with the peers

Latencies are lognormal, mean 1 s, sigma 0.8. Efficiency is the greedy bound over the wall time.
Everybody is told the number of slots; "nothing set" is ours without it, which has to find out.
Also drawn: docs/images/clients.png.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from benchmarks.endpoint import served
from benchmarks.load import ROOT, contenders, flags_for, named, spend
from benchmarks.spent import Load
from benchmarks.tables import QUICK, note, print_table, size

PICTURE = ROOT / "docs" / "images" / "clients.png"
SLOTS = size(512, 64)
ROWS = size(6_000, 300)
MEAN = size(1.0, 0.2)
NOTHING_SET = ("ours-hub", "ours-openai")


def measure(client: str, at_once: int | None) -> tuple[float, float, int, float]:
    """Wall seconds, the greedy bound, the most in flight, CPU milliseconds a request."""
    latency = ("--slots", str(SLOTS), "--latency", str(MEAN), "--sigma", "0.8")
    with served(*latency, *flags_for(client)) as endpoint:
        spent = spend(client, Load(url=endpoint.url, rows=ROWS, at_once=at_once))
    peak = int(endpoint.counted["peak_in_flight"])
    return spent.wall, endpoint.bound(SLOTS), peak, 1000 * spent.cpu / ROWS


def draw(walls: Mapping[str, float], bound: float) -> None:
    """The wall clocks as bars, the bound as a line."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 0.42 * len(walls) + 1.2))
    colors = ["#1f5aa6" if name.startswith("ours") else "#b5b5b5" for name in walls]
    bars = axis.barh(list(walls), list(walls.values()), color=colors)
    axis.bar_label(bars, fmt="%.1f s", padding=3, fontsize=9)
    axis.axvline(bound, color="#e08214", linewidth=1.2, label=f"least possible, {bound:.1f} s")
    axis.invert_yaxis()
    axis.set_xlabel("seconds")
    axis.set_title(f"{ROWS:,} chats, an endpoint with {SLOTS} slots", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.1)
    axis.legend(frameon=False, fontsize=9, loc="upper right")
    figure.tight_layout()
    picture = Path("/dev/null") if QUICK else PICTURE
    figure.savefig(picture, dpi=110, format="png", metadata={"Software": None})


def main() -> None:
    """Print the table and draw the picture."""
    tries: list[tuple[str, str, int | None]] = [
        (f"{named(client)}, nothing set", client, None) for client in NOTHING_SET
    ]
    tries += [(named(client), client, SLOTS) for client in contenders()]
    rows, walls, bounds = [], {}, []
    for name, client, at_once in tries:
        try:
            wall, bound, peak, cpu = measure(client, at_once)
        except subprocess.CalledProcessError:
            # A client that gives a row up ends there, as its user would see it.
            rows.append((name, "failed", "", "", ""))
            continue
        walls[name] = wall
        bounds.append(bound)
        rows.append((name, f"{wall:.1f}", f"{bound / wall:.3f}", str(peak), f"{cpu:.2f}"))
        note(f"clients: {name}: {wall:.1f} s")
    heads = ("client", "wall s", "efficiency", "in flight at most", "CPU ms/request")
    print_table(f"{ROWS:,} chats, {SLOTS} slots, mean latency {MEAN:g} s", heads, rows)
    draw(dict(sorted(walls.items(), key=lambda item: item[1])), min(bounds))
    print("\n![Wall clock of each client](images/clients.png)")


if __name__ == "__main__":
    main()
