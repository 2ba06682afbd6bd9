"""Which columns the answers of an LLM take, whoever writes them: a run, a map, a stage of Ray."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distilabel_endpoints._targets.router_models import STICKY
from distilabel_endpoints.llms.attributes import effective_parameters
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.rows import OutputColumns

__all__ = ["columns_of"]


def columns_of(
    llm: InferenceEndpointsLLM,
    parameters: Mapping[str, Any],
    *,
    num_generations: int,
    prefix: str,
    escape_formulas: bool = False,
) -> OutputColumns:
    """The columns for what `llm` answers with these parameters."""
    effective = effective_parameters(llm, parameters)
    return OutputColumns(
        model_name=llm.model_name,
        num_generations=num_generations,
        prefix=prefix,
        tool_calls=bool(effective.get("tools")),
        logprobs=bool(effective.get("logprobs")),
        reasoning_tokens=llm.reasoning is not None,
        labels=bool(llm.labels),
        provider=bool(llm.provider_pool) or llm.provider == STICKY,
        escape_formulas=escape_formulas,
    )
