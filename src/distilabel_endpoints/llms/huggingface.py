"""`InferenceEndpointsLLM`: getting ready, generating, and everything else it does.

Rules
- No wire code: targets are found and opened in `_targets`, rows are answered by `_engine`.
- Whatever is called, from one thread or many, blocking or awaited, goes through one engine.
- What the package's other rooms ask of an LLM, and its users do not, is in `internals.py`.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, Unpack, final
from weakref import WeakMethod

from anyio import to_thread
from pydantic import PrivateAttr, SecretStr

from distilabel_endpoints._clients.parameters import check_parameters
from distilabel_endpoints._engine.bridge import aiter_results, iter_results
from distilabel_endpoints._engine.generations import RowPlan, answer_row
from distilabel_endpoints._engine.loop import Lease
from distilabel_endpoints._engine.retry_settings import RetrySettings
from distilabel_endpoints._engine.scheduler import Scheduler, each
from distilabel_endpoints._limits.limiter import LimiterSettings
from distilabel_endpoints._targets.description import describe_endpoints
from distilabel_endpoints._targets.endpoints import (
    check_abilities,
    dialects,
    find_endpoints,
    identity_of,
    open_lease,
)
from distilabel_endpoints._targets.router_models import STICKY
from distilabel_endpoints._targets.urls import Target
from distilabel_endpoints.chat_templates import ChatRenderer, load_renderer
from distilabel_endpoints.engine_state import Description, EngineStatistics
from distilabel_endpoints.errors import (
    ConfigurationError,
    ParameterError,
    RunError,
    UserCodeError,
)
from distilabel_endpoints.grammar import parse_grammar
from distilabel_endpoints.grammar.labels import LabelSet
from distilabel_endpoints.html_text import figures
from distilabel_endpoints.llms.attributes import Attributes, effective_parameters, listed
from distilabel_endpoints.llms.calls import Call, Planner, growth, plan_in_dialects
from distilabel_endpoints.llms.classification import (
    check_labelling,
    label_parameters,
    label_planner,
)
from distilabel_endpoints.llms.inputs import GenerationParameters, Input
from distilabel_endpoints.llms.outputs import Output, Outputs, output_of
from distilabel_endpoints.llms.overrides import (
    overridden,
    own_parameters,
    own_planner,
    refuse_ignored,
    remember,
)
from distilabel_endpoints.progress.call_bar import showing_call
from distilabel_endpoints.records import Client, Result
from distilabel_endpoints.spending.prices import Pricing

if TYPE_CHECKING:
    from distilabel_endpoints.llms.mapping import MapFunction
    from distilabel_endpoints.rows.formats import Format

__all__ = ["InferenceEndpointsLLM"]

_NO_TOKENIZER: Final = (
    "tokenizer_id is not used: the serverless router takes conversations only, and applies the "
    "chat template of model_id itself. Leave tokenizer_id out to avoid this warning."
)
_READ_BY_EACH_CALL: Final = {
    "generation_kwargs",
    "labels",
    "model_display_name",
    "on_length",
    "reasoning",
    "stream",
    "structured_output",
    "structured_output_retries",
}
_CLIENTS: Final = {False: "huggingface_hub.AsyncInferenceClient", True: "openai.AsyncOpenAI"}

# What may end a call with some of its outputs done: the endpoint, a subclass's own code, Ctrl-C, a
# handler of SIGTERM.
_ENDS = (RunError, UserCodeError, KeyboardInterrupt, SystemExit)


class InferenceEndpointsLLM(Attributes):
    """Hugging Face inference: serverless models, dedicated endpoints, any TGI or OpenAI-like URL.

    Exactly one of `model_id`, `endpoint_name` and `base_url` says what to talk to.

        llm = InferenceEndpointsLLM(base_url="http://localhost:8080")
        llm.load()
        llm.generate(inputs=[[{"role": "user", "content": "Hello world!"}]])

    Safe to use from several threads and loops at once. A subclass may override `agenerate` or
    `agenerate_output`, `load`, `open_client`, validators and attributes: see docs/extending.md.
    """

    _lease: Lease | None = PrivateAttr(default=None)
    _endpoints: tuple[Target, ...] = PrivateAttr(default=())
    _renderer: ChatRenderer | None = PrivateAttr(default=None)
    _loading: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def model_name(self) -> str:
        """`model_display_name`, else the endpoint's repository, the model, the endpoint, the URL.

        Behind a `base_url`, the name that the server gives its model, once it is loaded.
        """
        target = self._endpoints[0] if self._endpoints else None
        return (
            self.model_display_name
            or (target.repository if target else None)
            or self.model_id
            or self.endpoint_name
            or (target.model if target else None)
            or ", ".join(listed(self.base_url))
        )

    def load(self) -> None:
        """Resolve the target, ask the server who it is and what it serves, open the client.

        Called by the first generation if it was not called before; calling it again does nothing.

        Raises:
            ConfigurationError: the attributes do not fit the server; the message names the ways
                out.
            InstallationError: an extra is needed (`openai`, `tokenizer`).
            AuthenticationError, AccessError, CreditError, ModelNotFoundError, TargetError,
            UnavailableError: no request can succeed.
        """
        # Several threads may make the first call: one of them loads, the others find it loaded.
        with self._loading:
            if self._lease is not None and self._lease.alive:
                return
            if self._is_own_tokenizer():
                warnings.warn(_NO_TOKENIZER, UserWarning, stacklevel=2)
            self._require_target()
            endpoints = find_endpoints(
                self._settings_of_each(),
                use_openai_client=self.use_openai_client,
                sends_prompts=self.sends_prompts,
            )
            self._renderer = self._open_renderer(endpoints[0].token)
            self._endpoints = endpoints
            own = type(self).open_client
            if self.model_id or self.endpoint_name:
                vars(self)["base_url"] = endpoints[0].root  # ours, so not validated
            self._lease = open_lease(
                endpoints,
                LimiterSettings(
                    max_concurrency=self.max_concurrency,
                    requests_per_minute=self.requests_per_minute,
                    tokens_per_minute=self.tokens_per_minute,
                ),
                RetrySettings(wait_ready=self.wait_ready, longest_pause=self.max_pause),
                self.timeout,
                None if own is InferenceEndpointsLLM.open_client else WeakMethod(self.open_client),
            )

    @property
    def renderer(self) -> ChatRenderer | None:
        """What makes prompts of conversations, if prompts are sent; once loaded."""
        return self._renderer

    def open_client(self, client: Client, url: str) -> Client:
        """What sends the requests: `client`, one around it, or another. A subclass overrides it.

        Called once for each endpoint, on the engine's loop, when the object is loaded.

        Args:
            client: ours, for the library that the attributes chose.
            url: where it sends.
        """
        del url
        return client

    def _open_renderer(self, token: SecretStr | None) -> ChatRenderer | None:
        if self.tokenizer_id is None or not self.sends_prompts:
            return None
        return load_renderer(self.tokenizer_id, token.get_secret_value() if token else None)

    def _repr_html_(self) -> str:
        """What it is connected to, or what it was given: nothing is sent for it."""
        if self._lease is not None and self._lease.alive:
            return self.describe()._repr_html_()
        named = next(n for n in ("model_id", "endpoint_name", "base_url") if getattr(self, n))
        return figures("Not connected yet", {named: ", ".join(listed(getattr(self, named)))})

    def describe(self) -> Description:
        """What this object talks to and what can be asked of it there; loads if need be."""
        lease = self._engine()
        named = next(n for n in ("model_id", "endpoint_name", "base_url") if getattr(self, n))
        return describe_endpoints(
            self._endpoints,
            target=f"{named}={', '.join(listed(getattr(self, named)))}",
            client=_CLIENTS[self.use_openai_client],
            choices=lease.scheduler.choices_limit,
            formats=lease.scheduler.formats,
        )

    def fingerprint(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What decides the answers, as JSON values: a resumed run must have the same.

        The URLs are not part of it if the servers say which model they serve; `on_length` is
        if it makes other texts.
        """
        self._engine()
        named = self.model_id or self.endpoint_name
        identity = identity_of(self._endpoints, by_url=not named)
        return {**identity, **self._known_fingerprint(parameters)}

    def _known_fingerprint(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The part of it for which no server has to be asked."""
        own = {"answered_by": type(self).__qualname__} if overridden(type(self)) else {}
        providers = STICKY if self.provider == STICKY else sorted(self.provider_pool)
        return {
            **own,
            **({"providers": providers} if providers else {}),
            **({"max_price_out": self.max_price_out} if self.max_price_out else {}),
            **({"labels": self.labels} if self.labels else {}),
            **({"on_length": self.on_length} if growth(self.on_length) else {}),
            **({"reasoning": self.reasoning} if self.reasoning is not None else {}),
            "tokenizer_id": self.tokenizer_id if self.sends_prompts else None,
            "structured_output": self.structured_output
            and parse_grammar(self.structured_output).as_value(),
            "parameters": effective_parameters(self, parameters),
        }

    @final
    def generate(
        self,
        inputs: Iterable[Input],
        num_generations: int = 1,
        *,
        progress: bool | None = None,
        **parameters: Unpack[GenerationParameters],
    ) -> list[list[str | None]]:
        """Complete every input; blocks until all are done.

        Works in scripts, in notebooks and from several threads at once.

        Args:
            inputs: conversations, each a list of messages, or a tuple of one and the
                `structured_output` it wants. With `tokenizer_id`, a text is a prompt that is
                sent as it is.
            num_generations: completions per input.
            progress: whether a call of more than two seconds shows a bar; None: on a terminal and
                in a notebook.
            **parameters: see `GenerationParameters`; they win over `generation_kwargs`.

        Returns:
            One list per input, in input order, with `num_generations` texts; `None` if one
            failed (`generate_outputs` says why).

        Raises:
            InputError: an input or a parameter is wrong; nothing was sent.
            RunError: the run cannot continue; `outputs` holds what was finished.
            KeyboardInterrupt: Ctrl-C; its `outputs` too.
        """
        try:
            outputs = self.generate_outputs(
                inputs, num_generations, progress=progress, **parameters
            )
        except _ENDS as error:
            kept: list[Output | None] = vars(error).get("outputs", [])
            vars(error)["outputs"] = [output and output["generations"] for output in kept]
            raise
        return [output["generations"] for output in outputs]

    @final
    def generate_outputs(
        self,
        inputs: Iterable[Input],
        num_generations: int = 1,
        *,
        progress: bool | None = None,
        **parameters: Unpack[GenerationParameters],
    ) -> list[Output]:
        """As `generate`, with statistics, finish reasons and errors: one `Output` per input."""
        planner = self._planner(_positive(num_generations), parameters)
        plans = [planner(index, input_) for index, input_ in enumerate(inputs)]
        outputs: list[Output | None] = [None] * len(plans)

        try:
            with showing_call(len(plans), wanted=progress) as shown:

                def deliver(result: Result) -> None:
                    outputs[result.ordinal] = output_of(result)
                    shown.add(result)

                self._answer(plans, deliver)
        except _ENDS as error:
            vars(error)["outputs"] = outputs
            raise
        return Outputs(output for output in outputs if output is not None)

    @final
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
            RunError: the run cannot continue.
        """
        planner = self._planner(_positive(num_generations), parameters)
        lease = self._engine()
        plans = (planner(index, input_) for index, input_ in enumerate(inputs))
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
            `num_generations` texts; `None` if one failed (`agenerate_output` says why).

        Raises:
            InputError: the input or a parameter is wrong; nothing was sent.
            RunError: no request can succeed.
        """
        if overridden(type(self)) == "agenerate_output":
            output = await self.agenerate_output(input, num_generations, **parameters)
        else:
            output = output_of(await self._result(input, num_generations, parameters))
        return output["generations"]

    async def agenerate_output(
        self,
        input: Input,  # noqa: A002 - the documented name
        num_generations: int = 1,
        **parameters: Unpack[GenerationParameters],
    ) -> Output:
        """As `agenerate`, with statistics, finish reasons and errors."""
        if overridden(type(self)) == "agenerate":
            lease = await self._aready()
            plan = self._planner(_positive(num_generations), parameters)(0, input)
            return output_of(await lease.call(answer_row, lease.scheduler, plan))
        return output_of(await self._result(input, num_generations, parameters))

    async def _result(
        self, content: Input, num_generations: int, parameters: Mapping[str, Any]
    ) -> Result:
        """One input's result by this class itself, whatever a subclass overrides."""
        lease = await self._aready()
        plan = self._plan_requests(_positive(num_generations), parameters)(0, content)
        result = await lease.call(answer_row, lease.scheduler, plan)
        remember(self, result)
        return result

    @final
    async def aiter_outputs(
        self,
        inputs: AsyncIterable[Input] | Iterable[Input],
        num_generations: int = 1,
        **parameters: Unpack[GenerationParameters],
    ) -> AsyncIterator[Output]:
        """As `iter_outputs`, on a running loop; `inputs` may be an async iterable."""
        lease = await self._aready()
        planner = self._planner(_positive(num_generations), parameters)
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
            parameters=own_parameters(type(self), parameters),
        )

    def statistics(self) -> EngineStatistics:
        """What the engine is doing for this target right now."""
        return self._engine().scheduler.statistics()

    def _engine(self) -> Lease:
        """The engine that this object sends through; loads if that was not done before."""
        if self._lease is None or not self._lease.alive:
            self.load()
        if self._lease is None or not self._lease.alive:
            raise ConfigurationError(
                f"{type(self).__name__}.load() did not connect to the endpoint. Call "
                "super().load() in it."
            )
        return self._lease

    def note_capacity(self, reason: str) -> None:
        """The endpoint can take more than before (`reason`, in a few words). From any thread."""

        async def note(lease: Lease) -> None:
            lease.scheduler.note_capacity(reason)

        lease = self._lease
        if lease is not None and lease.alive:
            lease.run(note, lease)

    def only_look(self) -> None:
        """From here on start nothing: a dedicated endpoint that sleeps is described, not woken."""
        self._only_looks = True

    async def _aready(self) -> Lease:
        """As `_engine`, without blocking the caller's loop while it loads."""
        if self._lease is None or not self._lease.alive:
            await to_thread.run_sync(self.load)
        return self._engine()

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

    def _planner(self, num_generations: int, parameters: Mapping[str, Any]) -> Planner:
        """Check what is the same for all rows of a call; give back what plans one row."""
        method = overridden(type(self))
        if method is None:
            return self._plan_requests(num_generations, parameters)
        seed = effective_parameters(self, parameters).get("seed")
        planner = own_planner(self, method, num_generations, parameters, seed)
        self._engine()
        return planner

    def _plan_requests(self, num_generations: int, parameters: Mapping[str, Any]) -> Planner:
        own = {name: value for name, value in parameters.items() if value is not None}
        merged = check_parameters(effective_parameters(self, own))
        self._engine()
        check_abilities(self._endpoints, merged)
        labels = LabelSet(tuple(self.labels)) if self.labels else None
        for route, server in dialects(self._endpoints) if labels else ():
            check_labelling(self.structured_output, server, route, num_generations, merged)
        planner = plan_in_dialects(
            [
                Call(
                    route=route,
                    server=server,
                    num_generations=num_generations,
                    parameters={**merged, **label_parameters(server)} if labels else merged,
                    structured_output=self.structured_output,
                    structured_output_retries=self.structured_output_retries,
                    stream=self.stream,
                    on_length=self.on_length,
                    reasoning=self.reasoning,
                    renderer=self._renderer,
                )
                for route, server in dialects(self._endpoints)
            ]
        )
        return label_planner(planner, labels) if labels else planner

    def pricing(self) -> Pricing:
        """What the target costs: by the router's list, or by a table of well-known hosts."""
        from distilabel_endpoints._targets.pricing import find_pricing

        lease = self._engine()
        return lease.run(find_pricing, self._endpoints)

    def _answer(self, plans: Iterable[RowPlan], deliver: Callable[[Result], None]) -> None:
        """Send what is planned; blocks until each row was delivered, from the engine's thread.

        Raises:
            RunError: no row can be answered; those that were have been delivered.
        """
        lease = self._engine()
        lease.run(lease.scheduler.drive, plans, _work(lease.scheduler), deliver)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        refuse_ignored(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        """Validated like the constructor's; what was loaded with another value is loaded anew."""
        before = vars(self).get(name)
        super().__setattr__(name, value)
        is_read_at_load = name in Attributes.model_fields and name not in _READ_BY_EACH_CALL
        if is_read_at_load and vars(self)[name] != before:
            self._lease = None  # given back when the calls that use it have ended


def _work(scheduler: Scheduler) -> Any:
    async def work(plan: RowPlan) -> Result:
        return await answer_row(scheduler, plan)

    return work


async def _planned(
    inputs: AsyncIterable[Input] | Iterable[Input], planner: Planner
) -> AsyncIterator[RowPlan]:
    index = 0
    async for input_ in each(inputs):
        yield planner(index, input_)
        index += 1


def _indexed(result: Result) -> Output:
    return {**output_of(result), "index": result.ordinal}


def _positive(num_generations: int) -> int:
    if type(num_generations) is not int or num_generations < 1:
        raise ParameterError(f"'num_generations' must be an integer >= 1; got {num_generations!r}.")
    return num_generations
