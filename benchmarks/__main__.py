"""`python -m benchmarks [NAME ...]`: run the named measurements, or all of them."""

from __future__ import annotations

import importlib
import sys

NAMES = ("imports", "limit_picture", "efficiency", "rows")


def main() -> None:
    for name in sys.argv[1:] or NAMES:
        if name not in NAMES:
            sys.exit(f"no measurement {name!r}; there are: {', '.join(NAMES)}")
        importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
