"""`from distilabel.llms.huggingface import InferenceEndpointsLLM`, as documented.

If upstream is installed, this is an LLM of its pipelines; if not, our class alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from distilabel_endpoints.pipeline.upstream import is_installed

if not TYPE_CHECKING and is_installed():
    from distilabel_endpoints.pipeline import InferenceEndpointsLLM
else:
    from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM

__all__ = ["InferenceEndpointsLLM"]


def __getattr__(name: str) -> Any:
    if not name.startswith("__") and is_installed():
        return getattr(import_module("distilabel.models.llms.huggingface"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
