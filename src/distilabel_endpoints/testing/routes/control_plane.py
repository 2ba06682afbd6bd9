"""The control plane of one dedicated Inference Endpoint, and what its state does to the data plane.

Shapes are those of huggingface_hub 2.4 and of the answers that its tests hold. Waking takes time on
the clock of the loop: the first tenth `pending`, then `initializing`, then `running` or `failed`.
Asked while paused, the data plane answers 400; while it wakes, 503, or it holds the request for as
long as `X-Scale-Up-Timeout` says. What no source says is a choice: an account without credit is
answered with 402 when it resumes, and its endpoint is paused.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from distilabel_endpoints.testing.accounts import Accounts, person
from distilabel_endpoints.testing.endpoint_settings import Deployment, Hardware, Settings, StateName
from distilabel_endpoints.testing.exchange import Exchange
from distilabel_endpoints.testing.flavors import IMAGES
from distilabel_endpoints.testing.fleet import SERVING, WAKING, Fleet
from distilabel_endpoints.testing.wire import Reply, json_reply

__all__ = ["SOMEBODY", "ControlPlane"]

_WITH_URL: frozenset[StateName] = frozenset({"running", "scaledToZero", "updating", "updateFailed"})
_CREATED_AT = "2024-01-01T00:00:00.000Z"
SOMEBODY: Final = "somebody-else"
_COMPUTE: Final = {
    "accelerator": "accelerator",
    "instanceType": "instance_type",
    "instanceSize": "instance_size",
}
_SCALING: Final = {
    "minReplica": "min_replica",
    "maxReplica": "max_replica",
    "scaleToZeroTimeout": "scale_to_zero_minutes",
}
_OTHERS: Final = (
    Hardware(instance_type="nvidia-a100", price_per_hour=2.5),
    Hardware(accelerator="cpu", instance_type="intel-spr", price_per_hour=0.033),
    Hardware(vendor="gcp", region="us-east4", instance_type="nvidia-t4", price_per_hour=0.5),
)
"""What the list of hardware has beside the deployment's own."""


