"""What an endpoint has answered, and how fast: counts that a run keeps for its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from distilabel_endpoints.histogram import Histogram
from distilabel_endpoints.records import Answer

__all__ = ["Served", "ServedBy", "merged"]

ServedBy = tuple[str, str]
"""An endpoint's address and the provider behind it; either may be empty."""


@dataclass(slots=True)
class Served:
    """What one endpoint, or one provider behind it, has answered."""

    answers: int = 0
    """Requests that were answered."""
    input_tokens: int = 0
    output_tokens: int = 0
    latency: Histogram = field(default_factory=Histogram)
    """Seconds from sending to the end of the answer."""
    first_token: Histogram = field(default_factory=Histogram)
    """Seconds to the first token of a stream; empty if nothing was streamed."""

    def add(self, answer: Answer, seconds: float) -> None:
        """Count one answer, which took that long."""
        self.answers += 1
        self.input_tokens += answer.usage.input_tokens or 0
        self.output_tokens += answer.usage.output_tokens or 0
        self.latency.add(seconds)
        if answer.first_token is not None:
            self.first_token.add(answer.first_token)

    def merge(self, other: Served) -> None:
        """Count what `other` counted, too."""
        self.answers += other.answers
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.latency.merge(other.latency)
        self.first_token.merge(other.first_token)

    def since(self, earlier: Served) -> Served:
        """What was answered after `earlier`, a copy of this one, was made."""
        return Served(
            answers=self.answers - earlier.answers,
            input_tokens=self.input_tokens - earlier.input_tokens,
            output_tokens=self.output_tokens - earlier.output_tokens,
            latency=self.latency.since(earlier.latency),
            first_token=self.first_token.since(earlier.first_token),
        )

    def copy(self) -> Served:
        """The same counts, which stay as they are."""
        copy = Served()
        copy.merge(self)
        return copy

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "answers": self.answers,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "latency": self.latency.to_json(),
            "first_token": self.first_token.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(
            answers=int(value["answers"]),
            input_tokens=int(value["input_tokens"]),
            output_tokens=int(value["output_tokens"]),
            latency=Histogram.from_json(value["latency"]),
            first_token=Histogram.from_json(value["first_token"]),
        )


def merged(*parts: Mapping[ServedBy, Served]) -> dict[ServedBy, Served]:
    """All that was served, by endpoint and provider."""
    total: dict[ServedBy, Served] = {}
    for part in parts:
        for key, served in part.items():
            total.setdefault(key, Served()).merge(served)
    return total
