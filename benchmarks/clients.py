"""A run of 6,000 chats at 512 slots: wall clock of ours, of the libraries by hand, of peers.

    .venv/bin/python -m benchmarks clients
    .venv/bin/python -m benchmarks peers clients      # with the peers

As `efficiency`, which has longer runs, does it. Everybody is told the number of slots; "nothing
set" is ours without it, which has to find out. Also drawn: docs/images/clients.png.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.efficiency import OURS, Scenario, Try, compare
from benchmarks.load import ROOT, contenders
from benchmarks.tables import QUICK, size

PICTURE = ROOT / "docs" / "images" / "clients.png"
CHATS = Scenario(named="512 slots", slots=size(512, 64), rows=size(6_000, 300))


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
    axis.set_title(f"{CHATS.rows:,} chats, an endpoint with {CHATS.slots} slots", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.1)
    axis.legend(frameon=False, fontsize=9, loc="upper right")
    figure.tight_layout()
    picture = Path("/dev/null") if QUICK else PICTURE
    figure.savefig(picture, dpi=110, format="png", metadata={"Software": None})


def main() -> None:
    """Print the table and draw the picture."""
    tries = [Try(client=client, told=False, rows=CHATS.rows) for client in OURS]
    tries += [Try(client=client, told=True, rows=CHATS.rows) for client in contenders()]
    medians = compare(CHATS, tries)
    found = {one.shown(CHATS.slots): spent for one, spent in medians.items() if spent}
    walls = {name: one.wall for name, one in sorted(found.items(), key=lambda it: it[1].wall)}
    draw(walls, min(one.wall * one.efficiency for one in found.values()))
    print("\n![Wall clock of each client](images/clients.png)")


if __name__ == "__main__":
    main()
