"""`provider="sticky"` over several sessions: who answered a run's first rows answers the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distilabel_endpoints._store.journal import Reader
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints._store.store import Store
from distilabel_endpoints._targets.router_models import STICKY
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.llms.internals import keep_to_provider

__all__ = ["first_provider", "keep_to_first_provider"]


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
        _, name = first_provider(reader)
    if name is not None:
        keep_to_provider(llm, name)
        tell(f"{name} answers, as before (provider sticky)")


def first_provider(store: Store) -> tuple[bool, str | None]:
    """Whether any row has an answer, and the first provider that an answer names."""
    has_answers = False
    for answer in (c for record in store.results() for c in record.result.completions if c):
        has_answers = True
        if answer.provider is not None:
            return True, answer.provider
    return has_answers, None
