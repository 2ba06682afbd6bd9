"""How a run progressed: `OUTPUT.history` beside its results. Bounded.

Rules
- A few hundred samples, however long the run: when there are more, every second one goes and
  further ones are taken half as often.
- Seconds come from the caller's monotonic clock; each process of a run notes once when it began.
- It holds figures, reasons, endpoints' addresses and providers' names; no prompt, no answer.
- Nothing depends on it: what cannot be read is begun anew, and only `report` misses it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from distilabel_endpoints._store.atomic import writing
from distilabel_endpoints._store.place import beside
from distilabel_endpoints.served import Served

__all__ = ["Change", "History", "Sample", "history_path"]

_FORMAT: Final = 1
MOST_SAMPLES: Final = 480
MOST_CHANGES: Final = 400
MOST_PARTS: Final = 100
_MOST_BYTES: Final = 8 << 20


def history_path(output: Path) -> Path:
    """Where the history of the run that writes `output` is."""
    return beside(output, ".history")


class Sample(NamedTuple):
    """The run at one instant."""

    at: float
    """Seconds since 1970: when its process began, and what has passed since."""
    part: int
    """Which process of the run."""
    limit: int | None
    in_flight: int
    done: int
    """Rows that ended, in the whole run."""
    failed: int
    output_tokens: int
    """In the whole run."""


class Change(NamedTuple):
    """Something that happened: a new limit, an alarm, a setting that somebody changed."""

    at: float
    kind: str
    """`limit`, `waiting`, `alarm`, `tune` or `begin`."""
    text: str


class History:
    """The history of one run, read or being made."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.changes: list[Change] = []
        self.begun: list[float] = []
        """When each process of the run began, in seconds since 1970."""
        self.spacing = 1.0
        """Seconds between two samples."""
        self.served: dict[tuple[str, str], Served] = {}
        """By endpoint and provider; either may be empty."""

    def begin(self, at: float) -> None:
        """Another process resumes the run."""
        self.begun = [*self.begun, at][-MOST_PARTS:]
        self.note(Change(at, "begin", "resumed" if len(self.begun) > 1 else "begun"))

    def is_due(self, at: float) -> bool:
        """Whether a sample at `at` is far enough from the last one."""
        return not self.samples or abs(at - self.samples[-1].at) >= self.spacing

    def add(self, sample: Sample) -> None:
        """Keep a sample; every second one goes if there are too many."""
        self.samples.append(sample)
        if len(self.samples) > MOST_SAMPLES:
            # From the end, so that the newest one stays.
            del self.samples[-2::-2]
            self.spacing *= 2

    def note(self, change: Change) -> None:
        """Keep a change. Of too many, those of the middle go; the beginning and the end stay."""
        self.changes.append(change)
        if len(self.changes) > MOST_CHANGES:
            del self.changes[MOST_CHANGES // 4]

    def write(self, output: Path) -> None:
        """Put it beside `output`, whole or not at all.

        Raises:
            StorageError: the disk did not take it.
        """
        document = {
            "format": _FORMAT,
            "spacing": self.spacing,
            "begun": self.begun,
            "samples": self.samples,
            "changes": self.changes,
            "served": [[*key, served.to_json()] for key, served in self.served.items()],
        }
        with writing(history_path(output)) as file:
            file.write(json.dumps(document, separators=(",", ":")).encode())

    @classmethod
    def read(cls, output: Path) -> Self:
        """The history beside `output`; an empty one if there is none that can be read."""
        try:
            with history_path(output).open("rb") as file:
                document = json.loads(file.read(_MOST_BYTES))
            return cls._of(document)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return cls()

    @classmethod
    def _of(cls, document: Mapping[str, Any]) -> Self:
        if document["format"] != _FORMAT:
            raise ValueError("another version's")
        history = cls()
        history.spacing = max(1.0, float(document["spacing"]))
        history.begun = [float(at) for at in document["begun"]]
        history.samples = list(_samples(document["samples"]))
        history.changes = [Change(float(at), str(k), str(t)) for at, k, t in document["changes"]]
        history.served = {
            (str(endpoint), str(provider)): Served.from_json(served)
            for endpoint, provider, served in document["served"]
        }
        return history


def _samples(values: Iterable[Any]) -> Iterable[Sample]:
    for at, part, limit, in_flight, done, failed, output_tokens in values:
        yield Sample(
            float(at),
            int(part),
            None if limit is None else int(limit),
            int(in_flight),
            int(done),
            int(failed),
            int(output_tokens),
        )
