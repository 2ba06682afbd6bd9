"""Our class in the place of upstream's, for programs and saved pipelines that name the latter."""

from __future__ import annotations

import sys

from distilabel.models.llms.huggingface.inference_endpoints import (
    InferenceEndpointsLLM as UpstreamLLM,
)
from distilabel_endpoints.pipeline.llm import InferenceEndpointsLLM

__all__ = ["patch"]


def patch() -> None:
    """Offer our class under every name under which upstream offers its own, in this process.

    Call it before the program's own imports: a name that was imported stays what it was. Pipelines
    that were saved with upstream's class load with ours from then on. A second call does nothing.
    """
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != "distilabel":
            continue
        for attribute, value in list(vars(module).items()):
            if value is UpstreamLLM:
                setattr(module, attribute, InferenceEndpointsLLM)
