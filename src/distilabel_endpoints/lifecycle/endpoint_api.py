"""The calls that put an endpoint to rest, each bounded in time, each answer a value.

For the watchdog's own process, and for a run whose watchdog is gone: so it imports the Hub's
library and nothing else of this package that is heavy. It can read, pause and scale to zero; it
cannot start, change or delete anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError

from distilabel_endpoints.lifecycle.decisions import Rest
from distilabel_endpoints.lifecycle.sight import Sight, sight_of

__all__ = ["Control", "Trouble"]

_SECONDS: Final = 30.0
"""For one answer: the Hub's library waits for ever."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A call that failed, without the library's exception, which holds the token."""

    message: str
    status: int | None = None


class Control:
    """One endpoint's control plane.

    Args:
        namespace: whose endpoint it is.
        name: the endpoint's.
        token: one that may stop it.
        url: the control plane's; default: where the Hub's library finds it.
    """

    def __init__(self, namespace: str, name: str, token: str, url: str | None = None) -> None:
        self.title = f"{namespace}/{name}"
        self._namespace = namespace
        self._name = name
        self._api = HfApi(token=token)
        if url is not None:
            constants.INFERENCE_ENDPOINTS_ENDPOINT = url

    def read(self) -> Sight | Trouble:
        """The endpoint as it is. Wakes nothing."""
        return self._ask(self._api.get_inference_endpoint)

    def stop(self, state: Rest) -> Sight | Trouble:
        """Ask for it to be paused, or scaled to zero."""
        if state == "paused":
            return self._ask(self._api.pause_inference_endpoint)
        return self._ask(self._api.scale_to_zero_inference_endpoint)

    def _ask(self, call: Callable[..., Any]) -> Sight | Trouble:
        answer: list[Sight | Trouble] = []

        def ask() -> None:
            answer.append(self._answered(call))

        thread = threading.Thread(target=ask, name="distilabel-endpoints-control", daemon=True)
        thread.start()
        thread.join(_SECONDS)
        return answer[0] if answer else Trouble(f"no answer in {_SECONDS:.0f} s")

    def _answered(self, call: Callable[..., Any]) -> Sight | Trouble:
        try:
            endpoint = call(self._name, namespace=self._namespace)
        except HfHubHTTPError as error:
            status = error.response.status_code
            return Trouble(f"HTTP {status}", status)
        except Exception as error:  # noqa: BLE001 - whatever happens, it is tried again
            return Trouble(type(error).__name__)
        return sight_of(endpoint.raw, self._namespace)
