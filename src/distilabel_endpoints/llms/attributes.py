"""The attributes of `InferenceEndpointsLLM`, and what they must be together.

Nothing here talks to anybody: what was named is looked up when the object is loaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from copy import deepcopy
from inspect import cleandoc
from typing import Annotated, Any, Literal, Self, cast

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
from distilabel_endpoints._targets.credentials import (
    FoundToken,
    refuse_insecure_token,
    token_of_environment,
)
from distilabel_endpoints._targets.endpoints import check_distinct
from distilabel_endpoints._targets.router_models import ALL, Needs
from distilabel_endpoints._targets.settings import TargetSettings
from distilabel_endpoints._targets.urls import check_base_url
from distilabel_endpoints.config import ATTEMPT_TIMEOUT, MAX_PAUSE, WAIT_READY
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.grammar import parse_grammar
from distilabel_endpoints.grammar.labels import LabelSet
from distilabel_endpoints.llms.calls import growth
from distilabel_endpoints.llms.serialization import Serializable

__all__ = ["Attributes", "effective_parameters", "listed"]


def _usable_policy(policy: str) -> str:
    growth(policy)
    return policy


PositiveInt = Annotated[int, Field(ge=1)]
TokenCount = Annotated[int, Field(ge=1, strict=True)]
PositiveFloat = Annotated[float, Field(gt=0)]
OnLength = Annotated[str, AfterValidator(_usable_policy)]


class Attributes(Serializable):
    """The attributes of an `InferenceEndpointsLLM`."""

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
    """Read answers as a stream: `True`, `False`, or `"auto"`: if long answers need it."""
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
    """How much a model that thinks is to think: `off`, an effort, or at most N tokens."""
    labels: list[str] | None = None
    """Each answer is one of these labels, with the probability of each: see `docs/labels.md`."""
    trusted_hosts: list[str] = Field(default_factory=list)
    """For `base_url`: hosts in a private network that a key may go to over plain http."""
    headers: dict[str, SecretStr] = Field(default_factory=dict, repr=False)
    """Sent with every request. Treated as secret: not printed, not saved."""

    _only_looks: bool = PrivateAttr(default=False)
    _kept_provider: str | None = PrivateAttr(default=None)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """The attributes that were given, not all that there are."""
        return ((n, v) for n, v in super().__repr_args__() if n in self.model_fields_set)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        listed_fields = [
            f"    {name}: {' '.join(field.description.split())}"
            for name, field in cls.model_fields.items()
            if field.description
        ]
        # `help()` shows no field's own docstring.
        cls.__doc__ = "\n".join([cleandoc(cls.__doc__ or ""), "", "Attributes:", *listed_fields])

    @field_validator("base_url")
    @classmethod
    def _is_usable_url(cls, value: str | list[str] | None) -> str | list[str] | None:
        for url in listed(value):
            check_base_url(url)
        if isinstance(value, list):
            check_distinct(value)
        return value

    @field_validator("generation_kwargs")
    @classmethod
    def _are_parameters(cls, value: dict[str, Any]) -> dict[str, Any]:
        check_parameters(value, where="generation_kwargs: ")
        return value

    @field_validator("structured_output")
    @classmethod
    def _is_grammar(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            parse_grammar(value)
        return value

    @field_validator("provider")
    @classmethod
    def _names_providers(cls, value: str | list[str] | None) -> str | list[str] | None:
        if isinstance(value, list) and (not value or len(set(value)) < len(value)):
            raise ConfigurationError("provider is a list without names, or with one twice.")
        return value

    @field_validator("labels")
    @classmethod
    def _can_be_told_apart(cls, value: list[str] | None) -> list[str] | None:
        return None if value is None else list(LabelSet(tuple(value)).labels)

    @model_validator(mode="after")
    def only_one_of_model_id_endpoint_name_or_base_url_provided(self) -> Self:
        """The attributes fit together. Has the name of distilabel's check, so that a subclass
        which replaces that one replaces this one."""
        named = self._require_target()
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
            for url in listed(self.base_url):
                refuse_insecure_token(url, self.trusted_hosts)
        return self

    def _require_target(self) -> list[str]:
        """Those of the three attributes that name a target and are set: at least one."""
        named = [n for n in ("model_id", "endpoint_name", "base_url") if getattr(self, n)]
        if not named:
            raise ConfigurationError("Give one of model_id, endpoint_name and base_url.")
        return named

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
                raise ConfigurationError(f"{field} is given without {needed}. Leave {field} out.")

    def _settings_of_each(self) -> tuple[TargetSettings, ...]:
        """One for each endpoint."""
        named = self.model_id or self.endpoint_name
        urls = [None] if named else listed(self.base_url)
        return tuple(self._target_settings(url) for url in urls)

    def _target_settings(self, base_url: str | None) -> TargetSettings:
        token, pool = self._given_token(), self.provider_pool
        return TargetSettings(
            model_id=self.model_id,
            endpoint_name=self.endpoint_name,
            endpoint_namespace=self.endpoint_namespace,
            base_url=base_url,
            served_model=self.served_model,
            provider=self.provider if isinstance(self.provider, str) and not pool else None,
            providers=pool,
            kept_provider=self._kept_provider,
            needs=Needs(
                tools=bool(self.generation_kwargs.get("tools")),
                structured_output=self.structured_output is not None,
                tokens=self.generation_kwargs.get("max_new_tokens") or 0,
                max_price_out=self.max_price_out,
            ),
            bill_to=self.bill_to,
            given_token=token,
            found_token=None if token else self.api_key,
            headers=tuple(self.headers.items()),
            trusted_hosts=tuple(self.trusted_hosts),
            wait_ready=self.wait_ready,
            waits_to_listen="wait_ready" in self.model_fields_set,
            timeout=self.timeout,
            ca_file=self.ca_file,
            wake=self.wake,
            only_looks=self._only_looks,
        )

    @property
    def provider_pool(self) -> tuple[str, ...]:
        """The providers that are used as one: their names, or `all`; none for a single one."""
        if isinstance(self.provider, list):
            return tuple(self.provider)
        return (ALL,) if self.provider == ALL else ()

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

    @classmethod
    def _secret_fields(cls) -> set[str]:
        return super()._secret_fields() | {"api_key", "headers"}

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

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A copy with the same attributes, secrets included, that is not loaded."""
        values = {name: deepcopy(getattr(self, name), memo) for name in type(self).model_fields}
        made = type(self).model_construct(_fields_set=set(self.model_fields_set), **values)
        return cast("Self", made)

    def __copy__(self) -> Self:
        """As `copy.deepcopy`: two objects never share what one of them closes."""
        return self.__deepcopy__()

    def __getstate__(self) -> dict[Any, Any]:
        """Pickled without secrets and connections: they are read and made anew where it lands."""
        return {"dump": self.dump()}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        # A class that travels by value has another name where it lands.
        values = {name: value for name, value in state["dump"].items() if name != "type_info"}
        other = type(self).from_dict(values)
        super().__setstate__(BaseModel.__getstate__(other))


def effective_parameters(llm: Attributes, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The generation parameters of a call, and those of the LLM that it does not set."""
    return {**llm.generation_kwargs, **parameters}


def listed(value: str | list[str] | None) -> list[str]:
    """One URL or several, as several."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else value
