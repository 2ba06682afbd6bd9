"""`export` of a run over Ray: its shards as one file, as a run of one process would write it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import run
from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints._store.journal.record import decode_failures, encode_failures
from distilabel_endpoints.errors import InputChangedError, OutputExistsError
from distilabel_endpoints.ray.folder import open_folder
from distilabel_endpoints.ray.marker import Marker
from distilabel_endpoints.ray.shards import checkpoint_of
from distilabel_endpoints.ray.source import FAILURE, PROBLEM, look_through
from distilabel_endpoints.records import Completion, Failure, FailureKind, Result, Usage
from distilabel_endpoints.rows import OutputColumns, open_rows, open_writer
from distilabel_endpoints.rows.tables import added_fields, added_values
from distilabel_endpoints.runs import RunOptions, export_run
from distilabel_endpoints.runs.status import run_note

ANSWER = Completion(text="An answer.", finish_reason="stop", reasoning="Hm.")
CUT = Completion(text="An ans", finish_reason="length", utf8_replaced=True)
CALL = Completion(text=None, finish_reason="tool_calls", tool_calls=({"name": "f"},), logprobs=[1])
TOO_LONG = Failure(
    kind=FailureKind.ROW, code="too_long", status=400, message="too long", attempts=2, hint="cut it"
)
FILTERED = Failure(
    kind=FailureKind.CONTENT, message="filtered", text="An ill", finish_reason="content_filter"
)
ENDINGS: tuple[Completion | Failure, ...] = (ANSWER, CUT, CALL, TOO_LONG, FILTERED)


def result_of(ordinal: int, *endings: Completion | Failure) -> Result:
    """A row that ended so, one entry per generation."""
    return Result(
        ordinal=ordinal,
        completions=tuple(one if isinstance(one, Completion) else None for one in endings),
        failures=tuple(one if isinstance(one, Failure) else None for one in endings),
        usages=(Usage(ordinal, None), Usage(2, None)) if ordinal % 2 else (Usage(3, 5),),
        attempts=3,
    )


def stored(columns: OutputColumns, results: list[Result]) -> dict[str, pa.Array]:
    """The columns that a worker adds to these rows."""
    arrays = added_values(columns, [columns.values(result) for result in results])
    named = {f.name: array for f, array in zip(added_fields(columns), arrays, strict=True)}
    kept = [encode_failures(r.failures) if any(r.failures) else None for r in results]
    return {**named, FAILURE: pa.array(kept, type=pa.string())}


def finished(tmp_path: Path, columns: OutputColumns, results: list[Result]) -> Path:
    """A folder as a run leaves it whose rows ended so, in shards that overlap."""
    path, output = tmp_path / "in.jsonl", tmp_path / "answers"
    lines = (json.dumps({"prompt": f"{n}?", "tags": [n]}) for n in range(len(results)))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    file = look_through(str(path))
    about = run_note(RunOptions(), columns, source=str(path), total=file.count)
    Marker.of({"column_prefix": columns.prefix}, file, about).write(output)
    (whole,) = file.tables()
    for name, array in stored(columns, results).items():
        whole = whole.append_column(name, array)
    checkpoint_of(output).mkdir()
    for first in range(min(3, len(results))):
        shard = whole.drop_columns([PROBLEM]).take([*range(first, len(results), 3)])
        pq.write_table(shard, output / f"block{first}-0.parquet")
        pq.write_table(shard.select(["row_id"]), checkpoint_of(output) / f"block{first}.parquet")
    return output


def written_here(path: Path, columns: OutputColumns, results: list[Result]) -> bytes:
    """What a run of one process writes for the same rows and results."""
    source = open_rows(str(path.with_name("in.jsonl")))
    with open_writer(path, columns, source) as writer:
        for row, result in zip(source, results, strict=True):
            writer.write(row, result)
    return path.read_bytes()


@pytest.mark.parametrize("generations", [1, 2])
@pytest.mark.parametrize("name", ["out.jsonl", "out.json", "out.csv", "out.parquet", "out.arrow"])
def test_a_folder_is_exported_as_a_run_of_one_process_would_write_it(
    tmp_path: Path, name: str, generations: int
) -> None:
    """To one file of any format, in the input's order, with the same bytes."""
    columns = OutputColumns("m", generations, prefix="my_", tool_calls=True, logprobs=True)
    pairs = [(one, ENDINGS[(n + 2) % 5])[:generations] for n, one in enumerate(ENDINGS * 2)]
    results = [result_of(n, *endings) for n, endings in enumerate(pairs)]
    output = finished(tmp_path, columns, results)
    done = run("export", output, "--to", tmp_path / name)
    assert (done.returncode, done.stderr.strip()[:15]) == (0, "10 rows written")
    expected = written_here(tmp_path / f"here-{name}", columns, results)
    assert (tmp_path / name).read_bytes() == expected


def test_a_folder_needs_a_file_to_export_to(tmp_path: Path) -> None:
    """Without one the command says which flag is missing."""
    output = finished(tmp_path, OutputColumns("m"), [result_of(0, ANSWER)])
    done = run("export", output)
    assert done.returncode == 1
    assert "add --to FILE" in done.stderr


def test_an_export_replaces_nothing(tmp_path: Path) -> None:
    """A name that is taken is refused, and what has it stays."""
    output = finished(tmp_path, OutputColumns("m"), [result_of(0, ANSWER)])
    taken = tmp_path / "taken.jsonl"
    taken.write_text("mine", encoding="utf-8")
    with pytest.raises(OutputExistsError, match=r"taken\.jsonl is already there"):
        export_run(output, to=taken, opener=open_folder)
    assert taken.read_text(encoding="utf-8") == "mine"


def test_an_export_of_rows_that_changed_is_refused(tmp_path: Path) -> None:
    """An answer is never put beside another row than the one it was given to."""
    output = finished(tmp_path, OutputColumns("m"), [result_of(n, ANSWER) for n in range(4)])
    (tmp_path / "in.jsonl").write_text('{"prompt": "other?"}\n' * 4, encoding="utf-8")
    with pytest.raises(InputChangedError, match="4 rows that have answers"):
        export_run(output, to=tmp_path / "out.jsonl", opener=open_folder)
    assert not (tmp_path / "out.jsonl").exists()


COMPLETIONS = st.builds(
    Completion,
    text=st.none() | st.text(),
    finish_reason=st.none() | st.sampled_from(["stop", "length"]),
    reasoning=st.none() | st.text(),
    utf8_replaced=st.booleans(),
)
FAILURES = st.builds(
    Failure,
    kind=st.sampled_from(FailureKind),
    code=st.none() | st.just("too_long"),
    message=st.text(),
    hint=st.none() | st.text(),
    text=st.none() | st.text(),
)


@given(st.lists(COMPLETIONS | FAILURES, min_size=1, max_size=3))
def test_a_tables_cells_give_the_result_back(endings: list[Completion | Failure]) -> None:
    """What stands in a shard for a result makes the same columns again."""
    columns, result = OutputColumns("m", len(endings)), result_of(1, *endings)
    cells = {name: array.to_pylist()[0] for name, array in stored(columns, [result]).items()}
    failures = () if cells[FAILURE] is None else decode_failures(cells[FAILURE])
    again = columns.result(1, cells, failures)
    assert again.status == result.status
    assert stored(columns, [again]) == stored(columns, [result])
