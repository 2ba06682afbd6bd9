"""`InferenceEndpointsLLM` inside the pipelines of the distribution `distilabel`.

    from distilabel_endpoints.pipeline import InferenceEndpointsLLM

`llm` is the class: `fields` derives its attributes from ours, `answering` sends with one of ours,
`generation_kwargs`, `results` and `progress` bring values and words into upstream's form. `hooks`
is what is changed in upstream's own classes, `patching` puts our class in the place of upstream's,
`upstream` finds out whether it is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from distilabel_endpoints.pipeline.upstream import require_upstream

if TYPE_CHECKING:
    from distilabel_endpoints.pipeline.llm import InferenceEndpointsLLM
    from distilabel_endpoints.pipeline.patching import patch

__all__ = ["InferenceEndpointsLLM", "patch"]

_HOMES = {"InferenceEndpointsLLM": "llm", "patch": "patching"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        require_upstream()
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
