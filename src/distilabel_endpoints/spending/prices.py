"""What a token costs, as the user, the router or a table states it. Nothing is guessed. Pure.

The router's list names each provider of a model, with its state, its price and its context; all but
the first two may be missing. Without a provider named, any of them may answer: the price is then
that of the dearest, and unknown as soon as one of them does not name its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from typing import Any, Final

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.spending.amounts import Price

__all__ = ["NO_PRICE", "Pricing", "given_price", "router_offers", "router_pricing"]

_POLICIES = frozenset({None, "auto", "fastest", "cheapest", "preferred", "sticky"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """What is known of the price of one target."""

    price: Price | None = None
    """Of a token; None if it is not known, or if tokens are not what is paid for."""
    hourly: int | None = None
    """Picodollars an hour, at most, if time is paid for."""
    context: int | None = None
    """Tokens of a prompt and its answer together, at most; None if it is not known."""
    reason: str = ""
    """Why a price is not known."""

    @property
    def is_known(self) -> bool:
        """Whether dollars can be counted."""
        return self.price is not None or self.hourly is not None


NO_PRICE: Final = Pricing(reason="none is given")
"""Nothing is known."""


def given_price(price_in: object, price_out: object) -> Price | None:
    """The price that a user names, in dollars per million tokens; None if there is none.

    Raises:
        ConfigurationError: only one of both is named, or one is not a price.
    """
    if price_in is None and price_out is None:
        return None
    if price_in is None or price_out is None:
        raise ConfigurationError("price_in and price_out belong together; give both.")
    return Price.per_million(price_in, price_out, "as given")


def router_offers(listed: Any, model: str) -> list[Mapping[str, Any]]:
    """What the router's `/v1/models` lists of each provider of a model; none if it is not there."""
    models = _mappings(listed.get("data") if isinstance(listed, Mapping) else None)
    offers = next((entry.get("providers") for entry in models if entry.get("id") == model), None)
    return [*_mappings(offers)]


def router_pricing(listed: Any, model: str, provider: str | None) -> Pricing:
    """The price of a model at the router.

    Args:
        listed: what `/v1/models` answers.
        model: whose.
        provider: who is to answer, or one of the router's policies.
    """
    live = [offer for offer in router_offers(listed, model) if offer.get("status") == "live"]
    if provider not in _POLICIES:
        live = [offer for offer in live if offer.get("provider") == provider]
    if not live:
        return Pricing(reason="the router does not list who serves the model")
    context = _longest_context(live)
    prices = [_offered(offer) for offer in live]
    unpriced = [str(o.get("provider")) for o, p in zip(live, prices, strict=True) if p is None]
    if unpriced:
        reason = f"the router names no price for {', '.join(unpriced)}"
        return Pricing(context=context, reason=reason)
    known = [price for price in prices if price is not None]
    return Pricing(price=reduce(Price.dearest, known), context=context)


def _longest_context(offers: Iterable[Mapping[str, Any]]) -> int | None:
    """The most tokens that any of them takes; None if one does not say."""
    contexts = [offer.get("context_length") for offer in offers]
    known = [context for context in contexts if isinstance(context, int) and context > 0]
    return max(known) if len(known) == len(contexts) else None


def _mappings(values: Any) -> Iterable[Mapping[str, Any]]:
    return (v for v in values if isinstance(v, Mapping)) if isinstance(values, list) else ()


def _offered(offer: Mapping[str, Any]) -> Price | None:
    name, pricing = str(offer.get("provider")), offer.get("pricing")
    if not isinstance(pricing, Mapping):
        return Price(0, 0, f"free at {name}") if offer.get("is_free") is True else None
    parts = [pricing.get("input"), pricing.get("output")]
    if not all(isinstance(p, int | float | Decimal) and not isinstance(p, bool) for p in parts):
        return None
    try:
        return Price.per_million(parts[0], parts[1], f"{name}, the router's list")
    except ConfigurationError:
        return None
