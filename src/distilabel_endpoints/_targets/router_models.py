"""Who serves a model at the router, by its `/v1/models`: what each can do, and which to use.

Every field but a provider's name and state may be missing there: what is not said is not known, and
rules out no provider, but a price that is not known cannot be under a bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.spending.prices import router_offers

__all__ = ["ALL", "STICKY", "Choice", "Needs", "Offer", "choose_offers", "offers_of"]

ALL: Final = "all"
STICKY: Final = "sticky"
"""Words that stand in place of providers' names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a provider says of a model. None: it does not say."""

    provider: str
    is_live: bool = True
    context: int | None = None
    """Tokens of prompt and answer together."""
    price_out: float | None = None
    """US dollars for a million tokens of output."""
    tools: bool | None = None
    structured_output: bool | None = None

    @property
    def lacks(self) -> frozenset[str]:
        """What it says it cannot do."""
        able = {"tools": self.tools, "structured_output": self.structured_output}
        return frozenset(name for name, can in able.items() if can is False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a run asks of a provider."""

    tools: bool = False
    structured_output: bool = False
    tokens: int = 0
    """The longest answer."""
    max_price_out: float | None = None

    def objection(self, offer: Offer) -> str | None:
        """Why a provider is not used; None if it is."""
        if not offer.is_live:
            return "is not live"
        if self.tools and offer.tools is False:
            return "does not take tools"
        if self.structured_output and offer.structured_output is False:
            return "does not hold answers to a schema"
        if offer.context is not None and offer.context <= self.tokens:
            return f"has a context of {offer.context:,} tokens"
        if self.max_price_out is None:
            return None
        if offer.price_out is None:
            return "names no price"
        if offer.price_out > self.max_price_out:
            return f"takes ${offer.price_out:g} for a million tokens of output"
        return None


@dataclass(frozen=True, slots=True)
class Choice:
    """Who is used, and why the others are not."""

    providers: tuple[str, ...]
    left_out: Mapping[str, str]


def offers_of(listed: Any, model: str) -> tuple[Offer, ...]:
    """The offers for a model in an answer of `/v1/models`; none if it is not there."""
    listed_ones = router_offers(listed, model)
    return tuple(_offer(entry) for entry in listed_ones if entry.get("provider"))


def _offer(entry: Mapping[str, Any]) -> Offer:
    pricing, context = entry.get("pricing"), entry.get("context_length")
    price: Any = pricing.get("output") if isinstance(pricing, Mapping) else None
    if price is None and entry.get("is_free") is True:
        price = 0
    return Offer(
        provider=str(entry["provider"]),
        is_live=entry.get("status") == "live",
        context=context if type(context) is int and context > 0 else None,
        price_out=price if _is_number(price) and price >= 0 else None,
        tools=_flag(entry.get("supports_tools")),
        structured_output=_flag(entry.get("supports_structured_output")),
    )


def choose_offers(offers: Sequence[Offer], wanted: Sequence[str], needs: Needs) -> Choice:
    """Who of those that were named, or of all, can do what is needed.

    Args:
        offers: who serves the model.
        wanted: the names; `all` alone for everybody.
        needs: of the run.

    Raises:
        ConfigurationError: one that was named does not serve the model or cannot do it, or none
            can; the message says why.
    """
    known = {offer.provider: offer for offer in offers}
    everybody = tuple(wanted) == (ALL,)
    if unknown := [name for name in wanted if name not in known and not everybody]:
        raise ConfigurationError(
            f"{unknown[0]} does not serve this model; these do: {', '.join(sorted(known))}."
        )
    names = sorted(known) if everybody else wanted
    objections = {name: needs.objection(known[name]) for name in names}
    left_out = {name: why for name, why in objections.items() if why is not None}
    listed = "; ".join(f"{name} {why}" for name, why in left_out.items())
    if left_out and not everybody:
        raise ConfigurationError(f"Not every provider can be used: {listed}. Leave it out.")
    chosen = tuple(name for name in names if name not in left_out)
    if not chosen:
        raise ConfigurationError(f"No provider can be used: {listed or 'the router lists none'}.")
    return Choice(chosen, left_out)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
