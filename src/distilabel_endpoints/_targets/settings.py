"""What to talk to, as the user named it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import SecretStr

from distilabel_endpoints._targets.credentials import is_placeholder
from distilabel_endpoints._targets.router_models import Needs
from distilabel_endpoints.config import ATTEMPT_TIMEOUT, WAIT_READY

__all__ = ["TargetSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings:
    """What to talk to as the user named it, with which credentials, and how patiently."""

    model_id: str | None = None
    endpoint_name: str | None = None
    endpoint_namespace: str | None = None
    base_url: str | None = None
    served_model: str | None = None
    provider: str | None = None
    providers: tuple[str, ...] = ()
    """Several of them as one pool: their names, or `all`."""
    kept_provider: str | None = None
    """With `sticky`: who answered an earlier run's rows, and answers the others, too."""
    needs: Needs = field(default_factory=Needs)
    """What each of them must be able to do."""
    bill_to: str | None = None
    given_token: SecretStr | None = None
    """Given for this object."""
    found_token: SecretStr | None = None
    """Found in the environment when the object was made."""
    headers: tuple[tuple[str, SecretStr], ...] = field(default=(), repr=False)
    trusted_hosts: tuple[str, ...] = ()
    """Hosts in a private network that a token may go to over plain http."""
    wait_ready: float = WAIT_READY
    waits_to_listen: bool = False
    """Wait for a port that is not open yet, too: somebody named a time to wait."""
    timeout: float = ATTEMPT_TIMEOUT
    """Seconds for one attempt."""
    ca_file: str | None = None
    """Certificates to trust beside the system's, in PEM."""
    wake: bool = False
    """Resume the endpoint when it is found paused in the middle of a run."""

    only_looks: bool = False
    """Start nothing: an endpoint that sleeps is taken as the control plane describes it."""

    @property
    def gives_token(self) -> bool:
        """Whether a secret was given that goes wherever the object points."""
        named = any(name.lower() == "authorization" for name, _ in self.headers)
        return named or (self.given_token is not None and not is_placeholder(self.given_token))
