"""An output that was paid for is never lost: what would cost it rows is refused, or keeps them."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import distilabel_endpoints
from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints._store.journal import Journal, Reader
from distilabel_endpoints.errors import (
    ConfigurationError,
    FingerprintError,
    InputChangedError,
    InputError,
    LockedError,
    OutputExistsError,
)
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.rows import open_rows
from distilabel_endpoints.run_state import RunEnding, RunSummary
from distilabel_endpoints.runs import RunOptions, export_run, read_status
from distilabel_endpoints.runs.kept_input import stream_once
from distilabel_endpoints.runs.local import Run
from distilabel_endpoints.runs.preview import preview
from distilabel_endpoints.runs.written import Written, exporting
from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]
Rows = list[dict[str, Any]]
ROWS: Rows = [{"id": n, "prompt": f"Question {n}?"} for n in range(5)]
OUTPUTS = ["out.jsonl", "out.csv", "out.parquet"]


class Bench:
    """One endpoint, one folder, and the run of `in.jsonl` in it."""

    def __init__(
        self, folder: Path, llm: InferenceEndpointsLLM, endpoint: SimulatedEndpoint
    ) -> None:
        self.folder, self.llm, self.endpoint = folder, llm, endpoint
        self.input, self.output = folder / "in.jsonl", folder / "out.jsonl"
        self.write(ROWS)

    def write(self, rows: Rows) -> None:
        self.input.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(self, given: Any = None, **more: Any) -> RunSummary:
        return distilabel_endpoints.generate_dataset(
            self.llm,
            self.input if given is None else given,
            self.output,
            progress=open_progress("quiet"),
            **more,
        ).summary

    @property
    def sent(self) -> list[str]:
        return [record.body["messages"][-1]["content"] for record in self.endpoint.generations]

    @property
    def rows(self) -> Rows:
        return [json.loads(line) for line in self.output.read_text().splitlines()]


@pytest.fixture
def endpoint(simulated_endpoint: Make) -> SimulatedEndpoint:
    return simulated_endpoint()


@pytest.fixture
def bench(endpoint: SimulatedEndpoint, tmp_path: Path) -> Iterator[Bench]:
    with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=2) as llm:
        yield Bench(tmp_path, llm, endpoint)


def nothing_comes(bench: Bench) -> Any:
    return iter(())


def fewer_come(bench: Bench) -> Any:
    return iter(ROWS[:2])


def the_file_is_shorter(bench: Bench) -> Any:
    bench.write(ROWS[:2])
    return bench.input


def the_file_is_empty(bench: Bench) -> Any:
    bench.write([])
    return bench.input


def another_file(bench: Bench) -> Any:
    bench.write([{"id": n, "prompt": f"Another {n}?"} for n in range(5)])
    return bench.input


def another_list(bench: Bench) -> Any:
    return [{"id": n, "prompt": "?"} for n in range(5)]


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize(
    "change",
    [
        nothing_comes,
        fewer_come,
        the_file_is_shorter,
        the_file_is_empty,
        another_file,
        another_list,
    ],
    ids=lambda change: change.__name__,
)
def test_answered_rows_that_are_not_in_the_input(
    bench: Bench, name: str, change: Callable[[Bench], Any]
) -> None:
    """Refused before anything is sent; output, journal and kept rows stay as they were."""
    bench.output = bench.folder / name
    bench.run(iter(ROWS))
    kept = bench.folder / f"{name}.input.jsonl"
    before = bench.output.read_bytes(), kept.read_bytes()
    with pytest.raises(InputChangedError, match="nothing was sent"):
        bench.run(change(bench))
    assert (bench.output.read_bytes(), kept.read_bytes()) == before
    assert len(bench.sent) == 5
    assert bench.run(iter(ROWS)).ok == 5
    assert len(bench.sent) == 5
    assert not list(bench.folder.glob("*.new"))


def test_starting_over_on_nothing(bench: Bench) -> None:
    """`fresh` with an input that has no rows does not mean to empty the output."""
    bench.run()
    before = bench.output.read_bytes()
    with pytest.raises(InputChangedError, match="no rows"):
        bench.run(iter(()), fresh=True)
    assert bench.output.read_bytes() == before
    assert bench.run().resumed == 5


def test_starting_over_on_rows_that_cannot_be_sent(bench: Bench) -> None:
    """What there was is dropped only when the new run may begin."""
    bench.run()
    with pytest.raises(InputError, match="cannot be sent"):
        bench.run([{"prompt": None}, ROWS[0]], fresh=True, on_bad_row="stop")
    assert bench.run().resumed == 5


def test_a_lower_limit(bench: Bench) -> None:
    """The user's word: what is left out is reported, kept, and counted nowhere."""
    bench.run()
    stream = io.StringIO()
    run = Run(
        llm=bench.llm,
        source=open_rows(bench.input),
        output=bench.output,
        options=RunOptions(limit=2),
        progress=open_progress("json", stream=stream),
        describe=str(bench.input),
    )
    run.execute()
    assert "3 rows with answers" in stream.getvalue()
    assert [row["id"] for row in bench.rows] == [0, 1]
    status = read_status(bench.output)
    assert (status.ok, status.total, status.pending) == (2, 2, 0)
    assert bench.run().ok == 5
    assert len(bench.rows) == len(bench.sent) == 5


