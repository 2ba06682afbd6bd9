"""`dump`, `save`, `from_dict`, `from_file`: an object as JSON or YAML and back, without secrets.

A dump says which class it is of, in `type_info`, so that `load_class` finds it again. Only classes
of this package are loaded from a file, and the class that is asked: a file must not be able to
import anything else.
"""

from __future__ import annotations

import importlib
import json
import os
import re
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

import yaml
from pydantic import BaseModel, SecretBytes, SecretStr

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.llms.validation import checked, unknown_attribute

__all__ = ["Serializable", "load_class"]

TYPE_INFO: Final = "type_info"
_HOME: Final = ("distilabel_endpoints.llms.huggingface", "InferenceEndpointsLLM")
_UPSTREAM: Final = (
    "distilabel.llms.huggingface.inference_endpoints",  # up to 1.4
    "distilabel.models.llms.huggingface.inference_endpoints",  # 1.5
    "distilabel_endpoints.pipeline",
)
Format = Literal["json", "yaml"]


class Serializable(BaseModel):
    """Adds `dump`, `save`, `from_dict` and `from_file` to a pydantic model.

    Wrong values raise `ConfigurationError`, when an object is made and when one is assigned.
    """

    def __init__(self, **values: Any) -> None:
        checked(type(self).model_fields, partial(super().__init__, **values))

    def __setattr__(self, name: str, value: Any) -> None:
        fields = type(self).model_fields
        if name not in fields:
            if not name.startswith("_") and not hasattr(type(self), name):
                raise ConfigurationError(unknown_attribute(name, fields))
            super().__setattr__(name, value)
            return
        # pydantic leaves the new value in place when a validator of the whole model refuses it.
        before, was_set = dict(self.__dict__), set(self.__pydantic_fields_set__)
        try:
            checked(fields, partial(super().__setattr__, name, value))
        except BaseException:
            self.__dict__.update(before)
            self.__pydantic_fields_set__.intersection_update(was_set)
            raise

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """As pydantic's; raises `ConfigurationError`."""
        return checked(cls.model_fields, partial(super().model_validate, obj, **options))

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """As pydantic's; raises `ConfigurationError`."""
        return checked(cls.model_fields, partial(super().model_validate_json, json_data, **options))

    def dump(self) -> dict[str, Any]:
        """The object as plain JSON values, with `type_info` and without any secret."""
        values = self.model_dump(mode="json", exclude=self._secret_fields())
        return {**values, TYPE_INFO: self._type_info()}

    @classmethod
    def _type_info(cls) -> dict[str, str]:
        return {"module": cls.__module__, "name": cls.__qualname__}

    @classmethod
    def _secret_fields(cls) -> set[str]:
        """Fields that are left out wherever the object is written or printed."""
        return {
            name
            for name, field in cls.model_fields.items()
            if not field.repr or _holds_secret(field.annotation)
        }

    def save(self, path: str | os.PathLike[str], format: Format | None = None) -> None:  # noqa: A002
        """Write the dump to `path`.

        Args:
            path: `.json`, `.yaml` or `.yml`; another ending needs `format`.
            format: `json` or `yaml`; default: what the ending says.

        Raises:
            ConfigurationError: neither the ending nor `format` says which.
        """
        path = Path(path)
        if _format_of(path, format) == "json":
            text = json.dumps(self.dump(), indent=2, ensure_ascii=False)
        else:
            text = yaml.dump(self.dump(), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
        path.write_bytes(text.encode())

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The object of a dump. Secrets are read anew, from where they are kept.

        Raises:
            ConfigurationError: the dump is of another class, or a value is wrong.
        """
        values = dict(values)
        info = values.pop(TYPE_INFO, None)
        kind = cls if info in (None, cls._type_info()) else load_class(info)
        if not issubclass(kind, cls):
            raise ConfigurationError(f"{TYPE_INFO} names {kind.__name__}, not {cls.__name__}.")
        if _is_upstreams(info):
            # Its attributes for pipelines, as long as they are not used.
            known = kind.model_fields
            values = {name: value for name, value in values.items() if name in known or value}
        return kind.model_validate(values)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], format: Format | None = None) -> Self:  # noqa: A002
        """The object saved in `path`; see `save` and `from_dict`."""
        path = Path(path)
        loads = json.loads if _format_of(path, format) == "json" else yaml.safe_load
        try:
            values = loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            raise ConfigurationError(f"{path} cannot be read: {_reason(error)}.") from None
        if not isinstance(values, dict):
            raise ConfigurationError(f"{path} holds {type(values).__name__}, not a mapping.")
        return cls.from_dict(values)


class _Dumper(yaml.SafeDumper):
    """Writes text so that it comes back the same: a line break other than `\\n` is escaped."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if _BREAKS.search(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_BREAKS: Final = re.compile("[\r\x85\u2028\u2029\ufeff]")
_Dumper.add_representer(str, _represent_text)


def _holds_secret(annotation: Any) -> bool:
    """Is this `SecretStr` or `SecretBytes`, or something that may hold one?"""
    if isinstance(annotation, type) and issubclass(annotation, SecretStr | SecretBytes):
        return True
    return any(map(_holds_secret, get_args(annotation)))


def _reason(error: Exception) -> str:
    """What is wrong with a file and where, without showing what stands there."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} (line {error.problem_mark.line + 1})"
    if isinstance(error, json.JSONDecodeError):
        return str(error)
    return (
        "it is not UTF-8 text"
        if isinstance(error, UnicodeError)
        else "it is not what its ending says"
    )


def _format_of(path: Path, wanted: Format | None) -> Format:
    chosen = wanted or {".json": "json", ".yaml": "yaml", ".yml": "yaml"}.get(path.suffix.lower())
    if chosen not in {"json", "yaml"}:
        raise ConfigurationError(
            f"{path} ends neither in .json nor in .yaml; say format='json' or format='yaml'."
        )
    return "json" if chosen == "json" else "yaml"


def _is_upstreams(info: Any) -> bool:
    """Whether a `type_info` names the class as distilabel, or a pipeline, saves it."""
    named = (info.get("module"), info.get("name")) if isinstance(info, dict) else None
    return named in {(module, _HOME[1]) for module in _UPSTREAM}


def load_class(info: Any) -> type[Serializable]:
    """The class that a `type_info` names; for upstream's of the same name, ours.

    Raises:
        ConfigurationError: it names none, or one outside this package.
    """
    module = info.get("module") if isinstance(info, dict) else None
    name = info.get("name") if isinstance(info, dict) else None
    if not (isinstance(module, str) and isinstance(name, str)):
        raise ConfigurationError(f"{TYPE_INFO} must hold 'module' and 'name'; got {info!r:.80}.")
    if _is_upstreams(info):
        module, name = _HOME
    if module.split(".")[0] == "distilabel_endpoints":
        try:
            kind = getattr(importlib.import_module(module), name, None)
        except ImportError:
            kind = None
        if isinstance(kind, type) and issubclass(kind, Serializable):
            return kind
    raise ConfigurationError(
        f"{TYPE_INFO} names {module}.{name}, which is not a class of this package."
    )
