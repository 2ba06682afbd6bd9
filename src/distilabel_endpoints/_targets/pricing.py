"""What the tokens of a target cost: asked of the router, or looked up. Wakes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from distilabel_endpoints._targets.connect import open_session_to
from distilabel_endpoints._targets.probe import ask
from distilabel_endpoints._targets.urls import Target
from distilabel_endpoints.records import Failure, Server
from distilabel_endpoints.spending.price_table import table_pricing
from distilabel_endpoints.spending.prices import Pricing, router_pricing

__all__ = ["find_pricing"]


async def find_pricing(targets: Sequence[Target]) -> Pricing:
    """The price that holds for all of these: the dearest, unknown if one of them is."""
    pricings = [await _of(target) for target in targets]
    unknown = next((pricing for pricing in pricings if not pricing.is_known), None)
    if unknown is not None:
        return unknown
    dearest = pricings[0]
    for pricing in pricings[1:]:
        assert dearest.price is not None
        assert pricing.price is not None
        contexts = (dearest.context, pricing.context)
        context = None if None in contexts else max(c for c in contexts if c is not None)
        dearest = Pricing(price=dearest.price.dearest(pricing.price), context=context)
    return dearest


async def _of(target: Target) -> Pricing:
    if target.settings.endpoint_name is not None:
        return Pricing(reason="a dedicated endpoint is paid by the hour")
    if target.server is not Server.ROUTER:
        return table_pricing(target.api, target.model)
    name, _, provider = (target.model or "").partition(":")
    async with open_session_to(target) as session:
        listed = await ask(session, f"{target.api}/models")
    if isinstance(listed, Failure):
        return Pricing(reason=f"the router's list cannot be read ({listed.message})")
    return router_pricing(listed, name, provider or target.settings.provider)