def test_the_input_is_rewritten_while_the_run_goes_on(
    simulated_endpoint: Make, tmp_path: Path
) -> None:
    """The run stops, its answers are kept, and the old rows finish it with nothing sent twice."""
    many = [{"id": n, "prompt": f"Question {n}?", "more": "x" * 20_000} for n in range(200)]

    def reply(_: Any) -> str:
        if bench.input.read_bytes() == before:
            bench.write([{**row, "prompt": f"Another {n}?"} for n, row in enumerate(many)])
        return "An answer."

    endpoint = simulated_endpoint(reply=reply)
    with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=2) as llm:
        bench = Bench(tmp_path, llm, endpoint)
        bench.write(many)
        before = bench.input.read_bytes()
        with pytest.raises(InputChangedError, match="was changed"):
            bench.run()
        assert not bench.output.exists()
        sent = len(bench.sent)
        bench.write(many)
        before = b""
        assert bench.run().ok == 200
        assert len(bench.sent) == 200
        assert sent == len({*bench.sent[:sent]})
        assert [row["id"] for row in bench.rows] == [*range(200)]


def test_the_input_is_cut_off_while_the_run_goes_on(
    simulated_endpoint: Make, tmp_path: Path
) -> None:
    """Rows that are gone before they could be sent are reported, not passed over."""
    many = [{"id": n, "prompt": f"Question {n}?", "more": "x" * 20_000} for n in range(200)]

    def reply(_: Any) -> str:
        os.truncate(tmp_path / "in.jsonl", 0)
        return "yes"

    endpoint = simulated_endpoint(reply=reply)
    with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=2) as llm:
        bench = Bench(tmp_path, llm, endpoint)
        bench.write(many)
        with pytest.raises(InputChangedError):
            bench.run()
        assert not bench.output.exists()


def test_rows_are_appended_while_the_run_goes_on(simulated_endpoint: Make, tmp_path: Path) -> None:
    """They are for the next run; this one is finished."""

    def reply(_: Any) -> str:
        with (tmp_path / "in.jsonl").open("a") as file:
            file.write('{"id": 9, "prompt": "One more?"}\n')
        return "yes"

    endpoint = simulated_endpoint(reply=reply)
    with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=1) as llm:
        bench = Bench(tmp_path, llm, endpoint)
        assert bench.run().ok == 5
        assert len(bench.rows) == 5


def theirs(bench: Bench) -> None:
    bench.output.write_text('{"mine": "three months of labels"}\n')


def edited(bench: Bench) -> None:
    bench.run()
    rows = bench.rows
    rows[0]["generation"] = "corrected by hand"
    bench.output.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_removed(bench: Bench) -> None:
    bench.run()
    lines = bench.output.read_text().splitlines(keepends=True)
    bench.output.write_text("".join(lines[1:]))


def journal_deleted(bench: Bench) -> None:
    bench.run()
    (bench.folder / "out.jsonl.journal").unlink()


def journal_of_another(bench: Bench) -> None:
    theirs(bench)
    mine, bench.output = bench.output, bench.folder / "other.jsonl"
    bench.run()
    (bench.folder / "other.jsonl.journal").rename(bench.folder / "out.jsonl.journal")
    bench.output = mine


def run_was_stopped(bench: Bench) -> None:
    with Journal(bench.output, {}):
        pass
    theirs(bench)


