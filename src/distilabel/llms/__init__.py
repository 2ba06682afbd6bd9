"""The documented import path of `InferenceEndpointsLLM`; the code is in `distilabel_endpoints`.

This folder has no `distilabel/__init__.py` above it, so it adds to the package `distilabel`
if that is installed, and stands alone if it is not. Names of other LLM classes come from
upstream's `distilabel.models`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from distilabel.llms.huggingface import InferenceEndpointsLLM

__all__ = ["InferenceEndpointsLLM"]


def __getattr__(name: str) -> Any:
    # Upstream's own code imports `LLM` and others from here.
    if not name.startswith("__") and find_spec("distilabel.models.base_clients"):
        return getattr(import_module("distilabel.models"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
