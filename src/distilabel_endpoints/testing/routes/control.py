"""The control plane of one dedicated Inference Endpoint, and what its state does to the data plane.

Waking takes time on the clock of the loop: the first tenth `pending`, then `initializing`, then
`running` or `failed`. Asked while paused, the data plane answers 400; while it wakes, 503, or it
holds the request for as long as `X-Scale-Up-Timeout` says.
"""

from __future__ import annotations

import asyncio
from typing import Any

from distilabel_endpoints.testing.accounts import Accounts
from distilabel_endpoints.testing.exchange import Exchange
from distilabel_endpoints.testing.flavors import IMAGES
from distilabel_endpoints.testing.settings import Deployment, Settings, StateName
from distilabel_endpoints.testing.wire import Reply, json_reply

__all__ = ["ControlPlane"]

_WITH_URL: frozenset[StateName] = frozenset({"running", "scaledToZero", "updating", "updateFailed"})
_SERVING: frozenset[StateName] = frozenset({"running", "updating", "updateFailed"})
_WAKING: frozenset[StateName] = frozenset({"pending", "initializing"})
_CREATED_AT = "2024-01-01T00:00:00.000Z"
_PENDING_SHARE = 0.1


class ControlPlane:
    """The state of one deployment. Commands may come from any thread."""

    def __init__(self, settings: Settings, deployment: Deployment, accounts: Accounts) -> None:
        self._settings = settings
        self._deployment = deployment
        self._accounts = accounts
        self._state: StateName = deployment.state
        self._woken: float | None = 0.0 if deployment.state in _WAKING else None

    def state(self, now: float) -> StateName:
        """The state at `now` seconds after the start."""
        if self._woken is None:
            return self._state
        share = (now - self._woken) / max(self._deployment.wake_seconds, 1e-9)
        if share < _PENDING_SHARE:
            return "pending"
        if share < 1:
            return "initializing"
        return "failed" if self._deployment.wake_fails else "running"

    def put(self, state: StateName) -> None:
        """Be in this state from now on."""
        self._woken, self._state = None, state

    def wake(self, now: float) -> None:
        """Begin to start up."""
        self._woken = now

    def open(self, now: float) -> bool:
        """Whether the data plane serves."""
        return self.state(now) in _SERVING

    async def gate(self, exchange: Exchange) -> Reply | None:
        """What the data plane answers in its present state; `None` lets the request through.

        Waits, where the request says so, for the endpoint to wake.
        """
        now = exchange.now
        if self.state(now) == "scaledToZero":
            self.wake(now)
        clock = asyncio.get_running_loop()
        started, patience = clock.time(), _patience(exchange)
        while self.state(now) in _WAKING and self._woken is not None:
            ready = self._woken + self._deployment.wake_seconds
            wait = min(ready, exchange.now + patience) - now
            if wait <= 0:
                break
            await asyncio.sleep(wait)
            now = exchange.now + clock.time() - started
        return self._closed(self.state(now))

    def _closed(self, state: StateName) -> Reply | None:
        if state in _SERVING:
            return None
        if state == "paused":
            return json_reply(400, {"error": "Bad Request: Invalid state: endpoint is paused"})
        return json_reply(503, {"error": "Service Unavailable"})

    def answer(self, exchange: Exchange) -> Reply:
        """A request to the control plane; `exchange.path` has lost the prefix up to `/v2`."""
        account = self._accounts.token(exchange.token)
        if account is None:
            return json_reply(401, {"error": "Unauthorized"})
        match exchange.path.strip("/").split("/"):
            case ["endpoint", namespace, *rest]:
                if namespace not in (account.user, *account.orgs):
                    return json_reply(403, {"error": f"No access to namespace {namespace}"})
                return self._endpoint(exchange, namespace, rest)
            case _:
                return json_reply(404, {"error": "Not Found"})

    def _endpoint(self, exchange: Exchange, namespace: str, rest: list[str]) -> Reply:
        ours = namespace == self._deployment.namespace
        match (exchange.method, rest):
            case ("GET", []):
                return json_reply(200, {"items": [self._described(exchange)] if ours else []})
            case (method, [name, *command]) if ours and name == self._deployment.name:
                return self._command(exchange, method, command)
            case (_, [name, *_]):
                return json_reply(404, {"error": f"Endpoint {name} not found in {namespace}"})
            case _:
                return json_reply(405, {"error": "Method Not Allowed"})

    def _command(self, exchange: Exchange, method: str, command: list[str]) -> Reply:
        state = self.state(exchange.now)
        match (method, command):
            case ("GET", []):
                pass
            case ("POST", ["resume"]):
                if state in _SERVING:
                    return json_reply(400, {"error": "Bad Request: endpoint is already running"})
                if state not in _WAKING:
                    self.wake(exchange.now)
            case ("POST", ["pause"]):
                self.put("paused")
            case ("POST", ["scale-to-zero"]):
                self.put("scaledToZero")
            case _:
                return json_reply(405, {"error": "Method Not Allowed"})
        return json_reply(200, self._described(exchange))

    def _described(self, exchange: Exchange) -> dict[str, Any]:
        deployment, state = self._deployment, self.state(exchange.now)
        status: dict[str, Any] = {
            "createdAt": _CREATED_AT,
            "createdBy": {"id": "0", "name": deployment.namespace},
            "updatedAt": _CREATED_AT,
            "updatedBy": {"id": "0", "name": deployment.namespace},
            "state": state,
            "message": "",
            "readyReplica": int(state in _SERVING),
            "targetReplica": int(state not in ("paused", "scaledToZero")),
        }
        if state in _WITH_URL:
            status["url"] = exchange.origin
        image = deployment.image or IMAGES[self._settings.flavor]
        return {
            "name": deployment.name,
            "type": "protected",
            "healthRoute": "/health",
            "model": {
                "repository": deployment.repository or self._settings.model,
                "framework": "pytorch",
                "revision": "0123456789abcdef0123456789abcdef01234567",
                "task": "text-generation",
                "image": {image: {"url": "simulated", "port": 80}},
            },
            "status": status,
        }


def _patience(exchange: Exchange) -> float:
    try:
        return float(exchange.headers.get("X-Scale-Up-Timeout", "0"))
    except ValueError:
        return 0.0