@pytest.mark.parametrize(
    "before",
    [theirs, edited, rows_removed, journal_deleted, journal_of_another, run_was_stopped],
    ids=lambda before: before.__name__,
)
def test_a_file_that_this_run_did_not_write(bench: Bench, before: Callable[[Bench], None]) -> None:
    """Refused before anything is sent; moved away it does not matter, and `fresh` replaces it."""
    before(bench)
    content, sent = bench.output.read_bytes(), len(bench.sent)
    for more in ({}, {"limit": 1}):
        with pytest.raises(OutputExistsError, match="Move it away"):
            bench.run(**more)
    assert bench.output.read_bytes() == content
    assert len(bench.sent) == sent
    bench.output.rename(bench.folder / "away.jsonl")
    assert bench.run().ok == 5
    assert len(bench.rows) == 5
    bench.output.write_bytes(content)
    assert bench.run(fresh=True).ok == 5
    assert bench.output.read_bytes() != content or before is journal_deleted


def test_an_export_does_not_replace_a_strange_file(bench: Bench) -> None:
    """`export` refuses what `generate` would."""
    edited(bench)
    content = bench.output.read_bytes()
    with pytest.raises(OutputExistsError):
        export_run(bench.output)
    assert bench.output.read_bytes() == content


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("left", [0, 1, 200])
def test_an_output_that_broke_off(bench: Bench, name: str, left: int) -> None:
    """The beginning of what was written is this run's: it is written anew, and nothing sent."""
    bench.output = bench.folder / name
    bench.run()
    whole = bench.output.read_bytes()
    bench.output.write_bytes(whole[:left])
    assert bench.run().ok == 5
    assert bench.output.read_bytes() == whole
    assert len(bench.sent) == 5


def test_a_copy_is_this_runs_output_too(bench: Bench) -> None:
    """Other time stamps on the same bytes are not an edit."""
    bench.run()
    os.utime(bench.output, (1, 1))
    bench.write([*ROWS, {"id": 5, "prompt": "One more?"}])
    assert bench.run().ok == 6


def test_both_files_around_a_rename_are_this_runs(bench: Bench) -> None:
    """Killed between note and rename or after it, the next run finds an output of its own."""
    bench.run()
    complete = bench.folder / "complete"
    complete.write_text("more rows than before, it may be")
    with Reader(bench.output) as reader:
        written = Written(bench.output, reader)
        assert written.stands
        written.note_beside(complete)
    with Reader(bench.output) as reader:
        assert Written(bench.output, reader).stands
        complete.replace(bench.output)
        assert Written(bench.output, reader).stands
        bench.output.write_text("something else")
        assert not Written(bench.output, reader).stands


MANY: Rows = [{"id": n, "prompt": f"Question {n}?"} for n in range(10)]


def refused_from_4(status: int) -> tuple[Fault, ...]:
    """Six of ten rows are refused: a single one would be the row's own failure."""
    answer = Respond(status, {"error": "no credit"})
    return tuple(Fault(answer, marker=f"Question {n}?") for n in range(4, 10))


def test_an_export_while_the_run_goes_on(simulated_endpoint: Make, tmp_path: Path) -> None:
    """It writes what is done; stopped after it, the run resumes over that file."""
    exported: list[int] = []

    def reply(asked: Any) -> str:
        if "Question 3?" in asked.text:
            exported.append(export_run(tmp_path / "out.jsonl").rows)
        return "yes"

    endpoint = simulated_endpoint(reply=reply, faults=refused_from_4(402))
    with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=1) as llm:
        bench = Bench(tmp_path, llm, endpoint)
        bench.write(MANY)
        with pytest.raises(distilabel_endpoints.errors.CreditError):
            bench.run()
        assert exported
        assert bench.output.exists()
        endpoint.clear_faults()
        assert bench.run().ok == 10
        assert len(bench.rows) == 10


def test_one_export_at_a_time(tmp_path: Path) -> None:
    """A second one is refused by name, so that it cannot put fewer rows in place of more."""
    output = tmp_path / "out.jsonl"
    second = exporting(output, patience=0)
    with exporting(output), pytest.raises(LockedError, match=r"^out\.jsonl is being"), second:
        pass
    with exporting(output, patience=0):
        pass


def test_an_export_waits_for_another(tmp_path: Path) -> None:
    """A run that has finished does not give up its output for an `export` that is at work."""
    output = tmp_path / "out.jsonl"
    inside, done = threading.Event(), threading.Event()

    def first() -> None:
        with exporting(output):
            inside.set()
            done.wait(30)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(30)
    threading.Timer(0.2, done.set).start()
    with exporting(output):
        assert done.is_set()
    thread.join()


