"""The flags of `generate` in groups, and how a flag gets its value.

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from distilabel_endpoints.config import (
    ATTEMPT_TIMEOUT,
    MAX_NEW_TOKENS,
    MAX_PAUSE,
    MAX_ROW_MB,
    WAIT_READY,
    read_settings,
)
from distilabel_endpoints.errors import ConfigurationError, InputError

__all__ = [
    "ENVIRONMENT",
    "TARGETS",
    "Command",
    "Flag",
    "check_given_once",
    "check_target",
    "generate_flags",
]

ENVIRONMENT: Final = "DISTILABEL_ENDPOINTS"
"""What the names of environment variables that hold settings begin with."""
TARGETS: Final = ("model_id", "endpoint_name", "base_url", "local")
"""The flags that name a target. Exactly one is given."""
_FILE_KEY: Final = "distilabel_endpoints.settings_file"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class Flag(click.Option):
    """An option that knows its group in `--help` and where its value came from.

    Args:
        group: the heading it is listed under.
    """

    def __init__(self, *names: str, group: str = "Options", **attributes: Any) -> None:
        super().__init__(names, **attributes)
        self.group = group

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
        if not ctx.resilient_parsing:
            self._refuse_repeated(ctx, args)
        left = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            _refuse_unknown_variables(ctx)
        return left

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
                formatter.write_dl(records, col_max=26)


def _variable(ctx: click.Context, flag: click.Parameter) -> str:
    return f"{ctx.auto_envvar_prefix}_{flag.name}".upper()


def _place(ctx: click.Context, name: str) -> str:
    """Where a setting was given, for a message."""
    flag = next(p for p in ctx.command.params if p.name == name)
    match ctx.get_parameter_source(name):
        case ParameterSource.ENVIRONMENT:
            return _variable(ctx, flag)
        case ParameterSource.DEFAULT_MAP:
            return f"{name} in {ctx.meta.get(_FILE_KEY)}"
        case _:
            return max(flag.opts, key=len)


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
        places = " and ".join(_place(ctx, name) for name in named)
        raise click.UsageError(f"More than one target is given: {places}. Keep one.", ctx)


def check_given_once(ctx: click.Context, flags: Mapping[str, str]) -> None:
    """Refuse a generation parameter that has a flag's value and one of `--param`.

    Args:
        flags: parameters by the names of their flags.

    Raises:
        click.UsageError: the message names both places.
    """
    for name, parameter in flags.items():
        value = ctx.params[name]
        if value not in (None, ()) and parameter in ctx.params["param"]:
            places = f"{_place(ctx, name)} and {_place(ctx, 'param')} {parameter}=..."
            raise click.UsageError(f"{parameter} is given twice: {places}. Keep one.", ctx)


def _refuse_unknown_variables(ctx: click.Context) -> None:
    """A variable under our prefix that sets nothing is a mistake, not a wish to ignore."""
    group = ctx.parent.command if ctx.parent is not None else None
    if not isinstance(group, click.Group):
        return
    commands = {name.upper(): command for name, command in group.commands.items()}
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
    said = f"The environment variable {variable} sets nothing."
    if wanted.endswith("_API_KEY"):
        return f"{said} Set {wanted}_ENV to the name of the variable that holds the key."
    nearest = difflib.get_close_matches(wanted, known, 1, 0.8)
    hint = f"Did you mean {nearest[0]}?" if nearest else "Unset it; --help lists the settings."
    return f"{said} {hint}"


def _settings_file(ctx: click.Context, _: click.Parameter, value: str | None) -> str | None:
    """Read `--config` into the defaults, before any other flag is looked at."""
    if value is not None:
        path = Path(value)
        flags = {str(p.name): p for p in ctx.command.params if p.name != "config"}
        settings = read_settings(path, set(flags))
        ctx.meta[_FILE_KEY] = value
        ctx.default_map = {
            name: _checked(ctx, flags[name], setting, f"{path}: {name}")
            for name, setting in settings.items()
            if setting is not None
        }
    return value


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


def _json_pairs(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals:
            raise click.BadParameter(f"{value!r} is not NAME=JSON.")
        if name in pairs:
            raise click.BadParameter(f"{name} is given twice. Keep one.")
        try:
            pairs[name] = json.loads(text)
        except ValueError as error:
            raise click.BadParameter(f"{name}: {text!r} is not JSON ({error}).") from None
    return pairs


def _on_length(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        from distilabel_endpoints.llms.calls import growth

        try:
            growth(value)
        except InputError as error:
            raise click.BadParameter(str(error)) from None
    return value


def _one_or_more(
    _: click.Context, __: click.Parameter, values: tuple[str, ...]
) -> str | list[str] | None:
    if len(values) > 1:
        return list(values)
    return values[0] if values else None


def _variable_name(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """The name of a variable that is set. What may be a key itself is not repeated."""
    if value is None:
        return None
    if not _VARIABLE.fullmatch(value):
        raise click.BadParameter(
            "it takes the name of an environment variable that holds the key, such as "
            "OPENAI_API_KEY, not the key."
        )
    if not os.environ.get(value, "").strip():
        name = f"variable {value}" if _PLAIN_VARIABLE.fullmatch(value) else "variable of this name"
        raise click.BadParameter(f"the environment {name} is not set, or empty.")
    return value


def _completes_files(
    _: click.Context, __: click.Parameter, incomplete: str
) -> Sequence[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


def _main_flags() -> list[Flag]:
    return [
        Flag(
            "-o",
            "--output",
            required=True,
            type=click.Path(path_type=Path),
            help="Output file: .jsonl, .json, .csv, .tsv, .parquet or .arrow.",
        ),
        Flag(
            "--base-url",
            multiple=True,
            metavar="URL",
            callback=_one_or_more,
            help="A TGI or OpenAI-compatible server. Repeat to spread the work over several "
            "servers with the same model.",
        ),
        Flag("--model-id", metavar="ID", help="A model on the Hub, through Inference Providers."),
        Flag("--endpoint-name", metavar="NAME", help="A dedicated Inference Endpoint."),
        Flag(
            "--local",
            is_flag=False,
            flag_value="",
            metavar="[GGUF]",
            shell_complete=_completes_files,
            help="Start a model on this machine: a small one, or this GGUF file.",
        ),
        Flag(
            "--api-key-env",
            metavar="NAME",
            callback=_variable_name,
            help="Environment variable that holds the key for the target. Default for Hugging "
            "Face: HF_TOKEN, else the saved login.",
        ),
        Flag(
            "--input-column",
            metavar="COLUMN",
            help="What to send. Default: messages, else prompt, else instruction.",
        ),
        Flag(
            "--max-new-tokens",
            type=click.IntRange(1),
            metavar="N",
            show_default=f"{MAX_NEW_TOKENS}",
            help="Longest answer, in tokens; longer ones are cut off.",
        ),
        Flag(
            "--temperature",
            type=float,
            metavar="X",
            help="0: the most likely answer; higher: more varied.",
        ),
        Flag("--limit", type=click.IntRange(1), metavar="ROWS", help="Only the first ROWS rows."),
    ]


def _prompt_flags() -> list[Flag]:
    return [
        Flag("--system", metavar="TEXT", help="A system message for every row of text."),
        Flag(
            "--template",
            metavar="TEXT",
            shell_complete=_completes_files,
            help="A Jinja template over the columns: the text, or a file that holds it.",
        ),
        Flag("--schema", type=click.Path(exists=True), help="A JSON schema for the answers."),
        Flag("--column-prefix", metavar="TEXT", help="Prefix for added columns, e.g. ai_."),
        Flag(
            "--escape-formulas",
            is_flag=True,
            help="In CSV: an apostrophe before cells that a spreadsheet would run as formulas.",
        ),
        Flag(
            "--format",
            type=click.Choice(["auto", "messages", "sharegpt", "alpaca", "prompt"]),
            default="auto",
            show_default=True,
            help="How the columns hold the conversation; auto recognises it.",
        ),
        Flag(
            "--drop-last-assistant",
            is_flag=True,
            help="Leave out assistant messages at the end of a conversation.",
        ),
        Flag(
            "--row-settings/--no-row-settings",
            default=True,
            show_default=True,
            help="Columns such as system and parameters are settings of their rows.",
        ),
        Flag(
            "--max-row-mb",
            type=click.IntRange(1),
            metavar="MB",
            default=MAX_ROW_MB,
            show_default=True,
            help="Largest row of the input; a larger one is recorded as failed.",
        ),
        Flag(
            "--on-bad-row",
            type=click.Choice(["fail", "skip", "stop"]),
            default="fail",
            show_default=True,
            help="A row that cannot be sent: record it as failed, leave it out, or stop.",
        ),
    ]


def _answer_flags() -> list[Flag]:
    return [
        Flag(
            "-n",
            "--num-generations",
            type=click.IntRange(1),
            metavar="N",
            default=1,
            show_default=True,
            help="Answers for each row.",
        ),
        Flag(
            "--top-p",
            type=float,
            metavar="X",
            help="Sample from the most likely tokens of this share.",
        ),
        Flag("--seed", type=int, metavar="N", help="Seed of the first answer; each has its own."),
        Flag("--stop", multiple=True, metavar="TEXT", help="End an answer here. Repeatable."),
        Flag(
            "--on-length",
            metavar="[keep|fail|grow:2x]",
            callback=_on_length,
            show_default="keep",
            help="An answer cut off at --max-new-tokens: keep it, fail its row, or retry once "
            "with twice as many tokens (any factor).",
        ),
        Flag(
            "--param",
            multiple=True,
            metavar="NAME=JSON",
            callback=_json_pairs,
            help="Any other generation parameter. Repeatable.",
        ),
    ]


def _endpoint_flags() -> list[Flag]:
    return [
        Flag(
            "--client",
            type=click.Choice(["hf", "openai"]),
            default="hf",
            show_default=True,
            help="Client library: huggingface_hub or openai.",
        ),
        Flag("--served-model", metavar="NAME", help="With --base-url: which of its models."),
        Flag(
            "--provider",
            metavar="NAME",
            help="With --model-id: who serves it: a name, fastest or cheapest.",
        ),
        Flag("--bill-to", metavar="ORG", help="With --model-id: the organisation that pays."),
        Flag("--endpoint-namespace", metavar="OWNER", help="With --endpoint-name: its owner."),
        Flag("--wake", is_flag=True, help="With --endpoint-name: resume it if it is paused."),
        Flag(
            "--tokenizer-id",
            metavar="ID",
            help="Apply this tokenizer's chat template here, and send plain text.",
        ),
        Flag(
            "--ca-file",
            type=click.Path(exists=True, dir_okay=False),
            help="PEM certificates to trust beside the system's.",
        ),
        Flag(
            "--trusted-host",
            "trusted_hosts",
            multiple=True,
            metavar="HOST",
            help="With --base-url: a host in a private network that may get a key over plain "
            "http. Repeatable.",
        ),
        Flag(
            "--stream/--no-stream",
            default=None,
            help="Read answers as a stream, or whole. Default: long ones as a stream.",
        ),
    ]


def _limit_flags() -> list[Flag]:
    positive = click.FloatRange(0, min_open=True)
    return [
        Flag(
            "--max-concurrency",
            type=click.IntRange(1),
            metavar="N",
            help="Most requests in flight. Default: as many as the endpoint takes.",
        ),
        Flag("--requests-per-minute", type=positive, metavar="N"),
        Flag("--tokens-per-minute", type=positive, metavar="N", help="Input and output together."),
        Flag(
            "--timeout",
            type=positive,
            metavar="SECONDS",
            show_default=f"{ATTEMPT_TIMEOUT:.0f}",
            help="Longest time for one request.",
        ),
        Flag(
            "--wait-ready",
            type=positive,
            metavar="SECONDS",
            show_default=f"{WAIT_READY:.0f}",
            help="Longest wait for an endpoint that is starting or unavailable.",
        ),
        Flag(
            "--max-pause",
            type=positive,
            metavar="SECONDS",
            show_default=f"{MAX_PAUSE:.0f}",
            help="Stop if the server asks for a longer pause.",
        ),
    ]


def _run_flags() -> list[Flag]:
    return [
        Flag("--dry-run", is_flag=True, help="Show what would be sent; send nothing."),
        Flag("--fresh/--resume", default=False, help="Start over. Default: resume."),
        Flag(
            "--config",
            is_eager=True,
            expose_value=False,
            callback=_settings_file,
            type=click.Path(exists=True, dir_okay=False),
            help="Settings by flag name, in TOML or YAML.",
        ),
        Flag("--json", is_flag=True, help="Progress as JSON lines on standard output."),
        Flag("--quiet", is_flag=True, help="Show only errors and failures."),
        Flag(
            "--push-to-hub",
            metavar="REPO",
            help="Upload the finished output to this dataset repository (made private).",
        ),
        Flag(
            "--ray",
            is_flag=False,
            flag_value="",
            metavar="[ADDRESS]",
            help="Send from Ray actors; OUTPUT is a folder of Parquet files.",
        ),
        Flag("--ray-actors", type=click.IntRange(1), metavar="N", help="Default: 2."),
    ]


_GROUPS: Final[Mapping[str, Callable[[], list[Flag]]]] = {
    "The most used": _main_flags,
    "Prompts": _prompt_flags,
    "Answers": _answer_flags,
    "Endpoint": _endpoint_flags,
    "Limits and waiting": _limit_flags,
    "The run": _run_flags,
}


def generate_flags() -> list[click.Parameter]:
    """The flags of `generate`, group by group."""
    flags: list[click.Parameter] = []
    for group, make in _GROUPS.items():
        for flag in make():
            flag.group = group
            flags.append(flag)
    return flags
