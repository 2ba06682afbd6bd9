"""Defaults, each named once, and settings read from a file. Docs and signatures quote these."""

from __future__ import annotations

import difflib
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints.errors import ConfigurationError

__all__ = [
    "ATTEMPT_TIMEOUT",
    "CONNECT_TIMEOUT",
    "FIRST_TOKEN_TIMEOUT",
    "KEEPALIVE_SECONDS",
    "MAX_NEW_TOKENS",
    "MAX_PAUSE",
    "MAX_RESPONSE_BYTES",
    "MAX_ROW_MB",
    "PILOT_ROWS",
    "TOKEN_TIMEOUT",
    "WAIT_READY",
    "read_settings",
]

MAX_NEW_TOKENS: Final = 128
"""Tokens generated at most, if the caller does not say."""

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for a name to be resolved and a TCP and TLS connection to be made."""

ATTEMPT_TIMEOUT: Final = 600.0
"""Seconds for one attempt, from its first byte sent to its last byte read. Bounds all others."""

FIRST_TOKEN_TIMEOUT: Final = 300.0
"""Seconds from sending a request to the first token of its stream, queues included.

With an attempt's timeout above 600 s it is half of that: who waits longer may queue longer."""

TOKEN_TIMEOUT: Final = 60.0
"""Seconds from one token of a stream to the next."""

WAIT_READY: Final = 900.0
"""Seconds to wait for an endpoint that is starting or away."""

MAX_PAUSE: Final = 1800.0
"""The longest pause that a server may ask for, in seconds; a longer one ends the run."""

KEEPALIVE_SECONDS: Final = 15.0
"""Seconds an idle connection is kept; shorter than the idle time of common servers."""

MAX_ROW_MB: Final = 64
"""Largest row of the input that is read, in MiB of its JSON or CSV text."""

PILOT_ROWS: Final = 200
"""Random rows from which a run is forecast, unless another number is given."""

MAX_RESPONSE_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one decoded response at most."""


def read_settings(path: Path, known: AbstractSet[str]) -> dict[str, Any]:
    """The settings in a TOML or YAML file, under the names of the flags (`max_new_tokens`).

    Raises:
        ConfigurationError: it cannot be read, or a name in it is not a setting (with the nearest).
    """
    settings: dict[str, Any] = {}
    for key, value in _parse_settings(path).items():
        name = str(key).replace("-", "_")
        if name in settings:
            raise ConfigurationError(f"{path}: {name} is given twice. Keep one.")
        settings[name] = value
    for name in settings:
        if name == "api_key":
            raise ConfigurationError(
                f"{path}: a key has no place in a file of settings. Name the environment variable "
                "that holds it: api_key_env."
            )
        if name not in known:
            nearest = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
            raise ConfigurationError(f"{path}: unknown setting '{name}'.{hint}")
    return settings


def _parse_settings(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".toml":
            import tomllib

            return tomllib.loads(text)
        settings = _parse_yaml(text)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    if not isinstance(settings, dict):
        raise ConfigurationError(f"{path} must hold settings by name, as in `temperature: 0.7`.")
    return settings


def _parse_yaml(text: str) -> Any:
    import yaml

    try:
        settings = yaml.compose(text, yaml.SafeLoader)
        if isinstance(settings, yaml.MappingNode):
            _refuse_repeated([key.value for key, _ in settings.value])
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _refuse_repeated(names: list[Any]) -> None:
    """YAML's reader would take the last of two settings with one name without a word."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is given twice; keep one")
