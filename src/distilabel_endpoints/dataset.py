"""`generate_dataset`: a run from Python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from distilabel_endpoints.config import MAX_ROW_MB
from distilabel_endpoints.errors import AlarmError, BudgetError, ConfigurationError, DistilabelError
from distilabel_endpoints.html_text import table
from distilabel_endpoints.lifecycle.decisions import Then
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.llms.inputs import GenerationParameters
from distilabel_endpoints.progress import Progress, open_progress
from distilabel_endpoints.progress.metrics import MeteredProgress
from distilabel_endpoints.progress.notebook import report_html
from distilabel_endpoints.quality.alarms import Alarms, OnAlarm, parse_alarms
from distilabel_endpoints.rows import RowSource, open_rows, to_dataset, to_pandas
from distilabel_endpoints.rows.formats import Format
from distilabel_endpoints.rows.sources import refuse_other_objects
from distilabel_endpoints.run_state import RunEnding, RunSummary
from distilabel_endpoints.runs.examples import first_answers
from distilabel_endpoints.runs.kept_input import OneTimeInput, is_pipe, pipe_once, rows_once
from distilabel_endpoints.runs.local import Run
from distilabel_endpoints.runs.options import BadRowPolicy, RunOptions
from distilabel_endpoints.runs.paying import SpendingOptions
from distilabel_endpoints.runs.publishing import about_run, check_repository, push_output
from distilabel_endpoints.runs.row_callback import OnRow
from distilabel_endpoints.runs.stopping import interruption

if TYPE_CHECKING:
    from distilabel_endpoints.ray.job import RayRun

__all__ = ["FinishedRun", "generate_dataset"]


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What a run left: its summary, and the file it wrote."""

    summary: RunSummary
    output: Path
    dataset_url: str | None = None
    """Where it was pushed to on the Hub."""
    options: RunOptions = field(default_factory=RunOptions, repr=False, compare=False)

    def to_dataset(self) -> Any:
        """The output as a `datasets.Dataset` (extra `datasets`), mapped if its format can be."""
        return to_dataset(self.output)

    def to_pandas(self) -> Any:
        """The output as a DataFrame, whatever its format; it needs pandas, and is in memory."""
        return to_pandas(self.output)

    def _repr_html_(self) -> str:
        answers = table(
            "First answers",
            ("row", "prompt", "answer"),
            [(e.ordinal + 1, e.prompt, e.answer) for e in first_answers(self.output, self.options)],
        )
        return report_html(self.summary) + answers


