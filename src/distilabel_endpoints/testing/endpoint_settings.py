"""The settings of a simulated endpoint, as frozen values.

Times are seconds on the clock of the loop that serves, counted from the start of the endpoint
if they name a moment. Lengths are tokens, and a token is a word. Nothing here opens a socket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from math import exp, log
from random import Random
from statistics import NormalDist
from typing import Any, Literal, TypedDict, Unpack, get_args

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.testing.answer_request import AnswerRequest
from distilabel_endpoints.testing.faults import Fault

__all__ = [
    "FLAVORS",
    "STATES",
    "Deployment",
    "FlavorName",
    "Hardware",
    "HubModel",
    "Latency",
    "Lengths",
    "Limits",
    "Settings",
    "SettingsChanges",
    "StateName",
    "Throughput",
    "Token",
]

FlavorName = Literal["tgi", "vllm", "sglang", "llamacpp", "openai"]
FLAVORS: tuple[FlavorName, ...] = get_args(FlavorName)

StateName = Literal[
    "pending",
    "initializing",
    "updating",
    "updateFailed",
    "running",
    "paused",
    "failed",
    "scaledToZero",
]
STATES: tuple[StateName, ...] = get_args(StateName)

_SIGMA = 0.7
"""The spread of lognormal lengths."""


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a request is generated for once it has a slot, whatever else is running.

    `prefill + draw + per_token * output tokens`, where the draw is `mean` itself with `sigma` 0
    and lognormal with that mean otherwise. Draws come in the order in which requests get their
    slots, from the endpoint's seed: every client meets the same sequence.
    """

    mean: float = 0.0
    _: KW_ONLY
    sigma: float = 0.0
    prefill: float = 0.0
    per_token: float = 0.0

    def draw(self, tokens: int, rng: Random) -> float:
        """Seconds for a request of `tokens` output tokens."""
        seconds = self.mean
        if self.sigma and self.mean:
            mu = log(self.mean) - self.sigma**2 / 2
            seconds = rng.lognormvariate(mu, self.sigma)
        return self.prefill + seconds + self.per_token * tokens


@dataclass(frozen=True, slots=True)
class Throughput:
    """A server that batches: tokens per second of all requests together, shared equally.

    `points` are `(requests running, tokens per second)`, linear between, from zero up to the
    first and flat after the last. `prefill` seconds pass before a request takes its share.
    """

    points: tuple[tuple[int, float], ...]
    _: KW_ONLY
    prefill: float = 0.3

    def __post_init__(self) -> None:
        if not self.points or any(n < 1 or rate <= 0 for n, rate in self.points):
            raise ConfigurationError("Throughput needs points of (running >= 1, tokens/s > 0).")

    def rate(self, running: int) -> float:
        """Tokens per second of the whole server with `running` requests."""
        before, below = 0, 0.0
        for count, rate in self.points:
            if running <= count:
                return below + (rate - below) * (running - before) / (count - before)
            before, below = count, rate
        return below


@dataclass(frozen=True, slots=True)
class Lengths:
    """How many tokens an answer has before `max_tokens` or `stop` cuts it.

    Drawn from the request's own content, so the same request has the same length. `changes`
    are `(from this second on, mean)`: the mix of a real run shifts, too.
    """

    mean: float = 16.0
    _: KW_ONLY
    spread: Literal["constant", "exponential", "uniform", "lognormal"] = "exponential"
    changes: tuple[tuple[float, float], ...] = ()

    def tokens(self, share: float, now: float = 0.0) -> int:
        """The length at quantile `share` (0 to 1, exclusive), at `now` seconds."""
        mean = self.mean
        for start, later in self.changes:
            if now >= start:
                mean = later
        match self.spread:
            case "constant":
                length = mean
            case "exponential":
                length = -mean * log(1.0 - share)
            case "uniform":
                length = 1 + (2 * mean - 1) * share
            case "lognormal":
                length = mean * exp(_SIGMA * NormalDist().inv_cdf(share) - _SIGMA**2 / 2)
        return max(1, round(length))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the endpoint refuses, and when."""

    queue: int | None = None
    """Requests that may wait for a slot; beyond them `refusal`. `None`: any number, as vLLM."""
    refusal: Literal[429, 503] = 429
    refusal_words: str | None = None
    """What it says then, in the flavor's own shape; a gateway's page if it begins with `<`. See
    `FULL_QUEUES`. Default: "Model is overloaded"."""
    requests_per_minute: float | None = None
    """A bucket that holds a tenth of this and refills evenly; empty, it answers 429."""
    tokens_per_minute: float | None = None
    """The same for prompt and output tokens together."""
    retry_after: bool = False
    """Whether a 429 of a bucket says in `Retry-After` when to come back."""
    rate_headers: bool = False
    """Whether every answer carries the buckets' `x-ratelimit-*` headers."""
    random_refusals: float = 0.0
    """The chance of a bare 429, drawn in order of arrival."""
    gateway_timeout: float | None = None
    """Age at which a gateway kills a request with 504; a stream is safe once it has begun."""
    unavailable_for: float = 0.0
    """Seconds after the start during which everything is answered 503."""
    context_tokens: int | None = None
    """Prompt and `max_tokens` together may not exceed this."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token that the Hub, the router, the control plane and the data plane accept."""

    value: str = field(repr=False)
    _: KW_ONLY
    user: str = "simulated-user"
    orgs: tuple[str, ...] = ()
    inference: bool = True
    """Whether it may call the router and a dedicated endpoint."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model as the Hub and the router know it."""

    id: str
    _: KW_ONLY
    providers: tuple[str, ...] = ("hf-inference", "together")
    """Who serves it, in order; empty: no provider."""
    gated: bool = False
    """Metadata is public; files and the router answer 403."""
    pipeline_tag: str = "text-generation"
    task: str = "conversational"
    status: Literal["live", "staging", "error"] = "live"
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Of a provider: dollars per million tokens in and out. The list has none for the others."""
    contexts: Mapping[str, int] = field(default_factory=dict)
    """Of a provider: the tokens of its context, likewise."""
    tools: Mapping[str, bool] = field(default_factory=dict)
    """Of a provider: whether it takes tools, likewise."""
    schemas: Mapping[str, bool] = field(default_factory=dict)
    """Of a provider: whether it holds answers to a schema, likewise."""
    down: tuple[str, ...] = ()
    """Providers whose state is `error`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What one replica runs on, and what the list of hardware says it costs."""

    vendor: str = "aws"
    region: str = "us-east-1"
    accelerator: str = "gpu"
    instance_type: str = "nvidia-l4"
    instance_size: str = "x1"
    price_per_hour: float | None = 0.8
    """USD per replica; `None`: the list does not have this hardware."""

    @property
    def id(self) -> str:
        """Its name in the list."""
        return f"{self.vendor}-{self.region}-{self.instance_type}-{self.instance_size}"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A dedicated Inference Endpoint in front of the data plane."""

    name: str
    _: KW_ONLY
    namespace: str = "simulated-user"
    state: StateName = "running"
    wake_seconds: float = 0.0
    """From `resume`, or from the first request after scaling to zero, to `running`."""
    wake_fails: bool = False
    """Waking ends in `failed` instead."""
    image: str | None = None
    """The key under `model.image`; default: what the flavor runs as."""
    repository: str | None = None
    """Default: the endpoint's model."""
    hardware: Hardware = Hardware()
    min_replica: int = 1
    max_replica: int = 1
    """With more than one, `slots` is what each replica has; they come one by one under load."""
    replica_seconds: float = 60.0
    """From the moment one more replica is needed until it serves."""
    scale_to_zero_minutes: int | None = None
    """Minutes without a request after which it scales to zero, if `min_replica` is 0."""
    pause_seconds: float = 0.0
    """From `pause` or `scale-to-zero` until it is so. It runs, serves and costs until then."""
    pauses_lost: int = 0
    """Commands to pause or scale to zero that are accepted and have no effect, the first ones."""
    tags: tuple[str, ...] = ()
    credit: float | None = None
    """USD that the account has left; when they are used up, the endpoint is paused."""