@pytest.mark.parametrize("source", ["data", "data/*.jsonl", "data/**/*.jsonl", "./data/../data"])
@pytest.mark.parametrize("output", ["data/answers.jsonl", "data/deep/answers.jsonl"])
def test_an_output_inside_the_input(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, source: str, output: str
) -> None:
    """Refused the first time, when nothing is paid for; beside the folder it is written."""
    monkeypatch.chdir(bench.folder)
    (bench.folder / "data/deep").mkdir(parents=True)
    bench.input.rename("data/in.jsonl")
    bench.output = Path(output)
    if source == "data/*.jsonl" and "deep" in output:
        assert bench.run(source).ok == 5
        return
    with pytest.raises(ConfigurationError, match="part of the input"):
        bench.run(source)
    assert bench.sent == []
    bench.output = Path("data/_answers.jsonl" if "*" not in source else "answers.jsonl")
    assert bench.run(source).ok == 5


def test_an_export_from_another_folder(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative input is the run's, wherever `export` is started."""
    monkeypatch.chdir(bench.folder)
    bench.run("in.jsonl")
    elsewhere = bench.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "in.jsonl").write_text('{"prompt": "another job"}\n')
    monkeypatch.chdir(elsewhere)
    assert export_run(bench.output).ok == 5
    with pytest.raises(InputChangedError, match="5 rows"):
        export_run(bench.output, "in.jsonl")
    assert len(bench.rows) == 5


def test_an_export_reads_the_rows_of_its_run(bench: Bench) -> None:
    """Rows that an earlier run kept are those of that run."""
    bench.run(iter([{"prompt": "old"}]))
    bench.run(fresh=True)
    assert not (bench.folder / "out.jsonl.input.jsonl").exists()
    assert export_run(bench.output).ok == 5
    bench.run(iter(ROWS), fresh=True)
    assert export_run(bench.output).ok == 5
    (bench.folder / "out.jsonl.input.jsonl").unlink()
    with pytest.raises(ConfigurationError, match="--input"):
        export_run(bench.output)


def test_an_export_of_a_programs_rows(bench: Bench) -> None:
    """What was a list in a program cannot be read again; a file with the same rows can."""
    bench.run(ROWS)
    with pytest.raises(ConfigurationError, match="--input"):
        export_run(bench.output)


def test_a_look_ahead_keeps_nothing(bench: Bench) -> None:
    """`--dry-run` leaves the rows that an earlier run kept, and refuses what the run would."""
    bench.run(iter(ROWS))
    kept = bench.folder / "out.jsonl.input.jsonl"
    before = kept.read_bytes()
    with (bench.folder / "in.jsonl").open("rb") as stream:
        shown = preview(
            bench.llm, stream_once(stream, max_row_bytes=1 << 20), bench.output, RunOptions()
        )
    assert "Question 0?" in shown.text
    assert kept.read_bytes() == before
    (bench.folder / "mine.jsonl").write_text("mine")
    with pytest.raises(OutputExistsError):
        preview(bench.llm, open_rows(bench.input), bench.folder / "mine.jsonl", RunOptions())


def test_a_look_ahead_notes_an_edited_output(bench: Bench) -> None:
    """`--dry-run` says that the run will refuse it; one that was not edited has no note."""
    bench.run(ROWS)
    before = preview(bench.llm, open_rows(bench.input), bench.output, RunOptions())
    with bench.output.open("a") as file:
        file.write("{}\n")
    after = preview(bench.llm, open_rows(bench.input), bench.output, RunOptions())
    assert "was changed since" not in before.text
    assert "was changed since this run wrote it" in after.text


NO_PROMPT = {"id": 2, "prompt": None}
REFUSED = {"id": 2, "prompt": "TOO LONG"}
CUT_OFF = {"id": 2, "prompt": "A LONG ANSWER"}


