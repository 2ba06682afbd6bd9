"""The flags of `generate`, group by group. A new one is a line here: `Flag(...)` in its group.

Where its value goes is `part`: an attribute of the LLM, an option of the rows, a generation
parameter, or a field of `commands.GenerateSettings`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import click
from click.shell_completion import CompletionItem

from distilabel_endpoints.config import (
    ATTEMPT_TIMEOUT,
    MAX_NEW_TOKENS,
    MAX_PAUSE,
    MAX_ROW_MB,
    WAIT_READY,
)
from distilabel_endpoints.errors import InputError
from distilabel_endpoints.flag_values import (
    Flag,
    Part,
    forgo_settings_file,
    read_settings_file,
)
from distilabel_endpoints.quality.alarms import OnAlarm
from distilabel_endpoints.spending.forecast import LEAST_ROWS

__all__ = ["generate_flags", "variable_name"]

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


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


def _labels(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> list[str] | None:
    """One value holds all labels, with commas between them; several hold one each."""
    listed = values[0].split(",") if len(values) == 1 else [*values]
    return [label.strip() for label in listed] if values else None


def _providers(_: click.Context, __: click.Parameter, value: str | None) -> str | list[str] | None:
    return [name.strip() for name in value.split(",")] if value and "," in value else value


def _reasoning(_: click.Context, __: click.Parameter, value: str | None) -> str | int | None:
    if value is None or value in {"off", "low", "medium", "high"}:
        return value
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is not off, low, medium, high, or a number of tokens.")
    return int(value)


def _one_or_more(
    _: click.Context, __: click.Parameter, values: tuple[str, ...]
) -> str | list[str] | None:
    if len(values) > 1:
        return list(values)
    return values[0] if values else None


def variable_name(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
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
            *("-o", "--output"),
            type=click.Path(path_type=Path),
            help="Output file; - prints the finished rows. Default: INPUT.answers.jsonl.",
        ),
        Flag(
            "--local",
            optional_value=r".*\.gguf|hf://.*",
            metavar="[GGUF]",
            shell_complete=_completes_files,
            part=Part.RUN,
            help="A small model on this machine, or this .gguf file.",
        ),
        Flag(
            "--base-url",
            multiple=True,
            metavar="URL",
            callback=_one_or_more,
            part=Part.TARGET,
            help="A TGI or OpenAI-compatible server. Repeatable.",
        ),
        Flag("--model-id", metavar="ID", part=Part.TARGET, help="A model of Inference Providers."),
        Flag(
            "--endpoint-name",
            metavar="NAME",
            part=Part.TARGET,
            help="A dedicated Inference Endpoint.",
        ),
        Flag(
            "--api-key-env",
            metavar="NAME",
            callback=variable_name,
            part=Part.RUN,
            help="Variable that holds the key. For the Hub: HF_TOKEN.",
        ),
        Flag(
            "--max-new-tokens",
            type=click.IntRange(1),
            metavar="N",
            show_default=f"{MAX_NEW_TOKENS}",
            part=Part.PARAMETERS,
            help="Longest answer, in tokens.",
        ),
        Flag(
            "--temperature",
            type=float,
            metavar="X",
            part=Part.PARAMETERS,
            help="0: the most likely answer; higher: more varied.",
        ),
        Flag(
            "--limit",
            type=click.IntRange(1),
            metavar="ROWS",
            part=Part.ROWS,
            help="Only the first ROWS rows.",
        ),
        Flag(
            "--dry-run", is_flag=True, part=Part.RUN, help="Show what would be sent; send nothing."
        ),
    ]


def _prompt_flags() -> list[Flag]:
    return [
        Flag(
            "--input-column",
            metavar="COLUMN",
            part=Part.ROWS,
            help="Default: messages, else prompt or instruction.",
        ),
        Flag("--system", metavar="TEXT", part=Part.ROWS, help="System message for rows of text."),
        Flag(
            "--template",
            metavar="TEXT",
            shell_complete=_completes_files,
            part=Part.ROWS,
            help="Jinja template over the columns, or its file.",
        ),
        Flag(
            "--format",
            type=click.Choice(["auto", "messages", "sharegpt", "alpaca", "prompt", "openai-batch"]),
            metavar="FORM",
            default="auto",
            show_default=True,
            part=Part.ROWS,
            help="auto, messages, sharegpt, alpaca, prompt or openai-batch.",
        ),
        Flag(
            "--on-bad-row",
            type=click.Choice(["fail", "skip", "stop"]),
            metavar="POLICY",
            default="fail",
            show_default=True,
            part=Part.ROWS,
            help="A row that cannot be sent: fail (record it as failed), skip or stop.",
        ),
        Flag(
            "--error-file",
            type=click.Path(dir_okay=False),
            metavar="FILE",
            part=Part.ROWS,
            help="File for the failed lines of a batch file.",
        ),
        Flag(
            "--drop-last-assistant",
            is_flag=True,
            part=Part.ROWS,
            help="Leave out assistant messages at the end.",
        ),
        Flag(
            "--row-settings/--no-row-settings",
            default=True,
            show_default="yes",
            part=Part.ROWS,
            help="Columns such as system apply to their row.",
        ),
        Flag(
            "--max-row-mb",
            type=click.IntRange(1),
            metavar="MB",
            default=MAX_ROW_MB,
            show_default=True,
            part=Part.ROWS,
            help="A larger row is a bad row.",
        ),
        Flag(
            "--column-prefix",
            metavar="TEXT",
            part=Part.ROWS,
            help="Prefix for added columns, e.g. ai_.",
        ),
        Flag(
            "--escape-formulas",
            is_flag=True,
            part=Part.ROWS,
            help="In CSV: an apostrophe before formulas.",
        ),
    ]


def _answer_flags() -> list[Flag]:
    return [
        Flag(
            *("-n", "--num-generations"),
            type=click.IntRange(1),
            metavar="N",
            default=1,
            show_default=True,
            part=Part.ROWS,
            help="Answers for each row.",
        ),
        Flag(
            "--schema",
            type=click.Path(exists=True, path_type=Path),
            part=Part.RUN,
            help="A JSON schema for the answers.",
        ),
        Flag(
            "--label",
            multiple=True,
            metavar="A,B,...",
            callback=_labels,
            part=Part.TARGET,
            sets="labels",
            help="One of these labels, with its confidence.",
        ),
        Flag(
            "--reasoning",
            metavar="LEVEL",
            callback=_reasoning,
            part=Part.TARGET,
            help="Thinking: off, low, medium, high, or at most N tokens.",
        ),
        Flag(
            "--on-length",
            metavar="POLICY",
            callback=_on_length,
            show_default="keep",
            part=Part.TARGET,
            help="A cut-off answer: keep it, fail its row, or grow:2x: retry once with twice the "
            "tokens.",
        ),
        Flag(
            "--top-p",
            type=float,
            metavar="X",
            part=Part.PARAMETERS,
            help="Sample from this share of likely tokens.",
        ),
        Flag(
            "--seed",
            type=int,
            metavar="N",
            part=Part.PARAMETERS,
            help="Seed of the first answer; each has its own.",
        ),
        Flag(
            "--stop",
            multiple=True,
            metavar="TEXT",
            part=Part.PARAMETERS,
            sets="stop_sequences",
            help="End an answer here. Repeatable.",
        ),
        Flag(
            "--param",
            multiple=True,
            metavar="NAME=JSON",
            callback=_json_pairs,
            help="Another generation parameter. Repeatable.",
        ),
    ]


def _endpoint_flags() -> list[Flag]:
    return [
        Flag(
            "--client",
            type=click.Choice(["hf", "openai"]),
            metavar="LIBRARY",
            default="hf",
            show_default=True,
            help="hf (huggingface_hub) or openai.",
        ),
        Flag(
            "--served-model",
            metavar="NAME",
            part=Part.TARGET,
            help="With --base-url: which of its models.",
        ),
        *_hub_flags(),
        Flag(
            "--tokenizer-id",
            metavar="ID",
            part=Part.TARGET,
            help="Apply its chat template here; send plain text.",
        ),
        Flag(
            "--ca-file",
            type=click.Path(exists=True, dir_okay=False),
            part=Part.TARGET,
            help="Also trust these certificates (PEM).",
        ),
        Flag(
            "--trusted-host",
            "trusted_hosts",
            multiple=True,
            metavar="HOST",
            part=Part.TARGET,
            help="Private host that may get a key over plain http. Repeatable.",
        ),
        Flag(
            "--stream/--no-stream",
            default=None,
            part=Part.TARGET,
            help="Stream answers. Default: long ones only.",
        ),
    ]


def _hub_flags() -> list[Flag]:
    """For models and endpoints that the Hub knows."""
    return [
        Flag(
            "--provider",
            metavar="NAME,...",
            callback=_providers,
            part=Part.TARGET,
            help="With --model-id: a name, fastest, cheapest or sticky; several names, or all.",
        ),
        Flag(
            "--max-price-out",
            type=click.FloatRange(0, min_open=True),
            metavar="USD",
            part=Part.TARGET,
            help="With several providers: the most for a million output tokens.",
        ),
        Flag(
            "--bill-to",
            metavar="ORG",
            part=Part.TARGET,
            help="With --model-id: the organisation that pays.",
        ),
        Flag(
            "--endpoint-namespace",
            metavar="OWNER",
            part=Part.TARGET,
            help="With --endpoint-name: its owner.",
        ),
        Flag(
            "--wake",
            is_flag=True,
            part=Part.TARGET,
            help="With --endpoint-name: resume it if it is paused.",
        ),
        Flag(
            "--then",
            type=click.Choice(["restore", "pause", "scale-to-zero", "keep"]),
            metavar="STATE",
            part=Part.RUN,
            show_default="restore",
            help="How the endpoint is left: restore, pause, scale-to-zero, keep.",
        ),
    ]


def _limit_flags() -> list[Flag]:
    positive = click.FloatRange(0, min_open=True)
    return [
        Flag(
            "--max-concurrency",
            type=click.IntRange(1),
            metavar="N",
            part=Part.TARGET,
            help="Requests at once. Default: adapts.",
        ),
        Flag("--requests-per-minute", type=positive, metavar="N", part=Part.TARGET),
        Flag(
            "--tokens-per-minute",
            type=positive,
            metavar="N",
            part=Part.TARGET,
            help="Input and output together.",
        ),
        Flag(
            "--timeout",
            type=positive,
            metavar="SECONDS",
            show_default=f"{ATTEMPT_TIMEOUT:.0f}",
            part=Part.TARGET,
            help="Longest time for one request.",
        ),
        Flag(
            "--wait-ready",
            type=positive,
            metavar="SECONDS",
            show_default=f"{WAIT_READY:.0f}",
            part=Part.TARGET,
            help="Longest wait for the server.",
        ),
        Flag(
            "--max-pause",
            type=positive,
            metavar="SECONDS",
            show_default=f"{MAX_PAUSE:.0f}",
            part=Part.TARGET,
            help="Stop if the server asks for a longer one.",
        ),
    ]


def _spending_flags() -> list[Flag]:
    return [
        Flag(
            "--budget",
            multiple=True,
            metavar="AMOUNT",
            part=Part.RUN,
            help="Never spend more: '$20', 3Mtok or 2h. Repeatable.",
        ),
        Flag(
            "--pilot",
            type=click.IntRange(LEAST_ROWS),
            metavar="N",
            part=Part.RUN,
            help="Answer N random rows, forecast the rest, ask.",
        ),
        Flag("--yes", is_flag=True, part=Part.RUN, help="Do not ask after the pilot."),
        Flag("--price-in", metavar="DOLLARS", part=Part.RUN, help="Per million input tokens."),
        Flag("--price-out", metavar="DOLLARS", part=Part.RUN, help="Per million output tokens."),
    ]


def _run_flags() -> list[Flag]:
    return [
        Flag(
            "--fresh/--resume",
            default=False,
            part=Part.RUN,
            help="Start over. Default: resume.",
        ),
        Flag(
            "--no-config",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=forgo_settings_file,
            help="Do not read distilabel-endpoints.toml.",
        ),
        Flag(
            "--config",
            is_eager=True,
            expose_value=False,
            callback=read_settings_file,
            type=click.Path(exists=True, dir_okay=False),
            metavar="FILE",
            help="Settings. Default: distilabel-endpoints.toml.",
        ),
        *_spending_flags(),
        Flag("--json", is_flag=True, part=Part.RUN, help="Progress as JSON lines on stdout."),
        Flag("--quiet", is_flag=True, part=Part.RUN, help="Show only errors and failures."),
        Flag(
            "--alarm",
            multiple=True,
            part=Part.RUN,
            metavar="NAME=SHARE",
            help="Too large a share of flawed answers, such as loops=2%: empty, truncated, loops, "
            "echo, identical, off_schema or filtered; off for none. Repeatable.",
        ),
        Flag(
            "--on-alarm",
            type=click.Choice(get_args(OnAlarm)),
            part=Part.RUN,
            help="What an alarm does. Default: warn; pause if answers cannot be right.",
        ),
        Flag(
            "--metrics-port",
            type=click.IntRange(0, 65535),
            part=Part.RUN,
            help="Serve Prometheus metrics on this port of 127.0.0.1; 0 for any.",
        ),
        Flag("--report", is_flag=True, part=Part.RUN, help="Write OUTPUT.report.html at the end."),
        Flag(
            "--push-to-hub",
            metavar="REPO",
            part=Part.RUN,
            help="Upload the output to this dataset (private).",
        ),
        Flag(
            "--ray",
            optional_value=r"auto|local|.*:.*",
            metavar="[ADDRESS]",
            part=Part.RUN,
            help="Send from Ray actors; OUTPUT is a folder.",
        ),
        Flag(
            "--ray-actors",
            type=click.IntRange(1),
            metavar="N",
            part=Part.RUN,
            help="How many actors send. Default: 2.",
        ),
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