class SettingsChanges(TypedDict, total=False):
    """The fields of `Settings` as keyword arguments."""

    flavor: FlavorName
    model: str
    slots: int | None
    latency: Latency | Throughput
    lengths: Lengths
    limits: Limits
    faults: tuple[Fault, ...]
    reply: Callable[[AnswerRequest], str] | None
    next_tokens: Callable[[AnswerRequest, str], Mapping[str, float]] | None
    seed: int
    reasoning: bool
    refuses: tuple[str, ...]
    tokens: tuple[Token, ...]
    models: tuple[HubModel, ...]
    deployment: Deployment | None
    credits: int | None
    log: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One simulated endpoint."""

    flavor: FlavorName = "openai"
    """Which server it imitates: routes, error shapes, structured output, `n`."""
    model: str = "simulated-model"
    """The model it serves."""
    slots: int | None = None
    """Requests generated at once; `None`: any number."""
    latency: Latency | Throughput = Latency()
    lengths: Lengths = Lengths()
    limits: Limits = Limits()
    faults: tuple[Fault, ...] = ()
    reply: Callable[[AnswerRequest], str] | None = None
    """Writes the answers instead of the built-in words."""
    next_tokens: Callable[[AnswerRequest, str], Mapping[str, float]] | None = None
    """What may come after a text, with its probability: a model whose log-probabilities are known.
    The likeliest is written, among those that a choice of texts allows."""
    seed: int = 0
    """Same seed, same request: same answer."""
    reasoning: bool = False
    """Whether chat answers carry reasoning beside the text."""
    refuses: tuple[str, ...] = ()
    """Parameters that the OpenAI routes do not take, such as `max_tokens` on newer models."""
    tokens: tuple[Token, ...] = ()
    """Tokens that are accepted. Empty: anybody on the data plane, any `hf_` token elsewhere."""
    models: tuple[HubModel, ...] = ()
    """What the Hub knows. Empty: just `model`."""
    deployment: Deployment | None = None
    credits: int | None = None
    """Requests the router answers before 402; `None`: any number."""
    log: bool = True
    """`False` keeps latencies and counters only, for benchmarks."""

    def __post_init__(self) -> None:
        if self.flavor not in FLAVORS:
            raise ConfigurationError(f"flavor is {self.flavor!r}, not one of {', '.join(FLAVORS)}.")
        if self.slots is not None and self.slots < 1:
            raise ConfigurationError(f"slots is {self.slots}; at least 1 is needed, or None.")

    @classmethod
    def of(cls, base: Settings | None = None, **changes: Unpack[SettingsChanges]) -> Settings:
        """`base` with some fields changed.

        Raises:
            ConfigurationError: a name is not a field, or a value makes no sense.
        """
        known = {entry.name for entry in fields(cls)}
        if unknown := sorted(set(changes) - known):
            raise ConfigurationError(
                f"A simulated endpoint has no {', '.join(unknown)}; "
                f"it has {', '.join(sorted(known))}."
            )
        values: dict[str, Any] = dict(changes)
        return replace(base or cls(), **values)
