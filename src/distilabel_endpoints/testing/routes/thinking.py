"""How much a simulated model thinks: each server's own fields, as their sources read them.

vLLM and SGLang turn `reasoning_effort: none` into `enable_thinking: false`; llama.cpp takes both.
vLLM has `thinking_token_budget`, and refuses it without a reasoning parser; llama.cpp has
`thinking_budget_tokens`; TGI has nothing and ignores what it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from distilabel_endpoints.testing.endpoint_settings import FlavorName
from distilabel_endpoints.testing.exchange import Exchange

__all__ = ["check_thinking", "counted", "thought"]

_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_TIMES: Final = {"minimal": 1, "low": 1, "medium": 2, "high": 4, "xhigh": 6, "max": 8}
_BUDGETS: Final = {"vllm": "thinking_token_budget", "llamacpp": "thinking_budget_tokens"}


def check_thinking(exchange: Exchange, body: Mapping[str, Any]) -> None:
    """Refuse what the server refuses."""
    effort = body.get("reasoning_effort")
    if exchange.flavor in ("vllm", "sglang", "openai") and effort is not None:
        known = isinstance(effort, float) and exchange.flavor == "sglang"
        if effort not in _EFFORTS and not known:
            listed = ", ".join(f"'{name}'" for name in _EFFORTS)
            raise exchange.refuse(400, f"reasoning_effort: Input should be {listed}")
    is_budgeted = body.get("thinking_token_budget") is not None
    if exchange.flavor == "vllm" and is_budgeted and not exchange.settings.reasoning:
        raise exchange.refuse(
            400,
            "thinking_token_budget is set but reasoning_config is not configured. Please set "
            "--reasoning-parser and/or --reasoning-config to use thinking_token_budget.",
        )


def thought(flavor: FlavorName, body: Mapping[str, Any], index: int) -> str | None:
    """The thinking before answer number `index`; None for none."""
    if flavor == "tgi":
        return f"Thinking about answer {index}."
    kwargs = body.get("chat_template_kwargs")
    switch = kwargs.get("enable_thinking") if isinstance(kwargs, Mapping) else None
    effort = body.get("reasoning_effort")
    if (switch is False and flavor != "openai") or (effort == "none" and switch is not True):
        return None
    words = (f"Thinking about answer {index}. " * _TIMES.get(str(effort), 1)).split()
    budget = body.get(_BUDGETS.get(flavor, ""))
    return " ".join(words if budget is None else words[:budget]) or None


def counted(flavor: FlavorName, tokens: int) -> dict[str, Any]:
    """How a server's `usage` counts the thinking apart; llama.cpp and TGI do not."""
    match flavor:
        case "vllm" | "openai":
            return {"completion_tokens_details": {"reasoning_tokens": tokens}}
        case "sglang":
            return {"reasoning_tokens": tokens}
        case _:
            return {}
