"""How a flag gets its value: the command line, the environment, a file, or its default.

Rules
- Precedence: the command line, then the environment, then the settings file, then the default.
- A value has one place: a flag twice on one command line, or one parameter under two names, is an
  error that names both.
- An environment variable holds one value, whatever blanks are in it.
- A key is never a value here: flags, files and variables name the variable that holds it.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from distilabel_endpoints.config import read_settings
from distilabel_endpoints.errors import ConfigurationError

__all__ = [
    "ENVIRONMENT",
    "SETTINGS_FILES",
    "TARGETS",
    "Command",
    "Flag",
    "Part",
    "check_given_once",
    "check_key",
    "check_target",
    "forgo_settings_file",
    "found_settings_file",
    "place_of",
    "read_settings_file",
    "sorted_values",
]

ENVIRONMENT: Final = "DISTILABEL_ENDPOINTS"
"""What the names of environment variables that hold settings begin with."""
TARGETS: Final = ("model_id", "endpoint_name", "base_url", "local")
"""The flags that name a target. Exactly one is given."""
SETTINGS_FILES: Final = tuple(f"distilabel-endpoints.{kind}" for kind in ("toml", "yaml", "yml"))
"""Names under which a settings file is found in the current folder."""
_FILE_KEY: Final = "distilabel_endpoints.settings_file"
_FOUND_KEY: Final = "distilabel_endpoints.settings_file_found"
_TERM_WIDTH: Final = 24
"""Columns for the names of flags in `--help`; a longer one has a line to itself."""
_NONE_KEY: Final = "distilabel_endpoints.no_settings_file"


class Part(StrEnum):
    """Where the value of a flag goes."""

    TARGET = "target"
    """An attribute of the LLM."""
    ROWS = "rows"
    """A field of `RunOptions`."""
    PARAMETERS = "parameters"
    """A generation parameter."""
    RUN = "run"
    """A field of `commands.GenerateSettings`."""
    APART = "apart"
    """An argument of the command's function, which knows what to do with it."""


class Flag(click.Option):
    """An option that knows its group in `--help` and where its value comes from and goes to.

    Args:
        group: the heading it is listed under.
        part: where its value goes.
        sets: the name it has there, if that is another one.
        optional_value: the flag may stand alone, which gives an empty text; a pattern of the words
            that are its value when they follow it.
    """

    def __init__(
        self,
        *names: str,
        group: str = "Options",
        part: Part = Part.APART,
        sets: str | None = None,
        optional_value: str | None = None,
        **attributes: Any,
    ) -> None:
        if optional_value is not None:
            attributes |= {"is_flag": False, "flag_value": ""}
        super().__init__(names, **attributes)
        self.group = group
        self.part = part
        self.sets = sets or str(self.name)
        self.optional_value = optional_value

    def stands_alone(self, following: str) -> bool:
        """Whether the word behind the flag is not its value."""
        return self.optional_value is not None and not re.fullmatch(self.optional_value, following)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """A switch and its opposite as `--[no-]stream`."""
        record = super().get_help_record(ctx)
        if record is None or self.secondary_opts != [f"--no-{self.opts[0][2:]}"]:
            return record
        return f"--[no-]{self.opts[0][2:]}", record[1]

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Defaults without brackets around them, and no ranges: an error says those."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        if "default" in extra:
            extra["default"] = extra["default"].strip("()")
        return extra

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """The variable's value, whole: click would split it at blanks for a repeated flag."""
        if not self.multiple:
            return super().value_from_envvar(ctx)
        value = self.resolve_envvar_value(ctx)
        return None if value is None else (value,)

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """The place to look at: the flag, or the variable that gave the value."""
        source = ctx.get_parameter_source(self.name or "") if ctx is not None else None
        if ctx is not None and source is ParameterSource.ENVIRONMENT:
            return _variable(ctx, self)
        return super().get_error_hint(ctx)


