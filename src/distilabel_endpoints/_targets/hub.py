"""Targets that the Hub knows: a serverless model, a dedicated Inference Endpoint.

Rules
- What makes every request fail is found here, before the first one: no token, a token that may not
  call inference, no such model or endpoint, a model nobody serves, an endpoint that failed.
- An endpoint that sleeps is woken and waited for; what is waited for is reported while it lasts.
- Calls to the Hub and the control plane are retried here (they are one-shot); generations never.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

import anyio
import httpx2
import stamina
from anyio import to_thread
from huggingface_hub import HfApi, InferenceEndpoint, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    InferenceEndpointError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.inference import _providers
from pydantic import SecretStr

from distilabel_endpoints._clients.failures import classify_status
from distilabel_endpoints._targets.router_models import STICKY
from distilabel_endpoints._targets.urls import Target, target_of_url
from distilabel_endpoints._targets.waiting import ReadyWait
from distilabel_endpoints.errors import ConfigurationError, run_error
from distilabel_endpoints.records import Failure, FailureKind, Server

__all__ = [
    "ask_hub",
    "endpoint_target",
    "model_target",
    "read_endpoint",
    "resume_endpoint",
    "sleeping_target",
    "start_endpoint",
]

T = TypeVar("T")
logger = logging.getLogger("distilabel_endpoints")

ANSWER_SECONDS: Final = 60.0
"""For one answer of the Hub, retries included: its library waits forever."""

_POLICIES: Final = frozenset({"auto", "fastest", "cheapest", "preferred", STICKY})
"""Words of the router that stand in place of a provider's name."""
_REPOSITORY_CODES: Final[Mapping[type[HfHubHTTPError], str]] = {
    RepositoryNotFoundError: "repo_not_found",
    GatedRepoError: "gated",
}
_RETRIED: Final = frozenset({408, 429, 500, 502, 503, 504})
_ENGINES: Final[Mapping[str, Server]] = {
    "vllm": Server.VLLM,
    "sglang": Server.SGLANG,
    "tgi": Server.TGI,
    "tginemo": Server.TGI,
    "llamacpp": Server.LLAMACPP,
}
_ASLEEP_URL: Final = "https://asleep.invalid"
"""Stands for the URL of an endpoint that has none while it sleeps, and that nothing is sent to."""
_INFERENCE_RIGHT: Final = "inference.serverless.write"


def _stop(code: str, message: str, hint: str | None = None, status: int | None = None) -> Exception:
    kind = FailureKind.RUN
    return run_error(Failure(kind=kind, code=code, message=message, hint=hint, status=status))


async def model_target(model_id: str, provider: str | None, token: SecretStr | None) -> Target:
    """The serverless router, for a model that someone serves.

    Raises:
        AuthenticationError: no token, or one that is rejected.
        AccessError: a gated model, or a token that may not call inference.
        ModelNotFoundError: no such model, no provider serves it, or this one does not.
    """
    if token is None:
        raise _stop(
            "no_token",
            f"model_id {model_id!r} is served by Hugging Face's router, which needs a token.",
            "Set HF_TOKEN, pass api_key, or run `hf auth login`.",
        )
    if not token.get_secret_value().startswith("hf_"):
        raise ConfigurationError(
            "api_key is not a Hugging Face token (hf_...), which model_id needs. To talk to a "
            "provider with its own key, give its URL as base_url."
        )
    model_id, provider = _split_provider(model_id, provider)
    api = HfApi(token=token.get_secret_value())
    info = await ask_hub(lambda: api.model_info(model_id, expand=["inferenceProviderMapping"]))
    if isinstance(info, Failure):
        raise _model_failure(info, model_id)
    await _check_rights(api)
    served = {
        str(mapping.provider): mapping
        for mapping in info.inference_provider_mapping or ()
        if mapping.task == "conversational" and mapping.status != "error"
    }
    _check_provider(model_id, provider, served)
    root = str(_providers.CONVERSATIONAL_AUTO_ROUTER.base_url)
    is_free = provider in {None, "auto", STICKY}
    name = model_id if is_free else f"{model_id}:{provider}"
    return Target(
        root=root, api=f"{root}/v1", server=Server.ROUTER, model=name, models=tuple(served)
    )


def _split_provider(model_id: str, provider: str | None) -> tuple[str, str | None]:
    """The router's own spelling, `model:provider`, says what two attributes do here."""
    repository, _, suffix = model_id.partition(":")
    if suffix and provider and suffix != provider:
        raise ConfigurationError(
            f"model_id names the provider {suffix!r}, and provider is {provider!r}. Keep one."
        )
    return repository, provider or suffix or None


