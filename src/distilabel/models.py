"""The import path of later versions: `distilabel.models`, `.llms`, `.llms.huggingface`.

If upstream is installed, its package `distilabel/models/` is found first and this file is unused.
"""

from __future__ import annotations

from pathlib import Path

from distilabel.llms.huggingface import InferenceEndpointsLLM

__all__ = ["InferenceEndpointsLLM"]

# `distilabel.models.llms` is then found in the folder of `distilabel.llms`.
__path__ = [str(Path(__file__).parent)]
