"""Which token goes to which URL.

Rules
- A token given for this object goes where the object points, but never over plain http to another
  machine, unless that machine is named as trusted and has a private address.
- A documented placeholder ("EMPTY") is not a secret, and goes anywhere.
- A token that merely lies about (environment, saved login) goes to Hugging Face's hosts and to
  this machine only: it is not shown to strangers because someone set a `base_url`. What runs
  under hf.space is strangers' code.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import warnings
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from distilabel_endpoints._clients.proxies import is_loopback
from distilabel_endpoints.errors import ConfigurationError, run_error
from distilabel_endpoints.records import Failure, FailureKind

__all__ = [
    "FoundToken",
    "is_placeholder",
    "refuse_insecure_token",
    "refuse_public_address",
    "saved_token",
    "sendable_token",
    "token_for_url",
    "token_of_environment",
]

_HUGGING_FACE: Final = (
    "huggingface.co",
    "hf.co",
    "huggingface.cloud",
    "endpoints.huggingface.tech",
)


class FoundToken(SecretStr):
    """A token that was only found: it was not given for the URL at hand.

    The type says so wherever the value goes: through copies, pickles and assignments.
    """


def token_of_environment() -> FoundToken | None:
    """`HF_TOKEN` as it is now."""
    token = os.environ.get("HF_TOKEN", "").strip()
    return FoundToken(token) if token else None


_PLACEHOLDERS: Final = frozenset(
    {"empty", "none", "dummy", "not-needed", "no-key", "sk-no-key-required", "lm-studio", "ollama"}
)
"""What documentations write when a client wants a key and the server has none."""


def is_placeholder(token: SecretStr) -> bool:
    """Whether this is a documented placeholder, which is not a secret."""
    return token.get_secret_value().strip().lower() in _PLACEHOLDERS


def saved_token() -> SecretStr | None:
    """`HF_TOKEN`, or the token that `hf auth login` saved."""
    from huggingface_hub import get_token

    token = get_token()
    return SecretStr(token) if token else None


def refuse_insecure_token(url: str, trusted_hosts: Sequence[str] = ()) -> None:
    """Raise `ConfigurationError` when a token sent to `url` could be read on the way.

    Args:
        url: where it would go.
        trusted_hosts: names of hosts in a private network, to which plain http is accepted.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http" or is_loopback(host):
        return
    if host.rstrip(".").lower() not in {name.rstrip(".").lower() for name in trusted_hosts}:
        raise ConfigurationError(
            f"The token (api_key or headers) would go to {host} over plain http, readable on the "
            "way. Use https; or, for a host in a private network, name it in trusted_hosts "
            "(--trusted-host)."
        )
    if _is_public(host):
        raise _public(host)


def _is_public(address: str) -> bool:
    try:
        # Without the zone of a link-local address (`fe80::1%eth0`), which is not part of the
        # address.
        return ipaddress.ip_address(address.partition("%")[0]).is_global
    except ValueError:
        return False


def _public(host: str) -> ConfigurationError:
    return ConfigurationError(
        f"trusted_hosts names {host}, which has a public address: a token would be readable on "
        "the way there. Use https."
    )


async def refuse_public_address(url: str) -> None:
    """Raise if the host of an http URL has an address outside of private networks.

    Raises:
        ConfigurationError: it has one, so that a token could be read on the way.
        UnavailableError: its name does not resolve, so it is not known.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or is_loopback(parts.hostname):
        return
    try:
        addresses = await asyncio.get_running_loop().getaddrinfo(
            parts.hostname, parts.port, type=socket.SOCK_STREAM
        )
    except OSError:
        raise run_error(
            Failure(
                kind=FailureKind.UNAVAILABLE,
                code="unavailable",
                message=f"{parts.hostname} does not resolve, and a token is sent over plain http "
                "to private addresses only",
                hint="Check the URL.",
            )
        ) from None
    # All of them: which one is connected to is not known before it is done.
    if any(_is_public(str(address[0])) for *_, address in addresses):
        raise _public(parts.hostname or "")


def token_for_url(
    url: str,
    api_key: SecretStr | None,
    saved: SecretStr | None,
    trusted_hosts: Sequence[str] = (),
) -> SecretStr | None:
    """The token to send to `url`: the one given for it, else one found if it belongs there.

    Raises:
        ConfigurationError: it could be read on the way, or cannot be sent in a header.
    """
    if api_key is not None:
        if not is_placeholder(api_key):
            refuse_insecure_token(url, trusted_hosts)
        return sendable_token(api_key, "api_key")
    if saved is None:
        return None
    parts = urlsplit(url)
    host = parts.hostname or ""
    ours = parts.scheme == "https" and any(
        host == name or host.endswith(f".{name}") for name in _HUGGING_FACE
    )
    if ours or is_loopback(host):
        return sendable_token(saved, "the token of this environment")
    warnings.warn(
        f"The Hugging Face token of this environment is not sent to {host}, which is not Hugging "
        "Face's. If that server wants a token, pass api_key (--api-key-env NAME).",
        UserWarning,
        stacklevel=2,
    )
    return None


def sendable_token(token: SecretStr, name: str) -> SecretStr | None:
    """The token without the line break that a file or a shell left at its end.

    Raises:
        ConfigurationError: it has a character that no header can hold; `name` says whose it is.
    """
    text = token.get_secret_value().strip()
    if not all("!" <= character <= "~" for character in text):
        raise ConfigurationError(
            f"{name} holds a character that no token has: a space, a line break, a letter that is "
            "not ASCII. Copy it again."
        )
    return SecretStr(text) if text else None
