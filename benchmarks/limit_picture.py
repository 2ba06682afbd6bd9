"""docs/images/limit.png: limit, in flight and tokens per second over time, for three servers.

    .venv/bin/python -m benchmarks limit_picture

The servers are the models that the limiter's tests use (`tests/limits/limiter_servers.py`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "limit.png"
SHOWN = ("A", "D", "F")
SECONDS = 300.0
STEP = 2.0


def play(name: str) -> tuple[list[float], list[int], list[int], list[float]]:
    """Times, limits, in flight and tokens per second of one simulated run."""
    sys.path.insert(0, str(ROOT / "tests" / "limits"))
    from fluid import simulate
    from limiter_servers import NINE, limiter

    in_flight: dict[int, int] = {}

    def watch(now: float, control: Any) -> None:
        step = int(now / STEP)
        in_flight[step] = max(in_flight.get(step, 0), control.in_flight)

    outcome = simulate(NINE[name], limiter, seconds=SECONDS, seed=1, step=STEP, watch=watch)
    times = [n * STEP for n in range(len(outcome.limits))]
    used = [in_flight.get(n, 0) for n in range(len(times))]
    return times, outcome.limits, used, [tokens / STEP for tokens in outcome.tokens]


def main() -> None:
    sys.path.insert(0, str(ROOT / "tests" / "limits"))
    import matplotlib as mpl
    from limiter_servers import NAMES

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, len(SHOWN), figsize=(12, 5.5), sharex=True, height_ratios=(3, 2))
    for column, name in enumerate(SHOWN):
        times, limits, used, speeds = play(name)
        top, bottom = axes[0][column], axes[1][column]
        top.set_title(f"{name}: {NAMES[name]}", fontsize=10)
        top.plot(times, limits, label="limit", color="#1f5aa6", linewidth=1.6)
        top.plot(times, used, label="in flight", color="#e08214", linewidth=0.9)
        top.set_ylim(bottom=0)
        bottom.plot(times, speeds, color="#4d9221", linewidth=0.9)
        bottom.set_ylim(bottom=0)
        bottom.set_xlabel("seconds")
        for axis in (top, bottom):
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("requests")
    axes[1][0].set_ylabel("tokens per second")
    axes[0][0].legend(frameon=False, fontsize=9)
    figure.tight_layout()
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})
    print(f"\nwrote {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
