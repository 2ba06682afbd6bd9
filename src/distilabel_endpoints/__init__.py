"""InferenceEndpointsLLM, and the engine that turns conversations into completions.

Importing this package loads nothing but the standard library; names are resolved at first use.
"""

from __future__ import annotations

import importlib
import os.path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distilabel_endpoints.dataset import FinishedRun, generate_dataset
    from distilabel_endpoints.engine_state import Description, EngineStatistics
    from distilabel_endpoints.lifecycle.life import endpoint_life
    from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
    from distilabel_endpoints.llms.inputs import GenerationParameters
    from distilabel_endpoints.llms.outputs import Output
    from distilabel_endpoints.local import LocalEndpoint
    from distilabel_endpoints.run_state import RunSnapshot, RunSummary

__all__ = [
    "Description",
    "EngineStatistics",
    "FinishedRun",
    "GenerationParameters",
    "InferenceEndpointsLLM",
    "LocalEndpoint",
    "Output",
    "RunSnapshot",
    "RunSummary",
    "__version__",
    "endpoint_life",
    "generate_dataset",
]

_HOMES = {
    "Description": "distilabel_endpoints.engine_state",
    "EngineStatistics": "distilabel_endpoints.engine_state",
    "FinishedRun": "distilabel_endpoints.dataset",
    "GenerationParameters": "distilabel_endpoints.llms.inputs",
    "InferenceEndpointsLLM": "distilabel_endpoints.llms.huggingface",
    "LocalEndpoint": "distilabel_endpoints.local",
    "Output": "distilabel_endpoints.llms.outputs",
    "RunSnapshot": "distilabel_endpoints.run_state",
    "RunSummary": "distilabel_endpoints.run_state",
    "endpoint_life": "distilabel_endpoints.lifecycle.life",
    "generate_dataset": "distilabel_endpoints.dataset",
}


def _refuse_old_upstream() -> None:
    """Releases of `distilabel` before 1.5 have this folder, and files of the names of ours."""
    site = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - no pathlib at import
    if os.path.isdir(os.path.join(site, "distilabel", "llms", "huggingface")):  # noqa: PTH112, PTH118
        from distilabel_endpoints.errors import InstallationError

        raise InstallationError(
            "A distribution 'distilabel' older than 1.5 is installed here, and it and "
            "'distilabel-endpoints' overwrite each other's files. Replace it, or uninstall it: "
            'pip install "distilabel==1.5.3" && '
            "pip install --force-reinstall --no-deps distilabel-endpoints"
        )


_refuse_old_upstream()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("distilabel-endpoints")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
