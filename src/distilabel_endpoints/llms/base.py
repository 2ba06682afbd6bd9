"""The contract of an LLM here: what callers call, and the blocking face of it.

A subclass says how to get ready (`load`) and what one row asks for (`_plan_rows`); everything
else, in one thread or many, blocking or awaited, goes through one engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

from anyio import to_thread
from pydantic import PrivateAttr

from distilabel_endpoints._clients.parameters import check_parameters
from distilabel_endpoints._engine.bridge import aiter_results, iter_results
from distilabel_endpoints._engine.generations import RowPlan, answer_row
from distilabel_endpoints._engine.loop import Lease
from distilabel_endpoints._engine.scheduler import EngineStatistics, Scheduler, each
from distilabel_endpoints.errors import ParameterError, RunError
from distilabel_endpoints.llms.outputs import Output, output_of
from distilabel_endpoints.llms.serialization import Serializable
from distilabel_endpoints.records import Conversation, Result
from distilabel_endpoints.spending.prices import Pricing

if TYPE_CHECKING:
    from distilabel_endpoints.llms.mapping import MapFunction
    from distilabel_endpoints.rows.formats import Format

__all__ = ["AsyncLLM", "GenerationParameters", "Input"]

Input = Conversation | str | tuple[Conversation | str, Mapping[str, Any]]
"""Messages, or a prompt that is sent as it is; either with the structured output it wants."""

# What may end a call with some of its outputs done: the endpoint, Ctrl-C, a handler of SIGTERM.
_ENDS = (RunError, KeyboardInterrupt, SystemExit)

Planner = Callable[[int, Input], RowPlan]


class GenerationParameters(TypedDict, total=False):
    """What `generate` and its kin take beside the inputs. `None` means: not set.

    Which ones can be sent depends on client, route and server; one that cannot is an error.
    """

    max_new_tokens: int | None
    """Tokens generated at most; default 128."""
    temperature: float | None
    """>= 0; 0 is greedy."""
    top_p: float | None
    """In (0, 1]."""
    top_k: int | None
    typical_p: float | None
    repetition_penalty: float | None
    frequency_penalty: float | None
    """In [-2, 2]."""
    presence_penalty: float | None
    """In [-2, 2]."""
    stop_sequences: str | list[str] | None
    seed: int | None
    """>= 0. Row `r` of a call gets `seed + r * num_generations`, its generations the next ones."""
    do_sample: bool | None
    return_full_text: bool | None
    watermark: bool | None
    logprobs: bool | None
    top_logprobs: int | None
    """0 to 20, beside `logprobs=True`."""
    logit_bias: dict[str, float] | None
    tools: list[dict[str, Any]] | None
    tool_choice: str | dict[str, Any] | None
    tool_prompt: str | None
    response_format: dict[str, Any] | None
    extra_body: dict[str, Any] | None
    """Sent as it is, beside everything else."""


class AsyncLLM(Serializable, ABC):
    """What every LLM of this package does. Safe to use from several threads and loops at once."""

    _lease: Lease | None = PrivateAttr(default=None)

    @property
    @abstractmethod
    def model_name(self) -> str:
        """What the outputs are attributed to."""

    @abstractmethod
    def load(self) -> None:
        """Get ready: resolve the target, ask the server who it is, open the client.

        Called by the first generation if it was not called before; calling it again does nothing.

        Raises:
            InputError: the attributes do not fit together, or not the server.
            RunError: no request can succeed (bad token, no such model, nothing listens).
        """

    @abstractmethod
    def fingerprint(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What decides the answers, as JSON values: a resumed run must have the same."""

    def pricing(self) -> Pricing:
        """What the target costs, as far as somebody says so; asks, and wakes nothing."""
        return Pricing(reason=f"{type(self).__name__} names none")

    @abstractmethod
    def planner(self, num_generations: int, parameters: Mapping[str, Any]) -> Planner:
        """Check what is the same for all rows; give back what makes one row's plan."""

    def generate(
        self,
        inputs: Iterable[Input],
        num_generations: int = 1,
        **parameters: Unpack[GenerationParameters],
    ) -> list[list[str | None]]:
        """Complete every input; blocks until all are done.

        Works in scripts, in notebooks and from several threads at once.

        Args:
            inputs: conversations, each a list of messages, or a tuple of one and the
                `structured_output` it wants. With `tokenizer_id`, a text is a prompt that is
                sent as it is.
            num_generations: completions per input.
            **parameters: see `GenerationParameters`; they win over `generation_kwargs`.

        Returns:
            One list per input, in input order, with `num_generations` texts; `None` where one
            failed (`generate_outputs` says why).

        Raises:
            InputError: an input or a parameter is wrong; nothing was sent.
            RunError: the run cannot go on; `outputs` holds what was finished.
            KeyboardInterrupt: Ctrl-C; its `outputs` too.
        """
        try:
            outputs = self.generate_outputs(inputs, num_generations, **parameters)
        except _ENDS as error:
            kept: list[Output | None] = vars(error).get("outputs", [])
            vars(error)["outputs"] = [output and output["generations"] for output in kept]
            raise
        return [output["generations"] for output in outputs]

    def generate_outputs(
        self,
        inputs: Iterable[Input],
        num_generations: int = 1,
        **parameters: Unpack[GenerationParameters],
    ) -> list[Output]:
        """As `generate`, with statistics, finish reasons and errors: one `Output` per input."""
        planner = self.planner(_positive(num_generations), parameters)
        plans = [planner(index, given) for index, given in enumerate(inputs)]
        outputs: list[Output | None] = [None] * len(plans)

        def deliver(result: Result) -> None:
            outputs[result.ordinal] = output_of(result)

        try:
            self.answer(plans, deliver)
        except _ENDS as error:
            vars(error)["outputs"] = outputs
            raise
        return [output for output in outputs if output is not None]

    def answer(self, plans: Iterable[RowPlan], deliver: Callable[[Result], None]) -> None:
        """Send what is planned; blocks until each row was delivered, from the engine's thread.

        Raises:
            RunError: no row can be answered; those that were have been delivered.
        """
        lease = self.engine()
        lease.run(lease.scheduler.drive, plans, _work(lease.scheduler), deliver)

    def iter_outputs(
        self,
        inputs: Iterable[Input],
        num_generations: int = 1,
        **parameters: Unpack[GenerationParameters],
    ) -> Iterator[Output]:
        """Outputs as they finish, each with its input's `index`, in bounded memory.

        `inputs` may be endless: it is pulled a little ahead of what is done. Leaving the loop
        early cancels what is under way.

        Raises:
            InputError: an input is wrong; raised after the outputs of those before it.
            RunError: the run cannot go on.
        """
        lease = self.engine()
        planner = self.planner(_positive(num_generations), parameters)
        plans = (planner(index, given) for index, given in enumerate(inputs))
        for result in iter_results(lease, plans, _work(lease.scheduler)):
            yield _indexed(result)

    async def agenerate(
        self,
        input: Input,  # noqa: A002 - the documented name
        num_generations: int = 1,
        **parameters: Unpack[GenerationParameters],
    ) -> list[str | None]:
        """Complete one input. Any number may be awaited at once; they share one limit.

        Returns:
            `num_generations` texts; `None` where one failed (`agenerate_output` says why).

        Raises:
            InputError: the input or a parameter is wrong; nothing was sent.
            RunError: no request can succeed.
        """
        output = await self.agenerate_output(input, num_generations, **parameters)
        return output["generations"]

    async def agenerate_output(
        self,
        input: Input,  # noqa: A002 - the documented name
        num_generations: int = 1,
        **parameters: Unpack[GenerationParameters],
    ) -> Output:
        """As `agenerate`, with statistics, finish reasons and errors."""
        lease = await self._aready()
        plan = self.planner(_positive(num_generations), parameters)(0, input)
        return output_of(await lease.call(answer_row, lease.scheduler, plan))

    async def aiter_outputs(
        self,
        inputs: AsyncIterable[Input] | Iterable[Input],
        num_generations: int = 1,
        **parameters: Unpack[GenerationParameters],
    ) -> AsyncIterator[Output]:
        """As `iter_outputs`, on a running loop; `inputs` may be an async iterable."""
        lease = await self._aready()
        planner = self.planner(_positive(num_generations), parameters)
        results = aiter_results(lease, _planned(inputs, planner), _work(lease.scheduler))
        async for result in results:
            yield _indexed(result)

    def as_map_function(
        self,
        *,
        input_column: str | None = None,
        system: str | None = None,
        template: str | None = None,
        num_generations: int = 1,
        column_prefix: str = "",
        format: Format = "auto",  # noqa: A002 - the word for it
        drop_last_assistant: bool = False,
        row_settings: bool = True,
        **parameters: Unpack[GenerationParameters],
    ) -> MapFunction:
        """A picklable function for `datasets.Dataset.map(function, batched=True)`.

            ask = llm.as_map_function(temperature=0.7)
            ds.map(ask, batched=True, batch_size=1000, features=ask.features(ds.features))

        Args:
            input_column: default `messages`, else `prompt`, else `instruction`.
            system: a system message for rows of text.
            template: a Jinja template over the columns, which makes the user's message.
            num_generations: completions per row.
            column_prefix: before the names of the columns that are added.
            format: in which form the columns hold the conversation; `auto` recognises it.
            drop_last_assistant: leave out assistant messages at the end of a conversation.
            row_settings: whether columns with such names are a row's system message and parameters.
            **parameters: see `GenerationParameters`.

        Raises:
            ParameterError: a parameter is unknown or has a wrong value.
        """
        from distilabel_endpoints.llms.mapping import MapFunction
        from distilabel_endpoints.rows import ConversationSpec

        spec = ConversationSpec(
            input_column,
            system,
            template=template,
            format=format,
            drop_last_assistant=drop_last_assistant,
            row_settings=row_settings,
        )
        return MapFunction(
            llm=self,
            conversations=spec,
            num_generations=_positive(num_generations),
            column_prefix=column_prefix,
            parameters=check_parameters(parameters),
        )

    def statistics(self) -> EngineStatistics:
        """What the engine is doing for this target right now."""
        return self.engine().scheduler.statistics()

    def engine(self) -> Lease:
        """The engine that this object sends through; loads if that was not done before."""
        if self._lease is None or not self._lease.alive:
            self.load()
        assert self._lease is not None
        return self._lease

    def note_capacity(self, reason: str) -> None:
        """The endpoint can take more than before (`reason`, in a few words). From any thread."""

        async def note(lease: Lease) -> None:
            lease.scheduler.note_capacity(reason)

        lease = self._lease
        if lease is not None and lease.alive:
            lease.run(note, lease)

    async def _aready(self) -> Lease:
        """As `engine`, without blocking the caller's loop while it loads."""
        if self._lease is None or not self._lease.alive:
            await to_thread.run_sync(self.load)
        return self.engine()

    def close(self) -> None:
        """Close connections and, with the last open object, the engine loop.

        Generating again afterwards loads again. Happens by itself when the object goes.
        """
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.close()

    def __enter__(self) -> Self:
        self.load()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _work(scheduler: Scheduler) -> Any:
    async def work(plan: RowPlan) -> Result:
        return await answer_row(scheduler, plan)

    return work


async def _planned(
    inputs: AsyncIterable[Input] | Iterable[Input], planner: Planner
) -> AsyncIterator[RowPlan]:
    index = 0
    async for given in each(inputs):
        yield planner(index, given)
        index += 1


def _indexed(result: Result) -> Output:
    return {**output_of(result), "index": result.ordinal}


def _positive(num_generations: int) -> int:
    if type(num_generations) is not int or num_generations < 1:
        raise ParameterError(f"'num_generations' must be an integer >= 1; got {num_generations!r}.")
    return num_generations