def _model_failure(failure: Failure, model_id: str) -> Exception:
    match failure.code, failure.status:
        case "bad_name", _:
            return ConfigurationError(
                f"model_id {model_id[:100]!r} is not the name of a model on the Hub. "
                "Write it as organisation/model; for a file or folder, serve it and give base_url."
            )
        case "gated", _:
            return _stop(
                "gated",
                f"the model {model_id!r} is gated: {failure.message}",
                f"Ask for access at {constants.ENDPOINT}/{model_id}, then run again.",
                403,
            )
        case ("repo_not_found", _) | (_, 404):
            return _stop(
                "not_found",
                f"there is no model {model_id!r} on the Hub that this token may see",
                "Check model_id; for a private model, check whose token it is.",
                404,
            )
        case _:
            return run_error(failure)


def _check_provider(model_id: str, provider: str | None, served: Mapping[str, Any]) -> None:
    if not served:
        raise _stop(
            "not_served",
            f"no Inference Provider serves {model_id!r} for conversations",
            "Pick a model with providers, or deploy it as a dedicated endpoint (endpoint_name).",
            404,
        )
    if provider and provider not in _POLICIES and provider not in served:
        raise _stop(
            "not_served",
            f"{provider} does not serve {model_id!r}; these do: {', '.join(sorted(served))}",
            "Set provider to one of them, or leave it out.",
            404,
        )


async def _check_rights(api: HfApi) -> None:
    """A fine-grained token must have the permission to call Inference Providers."""
    who = await ask_hub(api.whoami)
    if isinstance(who, Failure):
        if who.status == 401:
            raise run_error(who)
        return  # rate limited or down: the first request will say
    token = who.get("auth", {}).get("accessToken", {})
    if token.get("role") != "fineGrained":
        return
    fine = token.get("fineGrained", {})
    granted = set(fine.get("global", ()))
    for scope in fine.get("scoped", ()):
        granted |= set(scope.get("permissions", ()))
    if _INFERENCE_RIGHT not in granted:
        raise _stop(
            "no_inference_right",
            "the token may not make calls to Inference Providers",
            f"Give it that permission at {constants.ENDPOINT}/settings/tokens.",
            403,
        )


async def endpoint_target(
    name: str, namespace: str | None, token: SecretStr | None, *, wait: ReadyWait
) -> Target:
    """The URL of a dedicated endpoint, once it runs. Wakes it when it sleeps.

    Args:
        name: the endpoint's.
        namespace: whose it is; default: the token's own user.
        token: one that may see the endpoint, and start it if it sleeps.
        wait: for how long it is waited for.

    Raises:
        AuthenticationError, AccessError, ModelNotFoundError: the token, or the name.
        UnavailableError: it failed, or does not run in time.
    """
    api = _api_for(name, token)
    endpoint = await read_endpoint(api, name, namespace)
    if endpoint.status in {"paused", "scaledToZero"}:
        endpoint = await start_endpoint(api, endpoint)
    endpoint = await _wait_until_running(api, endpoint, wait)
    return _target_of(endpoint, str(endpoint.url))


async def sleeping_target(
    name: str, namespace: str | None, token: SecretStr | None
) -> Target | None:
    """A dedicated endpoint that sleeps, as the control plane describes it; None if it does not.

    Nothing is sent to it: a request would wake one that is scaled to zero.

    Raises:
        As `endpoint_target`, but for an endpoint that failed.
    """
    endpoint = await read_endpoint(_api_for(name, token), name, namespace)
    if endpoint.status not in {"paused", "scaledToZero"}:
        return None
    logger.warning(
        "endpoint %s is %s: it is not started for this, but a run starts it",
        endpoint.name,
        endpoint.status,
    )
    return _target_of(endpoint, _ASLEEP_URL)


def _api_for(name: str, token: SecretStr | None) -> HfApi:
    if token is None:
        raise _stop(
            "no_token",
            f"endpoint_name {name!r} needs a token.",
            "Set HF_TOKEN, pass api_key, or run `hf auth login`.",
        )
    return HfApi(token=token.get_secret_value())


def _target_of(endpoint: InferenceEndpoint, url: str) -> Target:
    return replace(
        target_of_url(url),
        server=_server_of(endpoint),
        model=endpoint.repository,
        repository=endpoint.repository,
    )


async def resume_endpoint(name: str, namespace: str | None, token: SecretStr | None) -> None:
    """Start a dedicated endpoint that is paused; does nothing when it is not.

    Raises:
        RunError: it cannot be asked, or this token may not start it.
    """
    api = HfApi(token=token.get_secret_value() if token else None)
    endpoint = await read_endpoint(api, name, namespace)
    if endpoint.status in {"paused", "scaledToZero"}:
        await start_endpoint(api, endpoint)


