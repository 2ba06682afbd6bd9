"""`provider="sticky"` over several sessions: who answered a run's first rows answers the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distilabel_endpoints._store.journal import Reader
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints._targets.router_models import STICKY
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.llms.internals import keep_to_provider

__all__ = ["keep_to_first_provider"]


def keep_to_first_provider(
    llm: InferenceEndpointsLLM, output: Path, tell: Callable[[str], None], *, fresh: bool
) -> None:
    """Let the provider of the first answer in the journal of `output` answer, if there is one.

    Args:
        llm: which has not answered yet, or to this journal.
        output: of the run.
        tell: is given a sentence about it.
        fresh: the run starts over, and the choice with it.
    """
    if fresh or llm.provider != STICKY or not journal_path(output).exists():
        return
    with Reader(output) as reader:
        answers = (c for record in reader.results() for c in record.result.completions if c)
        name = next((answer.provider for answer in answers if answer.provider), None)
    if name is not None:
        keep_to_provider(llm, name)
        tell(f"{name} answers, as before (provider sticky)")
