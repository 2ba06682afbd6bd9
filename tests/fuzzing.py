"""How long the fuzz tests look: a little in `make test`, `FUZZ` times as long in `make prove`."""

from __future__ import annotations

import os

__all__ = ["examples"]


def examples(count: int) -> int:
    """So many examples, times `FUZZ` of the environment."""
    return count * int(os.environ.get("FUZZ", "1"))
