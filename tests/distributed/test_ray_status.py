"""Looking at a run over Ray from outside: `status` and `export` of a folder, without Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import environment, run, run_code
from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints._store.journal.record import decode_failures, encode_failures
from distilabel_endpoints._store.lock import hold
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints.commands import show_status
from distilabel_endpoints.errors import ConfigurationError, DamagedError, FingerprintError
from distilabel_endpoints.ray.folder import open_folder
from distilabel_endpoints.ray.marker import Marker, marker_path
from distilabel_endpoints.ray.shards import checkpoint_of
from distilabel_endpoints.ray.source import FAILURE, ROW_ID, look_through
from distilabel_endpoints.records import Failure, FailureKind
from distilabel_endpoints.rows import OutputColumns
from distilabel_endpoints.run_state import TokenCount
from distilabel_endpoints.runs import RunOptions, RunStatus, export_run
from distilabel_endpoints.runs import read_status as read
from distilabel_endpoints.runs.status import run_note
from distilabel_endpoints.testing import SimulatedEndpoint

TOO_LONG = Failure(
    kind=FailureKind.ROW,
    code="too_long",
    status=400,
    message="9000 tokens are too many",
    attempts=2,
    hint="shorten it",
)
FILTERED = Failure(kind=FailureKind.CONTENT, code="filtered", message="filtered")
ODD = "warning: odd"
WITHOUT_PROOF = '{"header": "{}", "checksum": "00", "rows": 10, "digest": "", "run": {}}'


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where a run writes."""
    return tmp_path / "answers"


def read_status(output: Path) -> RunStatus:
    """How the run over Ray stands that writes this folder."""
    return read(output, opener=open_folder)


def begin(output: Path, rows: int = 10, **spec: Any) -> Marker:
    """A run of so many rows begins: its folder and marker are there."""
    path = output.with_name("in.jsonl")
    lines = (json.dumps({"prompt": f"Question {n}?"}) for n in range(rows))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    file = look_through(str(path))
    about = run_note(RunOptions(), OutputColumns("a-model"), source=str(path), total=file.count)
    marker = Marker.of({"column_prefix": "", **spec}, file, about)
    marker.write(output)
    return marker


def write_shard(
    output: Path, first: int, results: list[Any], *, prefix: str = "", noted: bool = True
) -> Path:
    """A shard of the rows from `first` on as Ray writes it, and the commit of it.

    A result is None, a failure or a warning's text; a list of these if there are several answers.
    """
    identities = [f"{first + n:012d}-{n:032x}" for n in range(len(results))]
    failures = [failure_in(result) for result in results]
    counts = [None if failure else 2 for failure in failures]
    many = list in map(type, results)
    text = pa.list_(pa.string()) if many else pa.string()
    errors = [each(result, described) for result in results]
    codes = [
        each(result, lambda one: getattr(one, "code", None)) if failure else None
        for result, failure in zip(results, failures, strict=True)
    ]
    columns = {
        "error": pa.array(errors, type=text),
        "error_code": pa.array(codes, type=text),
        "input_tokens": counts,
        "output_tokens": counts,
    }
    named = {f"{prefix}{name}": column for name, column in columns.items()}
    kept = [failure and encode_failures([failure]) for failure in failures]
    table = pa.table({ROW_ID: identities, **named, FAILURE: pa.array(kept, type=pa.string())})
    checkpoint_of(output).mkdir(exist_ok=True)
    path = output / f"block{first}-0.parquet"
    pq.write_table(table, path)
    note = "block{}.parquet" if noted else "block{}.pending.parquet"
    pq.write_table(table.select([ROW_ID]), checkpoint_of(output) / note.format(first))
    return path


def described(one: Any) -> Any:
    return one.describe() if isinstance(one, Failure) else one


def each(result: Any, of: Callable[[Any], Any]) -> Any:
    return [of(one) for one in result] if isinstance(result, list) else of(result)


def failure_in(result: Any) -> Failure | None:
    parts = result if isinstance(result, list) else [result]
    return next((part for part in parts if isinstance(part, Failure)), None)


def test_a_killed_run_is_counted_by_what_is_committed(output: Path) -> None:
    """A shard whose commit a kill prevented holds no result; its rows are pending."""
    begin(output)
    write_shard(output, 0, [None, None, None])
    write_shard(output, 3, [None, FILTERED], noted=False)
    found = read_status(output)
    assert (found.total, found.ok, found.failed, found.pending) == (10, 3, 0, 7)
    assert found.tokens == TokenCount(input_tokens=6, output_tokens=6)
    assert found.failures == ()
    assert found.running is None


