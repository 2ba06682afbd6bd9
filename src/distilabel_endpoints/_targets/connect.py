"""From what a user names to an open client: resolve, ask, choose the route, make the client."""

from __future__ import annotations

import importlib.util
import logging
import ssl
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import httpx2
from anyio import to_thread
from pydantic import SecretStr

from distilabel_endpoints._clients.adapting import AdaptingClient
from distilabel_endpoints._clients.attempt import first_token_seconds
from distilabel_endpoints._clients.proxies import system_trust
from distilabel_endpoints._clients.sticky import StickyClient
from distilabel_endpoints._clients.transport import open_session
from distilabel_endpoints._targets.credentials import (
    refuse_public_address,
    saved_token,
    sendable_token,
    token_for_url,
)
from distilabel_endpoints._targets.probe import Findings, ask, probe
from distilabel_endpoints._targets.router_models import STICKY, Offer, choose_offers, offers_of
from distilabel_endpoints._targets.settings import TargetSettings
from distilabel_endpoints._targets.urls import Target, target_of_url
from distilabel_endpoints._targets.waiting import ReadyWait
from distilabel_endpoints.errors import ConfigurationError, InstallationError, run_error
from distilabel_endpoints.records import Client, Failure, FailureKind, Route, Server

__all__ = ["open_client", "open_session_to", "resolve", "resolve_providers", "route_of"]

logger = logging.getLogger("distilabel_endpoints")

_LISTED_WITHIN: Final = 30.0
"""Seconds in which a server that is there lists its models, if it ever does."""
_NO_TGI_ROUTE: Final = frozenset(
    {Server.VLLM, Server.SGLANG, Server.LLAMACPP, Server.OPENAI, Server.ROUTER}
)


async def resolve(settings: TargetSettings) -> Target:
    """Where requests go, which server that is, and what it serves. Waits for what is starting.

    Raises:
        ConfigurationError: what was named does not fit what is there.
        RunError: no request can succeed.
    """
    if settings.base_url is None:
        system_trust()  # the Hub's library would raise a bare FileNotFoundError
    saved = settings.found_token or await to_thread.run_sync(saved_token)
    if settings.base_url is not None:
        target = replace(target_of_url(settings.base_url), settings=settings)
        token = token_for_url(target.root, settings.given_token, saved, settings.trusted_hosts)
        if settings.gives_token:
            await refuse_public_address(target.root)
        wait = ReadyWait(settings.wait_ready)
        findings = await _probed(replace(target, token=token), wait, _waited_for(settings))
        return _with_model(findings)
    return await _resolve_name(settings, _hub_token(settings.given_token, saved))


async def _resolve_name(settings: TargetSettings, token: SecretStr | None) -> Target:
    """The target of a name that the Hub or the control plane knows."""
    from distilabel_endpoints._targets.hub import endpoint_target, model_target, sleeping_target

    if settings.model_id is not None:
        target = await model_target(settings.model_id, settings.provider, token)
        return replace(target, token=token, settings=settings)
    assert settings.endpoint_name is not None
    if settings.only_looks:
        asleep = await sleeping_target(settings.endpoint_name, settings.endpoint_namespace, token)
        if asleep is not None:
            return replace(asleep, token=token, settings=settings)
    wait = ReadyWait(settings.wait_ready)
    target = await endpoint_target(
        settings.endpoint_name, settings.endpoint_namespace, token, wait=wait
    )
    token = token_for_url(target.root, token, None)
    findings = await _probed(replace(target, token=token, settings=settings), wait, lambda _: True)
    return findings.target


async def resolve_providers(settings: TargetSettings) -> list[Target]:
    """The router once for each provider of a pool that can do what is needed.

    Raises:
        ConfigurationError: one that was named cannot, or none can; the message says why.
        RunError: no request can succeed.
    """
    base = await resolve(replace(settings, providers=()))
    assert base.model is not None
    async with open_session_to(base) as session:
        listed = await ask(session, f"{base.api}/models")
    if isinstance(listed, Failure):
        raise run_error(replace(listed, message=f"the router's list of models: {listed.message}"))
    offers = {offer.provider: offer for offer in offers_of(listed, base.model)}
    choice = choose_offers([*offers.values()], settings.providers, settings.needs)
    for name, why in choice.left_out.items():
        logger.warning("provider %s %s, so it is left out", name, why)
    if len(choice.providers) > 1:
        warnings.warn(
            f"{base.model} is answered by {len(choice.providers)} providers "
            f"({', '.join(choice.providers)}), which may serve it in other quantisations. The "
            "column provider says who answered a row.",
            UserWarning,
            stacklevel=2,
        )
    return [_member(base, offers[name]) for name in choice.providers]


def _member(router: Target, offer: Offer) -> Target:
    return replace(
        router,
        model=f"{router.model}:{offer.provider}",
        provider=offer.provider,
        context=offer.context,
        lacks=offer.lacks,
    )


def _hub_token(api_key: SecretStr | None, saved: SecretStr | None) -> SecretStr | None:
    if api_key:
        return sendable_token(api_key, "api_key")
    return sendable_token(saved, "the token of this environment") if saved else None


async def _probed(
    target: Target, wait: ReadyWait, waits_for: Callable[[Failure], bool]
) -> Findings:
    """`target` as its server describes itself, once it does.

    Args:
        target: where to ask.
        wait: for how long.
        waits_for: whether a failure to connect is waited out.
    """
    async with open_session_to(target) as session:
        while True:
            known = target.settings.served_model is not None or target.model is not None
            patient = wait.is_over or wait.waited >= _LISTED_WITHIN
            answer = await probe(session, target, without_list=known and patient)
            if isinstance(answer, Findings):
                return answer
            if answer.status is None and not waits_for(answer):
                raise run_error(replace(answer, code="unavailable"))
            if wait.is_over:
                raise run_error(_never_ready(answer, target, wait))
            await wait.pause(target.root, f"not ready ({answer.message})")


