"""The Hub and its router, as far as inference needs them.

The Hub says who a token is and who serves a model; the router takes `model` or `model:provider`,
picks the provider and answers in OpenAI's dialect. Order of refusals at the router: no token 401,
token without the right 403, model 400 or 404, gated 403, no credit 402.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from distilabel_endpoints.testing.accounts import Accounts, person
from distilabel_endpoints.testing.endpoint_settings import HubModel, Settings, Token
from distilabel_endpoints.testing.exchange import Exchange, RefusedError
from distilabel_endpoints.testing.routes.openai import CREATED, chat, completions
from distilabel_endpoints.testing.routes.tgi import root
from distilabel_endpoints.testing.wire import Generated, Outcome, Reply, json_reply

__all__ = ["Hub"]


class Hub:
    """Answers below the prefixes of the Hub (`/api/...`, files) and the router."""

    def __init__(self, settings: Settings, accounts: Accounts) -> None:
        self._accounts = accounts
        self._models = {model.id: model for model in settings.models or (HubModel(settings.model),)}

    def answer(self, exchange: Exchange) -> Reply:
        """A request to the Hub; `exchange.path` has lost the prefix."""
        if exchange.path == "/api/whoami-v2":
            return self._whoami(exchange)
        if exchange.path.startswith("/api/models/"):
            return self._model(exchange, exchange.path.removeprefix("/api/models/"))
        name, is_file, _ = exchange.path.strip("/").partition("/resolve/")
        if is_file:
            return self._file(exchange, name)
        return json_reply(404, {"error": "Sorry, we can't find the page you are looking for."})

    def route(self, exchange: Exchange) -> Outcome:
        """A request to the router; `exchange.path` has lost the prefix."""
        provider, _, rest = exchange.path.strip("/").partition("/")
        if provider == "v1":
            if rest == "models":
                return self._served()
            if rest == "chat/completions":
                return self._generate(exchange, None, chat)
        elif rest.startswith("models/"):
            return self._legacy(exchange, provider, rest.removeprefix("models/"))
        elif rest.endswith("/chat/completions"):
            return self._generate(exchange, provider, chat)
        elif rest.endswith("/completions"):
            return self._generate(exchange, provider, completions)
        return json_reply(404, {"error": "Not Found"})

    def _whoami(self, exchange: Exchange) -> Reply:
        account = self._accounts.token(exchange.token)
        if account is None:
            return _invalid_token()
        scopes = ["inference.serverless.write", "inference.endpoints.infer.write"]
        granted = {"global": [], "scoped": [{"permissions": scopes if account.inference else []}]}
        return json_reply(
            200,
            {
                "type": "user",
                **person(account.user),
                "fullname": account.user,
                "orgs": [{"type": "org", "name": name} for name in account.orgs],
                "auth": {
                    "type": "access_token",
                    "accessToken": {
                        "displayName": "simulated",
                        "role": "fineGrained",
                        "fineGrained": granted,
                    },
                },
            },
        )

    def _model(self, exchange: Exchange, name: str) -> Reply:
        if exchange.token is not None and self._accounts.token(exchange.token) is None:
            return _invalid_token()
        model = self._models.get(name)
        if model is None:
            status = 401 if exchange.token is None else 404
            return _hub_error(status, "Repository not found", "RepoNotFound")
        model_info: dict[str, Any] = {"_id": "0123456789abcdef01234567", "id": name}
        if "inferenceProviderMapping" in exchange.query.values():
            model_info["inferenceProviderMapping"] = _mapping(model)
            return json_reply(200, model_info)
        return json_reply(
            200,
            {
                **model_info,
                "modelId": name,
                "pipeline_tag": model.pipeline_tag,
                "tags": [model.pipeline_tag, model.task],
                "gated": "manual" if model.gated else False,
                "private": False,
                "siblings": [],
            },
        )

    def _file(self, exchange: Exchange, name: str) -> Reply:
        model = self._models.get(name)
        if model is None:
            status = 401 if exchange.token is None else 404
            return _hub_error(status, "Repository not found", "RepoNotFound")
        if model.gated:
            return _hub_error(403, f"Access to model {name} is restricted.", "GatedRepo")
        return _hub_error(404, "Entry not found", "EntryNotFound")

    def _served(self) -> Reply:
        served = [model for model in self._models.values() if model.providers]
        return json_reply(200, {"object": "list", "data": [*map(_entry, served)]})

    def _generate(
        self, exchange: Exchange, provider: str | None, answer: Callable[[Exchange], Generated]
    ) -> Outcome:
        account = self._permitted(exchange)
        if not isinstance(exchange.body, dict):
            raise exchange.refuse(400, "the body must be a JSON object")
        name, _, suffix = str(exchange.body.get("model", "")).partition(":")
        self._may_bill(exchange, account)
        model = self._chosen(exchange, name, provider or suffix or None)
        if not self._accounts.spend():
            raise exchange.refuse(
                402, "You have exceeded your monthly included credits for Inference Providers."
            )
        made = answer(
            replace(
                exchange,
                settings=replace(exchange.settings, model=model.id),
                body={**exchange.body, "model": model.id},
            )
        )
        who = provider or suffix
        served_by = who if who in model.providers else model.providers[0]
        return replace(made, headers={**made.headers, "x-inference-provider": served_by})

    def _legacy(self, exchange: Exchange, provider: str, rest: str) -> Outcome:
        """A model's own address under a provider: chat below it, text generation at it."""
        name = rest.removesuffix("/v1/chat/completions")
        body = exchange.body if isinstance(exchange.body, dict) else {}
        exchange = replace(exchange, body={**body, "model": name})
        return self._generate(exchange, provider, chat if name != rest else root)

    def _permitted(self, exchange: Exchange) -> Token:
        account = self._accounts.token(exchange.token)
        if account is None:
            raise RefusedError(_invalid_token())
        if not account.inference:
            message = (
                "This authentication method does not have sufficient permissions to call "
                f"Inference Providers on behalf of user {account.user}"
            )
            raise RefusedError(json_reply(403, {"error": message}))
        return account

    def _may_bill(self, exchange: Exchange, account: Token) -> None:
        payer = exchange.headers.get("X-HF-Bill-To")
        if payer is not None and payer not in (account.user, *account.orgs):
            message = f"{account.user} may not bill inference to {payer}"
            raise RefusedError(json_reply(403, {"error": message}))

    def _chosen(self, exchange: Exchange, name: str, provider: str | None) -> HubModel:
        # Below a provider's own path the model goes by the provider's name for it.
        model = self._models.get(name.removeprefix(f"{provider}--"))
        if model is None:
            message = f"The requested model '{name}' does not exist"
            raise exchange.refuse(404, message, param="model", code="model_not_found")
        if model.gated:
            message = f"Access to model {name} is restricted; ask for it on its page."
            raise RefusedError(json_reply(403, {"error": message}))
        if not model.providers or (
            provider not in (None, "auto", "fastest", "cheapest", "preferred")
            and provider not in model.providers
        ):
            message = f"No provider that you have enabled serves the model '{name}'"
            raise exchange.refuse(400, message, param="model", code="model_not_supported")
        return model