def test_rows_left_out_are_not_pending_once_the_run_has_finished(output: Path) -> None:
    """A run that ends says how many it left out; one that begins on more rows knows nothing yet."""
    marker = begin(output)
    write_shard(output, 0, [None] * 7 + [TOO_LONG])
    assert (read_status(output).skipped, read_status(output).pending) == (0, 2)
    replace(marker, run={**marker.run, "skipped": 2}).write(output)
    assert (read_status(output).skipped, read_status(output).pending) == (2, 0)
    assert "7 ok, 1 failed, 2 skipped of 10 rows" in show_status(output, as_json=False)
    begin(output, rows=12)
    assert (read_status(output).skipped, read_status(output).pending) == (0, 4)


def test_failures_are_grouped_by_reason(output: Path) -> None:
    """Numbers make no other reason, a warning is none, and a row of several answers is one row."""
    begin(output)
    write_shard(output, 0, [None, TOO_LONG, ODD])
    write_shard(output, 3, [replace(TOO_LONG, message="8000 tokens are too many"), FILTERED])
    write_shard(output, 5, [[ODD, TOO_LONG], [ODD, None], None])
    found = read_status(output)
    assert (found.ok, found.failed, found.pending) == (4, 4, 2)
    first, second = found.failures
    assert (first.kind, first.status, first.count) == (FailureKind.ROW, 400, 3)
    assert (first.code, second.code) == ("too_long", "filtered")
    assert (first.message, first.hint) == ("9000 tokens are too many", "shorten it")
    assert first.example_ordinal == 1
    assert (second.kind, second.message, second.count) == (FailureKind.CONTENT, "filtered", 1)
    assert second.example_ordinal == 4


def test_a_prefix_is_the_runs_own(output: Path) -> None:
    """The columns are those of the run's prefix, even where the input has an `error` too."""
    begin(output, column_prefix="judge_")
    path = write_shard(output, 0, [None, FILTERED], prefix="judge_")
    table = pq.read_table(path)
    pq.write_table(table.append_column("error", pa.array(["mine", "mine"])), path)
    found = read_status(output)
    assert (found.ok, found.failed, found.tokens.output_tokens) == (1, 1, 2)


def test_another_prefix_is_another_run(output: Path) -> None:
    """Shards with two sets of columns would be of no use: resuming is refused by name."""
    before = begin(output, column_prefix="a_")
    after = begin(output.with_name("other"), column_prefix="b_")
    with pytest.raises(FingerprintError, match="column_prefix"):
        before.refuse_other(after, output)


