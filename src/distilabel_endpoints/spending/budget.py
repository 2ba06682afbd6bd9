"""What a user allows a run to spend: dollars, tokens and time, each at most once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.spending.amounts import PICODOLLARS, Cost

__all__ = ["UNLIMITED", "Budget", "parse_budget"]

UNLIMITED: Final = 1 << 100
"""More than anything costs."""

_NUMBER: Final = r"(\d{1,12}(?:\.\d{1,9})?)"
_DOLLARS: Final = re.compile(rf"\${_NUMBER}|{_NUMBER} ?usd", re.IGNORECASE)
_TOKENS: Final = re.compile(rf"{_NUMBER} ?([kMGB]?) ?tok(?:ens?)?", re.IGNORECASE)
_TIME: Final = re.compile(
    rf"(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?", re.IGNORECASE
)
_SIZES: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
_SECONDS: Final = (86400, 3600, 60, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most a run may spend, all its processes and resumes together. `None`: as it likes."""

    tokens: int | None = None
    """Input and output together, failed attempts included."""
    picodollars: int | None = None
    seconds: float | None = None
    """While a process works on the run; the time between two of them does not count."""
    text: str = ""
    """As the user wrote it."""

    @classmethod
    def up_to(cls, cost: Cost, seconds: float | None) -> Budget:
        """The one whose `cost` this is, with this limit of time."""
        tokens, picodollars = (None if part >= UNLIMITED else part for part in cost)
        return cls(tokens=tokens, picodollars=picodollars, seconds=seconds)

    def __bool__(self) -> bool:
        return (self.tokens, self.picodollars, self.seconds) != (None, None, None)

    @property
    def cost(self) -> Cost:
        """What attempts may cost, all together."""
        tokens = UNLIMITED if self.tokens is None else self.tokens
        return Cost(tokens, UNLIMITED if self.picodollars is None else self.picodollars)

    @property
    def limits_cost(self) -> bool:
        """Whether there is any such limit."""
        return self.tokens is not None or self.picodollars is not None


def parse_budget(amounts: Any) -> Budget:
    """A budget as users write it: one text, or several for different things.

    Args:
        amounts: such as `"$20"`, `"3Mtok"`, `"2h"` or `["$20", "90m"]`; None for none.

    Raises:
        ConfigurationError: a text is none of these, or two of them limit the same.
    """
    if isinstance(amounts, Budget):
        return amounts
    written = _listed([amounts] if isinstance(amounts, str) else amounts)
    limits: dict[str, Any] = {}
    for text in written:
        name, amount = _parsed(text)
        if name in limits:
            raise ConfigurationError(f"two budgets limit the same; keep one of them: {text!r}.")
        limits[name] = amount
    return Budget(**limits, text=" and ".join(str(text).strip() for text in written))


def _listed(texts: object) -> Sequence[object]:
    if texts is None:
        return ()
    if not isinstance(texts, Sequence):
        raise ConfigurationError(_usage(texts))
    return texts


def _parsed(text: object) -> tuple[str, int | float]:
    name, amount = _measured(text.strip()) if isinstance(text, str) else ("", Decimal(0))
    if amount <= 0:
        raise ConfigurationError(_usage(text))
    return name, float(amount) if name == "seconds" else int(amount)


def _measured(text: str) -> tuple[str, Decimal]:
    if match := _DOLLARS.fullmatch(text):
        return "picodollars", Decimal(match[1] or match[2]) * PICODOLLARS
    if match := _TOKENS.fullmatch(text):
        return "tokens", Decimal(match[1]) * _SIZES[match[2].lower()]
    if match := _TIME.fullmatch(text.replace(" ", "")):
        pairs = zip(match.groups(), _SECONDS, strict=True)
        return "seconds", sum((Decimal(part) * size for part, size in pairs if part), Decimal(0))
    return "", Decimal(0)


def _usage(text: object) -> str:
    return (
        f"{text!r} is not a budget. Write '$20', '3Mtok' or '2h' in single quotes, as a shell "
        "replaces $20 otherwise."
    )
