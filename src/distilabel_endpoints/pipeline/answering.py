"""Lets one of our LLMs answer for one of upstream's: what it is sent, and what is logged.

A row that fails is an output without a text; what no row can get past is raised. Python's warnings,
and what is dropped from the parameters, go to the pipeline's log, each once.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from distilabel_endpoints._engine.generations import RowPlan
from distilabel_endpoints.errors import InputError
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.llms.inputs import Input
from distilabel_endpoints.llms.internals import answer_plans, planner_of
from distilabel_endpoints.llms.outputs import Output, output_of, refused_row
from distilabel_endpoints.pipeline.generation_kwargs import fitting
from distilabel_endpoints.pipeline.progress import BatchProgress
from distilabel_endpoints.records import Result

__all__ = ["Answering"]


class _PromptLLM(InferenceEndpointsLLM):
    """Takes texts, and sends them as they are."""

    @property
    def sends_prompts(self) -> bool:
        return True


class Answering:
    """Loaded when it is made.

    Args:
        make: gives our LLM, of the class that is asked for, with the settings of upstream's.
        prepare: turns what a task gives into what our LLM takes.

    Raises:
        InputError: the settings do not fit the server.
        RunError: no request can succeed.
    """

    def __init__(
        self,
        make: Callable[[type[InferenceEndpointsLLM]], InferenceEndpointsLLM],
        prepare: Callable[[Any], Input],
    ) -> None:
        self._make, self._prepare = make, prepare
        self._noted: set[str] = set()
        self._prompts: InferenceEndpointsLLM | None = None
        self.llm = self._made(InferenceEndpointsLLM)
        self._load(self.llm)

    @property
    def log(self) -> logging.Logger:
        """The logger of upstream's LLM."""
        return logging.getLogger(f"distilabel.llm.{self.llm.model_name}")

    def check(self, num_generations: int, parameters: Mapping[str, Any]) -> None:
        """Whether the parameters can be sent.

        Raises:
            InputError: one has a wrong value, or does not fit the others.
        """
        with self._noting():
            planner_of(self.llm, num_generations, self._fitting(self.llm, parameters))

    def generate(
        self, inputs: Sequence[Any], num_generations: int, parameters: Mapping[str, Any]
    ) -> list[Output]:
        """Complete every input; the outputs are in their order.

        Raises:
            InputError: a parameter has a wrong value.
            RunError: no row can be answered.
        """
        results: dict[int, Result] = {}
        rows: dict[bool, dict[int, Input]] = {False: {}, True: {}}
        progress = BatchProgress(self.log, len(inputs), self.llm.statistics)

        def deliver(result: Result) -> None:
            results[result.ordinal] = result
            progress.count(result)

        for index, input_ in enumerate(inputs):
            try:
                ready = self._prepare(input_)
                rows[_is_text(ready)][index] = ready
            except InputError as error:
                deliver(refused_row(index, num_generations, error))
        with progress:
            for is_text, ready_rows in rows.items():
                if ready_rows:
                    llm = self._llm(is_text=is_text)
                    answer_plans(
                        llm,
                        self._plans(llm, ready_rows, num_generations, parameters, deliver),
                        deliver,
                    )
        return [output_of(results[index]) for index in range(len(inputs))]

    def _plans(
        self,
        llm: InferenceEndpointsLLM,
        rows: Mapping[int, Input],
        num_generations: int,
        parameters: Mapping[str, Any],
        deliver: Callable[[Result], None],
    ) -> list[RowPlan]:
        plans = []
        with self._noting():
            planner = planner_of(llm, num_generations, self._fitting(llm, parameters))
            for index, input_ in rows.items():
                try:
                    plans.append(planner(index, input_))
                except InputError as error:
                    deliver(refused_row(index, num_generations, error))
        return plans

    async def agenerate(
        self, input_: Any, num_generations: int, parameters: Mapping[str, Any]
    ) -> Output:
        """Complete one input on the caller's loop.

        Raises:
            InputError: the input or a parameter is wrong.
            RunError: no request can succeed.
        """
        ready = self._prepare(input_)
        llm = self._llm(is_text=_is_text(ready))
        fit = self._fitting(llm, parameters)
        return await llm.agenerate_output(ready, num_generations, **fit)

    def close(self) -> None:
        """Close the connections."""
        for llm in (self.llm, self._prompts):
            if llm is not None:
                llm.close()

    def _llm(self, *, is_text: bool) -> InferenceEndpointsLLM:
        if not is_text or self.llm.sends_prompts:
            return self.llm
        if self._prompts is None:
            self._prompts = self._made(_PromptLLM)
            self._load(self._prompts)
        return self._prompts

    def _made(self, kind: type[InferenceEndpointsLLM]) -> InferenceEndpointsLLM:
        llm = self._make(kind)
        llm.generation_kwargs = {}  # every call brings its own
        return llm

    def _load(self, llm: InferenceEndpointsLLM) -> None:
        with self._noting():
            llm.load()

    def _fitting(self, llm: InferenceEndpointsLLM, parameters: Mapping[str, Any]) -> dict[str, Any]:
        about = llm.describe()
        fit, notes = fitting(
            parameters,
            accepted=about.capabilities.parameters,
            route=about.route,
            server=about.server,
        )
        for note in notes:
            self._note(note)
        return fit

    def _note(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self.log.warning(text)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """What would be a Python warning is a line in the log."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                yield
            finally:
                texts = [str(warning.message) for warning in caught]
        for text in texts:
            self._note(text)


def _is_text(ready: Input) -> bool:
    return isinstance(ready[0] if isinstance(ready, tuple) else ready, str)
