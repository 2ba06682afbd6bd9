"""How long the fuzz tests look: `make test` takes half of the usual number of examples.

`make coverage` takes all of them (`FUZZ=1`), `make prove` forty times as many.
"""

from __future__ import annotations

import os

__all__ = ["examples"]


def examples(count: int) -> int:
    """So many examples, times `FUZZ` of the environment."""
    return round(count * float(os.environ.get("FUZZ", "0.5")))