async def read_endpoint(api: HfApi, name: str, namespace: str | None) -> InferenceEndpoint:
    """The endpoint as it is. Wakes nothing.

    Raises:
        RunError: it is not there, or cannot be read.
    """
    endpoint = await ask_hub(lambda: api.get_inference_endpoint(name, namespace=namespace))
    if not isinstance(endpoint, Failure):
        return endpoint
    if endpoint.status == 404:
        whose = f"in the namespace {namespace!r}" if namespace else "in the token's own namespace"
        raise _stop(
            "not_found",
            f"there is no endpoint {name!r} {whose}",
            "Check endpoint_name and endpoint_namespace.",
            404,
        )
    raise run_error(endpoint)


async def start_endpoint(api: HfApi, endpoint: InferenceEndpoint) -> InferenceEndpoint:
    """Ask for it to be started; gives back the answer.

    Raises:
        RunError: this token may not, or the control plane does not.
    """
    logger.warning("endpoint %s is %s; starting it", endpoint.name, endpoint.status)
    resumed = await ask_hub(
        lambda: api.resume_inference_endpoint(endpoint.name, namespace=endpoint.namespace)
    )
    if not isinstance(resumed, Failure):
        return resumed
    if resumed.status == 403:
        raise _stop(
            "forbidden",
            f"the endpoint {endpoint.name!r} is {endpoint.status}, and this token may not start it",
            "Start it by hand, or use a token with write access to it.",
            403,
        )
    raise run_error(resumed)


async def _wait_until_running(
    api: HfApi, endpoint: InferenceEndpoint, wait: ReadyWait
) -> InferenceEndpoint:
    while endpoint.status != "running" or not endpoint.url:
        if endpoint.status in {"failed", "updateFailed"}:
            reason = endpoint.raw["status"].get("message") or "no reason given"
            raise _stop(
                "unavailable",
                f"the endpoint {endpoint.name!r} is {endpoint.status}: {reason}",
                "Look at its logs, fix it, and run again.",
            )
        if wait.is_over:
            raise _stop(
                "unavailable",
                f"the endpoint {endpoint.name!r} is still {endpoint.status} "
                f"after {wait.waited:.0f} s",
                "Wait longer with wait_ready, or look at its logs.",
            )
        await wait.pause(f"endpoint {endpoint.name}", endpoint.status)
        endpoint = await read_endpoint(api, endpoint.name, endpoint.namespace)
    return endpoint


def _server_of(endpoint: InferenceEndpoint) -> Server:
    image = endpoint.raw.get("model", {}).get("image", {})
    for name in image if isinstance(image, Mapping) else ():
        if (server := _ENGINES.get(str(name).lower())) is not None:
            return server
    return Server.UNKNOWN


async def ask_hub(call: Callable[[], T]) -> T | Failure:
    """One blocking call of the Hub's library, in a thread; what fails comes back as a value.

    The library's exceptions hold the request with its token, so none leaves this function.
    """
    with anyio.move_on_after(ANSWER_SECONDS):
        return await to_thread.run_sync(_answer, call, abandon_on_cancel=True)
    return _unreachable(f"no answer in {ANSWER_SECONDS:.0f} s")


def _answer(call: Callable[[], T]) -> T | Failure:
    try:
        for attempt in stamina.retry_context(on=_is_passing, attempts=4, timeout=ANSWER_SECONDS):
            with attempt:
                return call()
        raise AssertionError("a retry context returns or raises")
    except HfHubHTTPError as error:
        response = error.response
        failure = classify_status(response.status_code, response.headers, response.content)
        code = _REPOSITORY_CODES.get(type(error), failure.code)
        return replace(failure, code=code)
    except httpx2.TransportError as error:
        return _unreachable(type(error).__name__)
    except HFValidationError:
        return Failure(
            kind=FailureKind.RUN, code="bad_name", message="not the name of a repository"
        )
    except OfflineModeIsEnabled:
        return _unreachable("HF_HUB_OFFLINE is set", "Unset it, or give base_url.")
    except (AttributeError, LookupError, TypeError, ValueError, InferenceEndpointError) as error:
        return _unreachable(f"its answer cannot be read ({type(error).__name__})")


def _unreachable(why: str, hint: str = "Check the network and HF_ENDPOINT.") -> Failure:
    return Failure(
        kind=FailureKind.UNAVAILABLE,
        code="unavailable",
        message=f"Hugging Face cannot be reached: {why}",
        hint=hint,
    )


def _is_passing(error: Exception) -> bool:
    """Worth another try: a control plane hiccup."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _RETRIED
    return isinstance(error, httpx2.TransportError)
