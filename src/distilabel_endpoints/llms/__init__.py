"""The LLM classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM

__all__ = ["InferenceEndpointsLLM"]


def __getattr__(name: str) -> Any:
    if name == "InferenceEndpointsLLM":
        from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM

        return InferenceEndpointsLLM
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
