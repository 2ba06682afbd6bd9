"""Uses the public API as programs do. Never run: type checkers read it (`make check`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_type

from distilabel_endpoints import (
    Description,
    EngineStatistics,
    FinishedRun,
    GenerationParameters,
    InferenceEndpointsLLM,
    LocalEndpoint,
    Output,
    RunSummary,
    generate_dataset,
)
from distilabel_endpoints.errors import GenerationError, RunError, UserCodeError
from distilabel_endpoints.records import Answer, Client, Completion, Failure, Request

HELLO = [{"role": "user", "content": "Hello world!"}]


def blocking(llm: InferenceEndpointsLLM) -> None:
    """Texts, outputs, and what is known of the endpoint."""
    assert_type(llm.generate([HELLO], num_generations=2, temperature=0.5), list[list[str | None]])
    outputs = llm.generate_outputs(inputs=[HELLO], max_new_tokens=5)
    assert_type(outputs[0], Output)
    assert_type(outputs[0]["generations"], list[str | None])
    assert_type(outputs[0]["errors"], list[GenerationError | None])
    for output in llm.iter_outputs([HELLO]):
        assert_type(output["statistics"]["input_tokens"], list[int | None])
    assert_type(llm.describe(), Description)
    assert_type(llm.statistics(), EngineStatistics)
    assert_type(llm.dump(), dict[str, Any])
    assert_type(InferenceEndpointsLLM.from_dict({}), InferenceEndpointsLLM)


async def awaited(llm: InferenceEndpointsLLM) -> None:
    """The same, awaited."""
    assert_type(await llm.agenerate(HELLO), list[str | None])
    assert_type(await llm.agenerate_output(HELLO, seed=3), Output)
    async for output in llm.aiter_outputs([HELLO]):
        assert_type(output, Output)


def on_row(output: Output) -> None:
    """A function for each finished row."""
    print(output["generations"])  # noqa: T201


def runs(parameters: GenerationParameters) -> None:
    """A run from Python, and how it ends."""
    with LocalEndpoint() as endpoint, InferenceEndpointsLLM(base_url=endpoint.base_url) as llm:
        try:
            run = generate_dataset(llm, "a.jsonl", "b.jsonl", on_row=on_row, **parameters)
        except UserCodeError as error:
            assert_type(error.index, int)
        except RunError as error:
            assert_type(error.failure, Failure)
        else:
            assert_type(run, FinishedRun)
            assert_type(run.summary, RunSummary)
            assert_type(run.summary.ok, int)


class Canned:
    """A client of one's own."""

    async def complete(self, request: Request) -> Answer | Failure:
        """One answer."""
        return Answer(completions=(Completion(text="yes"),) * request.n)

    async def aclose(self) -> None:
        """Nothing is open."""


class Own(InferenceEndpointsLLM):
    """A subclass."""

    style: str = "plain"

    def open_client(self, client: Client, url: str) -> Client:
        """Its own client."""
        return Canned() if self.style == "canned" else client

    def fingerprint(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What else decides the answers."""
        return {**super().fingerprint(parameters), "style": self.style}
