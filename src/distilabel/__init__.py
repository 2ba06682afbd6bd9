"""InferenceEndpointsLLM, and the engine that turns conversations into completions.

Importing this package loads nothing but the standard library; names are resolved at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from distilabel._conflict import refuse_other_distribution

if TYPE_CHECKING:
    from distilabel.llms.huggingface import InferenceEndpointsLLM
    from distilabel.llms.outputs import Output
    from distilabel.local import LocalEndpoint
    from distilabel.run_state import RunSnapshot, RunSummary
    from distilabel.runs import generate_dataset

__all__ = [
    "InferenceEndpointsLLM",
    "LocalEndpoint",
    "Output",
    "RunSnapshot",
    "RunSummary",
    "__version__",
    "generate_dataset",
]

refuse_other_distribution()

_HOMES = {
    "InferenceEndpointsLLM": "distilabel.llms.huggingface",
    "LocalEndpoint": "distilabel.local",
    "Output": "distilabel.llms.outputs",
    "RunSnapshot": "distilabel.run_state",
    "RunSummary": "distilabel.run_state",
    "generate_dataset": "distilabel.runs",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("distilabel-endpoints")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
