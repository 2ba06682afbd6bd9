"""What the commands do, as plain functions of their settings; the flags are `cli.py`'s."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.lifecycle.decisions import Then
from distilabel_endpoints.progress import Progress, clip, open_progress, safe_text, showing_notices
from distilabel_endpoints.progress.report import spent_text
from distilabel_endpoints.quality.alarms import parse_alarms
from distilabel_endpoints.rows import RowSource, default_output, open_rows
from distilabel_endpoints.run_state import RunEnding, RunSummary
from distilabel_endpoints.runs import RunOptions
from distilabel_endpoints.runs.examples import first_answers
from distilabel_endpoints.runs.kept_input import OneTimeInput, is_pipe, pipe_once, stream_once
from distilabel_endpoints.runs.standard_output import copy_out, place_for, spooled
from distilabel_endpoints.runs.status import Opener, open_reader

if TYPE_CHECKING:
    from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
    from distilabel_endpoints.runs.paying import SpendingOptions

__all__ = ["STANDARD", "GenerateSettings", "default_output", "export", "generate", "show_status"]


STANDARD: Final = Path("-")
"""The output that is printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateSettings:
    """`distilabel-endpoints generate`, resolved: flags over environment over file over defaults."""

    input: str
    output: Path
    target: Mapping[str, Any]
    """Attributes of the LLM that were given."""
    local: str | None
    """The embedded endpoint's model; empty for the default one."""
    api_key_env: str | None
    """The environment variable that holds the target's key."""
    parameters: Mapping[str, Any]
    schema: Path | None
    rows: Mapping[str, Any]
    """Attributes of `RunOptions` that were given."""
    fresh: bool
    json: bool
    quiet: bool
    dry_run: bool
    push_to_hub: str | None
    """The dataset repository that gets the output."""
    resume_command: tuple[str, ...]
    alarm: tuple[str, ...] = ()
    """Shares of flawed answers, as words: `loops=2%`."""
    on_alarm: str | None = None
    """What they do."""
    metrics_port: int | None = None
    """Of 127.0.0.1, where metrics are served."""
    report: bool = False
    """Whether the run's page is written when it ends."""
    ray: str | None = None
    """The address of a Ray cluster that sends; empty for one on this machine."""
    ray_actors: int | None = None
    budget: Sequence[str] = ()
    pilot: int | None = None
    yes: bool = False
    price_in: str | None = None
    price_out: str | None = None
    is_estimate: bool = False
    """Whether nothing follows the pilot."""
    then: Then | None = None
    """How a dedicated endpoint is left at the end."""
    settings_file: str | None = None
    """The settings file that was found in the current folder."""


def generate(settings: GenerateSettings) -> int:
    """Run it; gives back the exit code."""
    if settings.ray is not None or settings.ray_actors is not None:
        return _generate_ray(settings)
    options = RunOptions(parameters=settings.parameters, **_row_options(settings.rows))
    spending = _spending_options(settings)
    alarms = parse_alarms(settings.alarm or None, settings.on_alarm)
    if settings.push_to_hub is not None:
        from distilabel_endpoints.runs.publishing import check_repository

        check_repository(settings.push_to_hub)
    answer, to_stdout = settings, settings.output == STANDARD
    settings, source = _opened(settings, options)  # what cannot be read is an error here
    with showing_notices(_display(settings)) as progress, _llm(settings) as llm:
        if settings.settings_file is not None:
            progress.message(f"Settings from {settings.settings_file} in this folder.")
        if settings.dry_run:
            from distilabel_endpoints.runs.preview import preview

            plan = preview(llm, source, settings.output, options, fresh=settings.fresh)
            sys.stdout.write(safe_text(plan.text, newlines=True))
            if plan.refusal is not None:
                raise plan.refusal
            return 0
        from distilabel_endpoints.runs.local import Run

        run = Run(
            llm=llm,
            source=source,
            output=settings.output,
            alarms=alarms,
            options=options,
            progress=progress,
            fresh=settings.fresh,
            describe=settings.input,
            resume_command=settings.resume_command,
            spending=spending,
            then=settings.then,
        )
        summary, _ = run.execute()
        if _mode(settings) == "auto" and sys.stderr.isatty() and not to_stdout:
            sys.stderr.write(_first_answers(settings.output, options))
        _show_flawed(settings, summary)
        _report(settings)
        if to_stdout and summary.ending is RunEnding.FINISHED:
            copy_out(settings.output)
        if settings.push_to_hub is not None and summary.ending is RunEnding.FINISHED:
            from distilabel_endpoints.runs.publishing import about_run, push_output

            about = about_run(llm, options, summary)
            url = push_output(settings.push_to_hub, settings.output, about)
            sys.stderr.write(f"pushed to {safe_text(url)}\n")
    return _after_pilot(answer, summary)