def _entry(model: HubModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": CREATED,
        "owned_by": model.id.partition("/")[0],
        "providers": [_offer(model, name) for name in model.providers],
    }


def _offer(model: HubModel, provider: str) -> dict[str, Any]:
    """What a provider says of itself: all but its name and state may be missing."""
    status = "error" if provider in model.down else "live"
    offer: dict[str, Any] = {"provider": provider, "status": status}
    if provider in model.prices:
        offer["pricing"] = dict(zip(("input", "output"), model.prices[provider], strict=True))
    if provider in model.contexts:
        offer["context_length"] = model.contexts[provider]
    if provider in model.tools:
        offer["supports_tools"] = model.tools[provider]
    if provider in model.schemas:
        offer["supports_structured_output"] = model.schemas[provider]
    return offer


def _mapping(model: HubModel) -> dict[str, Any]:
    return {
        provider: {
            "status": model.status,
            "providerId": model.id if provider == "hf-inference" else f"{provider}--{model.id}",
            "task": model.task,
        }
        for provider in model.providers
    }


def _invalid_token() -> Reply:
    message = "Invalid credentials in Authorization header"
    return json_reply(401, {"error": "Invalid username or password."}, X_Error_Message=message)


def _hub_error(status: int, message: str, code: str) -> Reply:
    return json_reply(status, {"error": message}, X_Error_Code=code, X_Error_Message=message)
