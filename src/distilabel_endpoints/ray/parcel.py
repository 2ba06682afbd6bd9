"""An LLM on its way to workers: all but its secrets, which each worker reads where it runs.

The parameters of the environment's variables travel by name. Ray keeps what is passed to actors in
its object store and logs, so a secret that travelled would stand there in the clear.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from distilabel_endpoints._targets.credentials import FoundToken
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.llms.internals import keep_to_provider

__all__ = ["Parcel", "pack"]

_AMBIENT: Final = "HF_TOKEN"
_SHARED: Final = ("requests_per_minute", "tokens_per_minute")
_TARGET: Final = (
    "model_id",
    "endpoint_name",
    "endpoint_namespace",
    "base_url",
    "served_model",
    "provider",
    "bill_to",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What makes the LLM again on a worker. Holds no secret."""

    kind: type[InferenceEndpointsLLM]
    """The class, which may be a subclass that the workers can import or that travels by value."""
    dump: Mapping[str, Any] = field(repr=False)
    api_key_env: str | None = None
    """The environment variable that holds the token; None: `HF_TOKEN`, or the saved login."""
    headers_env: Mapping[str, str] = field(default_factory=dict)
    """Header names to environment variables."""
    provider: str | None = None
    """With `provider="sticky"`: who answered first."""

    def identity(self) -> dict[str, Any]:
        """What names target and credentials."""
        target = {name: self.dump.get(name) for name in _TARGET}
        return {**target, "api_key_env": self.api_key_env, "headers_env": dict(self.headers_env)}

    def unpack(self) -> InferenceEndpointsLLM:
        """The LLM, with the secrets of this machine's environment.

        Raises:
            ConfigurationError: a variable is not set here.
        """
        values = dict(self.dump)
        if self.api_key_env is not None:
            values["api_key"] = _read(self.api_key_env)
        if self.headers_env:
            values["headers"] = {name: _read(env) for name, env in self.headers_env.items()}
        llm = self.kind.from_dict(values)
        if self.provider is not None:
            keep_to_provider(llm, self.provider)
        return llm


def pack(
    llm: InferenceEndpointsLLM,
    *,
    workers: int,
    api_key_env: str | None,
    headers_env: Mapping[str, str] | None,
) -> Parcel:
    """`llm` without its secrets, for `workers` of them.

    Limits per minute are divided among the workers.

    Raises:
        ConfigurationError: a secret was given to the object that workers cannot read for
            themselves.
    """
    dump = llm.dump()
    del dump["type_info"]  # `kind` says it: a class that travels by value has another name there
    for name in _SHARED:
        if dump.get(name) is not None:
            dump[name] = dump[name] / workers
    env = api_key_env or _variable_of(llm)
    headers_env = dict(headers_env or {})
    missing = sorted(set(llm.headers) - set(headers_env))
    if missing:
        raise ConfigurationError(
            f"headers {missing} were given as values, which are not sent to workers. Name the "
            "environment variables that hold them there: headers_env={'NAME': 'VARIABLE'}."
        )
    return Parcel(kind=type(llm), dump=dump, api_key_env=env, headers_env=headers_env)


def _variable_of(llm: InferenceEndpointsLLM) -> str | None:
    """The variable that an explicit `api_key` can be read from, if the user named none."""
    if llm.api_key is None or isinstance(llm.api_key, FoundToken):
        return None
    if llm.api_key.get_secret_value() == os.environ.get(_AMBIENT, "").strip():
        return _AMBIENT
    raise ConfigurationError(
        "api_key was given as a value, which is not sent to workers: Ray would keep it in its "
        "files. Set it in the workers' environment and name the variable, api_key_env='HF_TOKEN'."
    )


def _read(variable: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigurationError(
            f"{variable} is not set on the worker {socket.gethostname()}. Set it in the "
            "environment in which Ray is started there."
        )
    return value
