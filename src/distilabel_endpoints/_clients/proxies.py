"""The route to a host: through which proxy, if any, and with which certificates to trust.

Rules
- What the environment says is read as curl, requests and httpx read it; if they differ, the
  reading wins that sends less to a proxy.
- This machine is never reached through a proxy: a model served here is not the network's business.
- A setting that cannot be followed is an error that names its variable, before anything is sent.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from distilabel_endpoints.errors import ConfigurationError

__all__ = ["bypasses_proxy", "is_loopback", "named_certificates", "proxy_for", "system_trust"]

_PORTS: Final = {"http": 80, "https": 443}
_PORT: Final = re.compile(r"(?P<host>[^:]+|\[[^\]]*\]):(?P<port>\d{1,5})")
_CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def is_loopback(host: str | None) -> bool:
    """Does `host` name this machine, whatever a resolver says?"""
    if host is None:
        return False
    if host.rstrip(".").lower() == "localhost":
        return True
    address = _address(host)
    # To 0.0.0.0 and :: a system connects to itself.
    return address is not None and (address.is_loopback or address.is_unspecified)


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this host; `None` to go there directly.

    Raises:
        ConfigurationError: it names one that cannot be used.
    """
    parts = urlsplit(url)
    host, scheme = parts.hostname or "", parts.scheme
    proxies = getproxies()
    if is_loopback(host) or proxy_bypass(host):
        return None
    if bypasses_proxy(host, parts.port or _PORTS[scheme], proxies.get("no", "")):
        return None
    return _usable_proxy(proxies, scheme)


def _usable_proxy(proxies: Mapping[str, str], scheme: str) -> str | None:
    name = scheme if proxies.get(scheme) else "all"
    proxy = proxies.get(name, "").strip()
    if not proxy:
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"  # as curl and requests take it
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme.lower() in _PORTS and parts.hostname and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        shown = proxy.partition("://")[0][:20]
        raise ConfigurationError(
            f"The proxy in {name.upper()}_PROXY ({shown}://...) cannot be used: it must be "
            "http://host:port or https://host:port. To go without a proxy, name the endpoint's "
            "host in NO_PROXY."
        )
    return proxy


def bypasses_proxy(host: str, port: int, no_proxy: str) -> bool:
    """Whether `no_proxy` names this host.

    It lists names (of domains too: `example.com`, `.example.com`, `*.example.com`), addresses and
    networks (`10.0.0.0/8`), each with or without a port, or `*` for every host.
    """
    host = host.rstrip(".").lower()
    return any(
        _names(entry, host, port) for entry in re.split(r"[,\s]+", no_proxy.lower()) if entry
    )


def _names(entry: str, host: str, port: int) -> bool:
    if "://" in entry:
        entry = entry.partition("://")[2].partition("/")[0]
    if match := _PORT.fullmatch(entry):
        if int(match["port"]) != port:
            return False
        entry = match["host"]
    entry = entry.replace("[", "").replace("]", "")
    address = _address(host)
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return fnmatchcase(host, entry)
    domain = entry.removeprefix("*").strip(".")
    if not domain:
        return entry == "*"
    return host == domain or host.endswith(f".{domain}") or fnmatchcase(host, entry)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def system_trust() -> ssl.SSLContext:
    """The certificates that the system trusts, or those that the environment names instead.

    Raises:
        ConfigurationError: `SSL_CERT_FILE` or `SSL_CERT_DIR` names something that cannot be used.
    """
    import httpx2  # not above: credentials are checked before any client is loaded

    named = named_certificates()
    try:
        return httpx2.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        shown = " and ".join(f"{name}={value!r}" for name, value in named) or "the system"
        raise ConfigurationError(
            f"The certificates of {shown} cannot be read: {error}. Give a file in PEM."
        ) from None


def named_certificates() -> list[tuple[str, str]]:
    """What the environment names in the place of the system's certificates.

    Raises:
        ConfigurationError: it does not exist.
    """
    named = [(name, value) for name in _CERTIFICATES if (value := os.environ.get(name))]
    for name, value in named:
        if not any(Path(path).exists() for path in value.split(os.pathsep)):
            raise ConfigurationError(
                f"{name} names {value!r}, which does not exist. Correct it, or unset it to use "
                "the system's certificates."
            )
    return named