def generate_dataset(
    llm: InferenceEndpointsLLM,
    input: str | os.PathLike[str] | Iterable[Mapping[str, Any]] | Any,  # noqa: A002
    output: str | os.PathLike[str],
    *,
    num_generations: int = 1,
    input_column: str | None = None,
    system: str | None = None,
    template: str | None = None,
    limit: int | None = None,
    on_bad_row: BadRowPolicy = "fail",
    column_prefix: str = "",
    escape_formulas: bool = False,
    format: Format = "auto",  # noqa: A002 - the word for it
    drop_last_assistant: bool = False,
    row_settings: bool = True,
    max_row_mb: int = MAX_ROW_MB,
    error_file: str | os.PathLike[str] | None = None,
    fresh: bool = False,
    budget: str | Sequence[str] | None = None,
    pilot: int | None = None,
    yes: bool = False,
    price_in: float | str | None = None,
    price_out: float | str | None = None,
    push_to_hub: str | None = None,
    alarms: Mapping[str, float | str] | Iterable[str] | str | None = None,
    on_alarm: OnAlarm | None = None,
    metrics_port: int | None = None,
    report: bool = False,
    ray: str | None = None,
    ray_actors: int | None = None,
    then: Then | None = None,
    on_row: OnRow | None = None,
    progress: Progress | None = None,
    **parameters: Unpack[GenerationParameters],
) -> FinishedRun:
    """Complete every row of `input` and write them to `output`; resumes where it stopped.

    Args:
        llm: what answers.
        input: a path, a folder, a glob, a dataset of the Hub, a `datasets.Dataset`, a DataFrame, or
            an iterable of mappings, of prompts or of conversations; see docs/datasets.md.
        output: the input's columns and ours, in input order, in the format of the file's name.
        num_generations: completions per row.
        input_column: default `messages`, else `prompt`, else `instruction`.
        system: a system message for rows of text.
        template: a Jinja template over the columns, which makes the user's message.
        limit: only the first N rows.
        on_bad_row: `fail`, `skip` or `stop`.
        column_prefix: before the names of the columns that are added.
        escape_formulas: for `.csv` and `.tsv`: an apostrophe before cells that a spreadsheet would
            run as formulas. It changes answers that begin with `-`, `+`, `=` or `@`.
        format: in which form the columns hold the conversation: `auto` recognises it; `messages`,
            `sharegpt`, `alpaca`, `prompt` or `openai-batch`.
        drop_last_assistant: leave out assistant messages at the end of a conversation.
        row_settings: whether columns `system`, `system_prompt`, `parameters`, `generation_kwargs`
            and `structured_output` are settings of their rows; False if they are data.
        max_row_mb: a larger row of the input is recorded as failed; what is in flight is in memory.
        error_file: for an OpenAI batch file: where its failed lines go. Default: beside the output,
            `answers.errors.jsonl` for `answers.jsonl`.
        fresh: drop what an earlier run left, instead of resuming it.
        budget: what the run may spend, all its calls together: `"$20"`, `"3Mtok"`, `"2h"`, or
            several of these; see docs/costs.md.
        pilot: answer N random rows first, and forecast the run from them: the summary's
            `forecast`. The other rows are answered by the same call with `yes=True`.
        yes: answer the other rows right after the pilot.
        price_in: dollars per million input tokens, if no other source names a price.
        price_out: the same for output tokens.
        push_to_hub: a dataset repository, `OWNER/NAME`, that gets the finished output and a card.
            It is made private if it is not there. The token is `HF_TOKEN` or the saved one.
        alarms: shares of flawed answers that are too many, such as `{"loops": 0.02}`; `"off"` for
            none. See docs/alarms.md.
        on_alarm: what the alarms that are named do, or all if none is: `warn`, `pause`, `stop`.
        metrics_port: serve Prometheus metrics on this port of 127.0.0.1; 0 for any.
        report: write `OUTPUT.report.html`, too, whatever ends the run.
        ray: the address of a Ray cluster that sends (`auto`, `HOST:6379`, `ray://...`), or `local`
            for one on this machine that ends with the run. `input` is then a path that all nodes
            see, and `output` a folder of Parquet files (extra `ray`).
        ray_actors: how many processes of the cluster send.
        then: how a dedicated endpoint is left: `restore` (default: asleep again if this run woke
            it), `pause`, `scale-to-zero` or `keep`.
        on_row: called with the `Output` of each row as it finishes; see docs/extending.md.
        progress: where to show it; default: what suits the terminal or notebook.
        **parameters: see `GenerationParameters`.

    Raises:
        InputError: something given is wrong, or an earlier run had other settings.
        RunError: the endpoint stopped the run, or the Hub the push; the same call resumes it.
        StorageError: the disk did; the same.
        BudgetError: the budget is spent; its `summary` says on what, and the same call with a
            larger one resumes.
        AlarmError: the answers cannot be right; its `summary` says how the run stands.
        KeyboardInterrupt: Ctrl-C. What was in flight has finished (after a second one it has not);
            the exception's `summary` says how the run stands, and the same call resumes it.
        SystemExit: the same, after SIGTERM or SIGHUP.
    """
    options = RunOptions(
        num_generations=num_generations,
        parameters={name: v for name, v in parameters.items() if v is not None},
        input_column=input_column,
        system=system,
        template=template,
        limit=limit,
        on_bad_row=on_bad_row,
        column_prefix=column_prefix,
        escape_formulas=escape_formulas,
        format=format,
        drop_last_assistant=drop_last_assistant,
        row_settings=row_settings,
        max_row_mb=max_row_mb,
        error_file=None if error_file is None else os.fspath(error_file),
    )
    settings = _RunSettings(
        llm=llm,
        input=input,
        output=Path(output),
        options=options,
        spending=SpendingOptions.of(
            budget=budget, price_in=price_in, price_out=price_out, pilot=pilot, yes=yes
        ),
        alarms=parse_alarms(alarms, on_alarm),
        progress=_shown(progress, metrics_port),
        fresh=fresh,
        then=then,
        on_row=on_row,
        push_to_hub=push_to_hub,
    )
    is_here = ray is None and ray_actors is None
    run = settings.run_here() if is_here else settings.run_over_ray(ray, ray_actors)
    summary = _finished(*run.execute(), settings.output, report=report)
    return FinishedRun(summary, settings.output, settings.pushed(summary), options)


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunSettings:
    """The settings of `generate_dataset`, checked, and the run they describe."""

    llm: InferenceEndpointsLLM
    input: Any
    output: Path
    options: RunOptions
    spending: SpendingOptions
    alarms: Alarms
    progress: Progress
    fresh: bool
    then: Then | None
    on_row: OnRow | None
    push_to_hub: str | None

    def run_here(self) -> Run:
        """The run that sends from this process."""
        if self.push_to_hub is not None:
            check_repository(self.push_to_hub)
        return Run(
            llm=self.llm,
            source=_source(self.input, self.options),
            output=self.output,
            options=self.options,
            alarms=self.alarms,
            progress=self.progress,
            fresh=self.fresh,
            describe=str(self.input) if isinstance(self.input, str | os.PathLike) else "",
            spending=self.spending,
            then=self.then,
            on_row=self.on_row,
        )

    def run_over_ray(self, address: str | None, actors: int | None) -> RayRun:
        """The run over Ray, if nothing is asked for that needs a run of one process."""
        from distilabel_endpoints.ray.job import RayRun, refuse_unusable
        from distilabel_endpoints.ray.stage import ACTORS

        refuse_unusable(
            {
                "ray_actors": address is None,
                "push_to_hub": self.push_to_hub is not None,
                "on_row": self.on_row is not None,
                "- as INPUT": isinstance(self.input, str) and self.input == "-",
            }
        )
        if not isinstance(self.input, str | os.PathLike):
            raise ConfigurationError(
                "with ray, input must be a path that workers can read; it is of type "
                f"{type(self.input).__name__}. Save it as a file."
            )
        return RayRun(
            llm=self.llm,
            input=os.fspath(self.input),
            output=self.output,
            options=self.options,
            alarms=self.alarms,
            progress=self.progress,
            fresh=self.fresh,
            spending=self.spending,
            then=self.then,
            address=None if address == "local" else address,
            actors=actors or ACTORS,
        )

    def pushed(self, summary: RunSummary) -> str | None:
        """Where the output is on the Hub, if it was to be pushed and is whole."""
        if self.push_to_hub is None or summary.ending is not RunEnding.FINISHED:
            return None
        about = about_run(self.llm, self.options, summary)
        return push_output(self.push_to_hub, self.output, about)