class ControlPlane:
    """One deployment as its routes show it. Switches may be used from any thread."""

    def __init__(self, settings: Settings, deployment: Deployment, accounts: Accounts) -> None:
        self._settings = settings
        self._accounts = accounts
        self.fleet = Fleet(deployment)

    def put(self, state: StateName, now: float, by: str = SOMEBODY) -> None:
        """Be in this state from now on."""
        self.fleet.put(state, now, by)

    def open(self, now: float) -> bool:
        """Whether the data plane serves."""
        return self.fleet.state(now) in SERVING

    async def gate(self, exchange: Exchange) -> Reply | None:
        """What the data plane answers in its present state; `None` lets the request through.

        Waits, if the request says so, for the endpoint to wake.
        """
        now = exchange.now
        if self.fleet.state(now) == "scaledToZero":
            self.fleet.wake(now)
        clock = asyncio.get_running_loop()
        started, patience = clock.time(), _patience(exchange)
        while self.fleet.state(now) in WAKING:
            ready = self.fleet.ready_at
            if ready is None:
                break
            wait = min(ready, exchange.now + patience) - now
            if wait <= 0:
                break
            await asyncio.sleep(wait)
            now = exchange.now + clock.time() - started
        return self._closed(self.fleet.state(now))

    def _closed(self, state: StateName) -> Reply | None:
        if state in SERVING:
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
            case ["endpoint" | "provider" as kind, namespace, *rest]:
                if namespace not in (account.user, *account.orgs):
                    return json_reply(403, {"error": f"No access to namespace {namespace}"})
                if kind == "provider":
                    return self._hardware(exchange.method, rest)
                return self._endpoint(exchange, account.user, namespace, rest)
            case _:
                return json_reply(404, {"error": "Not Found"})

    def _endpoint(self, exchange: Exchange, user: str, namespace: str, rest: list[str]) -> Reply:
        deployment = self.fleet.deployment
        ours = namespace == deployment.namespace
        match (exchange.method, rest):
            case ("GET", []):
                return json_reply(200, {"items": [self._described(exchange)] if ours else []})
            case (method, [name, *command]) if ours and name == deployment.name:
                return self._command(exchange, user, method, command)
            case (_, [name, *_]):
                return json_reply(404, {"error": f"Endpoint {name} not found in {namespace}"})
            case _:
                return json_reply(405, {"error": "Method Not Allowed"})

    def _command(self, exchange: Exchange, user: str, method: str, command: list[str]) -> Reply:
        fleet, now = self.fleet, exchange.now
        state = fleet.state(now)
        match (method, command):
            case ("GET", []):
                return json_reply(200, self._described(exchange))
            case ("POST", ["resume"]):
                if state in SERVING:
                    return json_reply(400, {"error": "Bad Request: endpoint is already running"})
                if not fleet.has_credit:
                    return json_reply(402, {"error": "Payment Required: no credit left"})
                if state not in WAKING:
                    fleet.wake(now, user)
            case ("POST", ["pause"]):
                fleet.stop("paused", now, user)
            case ("POST", ["scale-to-zero"]):
                fleet.stop("scaledToZero", now, user)
            case ("PUT", []):
                return self._update(exchange, user)
            case _:
                return json_reply(405, {"error": "Method Not Allowed"})
        return json_reply(200, self._described(exchange, fine=True))

    def _update(self, exchange: Exchange, user: str) -> Reply:
        """What the body names is changed, the rest stays; what is not modelled has no effect."""
        body = exchange.body
        if not isinstance(body, dict):
            return json_reply(400, {"error": "Bad Request: the body must be a JSON object"})
        deployment = self.fleet.deployment
        compute = body.get("compute") or {}
        scaling = compute.get("scaling") or {}
        changed = replace(
            deployment,
            hardware=replace(deployment.hardware, **_named(compute, _COMPUTE)),
            tags=tuple(body.get("tags", deployment.tags)),
            **_named(scaling, _SCALING),
        )
        if changed.max_replica < max(1, changed.min_replica):
            return json_reply(400, {"error": "Bad Request: maxReplica is less than minReplica"})
        self.fleet.update(changed, exchange.now, user)
        return json_reply(200, self._described(exchange, fine=True))

    def _hardware(self, method: str, rest: list[str]) -> Reply:
        if method != "GET" or rest:
            return json_reply(404, {"error": "Not Found"})
        own = self.fleet.deployment.hardware
        known = [own, *(other for other in _OTHERS if other.id != own.id)]
        vendors: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for hardware in known:
            if hardware.price_per_hour is not None:
                regions = vendors.setdefault(hardware.vendor, {})
                regions.setdefault(hardware.region, []).append(_compute(hardware))
        return json_reply(
            200,
            {
                "vendors": [
                    {
                        "name": vendor,
                        "status": "available",
                        "regions": [
                            {"name": name, "label": name, "status": "available", "computes": list_}
                            for name, list_ in regions.items()
                        ],
                    }
                    for vendor, regions in vendors.items()
                ]
            },
        )

    def _described(self, exchange: Exchange, *, fine: bool = False) -> dict[str, Any]:
        """The endpoint as every answer has it.

        Commands are answered with nanoseconds, later reads with milliseconds of the same moment:
        so it is in the answers that huggingface_hub's tests hold.
        """
        fleet = self.fleet
        state = fleet.state(exchange.now)
        ready, target = fleet.replicas(exchange.now)
        deployment, hardware = fleet.deployment, fleet.deployment.hardware
        status: dict[str, Any] = {
            "createdAt": _CREATED_AT,
            "createdBy": person(deployment.namespace),
            "updatedAt": _stamp(fleet.updated_at, fine=fine),
            "updatedBy": person(fleet.updated_by),
            "state": state,
            "message": fleet.message,
            "readyReplica": ready,
            "targetReplica": target,
        }
        if state in _WITH_URL:
            status["url"] = exchange.origin
        image = deployment.image or IMAGES[self._settings.flavor]
        return {
            "name": deployment.name,
            "type": "authenticated",
            "accountId": None,
            "provider": {"vendor": hardware.vendor, "region": hardware.region},
            "healthRoute": "/health",
            "compute": {
                **{key: getattr(hardware, field) for key, field in _COMPUTE.items()},
                "scaling": {key: getattr(deployment, field) for key, field in _SCALING.items()},
            },
            "model": {
                "repository": deployment.repository or self._settings.model,
                "framework": "pytorch",
                "revision": "0123456789abcdef0123456789abcdef01234567",
                "task": "text-generation",
                "image": {image: {"url": "simulated", "port": 80}},
            },
            "tags": list(deployment.tags),
            "status": status,
        }


def _named(body: dict[str, Any], fields: dict[str, str]) -> dict[str, Any]:
    return {field: body[key] for key, field in fields.items() if key in body}


def _compute(hardware: Hardware) -> dict[str, Any]:
    is_gpu = hardware.accelerator == "gpu"
    return {
        "id": hardware.id,
        **{key: getattr(hardware, field) for key, field in _COMPUTE.items()},
        "architecture": hardware.instance_type,
        "numAccelerators": 1,
        "memoryGb": 30.0,
        "gpuMemoryGb": 24 if is_gpu else None,
        "status": "available",
        "pricePerHour": hardware.price_per_hour,
        "quota": {"maxAccelerators": 16, "usedAccelerators": 0},
    }


def _stamp(moment: datetime, *, fine: bool) -> str:
    whole = moment.strftime("%Y-%m-%dT%H:%M:%S")
    thousandths = f"{moment.microsecond // 1000:03d}"
    return f"{whole}.{thousandths}{'079138' if fine else ''}Z"


def _patience(exchange: Exchange) -> float:
    try:
        return float(exchange.headers.get("X-Scale-Up-Timeout", "0"))
    except ValueError:
        return 0.0
