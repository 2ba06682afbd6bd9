"""The command line: flags to arguments, exceptions to exit codes. Holds no logic.

Where the values of flags come from is the matter of `flags.py`. Exit codes are in `EXIT_CODES`,
`--help` and docs/command-line.md.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from distilabel_endpoints.config import PILOT_ROWS
from distilabel_endpoints.errors import (
    DistilabelError,
    InputError,
    InstallationError,
    LockedError,
    RunError,
    StorageError,
)
from distilabel_endpoints.flag_values import (
    ENVIRONMENT,
    Command,
    Part,
    check_given_once,
    check_key,
    check_target,
    found_settings_file,
    sorted_values,
)
from distilabel_endpoints.flags import generate_flags, variable_name
from distilabel_endpoints.unexpected import expected_error, report_unexpected

if TYPE_CHECKING:
    from distilabel_endpoints.commands import GenerateSettings

__all__ = [
    "EXIT_CODES",
    "commands",
    "config",
    "endpoint",
    "estimate",
    "export",
    "generate",
    "main",
    "report",
    "serve",
    "status",
    "tune",
    "view",
]

EXIT_USAGE: Final = 1
EXIT_REMOTE: Final = 3
EXIT_STORAGE: Final = 4
EXIT_LOCKED: Final = 5
# EX_SOFTWARE of sysexits.h.
EXIT_UNEXPECTED: Final = 70
EXIT_CODES: Final = MappingProxyType(
    {
        0: "every row is ok",
        1: "wrong flags, settings or input (nothing was sent), or an input that changed meanwhile",
        2: "finished; some rows failed",
        3: "the endpoint stopped the run",
        4: "this machine's storage stopped the run",
        5: "another process writes this output",
        6: "the budget is spent",
        7: "an alarm paused the run: too many answers are flawed",
        8: "a pilot is done and waits for --yes",
        70: "a defect of distilabel-endpoints",
        129: "the terminal was closed (SIGHUP)",
        130: "interrupted (Ctrl-C)",
        143: "terminated (SIGTERM)",
    }
)
"""What the commands exit with. Every run that stopped is resumed by the same command."""


def main() -> NoReturn:
    """Run the command line and exit with one of `EXIT_CODES`."""
    _open_closed_streams()
    # Python looks for garbage in all that was loaded before it exits: a tenth of a short command.
    atexit.register(gc.freeze)
    try:
        code = commands.main(standalone_mode=False, prog_name="distilabel-endpoints")
    except click.ClickException as error:
        _advised(error).show()
        code = EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - the last border
        code = _failed(error, None)
    sys.exit(code if isinstance(code, int) else 0)


def _open_closed_streams() -> None:
    """Let a standard stream that is closed lead nowhere.

    Else the next file that is opened takes its number, and what anybody writes to the stream
    goes into that file.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _advised(error: click.ClickException) -> click.ClickException:
    """The error, or the one that says more of the same mistake."""
    if isinstance(error, click.NoSuchOption) and error.option_name == "--api-key":
        return click.UsageError(
            "A key on the command line can be read by everybody on this machine. Put it into an "
            "environment variable and name that: --api-key-env NAME.",
            error.ctx,
        )
    if isinstance(error, click.MissingParameter) and error.param and error.param.name == "input":
        return click.UsageError(
            "INPUT is missing: the file that holds the prompts, as in "
            "`distilabel-endpoints generate --local prompts.jsonl`.",
            error.ctx,
        )
    if isinstance(error, click.UsageError) and "unexpected extra argument" in error.message:
        return click.UsageError(
            f"{error.message}. There is one INPUT, or a folder or a quoted pattern of files; "
            "--local takes a .gguf file, any other name as --local=FILE.",
            error.ctx,
        )
    return error


