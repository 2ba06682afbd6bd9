"""`python -m benchmarks [NAME ...] [--write]`: run the named measurements, or all of them.

`--write` puts what is printed into the page (`tables.py`); `BENCH_QUICK=1` makes all of it short.
"""

from __future__ import annotations

import importlib
import sys

from benchmarks.tables import QUICK, written

NAMES = (
    "peers",
    "imports",
    "endpoint_capacity",
    "clients",
    "generations",
    "cost",
    "layers",
    "journal_cost",
    "memory",
    "display",
    "llama",
    "efficiency",
    "collector",
    "loops",
    "rows",
    "ordering",
    "pipelines",
    "ray_actors",
    "reliability",
    "limiter_constants",
    "forecast",
    "limit_picture",
    "alarms",
)


def main() -> None:
    """Run them, in the order given."""
    if QUICK and "--write" in sys.argv:
        sys.exit("BENCH_QUICK makes figures that mean nothing; they are not written.")
    names = [word for word in sys.argv[1:] if word != "--write"]
    for name in names or NAMES:
        if name not in NAMES:
            sys.exit(f"no measurement {name!r}; there are: {', '.join(NAMES)}")
        measure = importlib.import_module(f"benchmarks.{name}").main
        if "--write" in sys.argv and name != "limit_picture":
            with written(name):
                measure()
        else:
            measure()


if __name__ == "__main__":
    main()
