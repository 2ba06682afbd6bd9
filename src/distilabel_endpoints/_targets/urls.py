"""Which URL to talk to: what a `base_url` may be, and the roots that are under it.

`Target` is what the rest of the package knows of an endpoint. Nothing here asks the network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import SecretStr

from distilabel_endpoints._targets.settings import TargetSettings
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.records import Route, Server

__all__ = ["Target", "check_base_url", "target_of_url"]

_ROUTES: Final = re.compile(r"/(chat/completions|completions|generate(_stream)?)$|(?<=/v1)/models$")
_TGI_ROUTE: Final = re.compile(r"/generate(_stream)?$")
_VERSION: Final = re.compile(r"/v\d+\w*$")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%\w+)?")
_API_ROOT: Final = re.compile(
    r"/(openai|openapi|serving-endpoints|inference|compat|deployments/[^/]+)$", re.IGNORECASE
)
"""How documented API roots without a version end: DeepInfra's and Gemini's `/openai`, Vertex's
`/openapi`, Databricks' `/serving-endpoints`, GitHub's `/inference`, Cloudflare's `/compat`, Azure's
deployments."""
_DEPLOYMENT: Final = re.compile(r"/deployments/([^/]+)$", re.IGNORECASE)
_SECRET_NAME: Final = re.compile(
    r"(?i)(.*[-_])?(key|apikey|code|sig|signature|secret|password|token|auth)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What we talk to.

    `root` is where TGI's own route is, `api` the root of the OpenAI API under it.
    """

    root: str
    api: str
    other_api: str | None = None
    """Where the API may be instead, if the URL does not say; `None` once it is known."""
    query: str = ""
    """Sent with every request: Azure's `api-version=...`."""
    server: Server = Server.UNKNOWN
    model: str | None = None
    """The name the server wants in the body."""
    repository: str | None = None
    """The Hub repository behind a dedicated endpoint."""
    models: tuple[str, ...] = field(default=(), repr=False)
    token: SecretStr | None = field(default=None, repr=False)
    """What to send it."""
    provider: str | None = None
    """For a member of a pool of the router's providers: who it is."""
    context: int | None = None
    """The tokens that it takes, if it says."""
    lacks: frozenset[str] = frozenset()
    """What that provider says it cannot do: `tools`, `structured_output`."""
    route: Route = Route.HUB_CHAT
    """The client's method that requests go through."""
    settings: TargetSettings = field(default_factory=TargetSettings, repr=False)
    """What the user named, and how it is to be talked to."""

    @property
    def dialect(self) -> tuple[Route, Server]:
        """What decides the words a request is sent in."""
        return self.route, self.server

    @property
    def name(self) -> str:
        """For people, and apart from the other endpoints of a pool."""
        return self.root if self.provider is None else f"{self.root} ({self.provider})"

    @property
    def chat_url(self) -> str:
        """The full URL of the chat route."""
        return f"{self.api}/chat/completions"


def check_base_url(url: str) -> SplitResult:
    """A URL that can be talked to.

    Raises:
        ConfigurationError: not http(s), no host or not a readable one, credentials or a fragment
            in it, or a service that is gone.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise ConfigurationError(
            f"base_url {_shown(url)!r} is not a URL. Look at its port and its brackets."
        ) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ConfigurationError(
            f"base_url {_shown(url)!r} is not an http(s) URL. "
            "Give it as in https://host:port or http://localhost:8080/v1."
        )
    # Clients would send them as Basic authentication, and every log would show them.
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            f"base_url {_shown(url)!r} has credentials in it. Pass them as api_key."
        )
    _check_host(parts.hostname)
    if re.search(r"[\s\x00-\x1f]", url.strip()):
        raise ConfigurationError(f"base_url {_shown(url)!r} has a space or a line break in it.")
    if parts.fragment:
        raise ConfigurationError(
            f"base_url {_shown(url)!r} has a fragment (#...) after it, which is never sent. "
            "Leave it out."
        )
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        # A URL is printed, saved and logged; a key in it would be too.
        if _SECRET_NAME.fullmatch(name):
            raise ConfigurationError(
                f"base_url {_shown(url)!r} has a key in its query, as {name[:40]!r}. "
                "Pass it as api_key or in headers."
            )
    return parts


def _check_host(host: str) -> None:
    if not (_NAME.fullmatch(host) or _ADDRESS.fullmatch(host)):
        raise ConfigurationError(
            f"base_url has the host {host[:100]!r}, which is not a readable name or address. "
            "Write a name in other letters than ASCII as its xn-- form."
        )
    if host.rstrip(".") == "api-inference.huggingface.co":
        raise ConfigurationError(
            "base_url points at api-inference.huggingface.co, which is retired. "
            "Give model_id instead of base_url: it is served by the Inference Providers' router."
        )


def _shown(url: str) -> str:
    """A URL as an error may show it: no credentials, no query."""
    bare = re.sub(r"^(\w+://)?.*@", r"\1", url.strip(), flags=re.DOTALL)
    return re.split(r"[?#]", bare)[0][:200]


def target_of_url(url: str) -> Target:
    """Root and API root of a URL, given with or without path, `/v1`, route or trailing slash.

    A URL of a chat or completions route says where the API is, and so does one that ends in a
    version. Under any other it is at `/v1` or at the URL itself; which one, the server shows.
    """
    parts = check_base_url(url)
    path = re.sub(r"/{2,}", "/", parts.path).rstrip("/")
    base = _ROUTES.sub("", path)
    origin = _origin(parts)
    places = [origin + base, f"{origin}{base}/v1"]
    if (base != path and not _TGI_ROUTE.search(path)) or _VERSION.search(base):
        places.pop()
    elif not _API_ROOT.search(base):
        places.reverse()
    deployment = _DEPLOYMENT.search(base)
    return Target(
        root=origin + _VERSION.sub("", base),
        api=places[0],
        other_api=places[1] if len(places) > 1 else None,
        query=parts.query,
        # Azure has no list of models under a deployment, and takes any name there.
        model=deployment[1] if deployment else None,
    )


def _origin(parts: SplitResult) -> str:
    """One spelling per origin: lower case, no port if it is the scheme's own."""
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = parts.port if parts.port != {"http": 80, "https": 443}[parts.scheme] else None
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")