@pytest.mark.parametrize(
    "failing", [NO_PROMPT, REFUSED, CUT_OFF], ids=["no_prompt", "refused", "cut_off"]
)
def test_a_failed_row_may_be_fixed(
    simulated_endpoint: Make, tmp_path: Path, failing: dict[str, Any]
) -> None:
    """The same command sends that row and no other, over and over until it is good."""
    endpoint = simulated_endpoint(
        reply=lambda asked: "word " * (500 if "LONG ANSWER" in asked.text else 5),
        faults=(Fault(Respond(400, {"error": "too long"}), marker="TOO LONG"),),
    )
    rows = [*ROWS[:2], failing, *ROWS[3:]]
    with InferenceEndpointsLLM(base_url=endpoint.url, on_length="fail") as llm:
        bench = Bench(tmp_path, llm, endpoint)
        bench.write(rows)
        assert bench.run().failed == 1
        rows[2] = {"id": 2, "prompt": "TOO LONG, still"}
        bench.write(rows)
        assert bench.run().failed == 1
        rows[2] = {"id": 2, "prompt": "short"}
        bench.write(rows)
        sent = len(bench.sent)
        assert bench.run().ok == 5
        assert bench.sent[sent:] == ["short"]
        assert all(row["generation"] for row in bench.rows)
        status = read_status(bench.output)
        assert (status.ok, status.failed, status.total) == (5, 0, 5)


def test_failed_rows_that_are_taken_out(bench: Bench) -> None:
    """At the end of the input they may go, and are counted no more."""
    bench.write([*ROWS, {"id": 5, "prompt": None}])
    assert bench.run().failed == 1
    bench.write(ROWS)
    summary = bench.run()
    assert (summary.ok, summary.failed, summary.failures) == (5, 0, ())
    assert read_status(bench.output).failed == 0


def test_settings_may_change_while_no_row_is_ok(simulated_endpoint: Make, tmp_path: Path) -> None:
    """A first command that failed every row can be corrected; one good row holds its settings."""
    broken = Fault(Respond(422, {"error": "no such parameter"}))
    endpoint = simulated_endpoint(faults=(broken,))
    with InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        bench = Bench(tmp_path, llm, endpoint)
        bench.write(ROWS[:1])
        assert bench.run(temperature=0.5).failed == 1
        endpoint.clear_faults()
        assert bench.run(temperature=0.7).ok == 1
        assert bench.rows[0]["generation"]
        assert read_status(bench.output).failed == 0
        with pytest.raises(FingerprintError, match=r"fresh=True in Python"):
            bench.run(temperature=0.5)


@pytest.mark.parametrize(
    "content",
    [
        b"[\n" + b",\n".join(b'{"prompt": "a"}' for _ in range(3)) + b",\n]\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
        b'{"prompt": null}\n{"prompt": null}\n',
    ],
    ids=["array", "pointer", "nulls"],
)
@pytest.mark.parametrize("policy", ["fail", "skip"])
def test_no_row_can_be_sent(bench: Bench, content: bytes, policy: str) -> None:
    """An error before the start, with the first reasons; not a finished run of failures."""
    bench.input.write_bytes(content)
    why = (
        r"none of the \d rows of .*in\.jsonl|in\.jsonl: (not a JSON array|this is a pointer of Git)"
    )
    with pytest.raises(InputError, match=why):
        bench.run(on_bad_row=policy)
    assert not bench.output.exists()
    bench.write(ROWS)
    assert bench.run(on_bad_row=policy).ok == 5


COMMAND = ("distilabel-endpoints", "generate")


def ended(bench: Bench) -> RunSummary:
    """The summary of a run of the command line."""
    run = Run(
        llm=bench.llm,
        source=open_rows(bench.input),
        output=bench.output,
        options=RunOptions(),
        progress=open_progress("quiet"),
        resume_command=COMMAND,
    )
    return run.execute()[0]


@pytest.mark.parametrize(("status", "helps"), [(422, False), (402, True), (401, True)])
def test_a_command_to_resume_is_shown_if_it_helps(
    simulated_endpoint: Make, tmp_path: Path, status: int, helps: bool
) -> None:
    """Not for a row that the server will refuse again; for what may be put right meanwhile."""
    endpoint = simulated_endpoint(faults=refused_from_4(status))
    with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=1) as llm:
        bench = Bench(tmp_path, llm, endpoint)
        bench.write(MANY)
        summary = ended(bench)
    assert summary.ok == 4
    assert summary.resume_command == (COMMAND if helps else None)


def test_different_failures_are_different_groups(bench: Bench) -> None:
    """Two reasons under one code are two lines, each with its code and its row counted from 1."""
    bench.input.write_text('{"prompt": "a"}\nnot JSON\n{"prompt": null}\n{"prompt": null}\n')
    summary = bench.run()
    assert [(group.code, group.count, group.example_ordinal) for group in summary.failures] == [
        ("input", 2, 2),
        ("input", 1, 1),
    ]
    assert read_status(bench.output).failures == summary.failures
    assert summary.ending is RunEnding.FINISHED
