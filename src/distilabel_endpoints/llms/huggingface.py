"""`InferenceEndpointsLLM`: the fields, what they must be together, and getting ready.

No wire code: targets are resolved and clients are made in `_clients`, rows are answered by
`_engine`.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)

from distilabel_endpoints._clients.parameters import check_parameters
from distilabel_endpoints._engine.retry import RetrySettings
from distilabel_endpoints._limits.limiter import LimiterSettings
from distilabel_endpoints._targets.credentials import (
    FoundToken,
    refuse_insecure_token,
    token_of_environment,
)
from distilabel_endpoints._targets.description import Description, describe_endpoints
from distilabel_endpoints._targets.endpoints import (
    check_distinct,
    dialects,
    find_endpoints,
    identity_of,
    open_lease,
)
from distilabel_endpoints._targets.router_models import ALL, STICKY, Needs
from distilabel_endpoints._targets.settings import TargetSettings
from distilabel_endpoints._targets.urls import Target, check_base_url
from distilabel_endpoints.chat_templates import ChatRenderer, load_renderer
from distilabel_endpoints.config import ATTEMPT_TIMEOUT, MAX_PAUSE, WAIT_READY
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.grammar import parse_grammar
from distilabel_endpoints.grammar.labels import LabelSet
from distilabel_endpoints.llms.base import AsyncLLM, Planner
from distilabel_endpoints.llms.bodies import BodyPlanner
from distilabel_endpoints.llms.calls import Call, growth, plan_in_dialects
from distilabel_endpoints.llms.labels import check_labelling, label_parameters, label_planner
from distilabel_endpoints.spending.prices import Pricing

__all__ = ["InferenceEndpointsLLM"]

_NO_TOKENIZER: Final = (
    "tokenizer_id is not used: the serverless router takes conversations only, and applies the "
    "chat template of model_id itself. Leave tokenizer_id out to be rid of this warning."
)
_READ_BY_EACH_CALL = {
    "generation_kwargs",
    "labels",
    "model_display_name",
    "on_length",
    "reasoning",
    "stream",
    "structured_output",
    "structured_output_retries",
}
_CLIENTS = {False: "huggingface_hub.AsyncInferenceClient", True: "openai.AsyncOpenAI"}


def _usable_policy(given: str) -> str:
    growth(given)
    return given


PositiveInt = Annotated[int, Field(ge=1)]
TokenCount = Annotated[int, Field(ge=1, strict=True)]
PositiveFloat = Annotated[float, Field(gt=0)]
OnLength = Annotated[str, AfterValidator(_usable_policy)]


class InferenceEndpointsLLM(AsyncLLM):
    """Hugging Face inference: serverless models, dedicated endpoints, any TGI or OpenAI-like URL.

    Exactly one of `model_id`, `endpoint_name` and `base_url` says what to talk to.

        llm = InferenceEndpointsLLM(base_url="http://localhost:8080")
        llm.load()
        llm.generate(inputs=[[{"role": "user", "content": "Hello world!"}]])
    """

    model_config = ConfigDict(
        extra="forbid",
        protected_namespaces=(),
        hide_input_in_errors=True,
        validate_assignment=True,
        use_attribute_docstrings=True,
    )

    model_id: str | None = None
    """A model on the Hub, served by the Inference Providers' router."""
    endpoint_name: str | None = None
    """A dedicated Inference Endpoint."""
    endpoint_namespace: str | None = None
    """Whose endpoint it is; default: the token's own user."""
    base_url: str | list[str] | None = None
    """The URL to talk to, with or without `/v1`. Overwritten when a name is given too.

    Several URLs, each of an endpoint with the same model, are used as one: see "Several endpoints"
    in `docs/targets.md`."""
    api_key: SecretStr | None = Field(default_factory=token_of_environment, repr=False)
    """Default: `HF_TOKEN`, read now; then the token saved by `hf auth login`."""
    tokenizer_id: str | None = None
    """A Hub id or folder: the prompt is rendered here and sent as text generation."""
    model_display_name: str | None = None
    """What `model_name` answers before anything else."""
    use_openai_client: bool = False
    """Send with `openai.AsyncOpenAI` instead of `huggingface_hub.AsyncInferenceClient`."""
    provider: str | list[str] | None = None
    """For `model_id`: which provider serves it; default: the router's choice.

    A list of providers, or `all`, is used as one pool; `sticky` keeps to who answers first. See
    "Several providers" in `docs/targets.md`."""
    max_price_out: PositiveFloat | None = None
    """For several providers: the most US dollars for a million tokens of output."""
    bill_to: str | None = None
    """For `model_id`: the organisation that pays."""
    served_model: str | None = None
    """For `base_url`: which of several models the server should use."""
    structured_output: dict[str, Any] | None = None
    """`{"format": "json" | "regex" | "choice", "schema": ...}` for every input."""
    structured_output_retries: int = Field(default=0, ge=0)
    """Further tries for an answer that does not fit its structured output, this or its own."""
    generation_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Generation parameters that per-call ones win over."""
    stream: bool | Literal["auto"] = "auto"
    """Read answers as a stream: `True`, `False`, or `"auto"`: where long answers need it."""
    max_concurrency: PositiveInt | None = None
    """Requests in flight at most, at all endpoints together; default: as many as they take."""
    requests_per_minute: PositiveFloat | None = None
    tokens_per_minute: PositiveFloat | None = None
    timeout: PositiveFloat = ATTEMPT_TIMEOUT
    """Seconds for one attempt, whatever it waits for."""
    wait_ready: PositiveFloat = WAIT_READY
    """Seconds to wait for an endpoint that starts, is away, or fails everything."""
    max_pause: PositiveFloat = MAX_PAUSE
    """Seconds: the longest pause that a server may ask for; a longer one ends the run."""
    wake: bool = False
    """For `endpoint_name`: resume it, at its owner's cost, when it is paused in a run."""
    ca_file: str | None = None
    """A file of certificates, in PEM, to trust beside the system's: a private authority's."""
    on_length: OnLength = "keep"
    """An answer cut off at `max_new_tokens`: `keep` it; `fail` the row and keep the text there; or
    `grow:2x`: ask once more with twice as many (any factor over 1), and keep what comes."""
    reasoning: Literal["off", "low", "medium", "high"] | TokenCount | None = None
    """How much a model that thinks is to think: `off`, an effort, or at most so many tokens."""
    labels: list[str] | None = None
    """Each answer is one of these labels, with the probability of each: see `docs/labels.md`."""
    trusted_hosts: list[str] = Field(default_factory=list)
    """For `base_url`: hosts in a private network that a key may go to over plain http."""
    headers: dict[str, SecretStr] = Field(default_factory=dict, repr=False)
    """Sent with every request. Treated as secret: not printed, not saved."""

    _endpoints: tuple[Target, ...] = PrivateAttr(default=())
    _renderer: ChatRenderer | None = PrivateAttr(default=None)
    _loading: Any = PrivateAttr(default_factory=threading.Lock)
    _only_looks: bool = PrivateAttr(default=False)

    @field_validator("base_url")
    @classmethod
    def _is_usable_url(cls, given: str | list[str] | None) -> str | list[str] | None:
        for url in _listed(given):
            check_base_url(url)
        if isinstance(given, list):
            check_distinct(given)
        return given

    @field_validator("generation_kwargs")
    @classmethod
    def _are_parameters(cls, given: dict[str, Any]) -> dict[str, Any]:
        check_parameters(given, where="generation_kwargs: ")
        return given

    @field_validator("structured_output")
    @classmethod
    def _is_grammar(cls, given: dict[str, Any] | None) -> dict[str, Any] | None:
        if given is not None:
            parse_grammar(given)
        return given

    @field_validator("provider")
    @classmethod
    def _names_providers(cls, given: str | list[str] | None) -> str | list[str] | None:
        if isinstance(given, list) and (not given or len(set(given)) < len(given)):
            raise ConfigurationError("provider is a list without names, or with one twice.")
        return given

    @field_validator("labels")
    @classmethod
    def _can_be_told_apart(cls, given: list[str] | None) -> list[str] | None:
        return None if given is None else list(LabelSet(tuple(given)).labels)

    @model_validator(mode="after")
    def _names_one_target(self) -> Self:
        named = [n for n in ("model_id", "endpoint_name", "base_url") if getattr(self, n)]
        if not named:
            raise ConfigurationError("Give one of model_id, endpoint_name and base_url.")
        if self.model_id and self.endpoint_name:
            raise ConfigurationError(
                "model_id and endpoint_name are both given; they name different targets. Keep one."
            )
        self._check_companions()
        if len(named) > 1 and "base_url" not in self.model_fields_set:
            return self  # what was loaded has overwritten it
        if self.base_url and len(named) > 1:
            warnings.warn(
                f"base_url is ignored: {named[0]} is given too, and base_url will be overwritten "
                "with what that resolves to.",
                UserWarning,
                stacklevel=2,
            )
        elif self.base_url and self._target_settings(None).gives_token:
            for url in _listed(self.base_url):
                refuse_insecure_token(url, self.trusted_hosts)
        return self

    def _given_token(self) -> SecretStr | None:
        return None if isinstance(self.api_key, FoundToken) else self.api_key

    def _check_companions(self) -> None:
        """Fields that only mean something beside another."""
        for field, needed in (
            ("endpoint_namespace", "endpoint_name"),
            ("wake", "endpoint_name"),
            ("provider", "model_id"),
            ("bill_to", "model_id"),
            ("max_price_out", "provider_pool"),
            ("served_model", "base_url"),
            ("trusted_hosts", "base_url"),
        ):
            if getattr(self, field) and not getattr(self, needed):
                raise ConfigurationError(f"{field} is given without {needed}, which it is for.")

    @property
    def provider_pool(self) -> tuple[str, ...]:
        """The providers that are used as one: their names, or `all`; none for a single one."""
        if isinstance(self.provider, list):
            return tuple(self.provider)
        return (ALL,) if self.provider == ALL else ()

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
            or ", ".join(_listed(self.base_url))
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
        with self._loading:
            if self._lease is not None and self._lease.alive:
                return
            if self._is_own_tokenizer():
                warnings.warn(_NO_TOKENIZER, UserWarning, stacklevel=2)
            endpoints = find_endpoints(
                self._settings_of_each(),
                use_openai_client=self.use_openai_client,
                sends_prompts=self.sends_prompts,
            )
            self._renderer = self._open_renderer(endpoints[0].token)
            self._endpoints = endpoints
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
            )

    def _settings_of_each(self) -> tuple[TargetSettings, ...]:
        """One for each endpoint."""
        named = self.model_id or self.endpoint_name
        urls = [None] if named else _listed(self.base_url)
        return tuple(self._target_settings(url) for url in urls)

    def _target_settings(self, base_url: str | None) -> TargetSettings:
        given, pool = self._given_token(), self.provider_pool
        return TargetSettings(
            model_id=self.model_id,
            endpoint_name=self.endpoint_name,
            endpoint_namespace=self.endpoint_namespace,
            base_url=base_url,
            served_model=self.served_model,
            provider=self.provider if isinstance(self.provider, str) and not pool else None,
            providers=pool,
            needs=Needs(
                tools=bool(self.generation_kwargs.get("tools")),
                structured_output=self.structured_output is not None,
                tokens=self.generation_kwargs.get("max_new_tokens") or 0,
                max_price_out=self.max_price_out,
            ),
            bill_to=self.bill_to,
            given_token=given,
            found_token=None if given else self.api_key,
            headers=tuple(self.headers.items()),
            trusted_hosts=tuple(self.trusted_hosts),
            wait_ready=self.wait_ready,
            waits_to_listen="wait_ready" in self.model_fields_set,
            timeout=self.timeout,
            ca_file=self.ca_file,
            wake=self.wake,
            only_looks=self._only_looks,
        )

    def only_look(self) -> None:
        """From here on start nothing: a dedicated endpoint that sleeps is described, not woken."""
        self._only_looks = True

    @property
    def sends_prompts(self) -> bool:
        """Whether requests hold a prompt, not a conversation."""
        return self.tokenizer_id is not None and not self._is_own_tokenizer()

    def _is_own_tokenizer(self) -> bool:
        """Whether `tokenizer_id` names the model that the router serves, with its own template."""
        if self.model_id is None or self.tokenizer_id is None:
            return False
        repository, _, _provider = self.model_id.partition(":")
        return repository.casefold() == self.tokenizer_id.casefold()

    @property
    def renderer(self) -> ChatRenderer | None:
        """What makes prompts of conversations, where prompts are sent; once loaded."""
        return self._renderer

    def _open_renderer(self, token: SecretStr | None) -> ChatRenderer | None:
        if self.tokenizer_id is None or not self.sends_prompts:
            return None
        return load_renderer(self.tokenizer_id, token.get_secret_value() if token else None)

    def describe(self) -> Description:
        """What this object talks to and what can be asked of it there; loads if need be."""
        lease = self.engine()
        named = next(n for n in ("model_id", "endpoint_name", "base_url") if getattr(self, n))
        return describe_endpoints(
            self._endpoints,
            target=f"{named}={', '.join(_listed(getattr(self, named)))}",
            client=_CLIENTS[self.use_openai_client],
            choices=lease.scheduler.choices_limit,
        )

    def planner(self, num_generations: int, parameters: Mapping[str, Any]) -> Planner:
        """Check what is the same for all rows of a call; give back what plans one row."""
        self.engine()
        asked = {**self.generation_kwargs, **check_parameters(parameters)}
        self._check_providers(asked)
        labels = LabelSet(tuple(self.labels)) if self.labels else None
        for route, server in dialects(self._endpoints) if labels else ():
            check_labelling(self.structured_output, server, route, num_generations, asked)
        planner = plan_in_dialects(
            [
                Call(
                    route=route,
                    server=server,
                    num_generations=num_generations,
                    parameters={**asked, **label_parameters(server)} if labels else asked,
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

    def _check_providers(self, asked: Mapping[str, Any]) -> None:
        """What is asked for in a call can be done by every provider of the pool."""
        longest = asked.get("max_new_tokens") or 0
        for endpoint in self._endpoints:
            if asked.get("tools") and "tools" in endpoint.lacks:
                problem = "does not take tools"
            elif endpoint.context is not None and endpoint.context <= longest:
                problem = f"has a context of {endpoint.context:,} tokens"
            else:
                continue
            raise ConfigurationError(
                f"{endpoint.provider} {problem}. Name the other providers, or put it into "
                "generation_kwargs, which leaves that one out of provider='all'."
            )

    def body_planner(self, *, completes: bool) -> BodyPlanner:
        """What plans requests whose bodies are sent as they are.

        Args:
            completes: whether they are for the completions API.

        Raises:
            ConfigurationError: an attribute would change them, or the client has no such API.
        """
        self.engine()
        for field in (
            "tokenizer_id",
            "structured_output",
            "generation_kwargs",
            "reasoning",
            "labels",
        ):
            if getattr(self, field):
                raise ConfigurationError(
                    f"bodies are sent as they are, so {field} has no place beside them. Leave it "
                    "out, or put it into the bodies."
                )
        if growth(self.on_length):
            raise ConfigurationError(
                "bodies are sent as they are, so on_length is 'keep' or 'fail'. Leave it out."
            )
        if completes and not self.use_openai_client:
            raise ConfigurationError(
                "/v1/completions is the OpenAI client's: set use_openai_client=True "
                "(--client openai)."
            )
        return BodyPlanner(
            model=self._endpoints[0].model,
            is_chosen=bool(self.model_id or self.endpoint_name or self.served_model),
            stream=self.stream,
            takes_cut_off=self.on_length != "fail",
            dialects=len(dialects(self._endpoints)),
        )

    def pricing(self) -> Pricing:
        """What the target costs: by the router's list, or by a table of well-known hosts."""
        from distilabel_endpoints._targets.pricing import find_pricing

        lease = self.engine()
        return lease.run(find_pricing, self._endpoints)

    def fingerprint(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What decides the answers, as JSON values: a resumed run must have the same.

        The URLs are not part of it where the servers say which model they serve; `on_length` is
        where it makes other texts.
        """
        self.engine()
        named = self.model_id or self.endpoint_name
        providers = STICKY if self.provider == STICKY else sorted(self.provider_pool)
        return {
            **({"providers": providers} if providers else {}),
            **({"max_price_out": self.max_price_out} if self.max_price_out else {}),
            **({"on_length": self.on_length} if growth(self.on_length) else {}),
            **({"labels": self.labels} if self.labels else {}),
            **({"reasoning": self.reasoning} if self.reasoning is not None else {}),
            **identity_of(self._endpoints, by_url=not named),
            "tokenizer_id": self.tokenizer_id if self.sends_prompts else None,
            "structured_output": self.structured_output
            and parse_grammar(self.structured_output).as_value(),
            "parameters": {**self.generation_kwargs, **parameters},
        }

    @classmethod
    def _secret_fields(cls) -> set[str]:
        return {"api_key", "headers"}

    def dump(self) -> dict[str, Any]:
        """The object as plain JSON values, with `type_info` and without any secret."""
        values = super().dump()
        if self.model_id or self.endpoint_name:
            values["base_url"] = None  # resolved anew where it is loaded
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The object of a dump. Secrets are read anew, from where they are kept."""
        made = super().from_dict(values)
        if made.wait_ready == WAIT_READY:
            # A dump has every field; only a time that somebody named waits for a port to open.
            made.model_fields_set.discard("wait_ready")
        return made

    def __setattr__(self, name: str, value: Any) -> None:
        """Validated like the constructor's; what was loaded with another value is loaded anew."""
        before = vars(self).get(name)
        super().__setattr__(name, value)
        is_read_at_load = name in type(self).model_fields and name not in _READ_BY_EACH_CALL
        if is_read_at_load and vars(self)[name] != before:
            self._lease = None  # given back when the calls that use it have ended

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> InferenceEndpointsLLM:
        """A copy with the same attributes, secrets included, that is not loaded."""
        values = {name: deepcopy(getattr(self, name), memo) for name in type(self).model_fields}
        return type(self).model_construct(_fields_set=set(self.model_fields_set), **values)

    def __copy__(self) -> InferenceEndpointsLLM:
        """As `copy.deepcopy`: two objects never share what one of them closes."""
        return self.__deepcopy__()

    def __getstate__(self) -> dict[Any, Any]:
        """Pickled without secrets and connections: they are read and made anew where it lands."""
        return {"dump": self.dump()}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        other = type(self).from_dict(state["dump"])
        super().__setstate__(BaseModel.__getstate__(other))


def _listed(given: str | list[str] | None) -> list[str]:
    """One URL or several, as several."""
    if given is None:
        return []
    return [given] if isinstance(given, str) else given