class Command(click.Command):
    """A command whose help is in groups and whose settings are each given once."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse a flag that stands twice, and variables that set nothing."""
        args = self._completed(args)
        if not ctx.resilient_parsing:
            self._refuse_repeated(ctx, args)
        left = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            _refuse_unknown_variables(ctx)
        return left

    def _completed(self, args: list[str]) -> list[str]:
        """The words, with `=` after a flag that stands alone: what follows is not its value."""
        alone = {n: p for p in self.params if isinstance(p, Flag) for n in p.opts}
        return [
            f"{word}=" if word in alone and alone[word].stands_alone(following) else word
            for word, following in pairwise([*args, ""])
        ]

    def _refuse_repeated(self, ctx: click.Context, args: list[str]) -> None:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        single = [p for p in order if isinstance(p, Flag) and not (p.multiple or p.is_bool_flag)]
        for flag in single:
            if single.count(flag) > 1:
                raise click.UsageError(f"{max(flag.opts, key=len)} is given twice. Keep one.", ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options under their groups' headings, in the order they were declared."""
        groups: dict[str, list[tuple[str, str]]] = {}
        group = "Options"
        for option in self.get_params(ctx):
            if not isinstance(option, click.Option):
                continue
            group = option.group if isinstance(option, Flag) else group
            if record := option.get_help_record(ctx):
                groups.setdefault(group, []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=_TERM_WIDTH)


def _variable(ctx: click.Context, flag: click.Parameter) -> str:
    return f"{ctx.auto_envvar_prefix}_{flag.name}".upper()


def place_of(ctx: click.Context, name: str, entry: str = "") -> str:
    """Where a setting was given, for a message: `--param seed=...`, `param seed=... in run.toml`.

    `entry` is one of several values of the setting.
    """
    flag = next(p for p in ctx.command.params if p.name == name)
    entry = entry and f" {entry}"
    match ctx.get_parameter_source(name):
        case ParameterSource.ENVIRONMENT:
            return f"{_variable(ctx, flag)}{entry}"
        case ParameterSource.DEFAULT_MAP:
            return f"{name}{entry} in {ctx.meta.get(_FILE_KEY)}"
        case _:
            return f"{max(flag.opts, key=len)}{entry}"


def sorted_values(ctx: click.Context) -> dict[Part, dict[str, Any]]:
    """The values that were given, by where they go, under the names that they have there."""
    values: dict[Part, dict[str, Any]] = {part: {} for part in Part}
    for flag in ctx.command.params:
        if isinstance(flag, Flag) and flag.name in ctx.params:
            value = ctx.params[flag.name]
            plain = list(value) if isinstance(value, tuple) else value
            values[flag.part][flag.sets] = None if plain == [] else plain
    return values


def check_target(ctx: click.Context) -> None:
    """Refuse a command that names no target, or more than one.

    Raises:
        click.UsageError: the message names what was given, or what there is.
    """
    named = [name for name in TARGETS if ctx.params[name] is not None]
    if not named:
        flags = "--base-url, --model-id, --endpoint-name or --local"
        raise click.UsageError(f"No target is given. Choose one: {flags}.", ctx)
    if len(named) > 1:
        places = " and ".join(place_of(ctx, name) for name in named)
        raise click.UsageError(f"More than one target is given: {places}. Keep one.", ctx)


def check_given_once(ctx: click.Context) -> None:
    """Refuse a generation parameter that has a flag's value and one of `--param`.

    Raises:
        click.UsageError: the message names both places.
    """
    for flag in ctx.command.params:
        if not isinstance(flag, Flag) or flag.part is not Part.PARAMETERS:
            continue
        if ctx.params[str(flag.name)] not in (None, ()) and flag.sets in ctx.params["param"]:
            one, other = place_of(ctx, str(flag.name)), place_of(ctx, "param", f"{flag.sets}=...")
            raise click.UsageError(f"{flag.sets} is given twice: {one} and {other}. Keep one.", ctx)


def check_key(ctx: click.Context) -> None:
    """Refuse to send a key to a target that a file names which was merely found.

    Raises:
        click.UsageError: the message says how to consent.
    """
    path, variable = found_settings_file(ctx), ctx.params["api_key_env"]
    is_named = ctx.get_parameter_source("api_key_env") is ParameterSource.COMMANDLINE
    by_file = [n for n in TARGETS if ctx.get_parameter_source(n) is ParameterSource.DEFAULT_MAP]
    if path is not None and variable is not None and by_file and not is_named:
        raise click.UsageError(
            f"{path} was found in this folder and names the target, so the key is not sent there "
            f"without your consent. Add --api-key-env {variable}, or --config {path}.",
            ctx,
        )


def _refuse_unknown_variables(ctx: click.Context) -> None:
    """A variable under our prefix that sets nothing is a mistake: it is reported, not ignored."""
    group = ctx.parent.command if ctx.parent is not None else None
    if not isinstance(group, click.Group):
        return
    commands = {
        name.upper(): command
        for name, command in group.commands.items()
        if "auto_envvar_prefix" not in command.context_settings
    }
    known = {
        f"{ENVIRONMENT}_{name}_{flag.name}".upper()
        for name, command in commands.items()
        for flag in command.params
        if isinstance(flag, click.Option)
    }
    exempt = ctx.params.get("api_key_env")
    short = ENVIRONMENT.partition("_")[0]
    for variable in sorted(os.environ):
        if variable.startswith(f"{ENVIRONMENT}_"):
            rest = variable.removeprefix(f"{ENVIRONMENT}_")
        elif variable.startswith(tuple(f"{short}_{name}_" for name in commands)):
            rest = variable.removeprefix(f"{short}_")
        else:
            continue
        if variable not in known and variable != exempt:
            raise ConfigurationError(_unknown_variable(variable, f"{ENVIRONMENT}_{rest}", known))


def _unknown_variable(variable: str, wanted: str, known: Iterable[str]) -> str:
    problem = f"The environment variable {variable} sets nothing."
    if wanted.endswith("_API_KEY"):
        return f"{problem} Set {wanted}_ENV to the name of the variable that holds the key."
    nearest = difflib.get_close_matches(wanted, known, 1, 0.8)
    hint = f"Did you mean {nearest[0]}?" if nearest else "Unset it; --help lists the settings."
    return f"{problem} {hint}"


def forgo_settings_file(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
    """`--no-config`: what lies in this folder is not looked for."""
    if value and _FILE_KEY in ctx.meta:
        raise click.UsageError("--config and --no-config are both given. Keep one.", ctx)
    ctx.meta[_NONE_KEY] = value
    return value


def read_settings_file(ctx: click.Context, _: click.Parameter, value: str | None) -> str | None:
    """Read `--config`, or the file in this folder, before any other flag is looked at."""
    if value is not None and ctx.meta.get(_NONE_KEY):
        raise click.UsageError("--config and --no-config are both given. Keep one.", ctx)
    if value is None and not ctx.meta.get(_NONE_KEY) and not ctx.resilient_parsing:
        value = _settings_file_here()
        ctx.meta[_FOUND_KEY] = value
    if value is None:
        return value
    path = Path(value)
    flags = {str(p.name): p for p in ctx.command.params if p.name not in {"config", "no_config"}}
    settings = _by_parameter(path, flags)
    ctx.meta[_FILE_KEY] = value
    ctx.default_map = {
        name: _checked(ctx, flags[name], setting, f"{path}: {name}")
        for name, setting in settings.items()
        if setting is not None
    }
    return value


def _by_parameter(path: Path, flags: dict[str, click.Parameter]) -> dict[str, Any]:
    """A file's settings by the parameters' names, which a flag's two names may both set."""
    names = {name: (name, True) for name in flags}
    for name, flag in flags.items():
        names |= {_setting_name(one): (name, True) for one in flag.opts if one.startswith("--")}
        names |= {_setting_name(one): (name, False) for one in flag.secondary_opts}
    settings: dict[str, Any] = {}
    for key, setting in read_settings(path, names.keys()).items():
        name, positive = names[key]
        if name in settings:
            raise ConfigurationError(f"{path}: {name} is given twice. Keep one.")
        if not positive and not isinstance(setting, bool):
            raise ConfigurationError(f"{path}: {key}: {setting!r} is not true or false.")
        settings[name] = setting if positive else not setting
    return settings


def _setting_name(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def found_settings_file(ctx: click.Context) -> str | None:
    """The settings file that was found in this folder, if one was and is used."""
    path: str | None = ctx.meta.get(_FOUND_KEY)
    return path


def _settings_file_here() -> str | None:
    present = [name for name in SETTINGS_FILES if Path(name).is_file()]
    if len(present) > 1:
        raise ConfigurationError(
            f"{' and '.join(present)} are both in this folder. Keep one, or name one with --config."
        )
    return present[0] if present else None


def _checked(ctx: click.Context, flag: click.Parameter, setting: Any, where: str) -> Any:
    """A file's setting as the flag would have it. ConfigurationError if it would not."""
    try:
        value = _as_given(flag, setting)
        flag.process_value(ctx, value)
    except click.BadParameter as error:
        raise ConfigurationError(f"{where}: {error.message}") from None
    return value


def _as_given(flag: click.Parameter, setting: Any) -> Any:
    if isinstance(flag, click.Option):
        if flag.name == "param" and isinstance(setting, dict):
            return [f"{name}={json.dumps(value, default=str)}" for name, value in setting.items()]
        if flag.multiple:
            return [
                _one(flag, one) for one in (setting if isinstance(setting, list) else [setting])
            ]
        if flag.is_flag and isinstance(setting, bool):
            return setting
        if flag.flag_value == "" and isinstance(setting, bool):
            return "" if setting else None
    return _one(flag, setting)


def _one(flag: click.Parameter, setting: Any) -> Any:
    """One value of the kind that the flag takes."""
    wanted = _kind(flag)
    if isinstance(setting, str) or (not isinstance(setting, bool) and _fits(setting, wanted)):
        return str(setting) if wanted == "text" else setting
    quotes = wanted == "text" and not isinstance(setting, list | dict)
    raise click.BadParameter(f"{setting!r} is not {wanted}{'; put it in quotes' * quotes}.")


def _fits(setting: Any, wanted: str) -> bool:
    match wanted:
        case "a number":
            return isinstance(setting, int | float)
        case "a whole number":
            return isinstance(setting, int) or (isinstance(setting, float) and setting % 1 == 0)
        case "text":
            return isinstance(setting, int)
    return False


def _kind(flag: click.Parameter) -> str:
    if isinstance(flag, click.Option) and flag.is_bool_flag:
        return "true or false"
    if isinstance(flag.type, click.types.IntParamType):
        return "a whole number"
    return "a number" if isinstance(flag.type, click.types.FloatParamType) else "text"
