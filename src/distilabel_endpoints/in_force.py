"""What `distilabel-endpoints config` shows: each setting in force, and where its value comes from.

No key is read for it, but for whether one is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from distilabel_endpoints.flag_values import SETTINGS_FILES, TARGETS, Flag, place_of

__all__ = ["Setting", "describe_settings"]

_NARROWEST = 20
_WIDEST_VALUE = 34


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting with a value."""

    name: str
    value: Any
    origin: str
    """`default`, or the flag, variable or file that gave the value."""


def describe_settings(ctx: click.Context) -> str:
    """Every setting of `generate` that has a value, for a person; with `--json` for a program."""
    settings = list(_settings(ctx))
    if ctx.params["json"]:
        rows = {s.name: {"value": s.value, "from": s.origin} for s in settings}
        return json.dumps(rows, ensure_ascii=False, default=str)
    changed = [s for s in settings if s.origin != "default"]
    defaults = [s for s in settings if s.origin == "default"]
    names = {s.name for s in settings}
    unset = [str(p.name) for p in ctx.command.params if p.name not in {*names, "help"}]
    lines = ["Given", *_table(changed or [Setting("nothing", "", "")])]
    lines += ["", "Defaults", *_table(defaults)]
    lines += ["", "Not set", *_wrapped(", ".join(n for n in unset if "config" not in n))]
    lines += ["", *_remarks(ctx)]
    return "\n".join(line.rstrip() for line in lines)


def _settings(ctx: click.Context) -> Iterator[Setting]:
    for parameter in ctx.command.params:
        name = str(parameter.name)
        if name not in ctx.params:
            continue
        value = ctx.params[name]
        source = ctx.get_parameter_source(name)
        if source not in {ParameterSource.DEFAULT, None}:
            yield Setting(name, value, place_of(ctx, name))
        elif value not in (None, (), {}, False):
            yield Setting(name, value, "default")
        elif isinstance(parameter, Flag) and isinstance(parameter.show_default, str):
            yield Setting(name, parameter.show_default, "default")


def _table(settings: list[Setting]) -> Iterator[str]:
    width = max((len(s.name) for s in settings), default=0)
    values = [_text(s.value) for s in settings]
    room = min(_WIDEST_VALUE, max([_NARROWEST, *map(len, values)]))
    for setting, value in zip(settings, values, strict=True):
        origin = "" if setting.origin == "default" else setting.origin
        yield f"  {setting.name:<{width}}  {value:<{room}}  {origin}"


def _text(value: Any) -> str:
    match value:
        case True | False:
            return "yes" if value else "no"
        case "":
            return "(the default one)"
        case list() | tuple():
            return ", ".join(map(str, value))
        case dict():
            return json.dumps(value, ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _wrapped(text: str) -> list[str]:
    return click.wrap_text(text, 78, "  ", "  ").splitlines()


def _remarks(ctx: click.Context) -> Iterator[str]:
    """What a look at the settings should not miss."""
    from distilabel_endpoints._targets.credentials import saved_token, token_of_environment

    if all(ctx.params[name] is None for name in TARGETS):
        yield "No target is given: --base-url, --model-id, --endpoint-name or --local."
    if ctx.params["api_key_env"] is not None:
        yield f"Key: the value of {ctx.params['api_key_env']}, sent to the target."
    elif token_of_environment() is not None:
        yield "Key: the value of HF_TOKEN, sent to Hugging Face and this machine only."
    elif saved_token() is not None:
        yield "Key: the saved login, sent to Hugging Face and this machine only."
    else:
        yield "Key: none. Set HF_TOKEN, or name a variable with --api-key-env."
    yield f"A settings file is found in this folder by its name: {SETTINGS_FILES[0]} or .yaml."
