"""`from distilabel.llms.huggingface import InferenceEndpointsLLM`, as documented."""

from __future__ import annotations

from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM

__all__ = ["InferenceEndpointsLLM"]