def _shown(progress: Progress | None, metrics_port: int | None) -> Progress:
    """Where progress is shown: as the user says, else as it suits; with metrics beside it."""
    shown = progress or open_progress("auto")
    return shown if metrics_port is None else MeteredProgress(shown, metrics_port)


def _finished(
    summary: RunSummary, error: DistilabelError | None, path: Path, *, report: bool
) -> RunSummary:
    """The summary of a run that has finished; anything else that ended it is raised."""
    if report:
        from distilabel_endpoints.report import write_report

        write_report(path)
    if isinstance(error, AlarmError):
        error.summary = summary
    if error is not None:
        raise error
    if summary.ending is RunEnding.INTERRUPTED:
        raise interruption(summary)
    if summary.ending is RunEnding.BUDGET:
        raise BudgetError(summary.reason or "", summary)
    return summary


def _source(input_: Any, options: RunOptions) -> RowSource | OneTimeInput:
    most = options.max_row_bytes
    if isinstance(input_, Iterator):
        refuse_other_objects(input_)
        return rows_once(islice(input_, options.limit), max_row_bytes=most)
    if isinstance(input_, str | os.PathLike) and is_pipe(input_):
        return pipe_once(Path(input_), max_row_bytes=most)
    return open_rows(input_, max_row_bytes=most)
