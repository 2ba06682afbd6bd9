"""What things cost: tokens, and dollars as whole picodollars, so that sums are exact."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Final, NamedTuple

from distilabel_endpoints.errors import ConfigurationError

__all__ = ["PICODOLLARS", "Cost", "Price", "picodollars_of", "show_dollars"]

PICODOLLARS: Final = 10**12
"""In a dollar: a token for $0.000001 a million is one of these."""
_PER_MILLION: Final = PICODOLLARS // 10**6


class Cost(NamedTuple):
    """What something costs, or may cost."""

    tokens: int = 0
    """Input and output together."""
    picodollars: int = 0

    def plus(self, other: Cost) -> Cost:
        """Both together."""
        return Cost(self.tokens + other.tokens, self.picodollars + other.picodollars)

    def minus(self, other: Cost) -> Cost:
        """What is left of this without `other`."""
        return Cost(self.tokens - other.tokens, self.picodollars - other.picodollars)

    def times(self, factor: float) -> Cost:
        """A multiple, rounded up."""
        return Cost(-int(-self.tokens * factor // 1), -int(-self.picodollars * factor // 1))

    def largest(self, other: Cost) -> Cost:
        """The larger of each."""
        return Cost(max(self.tokens, other.tokens), max(self.picodollars, other.picodollars))

    def smallest(self, other: Cost) -> Cost:
        """The smaller of each."""
        return Cost(min(self.tokens, other.tokens), min(self.picodollars, other.picodollars))

    def within(self, other: Cost) -> bool:
        """Whether neither tokens nor dollars are more than those of `other`."""
        return self.tokens <= other.tokens and self.picodollars <= other.picodollars

    @property
    def dollars(self) -> float:
        """As a number for people."""
        return self.picodollars / PICODOLLARS


@dataclass(frozen=True, slots=True)
class Price:
    """What a token costs, in picodollars."""

    input: int
    output: int
    source: str = ""
    """Who says so, for people."""

    @classmethod
    def per_million(cls, input: object, output: object, source: str = "") -> Price:  # noqa: A002
        """From dollars per million tokens, as people and price lists write them.

        Raises:
            ConfigurationError: one of them is not a number of dollars >= 0.
        """
        return cls(_picodollars(input), _picodollars(output), source)

    def of(self, input_tokens: int, output_tokens: int) -> Cost:
        """What N tokens cost."""
        picodollars = self.input * input_tokens + self.output * output_tokens
        return Cost(input_tokens + output_tokens, picodollars)

    def dearest(self, other: Price) -> Price:
        """The higher of each price."""
        return Price(max(self.input, other.input), max(self.output, other.output), self.source)

    def describe(self) -> str:
        """For people, per million tokens."""
        each = (f"${Decimal(part) / _PER_MILLION:f}" for part in (self.input, self.output))
        text = "{} in, {} out per million tokens".format(*each)
        return f"{text} ({self.source})" if self.source else text


def _picodollars(per_million: object) -> int:
    try:
        amount = Decimal(str(per_million))
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or not 0 <= amount <= 10**6:
        raise ConfigurationError(
            f"a price is a number of dollars per million tokens, such as 0.6; got {per_million!r}."
        )
    return int((amount * _PER_MILLION).to_integral_value(ROUND_CEILING))


def picodollars_of(dollars: float) -> int:
    """Rounded up. The digits are those that were written, not those of the binary fraction."""
    amount = Decimal(repr(dollars)) * PICODOLLARS
    return int(amount.to_integral_value(ROUND_CEILING))


def show_dollars(dollars: float) -> str:
    """Cents, or as many digits as a smaller amount needs to be seen."""
    if dollars >= 1 or dollars == 0:
        return f"${dollars:,.2f}"
    return f"${dollars:.4f}" if dollars >= 0.0001 else f"${dollars:.2g}"
