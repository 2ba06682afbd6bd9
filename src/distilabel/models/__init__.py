"""The name this package has in later versions of distilabel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distilabel.llms.huggingface import InferenceEndpointsLLM

__all__ = ["InferenceEndpointsLLM"]


def __getattr__(name: str) -> Any:
    if name == "InferenceEndpointsLLM":
        from distilabel.llms.huggingface import InferenceEndpointsLLM

        return InferenceEndpointsLLM
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
