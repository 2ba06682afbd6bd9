"""The documented import path of `InferenceEndpointsLLM`; the code is in `distilabel_endpoints`.

This folder has no `distilabel/__init__.py` above it, so it adds to the package `distilabel`
if that is installed, and stands alone if it is not. Names of other LLM classes come from
upstream's `distilabel.models`. Nothing is imported before a name is asked for: upstream's own
pipelines import names from here, and ours imports upstream's pipelines.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from distilabel_endpoints.pipeline.upstream import fits, is_installed

if TYPE_CHECKING:
    from distilabel.llms.huggingface import InferenceEndpointsLLM

__all__ = ["InferenceEndpointsLLM"]


def __getattr__(name: str) -> Any:
    if name == "InferenceEndpointsLLM" and (fits() or not is_installed()):
        room = "pipeline" if is_installed() else "llms"
        return getattr(import_module(f"distilabel_endpoints.{room}"), name)
    if not name.startswith("__") and is_installed():
        return getattr(import_module("distilabel.models"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
