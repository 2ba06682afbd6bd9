"""Which token goes to which URL.

Rules
- A token given for this object goes where the object points, but never over plain http to another
  machine.
- A token that merely lies about (environment, saved login) goes to Hugging Face's hosts and to
  this machine only: it is not shown to strangers because someone set a `base_url`. What runs
  under hf.space is strangers' code.
"""

from __future__ import annotations

import ipaddress
import os
import warnings
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from distilabel_endpoints.errors import ConfigurationError

__all__ = [
    "FoundToken",
    "is_loopback",
    "refuse_insecure_token",
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
    """A token that merely lies about: nobody gave it for the URL at hand.

    The type says so wherever the value goes: through copies, pickles and assignments.
    """


def token_of_environment() -> FoundToken | None:
    """`HF_TOKEN` as it is now."""
    token = os.environ.get("HF_TOKEN", "").strip()
    return FoundToken(token) if token else None


def saved_token() -> SecretStr | None:
    """`HF_TOKEN`, or the token that `hf auth login` saved."""
    from huggingface_hub import get_token

    token = get_token()
    return SecretStr(token) if token else None


def is_loopback(host: str | None) -> bool:
    """Does `host` name this machine, whatever a resolver says?"""
    if host is None:
        return False
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # To 0.0.0.0 and :: a system connects to itself.
    return address.is_loopback or address.is_unspecified


def refuse_insecure_token(url: str) -> None:
    """Raise `ConfigurationError` when a token sent to `url` could be read on the way."""
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ConfigurationError(
            f"The token (api_key or headers) would go to {parts.hostname} over plain http, "
            "readable on the way. Use https, or leave it out if the server wants none."
        )


def token_for_url(url: str, given: SecretStr | None, found: SecretStr | None) -> SecretStr | None:
    """The token to send to `url`: the one given for it, else one found if it belongs there.

    Raises:
        ConfigurationError: it could be read on the way, or cannot be sent in a header.
    """
    if given is not None:
        refuse_insecure_token(url)
        return sendable_token(given, "api_key")
    if found is None:
        return None
    parts = urlsplit(url)
    host = parts.hostname or ""
    ours = parts.scheme == "https" and any(
        host == name or host.endswith(f".{name}") for name in _HUGGING_FACE
    )
    if ours or is_loopback(host):
        return sendable_token(found, "the token of this environment")
    warnings.warn(
        f"The Hugging Face token of this environment is not sent to {host}, which is not Hugging "
        "Face's. Pass api_key if that server wants a token.",
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
