"""The name this module has in later versions of distilabel."""

from distilabel.llms.huggingface import InferenceEndpointsLLM

__all__ = ["InferenceEndpointsLLM"]