def _spending_options(settings: GenerateSettings) -> SpendingOptions:
    from distilabel_endpoints.runs.paying import SpendingOptions

    return SpendingOptions.of(
        budget=settings.budget,
        price_in=settings.price_in,
        price_out=settings.price_out,
        pilot=settings.pilot,
        yes=settings.yes,
    )


def _says_yes(settings: GenerateSettings) -> bool:
    """Whether somebody at a terminal wants the other rows to be answered."""
    if _mode(settings) != "auto" or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write("Answer the other rows? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _first_answers(output: Path, options: RunOptions) -> str:
    """Three answers, each clipped to a line, for whoever watches."""
    examples = first_answers(output, options)
    width = shutil.get_terminal_size().columns - 1
    lines = ["", "First answers"] if examples else []
    for example in examples:
        question = " ".join(safe_text(example.prompt).split())
        answer = " ".join(safe_text(example.answer).split())
        lines += [clip(f"  {example.ordinal + 1:>3}  {question}", width)]
        lines += [clip(f"       > {answer}", width)]
    return "".join(f"{line}\n" for line in lines)


def _display(settings: GenerateSettings) -> Progress:
    """Where the run is shown, metrics included if a port is given."""
    display = open_progress(_mode(settings))
    if settings.metrics_port is None or settings.dry_run:
        return display
    from distilabel_endpoints.progress.metrics import MeteredProgress

    return MeteredProgress(display, settings.metrics_port)


def _mode(settings: GenerateSettings) -> str:
    if settings.dry_run:
        return "plain"
    return "json" if settings.json else "quiet" if settings.quiet else "auto"


def _generate_ray(settings: GenerateSettings) -> int:
    """The same over Ray; gives back the exit code."""
    from distilabel_endpoints.ray.job import RayRun, refuse_unusable
    from distilabel_endpoints.ray.marker import check_folder
    from distilabel_endpoints.ray.package import ray_package

    refuse_unusable(
        {
            "--ray-actors": settings.ray is None,
            "--local": settings.local is not None,
            "--dry-run": settings.dry_run,
            "--push-to-hub": settings.push_to_hub is not None,
            "- as INPUT": settings.input == "-",
        }
    )
    spending = _spending_options(settings)
    answer, to_stdout = settings, settings.output == STANDARD
    if to_stdout:
        settings = replace(settings, output=place_for(settings.input).with_suffix(""))
    ray_package("--ray")  # before the folder is looked at, which needs what comes with it
    check_folder(settings.output)
    with showing_notices(_display(settings)) as progress, _llm(settings) as llm:
        run = RayRun(
            llm=llm,
            input=settings.input,
            output=settings.output,
            options=RunOptions(parameters=settings.parameters, **_row_options(settings.rows)),
            progress=progress,
            address=settings.ray or None,
            api_key_env=settings.api_key_env,
            **({"actors": settings.ray_actors} if settings.ray_actors else {}),
            fresh=settings.fresh,
            resume_command=settings.resume_command,
            then=settings.then,
            spending=spending,
            alarms=parse_alarms(settings.alarm or None, settings.on_alarm),
        )
        summary, _ = run.execute()
        _show_flawed(settings, summary)
        _report(settings)
        if to_stdout and summary.output is not None:
            _print_shards(settings.output, Path(summary.output))
    return _after_pilot(answer, summary)


def _print_shards(folder: Path, written: Path) -> None:
    """Print what a run over Ray wrote, in the input's order, as a run of one process does."""
    if written.is_file():  # the lines of a batch file
        copy_out(written)
        return
    from distilabel_endpoints.runs import export_run

    with tempfile.TemporaryDirectory() as place:
        rows = Path(place, "rows.jsonl")
        export_run(folder, to=rows, opener=_opener(folder))
        copy_out(rows)


def _after_pilot(settings: GenerateSettings, summary: RunSummary) -> int:
    """The exit code; the other rows are answered first if somebody says yes to the forecast."""
    if summary.ending is not RunEnding.PILOT:
        return summary.exit_code
    if settings.is_estimate:
        return 0
    if is_pipe(settings.input) or not _says_yes(settings):
        return summary.exit_code
    return generate(replace(settings, pilot=None, fresh=False))


def _show_flawed(settings: GenerateSettings, summary: RunSummary) -> None:
    """The rows for which an alarm ended the run, for whoever watches."""
    if summary.ending is RunEnding.ALARM and _mode(settings) == "auto" and sys.stderr.isatty():
        from distilabel_endpoints.report.viewer import show_rows

        show_rows(settings.output, summary.alarms[-1].examples, sys.stderr)


def _report(settings: GenerateSettings) -> None:
    """Write the page of a run that has ended, if it was asked for."""
    if settings.report:
        from distilabel_endpoints.report import write_report

        sys.stderr.write(f"report: {safe_text(str(write_report(settings.output)))}\n")


def _row_options(rows: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: value for name, value in rows.items() if value is not None}
    template = options.get("template")
    if template is not None and "{" not in template:
        options["template"] = _text_of(Path(template), "template")
    return options


def _text_of(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--{what}: {path} cannot be read: {error}") from None


def _opened(
    settings: GenerateSettings, options: RunOptions
) -> tuple[GenerateSettings, RowSource | OneTimeInput]:
    """The rows, and the settings with the file to write, also if it is to be printed."""
    most, to_stdout = options.max_row_bytes, settings.output == STANDARD
    if is_pipe(settings.input):
        if not to_stdout:
            return settings, pipe_once(Path(settings.input), max_row_bytes=most)
        with Path(settings.input).open("rb") as pipe:
            place, stream = spooled(pipe)
        return replace(settings, output=place), stream_once(stream, max_row_bytes=most)
    if settings.input != "-":
        source = open_rows(settings.input, max_row_bytes=most)
        place = place_for(settings.input) if to_stdout else settings.output
        return replace(settings, output=place), source
    place, stream = settings.output, sys.stdin.buffer
    if to_stdout:
        place, stream = spooled(stream)
    return replace(settings, output=place), stream_once(stream, max_row_bytes=most)


@contextmanager
def _llm(settings: GenerateSettings) -> Iterator[InferenceEndpointsLLM]:
    """The LLM, with the embedded endpoint under it if that was asked for."""
    from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM  # `status` needs none

    attributes = {name: value for name, value in settings.target.items() if value is not None}
    if settings.api_key_env is not None:
        attributes["api_key"] = os.environ[settings.api_key_env].strip()
    if settings.schema is not None:
        attributes["structured_output"] = {"format": "json", "schema": _schema(settings.schema)}
    if settings.local is None:
        with closing(InferenceEndpointsLLM(**attributes)) as llm:
            yield llm
        return
    from distilabel_endpoints.local import LocalEndpoint

    with LocalEndpoint(settings.local or None) as endpoint:
        attributes |= {"base_url": endpoint.base_url, "model_display_name": endpoint.model_name}
        with closing(InferenceEndpointsLLM(**attributes)) as llm:
            yield llm


def _schema(path: Path) -> Any:
    try:
        return json.loads(_text_of(path, "schema"))
    except ValueError as error:
        raise ConfigurationError(f"--schema: {path} is not JSON: {error}") from None


def _over_ray(output: Path) -> bool:
    """Whether `output` is a folder, as runs over Ray write it; one may not be there yet."""
    return output.is_dir() or not output.suffix


def _opener(output: Path) -> Opener:
    """Finds the results of a run, by what it writes: a file, or a folder of shards."""
    if _over_ray(output):
        from distilabel_endpoints.ray.folder import open_folder

        return open_folder
    return open_reader


def export(output: Path, source: str | None, to: Path | None = None) -> int:
    """Write what is finished so far to `to`, else to `output`; gives back how many rows that is."""
    from distilabel_endpoints.runs import export_run

    opener = _opener(output)
    if to is None and _over_ray(output):
        opener(output)  # a run that is not there is reported first
        raise ConfigurationError(
            f"{output} is a folder of Parquet files, which hold every finished row already. For "
            "one file in the input's order add --to FILE (.jsonl, .csv, .parquet and others)."
        )
    return export_run(output, source, to=to, opener=opener).rows


def show_status(output: Path, *, as_json: bool) -> str:
    """How the run stands that writes `output`, for a person or a program."""
    from distilabel_endpoints.runs import read_status

    run = read_status(output, opener=_opener(output))
    if as_json:
        return json.dumps({**asdict(run), "pending": run.pending}, ensure_ascii=False)
    total = "?" if run.total is None else f"{run.total:,}"
    skipped = f", {run.skipped:,} skipped" if run.skipped else ""
    lines = [
        f"{run.output}: {run.ok:,} ok, {run.failed:,} failed{skipped} of {total} rows",
        f"tokens: {run.tokens.input_tokens:,} in, {run.tokens.output_tokens:,} out",
    ]
    if run.spent is not None:
        lines.append(f"spent: {spent_text(run.spent)}")
    if run.attempts is not None:
        lines.append(f"attempts: {run.attempts:,}")
    lines.append(f"running: {run.running or 'no'}")
    for group in run.failures:
        name = group.code or group.kind
        status = f" ({group.status})" if group.status else ""
        reason = safe_text(f"{name}{status}: {group.message}")
        example = f"for example row {group.example_ordinal + 1}"
        lines.append(f"failed: {group.count:,} x {reason} ({example})")
    return "\n".join(lines)