def _waited_for(settings: TargetSettings) -> Callable[[Failure], bool]:
    """Which failures to connect to a URL that was given are waited out."""
    codes = {"silent", "refused", "reset"} if settings.waits_to_listen else {"silent"}
    return lambda failure: failure.code in codes


def _never_ready(last: Failure, target: Target, wait: ReadyWait) -> Failure:
    return replace(
        last,
        kind=FailureKind.UNAVAILABLE,
        code="unavailable",
        message=f"{target.root} is not ready after {wait.waited:.0f} s: {last.message}",
        hint=last.hint or "Wait longer with wait_ready, or look at the server's logs.",
    )


def _with_model(findings: Findings) -> Target:
    """The target with the name to send. Warns if the server does not confirm that name.

    Raises:
        ConfigurationError: several models are served, and none was chosen.
    """
    target, chosen = findings.target, findings.target.settings.served_model
    listed = ", ".join(target.models[:10]) + (", …" if len(target.models) > 10 else "")
    if chosen is None and target.model is None and len(target.models) > 1:
        raise ConfigurationError(
            f"{target.root} serves {len(target.models)} models; say which with served_model: "
            f"{listed}."
        )
    name = chosen or target.model
    if findings.unlisted is not None:
        why = findings.unlisted.describe()
        _warn(f"The models of {target.root} cannot be listed ({why})", name)
    elif name is None:
        _warn(f"{target.root} does not say which model it serves", name)
    elif chosen is not None and target.models and chosen not in target.models:
        _warn(f"{chosen!r} is not among the models that {target.root} lists ({listed})", name)
    return replace(target, model=name)


def _warn(what: str, name: str | None) -> None:
    """Says what could not be confirmed, and which name is sent all the same."""
    sent = (
        f"served_model {name!r} is sent as it is."
        if name
        else "requests carry a placeholder as the model's name. If they are refused, give the "
        "name as served_model."
    )
    warnings.warn(f"{what}; {sent}", UserWarning, stacklevel=2)


def route_of(target: Target, *, use_openai_client: bool, sends_prompts: bool) -> Route:
    """The client's method that requests go through.

    Raises:
        ConfigurationError: the server has no such route; the message names the two ways out.
    """
    if sends_prompts and target.server is Server.ROUTER:
        raise ConfigurationError(
            "A prompt (from tokenizer_id, or a text as input) is sent as text generation, and the "
            "serverless router takes conversations only. Either leave tokenizer_id out, or use a "
            "dedicated endpoint (endpoint_name)."
        )
    if use_openai_client:
        return Route.OPENAI_TEXT if sends_prompts else Route.OPENAI_CHAT
    if not sends_prompts:
        return Route.HUB_CHAT
    if target.server in _NO_TGI_ROUTE:
        raise ConfigurationError(
            "A prompt (from tokenizer_id, or a text as input) is sent as text generation, which "
            f"the default client can only do on TGI; {target.root} is {target.server.value}. "
            "Either set use_openai_client=True, which uses the completions API, or leave "
            "tokenizer_id out, which uses the chat API."
        )
    return Route.HUB_TEXT


def open_client(target: Target) -> Client:
    """The client for a resolved target. Call it on the loop that will use it.

    Raises:
        InstallationError: the extra `openai` is needed.
    """
    client: Client = AdaptingClient(
        _open_library(target),
        target.name,
        server=target.server,
        provider=target.provider,
    )
    if target.settings.provider == STICKY:
        client = StickyClient(client, target.model or "", target.settings.kept_provider)
    if not target.settings.wake:
        return client
    from distilabel_endpoints._targets.waking import WakingClient

    return WakingClient(client, target)


def _open_library(target: Target) -> Client:
    settings, route = target.settings, target.route
    first_token = first_token_seconds(settings.timeout)
    if route in {Route.HUB_CHAT, Route.HUB_TEXT}:
        from distilabel_endpoints._clients.hub import HubClient

        url = target.chat_url if route is Route.HUB_CHAT else target.root
        return HubClient(
            open_session_to(target),
            url=None if target.server is Server.ROUTER else url,
            model=target.model,
            bill_to=settings.bill_to,
            first_token=first_token,
        )
    if importlib.util.find_spec("openai") is None:
        raise InstallationError(
            "use_openai_client=True needs the openai package: "
            'pip install "distilabel-endpoints[openai]"'
        )
    from distilabel_endpoints._clients.openai import OpenAIClient

    return OpenAIClient(
        open_session_to(target),
        url=target.api,
        model=target.model or "default",
        first_token=first_token,
    )


def open_session_to(target: Target) -> httpx2.AsyncClient:
    """A session that sends what the target wants to its origin, and nothing elsewhere."""
    settings = target.settings
    headers = {name: value.get_secret_value() for name, value in settings.headers}
    if settings.bill_to is not None:
        headers.setdefault("X-HF-Bill-To", settings.bill_to)
    token = target.token.get_secret_value() if target.token else None
    url = f"{target.root}?{target.query}" if target.query else target.root
    return open_session(url, token, headers, trust=_trust(settings.ca_file))


def _trust(ca_file: str | None) -> ssl.SSLContext | None:
    """The system's certificates and those of a file; `None` for the system's alone."""
    if ca_file is None:
        return None
    context = system_trust()
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"ca_file {ca_file!r} cannot be read: {error}") from None
    return context
