"""The command line: flags to arguments, exceptions to exit codes. No logic of its own.

Precedence of a setting: flag, then environment (`DISTILABEL_ENDPOINTS_GENERATE_<FLAG>`), then
`--config` file, then default. Secrets come from the environment or the saved login only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from distilabel_endpoints.config import read_settings
from distilabel_endpoints.errors import (
    DistilabelError,
    InputError,
    InstallationError,
    LockedError,
    RunError,
    StorageError,
)

__all__ = ["main"]

EXIT_USAGE = 1
EXIT_FAILED_ROWS = 2
EXIT_REMOTE = 3
EXIT_STORAGE = 4
EXIT_LOCKED = 5


def main() -> NoReturn:
    """Run the command line and exit: 0 all ok, 1 usage, 2 finished with failed rows, 3 the
    endpoint stopped us, 4 local storage, 5 locked, 130 or 143 interrupted."""
    try:
        code = commands.main(standalone_mode=False, prog_name="distilabel-endpoints")
    except click.ClickException as error:
        error.show()
        code = EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except DistilabelError as error:
        click.echo(f"Error: {_shown(error)}", err=True)
        code = _exit_code(error)
    sys.exit(code if isinstance(code, int) else 0)


def _shown(said: object) -> str:
    """Fit for a terminal: messages name columns, files and what servers said."""
    from distilabel_endpoints.progress import safe_text

    return safe_text(str(said), newlines=True)


def _exit_code(error: DistilabelError) -> int:
    match error:
        case LockedError():
            return EXIT_LOCKED
        case StorageError():
            return EXIT_STORAGE
        case RunError():
            return EXIT_REMOTE
        case InputError() | InstallationError():
            return EXIT_USAGE
        case _:
            return EXIT_REMOTE


@click.group(
    context_settings={"auto_envvar_prefix": "DISTILABEL_ENDPOINTS", "max_content_width": 100}
)
@click.version_option(package_name="distilabel-endpoints", prog_name="distilabel-endpoints")
def commands() -> None:
    """Turn a dataset of conversations into a dataset of completions."""


def _settings_file(context: click.Context, _: click.Parameter, value: str | None) -> str | None:
    """Read `--config` into the defaults, before any other flag is looked at."""
    if value is not None:
        known = {p.name for p in context.command.params if p.name not in {"config", None}}
        settings = read_settings(Path(value), {str(name) for name in known})
        for flag in context.command.params:
            if isinstance(flag, click.Option) and flag.multiple and flag.name in settings:
                settings[flag.name] = _as_repeated(settings[flag.name])
        context.default_map = settings
    return value


def _as_repeated(value: Any) -> Any:
    """What a file says once for a flag that may be repeated."""
    return [value] if isinstance(value, str) else value


def _json_pairs(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals:
            raise click.BadParameter(f"{value!r} is not NAME=JSON.")
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


def _target_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    flags = [
        click.option("--model-id", help="A model on the Hub, served by Inference Providers."),
        click.option("--endpoint-name", help="A dedicated Inference Endpoint."),
        click.option("--endpoint-namespace", help="Whose endpoint it is."),
        click.option(
            "--base-url",
            multiple=True,
            callback=_one_or_more,
            help="Any TGI or OpenAI-compatible URL; repeated: one model at several, used as one.",
        ),
        click.option(
            "--local",
            is_flag=False,
            flag_value="",
            metavar="[GGUF]",
            help="Start the embedded endpoint, with its default model or the one given.",
        ),
        click.option(
            "--client",
            type=click.Choice(["hf", "openai"]),
            default="hf",
            show_default=True,
            help="The client library that sends.",
        ),
        click.option("--provider", help="With --model-id: who serves it."),
        click.option("--bill-to", help="With --model-id: the organisation that pays."),
        click.option("--served-model", help="With --base-url: which of its models."),
        click.option("--tokenizer-id", help="Apply the chat template here; send plain text."),
        click.option(
            "--wake",
            is_flag=True,
            help="With --endpoint-name: resume it when it is paused while the run goes on.",
        ),
        click.option(
            "--ca-file",
            type=click.Path(exists=True, dir_okay=False),
            help="Certificates to trust beside the system's, in PEM.",
        ),
    ]
    return _with(command, flags)


def _row_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    flags = [
        click.option("--input-column", help="Default: messages, else prompt, else instruction."),
        click.option("--system", help="A system message for every row of text."),
        click.option("--template", help="A Jinja template over the columns: a file, or the text."),
        click.option("--column-prefix", help="Before the names of the columns that are added."),
        click.option("--schema", type=click.Path(exists=True), help="A JSON schema for answers."),
        click.option("--limit", type=click.IntRange(1), metavar="ROWS", help="Only so many rows."),
        click.option(
            "--on-bad-row",
            type=click.Choice(["fail", "skip", "stop"]),
            default="fail",
            show_default=True,
            help="A row that cannot be sent: file it as failed, leave it out, or stop at once.",
        ),
    ]
    return _with(command, flags)


def _generation_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    flags = [
        click.option(
            "-n", "--num-generations", type=click.IntRange(1), default=1, show_default=True
        ),
        click.option("--max-new-tokens", type=click.IntRange(1)),
        click.option("--temperature", type=float),
        click.option("--top-p", type=float),
        click.option("--seed", type=int),
        click.option("--stop", multiple=True, help="End an answer here; may be repeated."),
        click.option(
            "--on-length",
            metavar="[keep|fail|grow:2x]",
            callback=_on_length,
            help="An answer cut off at --max-new-tokens: keep it (default), fail its row, or ask "
            "once more with so many times as many and keep what comes.",
        ),
        click.option(
            "--param",
            multiple=True,
            metavar="NAME=JSON",
            callback=_json_pairs,
            help="Any other generation parameter; may be repeated.",
        ),
    ]
    return _with(command, flags)


def _limit_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    flags = [
        click.option(
            "--max-concurrency",
            type=click.IntRange(1),
            help="Requests in flight at most; default: as many as the endpoint takes.",
        ),
        click.option("--requests-per-minute", type=click.FloatRange(0, min_open=True)),
        click.option("--tokens-per-minute", type=click.FloatRange(0, min_open=True)),
        click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds."),
        click.option(
            "--wait-ready",
            type=click.FloatRange(0, min_open=True),
            help="Seconds to wait for an endpoint that starts, is away, or fails everything.",
        ),
        click.option(
            "--max-pause",
            type=click.FloatRange(0, min_open=True),
            help="Seconds: stop when the server asks for a longer pause.",
        ),
    ]
    return _with(command, flags)


def _cluster_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    flags = [
        click.option(
            "--ray",
            is_flag=False,
            flag_value="",
            metavar="[ADDRESS]",
            help="Send from Ray actors, here or on a cluster; OUTPUT is a folder of Parquet files.",
        ),
        click.option(
            "--ray-actors",
            type=click.IntRange(1),
            help="With --ray: how many actors send; default: 2.",
        ),
    ]
    return _with(command, flags)


def _with(command: Callable[..., Any], flags: list[Callable[..., Any]]) -> Callable[..., Any]:
    for flag in reversed(flags):
        command = flag(command)
    return command


@commands.command(short_help="Complete every row of INPUT and write them to OUTPUT.")
@click.argument("input", metavar="INPUT")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The file.")
@_target_flags
@_row_flags
@_generation_flags
@_limit_flags
@_cluster_flags
@click.option(
    "--config",
    is_eager=True,
    expose_value=False,
    callback=_settings_file,
    type=click.Path(exists=True, dir_okay=False),
    help="Settings by flag name, in TOML or YAML.",
)
@click.option("--fresh/--resume", default=False, help="Start over; default: go on.")
@click.option("--json", "json_events", is_flag=True, help="Progress as JSON lines on stdout.")
@click.option("--quiet", is_flag=True, help="Nothing but errors and the summary.")
@click.option(
    "--push-to-hub",
    metavar="REPO",
    help="A dataset repository (made private) that gets the finished output and a card.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done; send no generation.")
def generate(input: str, output: Path, **given: Any) -> int:  # noqa: A002 - click's name for it
    """Complete every row of INPUT and write them to OUTPUT; goes on where it was left.

    INPUT is a .jsonl (.gz, .zst), .json, .csv or .parquet file, a folder or glob of them,
    hf://datasets/OWNER/NAME, a saved dataset, or - for JSON lines on standard input. OUTPUT is a
    .jsonl, .csv or .parquet file: the input's columns, and generation, model_name, finish_reason,
    input_tokens, output_tokens, error.
    """
    from distilabel_endpoints import commands as work

    target = {name: given[name] for name in _TARGET_NAMES}
    target["use_openai_client"] = given["client"] == "openai"
    parameters = {name: given[name] for name in _PARAMETER_NAMES if given[name] is not None}
    if given["stop"]:
        parameters["stop_sequences"] = list(given["stop"])
    settings = work.GenerateSettings(
        input=input,
        output=output,
        target=target,
        local=given["local"],
        parameters={**parameters, **given["param"]},
        schema=Path(given["schema"]) if given["schema"] else None,
        rows={name: given[name] for name in _ROW_NAMES},
        fresh=given["fresh"],
        json=given["json_events"],
        quiet=given["quiet"],
        dry_run=given["dry_run"],
        push_to_hub=given["push_to_hub"],
        resume_command=_resume_command(),
        ray=given["ray"],
        ray_actors=given["ray_actors"],
    )
    return work.generate(settings)


_TARGET_NAMES = (
    "model_id",
    "endpoint_name",
    "endpoint_namespace",
    "base_url",
    "provider",
    "bill_to",
    "served_model",
    "tokenizer_id",
    "max_concurrency",
    "requests_per_minute",
    "tokens_per_minute",
    "timeout",
    "wait_ready",
    "max_pause",
    "wake",
    "ca_file",
    "on_length",
)
_PARAMETER_NAMES = ("max_new_tokens", "temperature", "top_p", "seed")
_ROW_NAMES = (
    "num_generations",
    "input_column",
    "system",
    "template",
    "limit",
    "on_bad_row",
    "column_prefix",
)


def _resume_command() -> tuple[str, ...]:
    """The command as it was typed, but for what would start over."""
    typed = [word for word in sys.argv[1:] if word != "--fresh"]
    return ("distilabel-endpoints", *typed)


@commands.command(short_help="What is done of OUTPUT, failed and why.")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(output: Path, *, as_json: bool) -> int:
    """What is done of the run that writes OUTPUT, what failed and why; also while it goes on."""
    from distilabel_endpoints.commands import show_status

    click.echo(show_status(output, as_json=as_json))
    return 0


@commands.command(short_help="Write what is finished so far to OUTPUT.")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--input", "source", help="Where the input is now, if it has moved.")
def export(output: Path, source: str | None) -> int:
    """Write what is finished so far of the run to OUTPUT; also while it goes on.

    The folder of a run with --ray needs none: its files hold every finished row already.
    """
    from distilabel_endpoints.commands import export as export_finished

    rows = export_finished(output, source)
    click.echo(f"{rows} rows written to {_shown(output)}", err=True)
    return 0


@commands.command(short_help="The embedded endpoint alone.")
@click.argument("gguf", required=False)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, help="0 for any free one.")
@click.option("--slots", default=4, show_default=True, help="Requests served at once.")
def serve(gguf: str | None, host: str, port: int, slots: int) -> int:
    """Serve GGUF (default: SmolLM2-135M-Instruct) over HTTP until interrupted."""
    from distilabel_endpoints.local import serve as serve_model

    return serve_model(gguf, host=host, port=port, slots=slots)