def test_who_writes_is_said(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock's holder is named, also before the input was counted, and however it is called."""
    with hold(journal_path(output)):
        found = read_status(output)
        assert found.running is not None
        assert "process" in found.running
        assert (found.total, found.pending, found.ok) == (None, None, 0)
        assert "0 ok, 0 failed of ? rows" in show_status(output, as_json=False)
        begin(output)
        assert "running: process" in show_status(output, as_json=False)
        monkeypatch.chdir(output)
        assert read_status(Path()).running == found.running
    assert read_status(output).running is None


def test_a_shard_that_goes_meanwhile_is_passed_over(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that begins takes out what failed; who looks just then sees the rest."""
    begin(output)
    write_shard(output, 0, [None])
    gone = write_shard(output, 1, [FILTERED])
    read = pq.read_table

    def slow(path: Path, **options: Any) -> Any:
        gone.unlink(missing_ok=True)
        return read(path, **options)

    monkeypatch.setattr(pq, "read_table", slow)
    found = read_status(output)
    assert (found.ok, found.failed) == (1, 0)


def test_a_damaged_shard_is_named_with_its_cure(output: Path) -> None:
    """What is not Parquet is an error that says what to remove, and removing it fixes it."""
    begin(output)
    write_shard(output, 0, [None])
    path = write_shard(output, 1, [None, None])
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DamagedError, match=r"block1-0\.parquet is damaged\. Remove it") as caught:
        read_status(output)
    note = checkpoint_of(output) / "block1.parquet"
    assert str(note) in str(caught.value)
    path.unlink()
    note.unlink()
    assert read_status(output).pending == 9


@pytest.mark.parametrize("said", ["", "{}", "[]", WITHOUT_PROOF])
def test_a_damaged_marker_is_an_error(output: Path, said: str) -> None:
    """Settings that cannot be trusted are said to be so, and what to do."""
    begin(output)
    marker_path(output).write_text(said, encoding="utf-8")
    for look in (read, export_run):
        with pytest.raises(DamagedError, match=r"_distilabel_endpoints\.json is damaged.*--fresh"):
            look(output, opener=open_folder)


@pytest.mark.parametrize("name", ["mine", "nowhere"])
def test_a_folder_without_a_run_is_an_error(tmp_path: Path, name: str) -> None:
    """Some folder, or none, is exit code 1 with the file that is missing."""
    (tmp_path / "mine").mkdir()
    for command in ("status", "export"):
        done = run(command, tmp_path / name)
        assert done.returncode == 1
        assert f"there is no run on {tmp_path / name}" in done.stderr
        assert "_distilabel_endpoints.json does not exist" in done.stderr


def test_status_without_ray(output: Path) -> None:
    """The command shows the same as for one process, with a Python that has no Ray."""
    begin(output)
    write_shard(output, 0, [None, TOO_LONG])
    without_ray = (
        "import sys; sys.modules['ray'] = None; from distilabel_endpoints.cli import main; main()"
    )
    done = run_code(without_ray, "status", output)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{output}: 1 ok, 1 failed of 10 rows",
        "tokens: 2 in, 2 out",
        "running: no",
        "failed: 1 x too_long (400): 9000 tokens are too many (for example row 2)",
    ]


def test_a_ray_that_does_not_start(
    output: Path, simulated_endpoint: Callable[..., SimulatedEndpoint]
) -> None:
    """A plain exception of Ray's is not a defect of ours: exit 4, what happened and what to do."""
    begin(output)
    broken = (
        "import ray, ray.data, sys\n"
        "def init(**_): raise Exception('The current node timed out during startup.')\n"
        "ray.init = init\n"
        "from distilabel_endpoints.cli import main; main()"
    )
    words = ["generate", str(output.with_name("in.jsonl")), "-o", str(output), "--ray"]
    done = subprocess.run(
        [sys.executable, "-c", broken, *words, "--base-url", simulated_endpoint().url, "--fresh"],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=100,
    )
    assert done.returncode == 4, done.stderr
    shown = " ".join(done.stderr.split())
    assert "Ray did not start on this machine: The current node timed out" in shown
    assert "ray start --head" in shown
    assert not list(output.parent.glob("*.error.txt"))


def test_status_without_pyarrow(output: Path) -> None:
    """The extra that writes such an output is named."""
    begin(output)
    write_shard(output, 0, [None])
    without = "import sys; sys.modules['pyarrow'] = None; from distilabel_endpoints.cli import main"
    done = run_code(f"{without}; main()", "status", output)
    assert done.returncode == 1
    assert "The output of a run over Ray needs pyarrow" in done.stderr
    assert "distilabel-endpoints[ray]" in done.stderr


def test_status_for_programs(output: Path) -> None:
    """One JSON object with the keys of a run of one process; what is not kept is null."""
    begin(output)
    write_shard(output, 0, [None, TOO_LONG])
    said = json.loads(run("status", output, "--json").stdout)
    found = asdict(read_status(output))
    assert said == {**json.loads(json.dumps(found)), "pending": 8}
    assert said["attempts"] is None
    assert said["tokens"] == {"input_tokens": 2, "output_tokens": 2}
    (group,) = said["failures"]
    assert (group["status"], group["count"], group["example_ordinal"]) == (400, 1, 1)


@given(
    st.sampled_from(FailureKind),
    st.text(),
    st.none() | st.integers(100, 599),
    st.none() | st.text(),
    st.none() | st.text(),
)
def test_a_failure_is_kept_as_a_value(
    kind: FailureKind, message: str, status: int | None, code: str | None, hint: str | None
) -> None:
    """What a shard keeps of a failure is that failure, without the answer that was refused."""
    failure = Failure(kind=kind, message=message, status=status, code=code, hint=hint)
    kept = encode_failures([None, replace(failure, text="an answer")])
    assert decode_failures(kept) == (None, failure)


@pytest.mark.parametrize("text", ["", "null", "[]", "[null]", '[{"kind": "none of these"}]'])
def test_a_failure_in_another_hand_is_damage(output: Path, text: str) -> None:
    """A shard that was written over is an error, not a wrong count."""
    begin(output)
    path = write_shard(output, 0, [FILTERED])
    table = pq.read_table(path).drop_columns([FAILURE]).append_column(FAILURE, [[text]])
    pq.write_table(table, path)
    with pytest.raises(DamagedError, match="no run wrote"):
        read_status(output)


def test_shards_of_a_pipeline_are_counted_too(output: Path) -> None:
    """Without the column of a run, a row's failure is its `error_code` and its `error`."""
    begin(output)
    path = write_shard(output, 0, [None, FILTERED])
    pq.write_table(pq.read_table(path).drop_columns([FAILURE]), path)
    (group,) = read_status(output).failures
    assert (group.code, group.message) == ("filtered", "content: filtered")
    assert group.example_ordinal == 1


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """What has the name of a file is looked up as the output of one process."""
    with pytest.raises(ConfigurationError, match=r"out.jsonl.journal does not exist"):
        show_status(tmp_path / "out.jsonl", as_json=False)
