"""Prints how the limiter does on the simulated servers, as docs/limits.md quotes it.

python tests/limits/limiter_table.py
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Iterable
from typing import Any

from fluid import plateau, simulate
from limiter_servers import BEST, NAMES, NINE, efficiency, greedy, limiter, score

from distilabel_endpoints._limits.limiter import LimiterSettings

SEEDS = range(3)


def main() -> None:
    """Both tables."""
    write(f"{'server':42} best fixed | overall | first 300 s | last third | refused | timed out")
    for name in NINE:
        scores = [score(name, seed) for seed in SEEDS]
        refused = statistics.mean(one.refused for one in scores)
        timed_out = statistics.mean(one.timed_out for one in scores)
        write(
            f"{name}  {NAMES[name]:39} {BEST[name].limit:9} |"
            f" {least(one.overall for one in scores):>7} |"
            f" {least(one.first for one in scores):>11} |"
            f" {least(one.last for one in scores):>10} |"
            f" {refused:7.2%} | {timed_out:9.2%}"
        )
    write("\nefficiency: greedy list scheduling over our time, runs of about a minute")
    for slots in (64, 512):
        write(f"{f'queues beyond {slots} slots':32} {minute(slots)}")
    for slots in (64, 512):
        ceiling = LimiterSettings(max_concurrency=slots)
        write(f"{f'the same, max_concurrency={slots}':32} {minute(slots, settings=ceiling)}")
    write(f"{'429 beyond 256':32} {minute(256, admit=256)}")
    write("\ngateways that admit N requests a second, one at once: share of that, 10 min, 5 seeds")
    for rate, seconds in ((5, 1), (20, 1), (20, 5), (50, 1), (200, 1)):
        shares = [strict(rate, seconds, seed) for seed in range(5)]
        write(
            f"{rate:5} a second, latency {seconds} s"
            f"   mean {statistics.mean(shares):.2f}   worst {min(shares):.2f}"
        )
    write("\ntime of a small batch over one gather of all of it, idle endpoint, 20 seeds")
    for rows in (64, 256, 1000):
        ratios = [small_batch(rows, seed) for seed in range(20)]
        write(f"{rows:5} rows   mean {statistics.mean(ratios):.2f}   worst {max(ratios):.2f}")
    write("\ntime of batches one after the other over one gather of each, answers of 0.25 s")
    for slots, rows, batches in ((16, 50, 6), (64, 50, 20), (64, 250, 8)):
        ratios = [in_batches(slots, rows, batches, seed) for seed in range(10)]
        write(
            f"{batches:5} batches of {rows:3}, {slots:2} slots"
            f"   mean {statistics.mean(ratios):.3f}   worst {max(ratios):.3f}"
        )


def least(shares: Iterable[float]) -> str:
    """The worst of a few seeds."""
    return f"{100 * min(shares):.0f} %"


def minute(slots: int, *, settings: LimiterSettings | None = None, **changes: Any) -> str:
    """Five runs of about a minute."""
    runs = [
        efficiency(slots, rows=60 * slots, seed=seed, settings=settings, **changes)
        for seed in range(5)
    ]
    shares = [run.share for run in runs]
    refused = statistics.mean(run.refused for run in runs)
    text = f"mean {statistics.mean(shares):.3f}   worst {min(shares):.3f}"
    return f"{text}   refused {refused:.2%}" if refused else text


def strict(rate: int, seconds: int, seed: int) -> float:
    """The share of what a gateway allows that admits requests one by one."""
    server = plateau(1024, seconds, per_minute=60 * rate, burst=1)
    outcome = simulate(server, limiter, seconds=600, seed=seed)
    return outcome.delivered() / (100.0 * seconds * rate * 600)


def small_batch(rows: int, seed: int) -> float:
    """Our time over that of sending everything at once, where there is room for everything."""
    lengths: list[float] = []

    def length(rng: random.Random, _: float) -> float:
        lengths.append(100.0 * rng.lognormvariate(-0.32, 0.8))
        return lengths[-1]

    outcome = simulate(plateau(2048), limiter, rows=rows, seed=seed, length=length)
    return outcome.seconds / (max(lengths) / 100.0)


def in_batches(slots: int, rows: int, batches: int, seed: int) -> float:
    """Our time over that of sending each batch at once, as pipelines call us."""
    lengths: list[float] = []

    def length(rng: random.Random, _: float) -> float:
        lengths.append(25.0 * rng.lognormvariate(-0.32, 0.8))
        return lengths[-1]

    server = plateau(slots, 0.25)
    outcome = simulate(server, limiter, rows=rows, batches=batches, seed=seed, length=length)
    each = [lengths[start : start + rows] for start in range(0, len(lengths), rows)]
    return outcome.seconds / (sum(greedy(batch, slots) for batch in each) / 100.0)


def write(line: str) -> None:
    """To stdout."""
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