def _failed(error: BaseException, output: Path | None) -> int:
    """Show what ended the command; gives back the exit code."""
    known = expected_error(error)
    if known is not None:
        click.echo(f"Error: {_shown(known.explain())}", err=True)
        return _exit_code(known)
    click.echo(f"Error: {_shown(report_unexpected(error, output))}", err=True)
    return EXIT_UNEXPECTED


def _shown(text: object) -> str:
    """Fit for a terminal: messages name columns, files and what servers said."""
    from distilabel_endpoints.progress import safe_text

    return safe_text(str(text), newlines=True)


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


class _Guarded(Command):
    """A command whose unexpected errors are reported beside its output."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; gives back the exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - see `_failed`
            return _failed(error, ctx.params.get("output"))


@click.group(
    context_settings={
        "auto_envvar_prefix": ENVIRONMENT,
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
    epilog="\b\nExit codes:\n"
    + "\n".join(f"  {code:<4} {text}" for code, text in EXIT_CODES.items()),
)
@click.version_option(package_name="distilabel-endpoints", prog_name="distilabel-endpoints")
def commands() -> None:
    """Turn a dataset of conversations into a dataset of completions.

    \b
    distilabel-endpoints generate --local prompts.jsonl      answers it on this machine
    distilabel-endpoints status prompts.answers.jsonl        how the run stands
    distilabel-endpoints generate --help                     every flag, and examples
    """


@commands.command(
    cls=_Guarded,
    params=generate_flags(),
    short_help="Complete every row of INPUT and write them to OUTPUT.",
    epilog="Also set by a file (see --config) or a variable, as in "
    f"{ENVIRONMENT}_GENERATE_MAX_NEW_TOKENS; `distilabel-endpoints config` shows what is set. "
    "Exit codes: distilabel-endpoints --help.",
)
@click.argument("input", metavar="INPUT", type=click.Path(allow_dash=True))
@click.pass_context
def generate(context: click.Context, /, **_: Any) -> int:
    """Complete every row of INPUT and write them to OUTPUT. Run the same command again to resume.

    INPUT is a .jsonl, .json, .csv, .tsv, .txt (also .gz, .zst, .bz2, .xz), .parquet, .arrow or
    .feather file, a folder or glob of them, a dataset of the Hub (OWNER/NAME), a saved dataset, or
    - for JSON lines on standard input. OUTPUT is .jsonl, .json, .csv, .tsv, .parquet, .arrow or
    .feather, or - to print: the input's columns, then generation, finish_reason, error and others.

    \b
    Examples:
      distilabel-endpoints generate --local prompts.jsonl
      distilabel-endpoints generate prompts.csv -o out.csv --base-url http://localhost:8000
      distilabel-endpoints generate data/ -o out.parquet --config run.toml --dry-run
      distilabel-endpoints generate in.jsonl -o out.jsonl --api-key-env MY_KEY \\
          --base-url https://api.example.com/v1
    """
    from distilabel_endpoints import commands as work

    return work.generate(_generate_settings(context))


_STANDARD_INPUT: Final = {"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"}
_STANDARD_OUTPUT: Final = {Path("/dev/stdout"), Path("/dev/fd/1"), Path("/proc/self/fd/1")}


def _generate_settings(context: click.Context) -> GenerateSettings:
    """What the flags, the variables and the settings file say, checked.

    Raises:
        click.UsageError: they do not fit together.
    """
    from distilabel_endpoints import commands as work

    check_target(context)
    check_given_once(context)
    check_key(context)
    values = sorted_values(context)
    input_, output = context.params["input"], context.params["output"]
    input_ = "-" if input_ in _STANDARD_INPUT else input_
    output = work.STANDARD if output in _STANDARD_OUTPUT else output
    if output is None and values[Part.RUN]["ray"] is not None:
        raise click.UsageError("--ray needs --output FOLDER.", context)
    if output == work.STANDARD and values[Part.RUN]["json"]:
        raise click.UsageError("--json and --output - both print; leave one out.", context)
    return work.GenerateSettings(
        input=input_,
        output=output or work.default_output(input_),
        target={**values[Part.TARGET], "use_openai_client": context.params["client"] == "openai"},
        parameters={k: v for k, v in values[Part.PARAMETERS].items() if v is not None}
        | context.params["param"],
        rows=values[Part.ROWS],
        settings_file=found_settings_file(context),
        resume_command=_resume_command(),
        **values[Part.RUN],
    )


def _resume_command() -> tuple[str, ...]:
    """The command as it was typed, without what would start over; `generate` for an estimate."""
    typed = [word for word in sys.argv[1:] if word != "--fresh"]
    return ("distilabel-endpoints", *("generate" if w == "estimate" else w for w in typed))


@commands.command(
    cls=_Guarded,
    params=generate_flags(),
    short_help="Answer a few random rows of INPUT, and forecast tokens, dollars and hours.",
    context_settings={"auto_envvar_prefix": f"{ENVIRONMENT}_GENERATE"},
)
@click.argument("input", metavar="INPUT", type=click.Path(allow_dash=True))
@click.pass_context
def estimate(context: click.Context, /, **_: Any) -> int:
    """Answer some random rows of INPUT (--pilot, 200) and forecast what all of them will need.

    Takes the flags of `generate`, which answers the other rows: the rows answered here are its own
    and are not sent again.

    \b
    Example:
      distilabel-endpoints estimate in.jsonl -o out.jsonl --model-id org/model --provider together
    """
    from distilabel_endpoints import commands as work

    settings = _generate_settings(context)
    pilot = settings.pilot or PILOT_ROWS
    return work.generate(replace(settings, pilot=pilot, yes=False, is_estimate=True))


@commands.command(
    cls=_Guarded,
    params=generate_flags(),
    short_help="Show the settings in force, and where each comes from.",
    context_settings={"auto_envvar_prefix": f"{ENVIRONMENT}_GENERATE"},
)
@click.argument("input", metavar="[INPUT]", required=False, type=click.Path(allow_dash=True))
@click.pass_context
def config(context: click.Context, /, **_: Any) -> int:
    """Show what `generate` would use here, and where each value comes from; send nothing.

    Takes the flags of `generate`; with --json, one JSON object. Keys are never shown.

    \b
    Examples:
      distilabel-endpoints config
      distilabel-endpoints config --config run.toml --temperature 0.7
    """
    from distilabel_endpoints.in_force import describe_settings

    click.echo(_shown(describe_settings(context)))
    return 0


@commands.command(
    cls=_Guarded, short_help="Show progress and failures of the run that writes OUTPUT."
)
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(output: Path, *, as_json: bool) -> int:
    """Show progress and failures of the run that writes OUTPUT, also while it is running."""
    from distilabel_endpoints.commands import show_status

    click.echo(show_status(output, as_json=as_json))
    return 0


@commands.command(cls=_Guarded, short_help="Write what is finished so far to OUTPUT.")
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--input", "source", type=click.Path(), help="Where the input is now, if it has moved."
)
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    help="Write to this new file, in the format of its name. Needed for a run with --ray.",
)
def export(output: Path, source: str | None, to: Path | None) -> int:
    """Write what is finished so far of the run to OUTPUT; also while it is running."""
    from distilabel_endpoints.commands import export as export_finished

    rows = export_finished(output, source, to)
    click.echo(f"{rows} rows written to {_shown(to or output)}", err=True)
    return 0


@commands.command(cls=_Guarded, short_help="Write a page that shows a run, or two side by side.")
@click.argument("output", type=click.Path(path_type=Path))
@click.argument("other", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "page",
    type=click.Path(path_type=Path),
    help="The page. Default: OUTPUT.report.html, or OTHER.comparison.html.",
)
def report(output: Path, other: Path | None, page: Path | None) -> int:
    """Write one HTML file that shows the run that writes OUTPUT; also while it is running.

    With OTHER the figures and rows of both runs stand side by side. The file holds prompts and
    answers; it loads nothing and runs nothing.
    """
    from distilabel_endpoints.report import write_comparison, write_report

    written = write_report(output, page) if other is None else write_comparison(output, other, page)
    click.echo(_shown(written))
    return 0


@commands.command(cls=_Guarded, short_help="Page through the rows of a run in the terminal.")
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--only",
    default="all",
    show_default=True,
    help="all, ok, failed, or a flaw: empty, truncated, loops, off_schema, filtered.",
)
@click.option("--row", default=1, show_default=True, type=click.IntRange(1), help="Begin here.")
def view(output: Path, only: str, row: int) -> int:
    """Page through the rows of the run that writes OUTPUT: prompt, answer, failure.

    Commands, each ended by Enter: n next (also Enter alone), p previous, g N row N, f NAME filter,
    /TEXT search in answers and failures, q quit.
    """
    from distilabel_endpoints.report.viewer import view as page_through

    page_through(output, only=only, start=row)
    return 0


@commands.command(cls=_Guarded, short_help="Show a dedicated endpoint: state, replicas, price.")
@click.argument("name")
@click.option("--namespace", metavar="OWNER", help="Its owner. Default: the token's own user.")
@click.option(
    "--api-key-env",
    metavar="NAME",
    callback=variable_name,
    help="Environment variable that holds the token. Default: HF_TOKEN, else the saved login.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "--scale-to-zero-after",
    "minutes",
    type=click.IntRange(1),
    metavar="MINUTES",
    help="Change the endpoint: let it scale to zero after MINUTES without a request.",
)
def endpoint(
    name: str, namespace: str | None, api_key_env: str | None, *, as_json: bool, minutes: int | None
) -> int:
    """Show the state, replicas, price and auto-scaling of the dedicated endpoint NAME.

    Also what `generate` would do with it. This never starts an endpoint.

    \b
    Examples:
      distilabel-endpoints endpoint my-endpoint
      distilabel-endpoints endpoint my-endpoint --namespace my-org --json
      distilabel-endpoints endpoint my-endpoint --scale-to-zero-after 15
    """
    from distilabel_endpoints.lifecycle.show import set_idle_minutes, show_endpoint

    if minutes is not None:
        click.echo(_shown(set_idle_minutes(name, namespace, api_key_env, minutes)), err=True)
    click.echo(_shown(show_endpoint(name, namespace, api_key_env, as_json=as_json)))
    return 0


@commands.command(cls=_Guarded, short_help="Slow down, speed up, pause or resume a running run.")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--max-concurrency", type=click.IntRange(1, 1 << 20), help="Requests in flight.")
@click.option("--budget", multiple=True, help="What the whole run may spend: '$20', 3Mtok, 2h.")
@click.option("--pause/--resume", "paused", default=None, help="Send nothing for now; send again.")
def tune(
    output: Path, max_concurrency: int | None, budget: tuple[str, ...], paused: bool | None
) -> int:
    """Change what the run that is writing OUTPUT sends and may spend, until it ends."""
    from distilabel_endpoints.runs.steering import tune as request_change

    request_change(output, max_concurrency=max_concurrency, paused=paused, budget=budget)
    click.echo("The run applies this within two seconds, or as soon as it sends rows.", err=True)
    return 0


@commands.command(cls=_Guarded, short_help="Start a local model server.")
@click.argument("gguf", required=False, type=click.Path())
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, help="0 for any free one.")
@click.option("--slots", default=4, show_default=True, help="Requests served at once.")
def serve(gguf: str | None, host: str, port: int, slots: int) -> int:
    """Serve GGUF (default: SmolLM2-135M-Instruct) over HTTP until interrupted."""
    from distilabel_endpoints.local import serve as serve_model

    return serve_model(gguf, host=host, port=port, slots=slots)
