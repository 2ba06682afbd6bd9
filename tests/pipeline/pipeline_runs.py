"""Running a pipeline in a test: its rows, and what its log said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel_endpoints.pipeline import InferenceEndpointsLLM
from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

__all__ = ["REVOKED", "TOKEN", "Log", "instructions", "llm_of", "new", "rows_of", "run", "spoken"]

TOKEN = "hf_aTokenOfTheTests0123456789abcdef"

REVOKED = tuple(Fault(Respond(401), marker=f"say {number}") for number in range(35, 40))
"""A key that is refused from some row on: one row alone would fail by itself."""


class Log(logging.Handler):
    """Keeps what the log of a run said, children included."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def lines(self, logger: str = "distilabel", level: int = logging.WARNING) -> list[str]:
        """The messages of a logger and those below it, from `level` on."""
        return [
            record.getMessage()
            for record in self.records
            if record.name.startswith(logger) and record.levelno >= level
        ]


def new(tmp_path: Path, name: str = "test") -> Pipeline:
    """A pipeline whose cache is the test's own."""
    return Pipeline(name=name, cache_dir=tmp_path / "cache")


def instructions(count: int, batch_size: int = 50) -> LoadDataFromDicts:
    """A first step with rows `say 0`, `say 1`, ..."""
    data = [{"instruction": f"say {number}"} for number in range(count)]
    return LoadDataFromDicts(name="load", data=data, batch_size=batch_size)


def llm_of(endpoint: SimulatedEndpoint, **attributes: Any) -> InferenceEndpointsLLM:
    """Our LLM for an endpoint."""
    return InferenceEndpointsLLM(base_url=endpoint.url, **attributes)


def run(pipeline: Pipeline, log: Log | None = None, **named: Any) -> list[dict[str, Any]]:
    """Run it; the rows of its only leaf."""
    handlers = [log] if log is not None else []
    return rows_of(pipeline.run(logging_handlers=handlers, **named))


def rows_of(distiset: Any) -> list[dict[str, Any]]:
    """The rows of its only leaf."""
    ((_, split),) = distiset.items()
    return [dict(row) for row in split["train"]]


def spoken(endpoint: SimulatedEndpoint) -> list[str]:
    """The last message of each conversation that came, or the prompt."""
    bodies = [record.body for record in endpoint.generations]
    return [
        body["messages"][-1]["content"] if "messages" in body else body.get("inputs", "")
        for body in bodies
    ]
