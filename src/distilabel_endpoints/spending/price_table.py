"""The one door to genai-prices: what well-known hosts charge, as its authors collected it."""

from __future__ import annotations

import importlib.util

from distilabel_endpoints.spending.amounts import Price
from distilabel_endpoints.spending.prices import Pricing

__all__ = ["table_pricing"]

_MILLION = 10**6


def table_pricing(url: str, model: str | None) -> Pricing:
    """The price of a model behind a URL, if the table has it.

    Prices that depend on how long a prompt is, or on the hour, are taken for prompts of a million
    tokens, now.
    """
    if not url.startswith("https://"):
        # Every run asks, and to load the list takes as long as to load a client.
        return Pricing(reason=f"no list has prices for {url}")
    if model is None:
        return Pricing(reason=f"{url} names no model")
    if importlib.util.find_spec("genai_prices") is None:
        return Pricing(
            reason=f"no list of prices for {url}: pip install 'distilabel-endpoints[prices]'"
        )
    from genai_prices import Usage, calc_price

    try:
        price = calc_price(
            Usage(input_tokens=_MILLION, output_tokens=_MILLION),
            model_ref=model,
            provider_api_url=url,
        )
    except LookupError:
        return Pricing(reason=f"genai-prices does not list {model} at {url}")
    source = f"{price.provider.name}, by genai-prices"
    return Pricing(price=Price.per_million(price.input_price, price.output_price, source))
