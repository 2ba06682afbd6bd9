"""What tests hold: addresses, the log, and the switches of a running simulated endpoint.

Shared by the endpoint in a separate thread and by the one on the caller's loop. Reading and
switching are safe from any thread.
"""

from __future__ import annotations

from collections.abc import Mapping

from distilabel_endpoints.testing.endpoint_settings import Settings, StateName
from distilabel_endpoints.testing.faults import Fault
from distilabel_endpoints.testing.request_log import EndpointStatistics, RequestRecord
from distilabel_endpoints.testing.routes.control_plane import SOMEBODY
from distilabel_endpoints.testing.routes.route_table import CONTROL, HUB, ROUTER
from distilabel_endpoints.testing.simulation import Simulation

__all__ = ["Addresses", "Switchboard"]


class Addresses:
    """Where a simulated endpoint is, in all its parts."""

    _scheme: str
    _host: str
    _port: int

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the start."""
        return self._port

    @property
    def url(self) -> str:
        """The data plane: what goes into `base_url`."""
        return f"{self._scheme}://{self._host}:{self._port}"

    @property
    def v1_url(self) -> str:
        """The data plane's OpenAI routes."""
        return f"{self.url}/v1"

    @property
    def hub_url(self) -> str:
        """The Hub: what `HF_ENDPOINT` names."""
        return f"{self.url}{HUB}"

    @property
    def router_url(self) -> str:
        """The router of the Hub's inference providers."""
        return f"{self.url}{ROUTER}"

    @property
    def control_url(self) -> str:
        """The control plane of Inference Endpoints, up to its version."""
        return f"{self.url}{CONTROL}"

    @property
    def hugging_face_addresses(self) -> Mapping[str, str]:
        """Where `huggingface_hub` keeps its addresses, and what each has to be to come here.

        Made for `monkeypatch.setattr(name, value)`; the fixture `simulated_hugging_face` does it.
        """
        return {
            "huggingface_hub.constants.ENDPOINT": self.hub_url,
            "huggingface_hub.constants.INFERENCE_ENDPOINTS_ENDPOINT": self.control_url,
            "huggingface_hub.constants.INFERENCE_PROXY_TEMPLATE": f"{self.router_url}/{{provider}}",
            "huggingface_hub.hf_api.api.endpoint": self.hub_url,
            "huggingface_hub.inference._providers.CONVERSATIONAL_AUTO_ROUTER.base_url": (
                self.router_url
            ),
        }


class Switchboard:
    """What a simulated endpoint saw, and what can be changed while it runs."""

    _simulation: Simulation

    @property
    def settings(self) -> Settings:
        """Its settings."""
        return self._simulation.settings

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """Every request so far, in order of arrival."""
        return self._simulation.log.records()

    @property
    def generations(self) -> tuple[RequestRecord, ...]:
        """The requests on routes that generate."""
        return tuple(record for record in self.requests if record.kind == "generate")

    @property
    def latencies(self) -> tuple[float, ...]:
        """Seconds each request held its slot, in the order in which they got one."""
        return self._simulation.log.latencies()

    @property
    def in_flight(self) -> int:
        """Generating requests being answered now, waiting for a slot included."""
        return self.statistics().in_flight

    @property
    def peak_in_flight(self) -> int:
        """The most there were at once."""
        return self.statistics().peak_in_flight

    def statistics(self) -> EndpointStatistics:
        """All counters at this moment."""
        return self._simulation.log.statistics()

    def clear_log(self) -> None:
        """Forget requests, latencies and counters."""
        self._simulation.log.clear()

    def add_faults(self, *faults: Fault) -> None:
        """More faults, after those in force."""
        self._simulation.script.add(*faults)

    def clear_faults(self) -> None:
        """No faults from now on."""
        self._simulation.script.clear()

    def put_state(self, state: StateName, by: str = SOMEBODY) -> None:
        """Put the deployment into a state, by the hand of this user: pause it, let it run."""
        self._simulation.control.put(state, self._simulation.read_clock(), by)

    def touch_deployment(self, by: str = SOMEBODY) -> None:
        """Let somebody have changed the deployment; its state stays."""
        self._simulation.control.fleet.touch(by, self._simulation.read_clock())

    @property
    def state(self) -> str:
        """The deployment's state now. Reading it wakes nothing."""
        return self._simulation.control.fleet.state(self._simulation.read_clock())

    @property
    def replicas(self) -> int:
        """How many replicas serve now."""
        return self._simulation.control.fleet.replicas(self._simulation.read_clock())[0]

    @property
    def billed_minutes(self) -> int:
        """Minutes begun by all replicas so far, in `initializing` and while they run."""
        return self._simulation.control.fleet.minutes(self._simulation.read_clock())

    @property
    def bill(self) -> float:
        """USD that the deployment has cost so far."""
        return self._simulation.control.fleet.bill(self._simulation.read_clock())

    def revoke(self, token: str) -> None:
        """Stop accepting a token."""
        self._simulation.accounts.revoke(token)

    def restore(self, token: str) -> None:
        """Accept a revoked token again."""
        self._simulation.accounts.restore(token)

    def set_credits(self, requests: int | None) -> None:
        """What the router still answers before 402."""
        self._simulation.accounts.credits = requests
