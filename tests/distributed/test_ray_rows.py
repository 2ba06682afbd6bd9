"""Inputs for Ray: what identifies a row, and what is known before the start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distilabel_endpoints.errors import (
    ConfigurationError,
    DamagedError,
    FingerprintError,
    InputChangedError,
    OutputExistsError,
)
from distilabel_endpoints.ray.marker import Marker, check_folder, refuse_lost_rows
from distilabel_endpoints.ray.shards import checkpoint_of, read_shards, remove_shards
from distilabel_endpoints.ray.source import (
    PROBLEM,
    ROW_ID,
    RowFile,
    look_through,
    ordinal_of,
    read_problem,
)
from distilabel_endpoints.rows import BadRow, open_rows


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def line(n: int) -> str:
    return json.dumps({"id": n, "prompt": f"Question {n}?"})


def rows_of(file: RowFile) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.concat_tables(list(file.tables())).to_pylist()
    return rows


def test_ids_are_ordinal_and_content(tmp_path: Path) -> None:
    """The same file gives the same ids, equal rows have two, and appending changes none."""
    path = write_lines(tmp_path / "in.jsonl", line(1), line(1), line(2))
    ids = [row[ROW_ID] for row in rows_of(look_through(str(path)))]
    assert [row[ROW_ID] for row in rows_of(look_through(str(path)))] == ids
    assert len(set(ids)) == 3
    assert ids[0].split("-")[1] == ids[1].split("-")[1]
    write_lines(path, line(1), line(1), line(2), line(3))
    assert [row[ROW_ID] for row in rows_of(look_through(str(path)))][:3] == ids


def test_ids_say_the_ordinal(tmp_path: Path) -> None:
    """Seeds count from the ordinal in an id, a number, or the hash of anything else."""
    path = write_lines(tmp_path / "in.jsonl", line(1), line(2))
    ids = [row[ROW_ID] for row in rows_of(look_through(str(path)))]
    assert [ordinal_of(identity, b"") for identity in ids] == [0, 1]
    assert ordinal_of(17, b"") == 17
    assert ordinal_of("abc", b"") == ordinal_of("abc", b"x" * 16) != ordinal_of("abd", b"")
    assert ordinal_of(None, b"\0\0\1\0rest") == 256


def test_a_row_that_cannot_be_read_says_why_where_it_is_done(tmp_path: Path) -> None:
    """A bad line keeps its place, and its problem arrives as it was found."""
    path = write_lines(tmp_path / "in.jsonl", line(1), "not json", line(3))
    rows = rows_of(look_through(str(path)))
    assert [row["id"] for row in rows] == [1, None, 3]
    assert [row[PROBLEM] is None for row in rows] == [True, False, True]
    found = [row for row in open_rows(path) if isinstance(row, BadRow)]
    assert read_problem(rows[1][PROBLEM], 1, found[0].content_hash) == found[0]


def test_a_problem_in_another_hand_is_taken_as_text() -> None:
    """A `row_problem` that we did not write is still a reason."""
    assert read_problem("broken", 4, b"").describe() == "the input, row 5: broken"


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_the_input_is_counted_and_known_again(tmp_path: Path, ending: str) -> None:
    """Rows are counted up to the limit; the digest of a beginning is that of the file it was."""
    path = write_lines(tmp_path / "in.jsonl", *map(line, range(10)))
    if ending == "parquet":
        path = tmp_path / "in.parquet"
        pq.write_table(pa.table({"id": range(10), "prompt": ["q"] * 10}), path)
    whole = look_through(str(path), limit=7, earlier=4)
    assert whole.count == len(rows_of(whole)) == 7
    assert whole.earlier_digest == look_through(str(path), limit=4).digest
    assert look_through(str(path), earlier=99).earlier_digest is None


def test_our_column_names_are_refused(tmp_path: Path) -> None:
    """An input with a `row_id` of its own is refused before the start."""
    path = write_lines(tmp_path / "in.jsonl", json.dumps({"prompt": "q", ROW_ID: 1}))
    with pytest.raises(ConfigurationError, match="row_id"):
        look_through(str(path))
    with pytest.raises(ConfigurationError, match="standard input"):
        look_through("-")


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "out.csv.gz"])
def test_an_output_that_looks_like_a_file_is_refused(tmp_path: Path, name: str) -> None:
    """Shards go to a folder; the name of a file is a mistake that is said."""
    with pytest.raises(ConfigurationError, match="folder"):
        check_folder(tmp_path / name)
    check_folder(tmp_path / "out")


def test_a_folder_that_no_run_wrote_is_refused(tmp_path: Path) -> None:
    """Shards of somebody else's are neither counted nor removed."""
    mine = tmp_path / "mine"
    mine.mkdir()
    check_folder(mine)
    (mine / "labels.parquet").write_text("three months of labels")
    with pytest.raises(OutputExistsError, match=r"labels\.parquet"):
        check_folder(mine)
    marked(tmp_path, line(1), model="a")[0].write(mine)
    check_folder(mine)


def marked(tmp_path: Path, *lines: str, earlier: int = 0, **spec: Any) -> tuple[Marker, RowFile]:
    path = write_lines(tmp_path / "in.jsonl", *lines)
    file = look_through(str(path), earlier=earlier)
    return Marker.of(spec, file, {}), file


def test_a_run_is_known_again_by_its_settings_and_rows(tmp_path: Path) -> None:
    """Other settings and changed rows are refused by name; further rows are not."""
    output = tmp_path / "out"
    assert Marker.read(output) is None
    marker, _ = marked(tmp_path, line(1), line(2), model="a")
    marker.write(output)
    before = Marker.read(output)
    assert before is not None
    more, _ = marked(tmp_path, line(1), line(2), line(3), earlier=2, model="a")
    before.refuse_other(more, output)
    with pytest.raises(FingerprintError, match="model"):
        before.refuse_other(marked(tmp_path, line(1), model="b")[0], output)


def test_rows_that_have_answers_must_be_in_the_input(tmp_path: Path) -> None:
    """Changed, gone or after the limit: refused with the first of them; a failed row may change."""
    output = tmp_path / "out"
    file = look_through(str(write_lines(tmp_path / "in.jsonl", *map(line, range(4)))))
    shard(output, "a", [None, None, "bad", None], ids=[*file.ids()])
    refuse_lost_rows(file, output, prefix="")
    write_lines(tmp_path / "in.jsonl", line(0), line(1), line(99), line(3), line(4))
    refuse_lost_rows(look_through(file.path), output, prefix="")
    with pytest.raises(InputChangedError, match=r"the limit is 3.*row 4"):
        refuse_lost_rows(look_through(file.path, limit=3), output, prefix="")
    write_lines(tmp_path / "in.jsonl", line(0), line(9))
    with pytest.raises(InputChangedError, match=r"2 rows .*first: row 2"):
        refuse_lost_rows(look_through(file.path), output, prefix="")


def test_a_damaged_marker_is_no_run(tmp_path: Path) -> None:
    """What cannot prove which run it belongs to is not resumed."""
    marker, _ = marked(tmp_path, line(1), model="a")
    marker.write(tmp_path)
    path = tmp_path / "_distilabel_endpoints.json"
    path.write_text(path.read_text(encoding="utf-8").replace("a", "b"), encoding="utf-8")
    with pytest.raises(DamagedError):
        Marker.read(tmp_path)


def shard(
    output: Path,
    name: str,
    errors: list[Any],
    *,
    noted: bool = True,
    ids: list[str] | None = None,
) -> None:
    """A shard as Ray writes it, with its checkpoint; a warning is not an error."""
    ids = ids or [f"{name}-{n}" for n in range(len(errors))]
    tokens = [None if error else 2 for error in errors]
    said = pa.array(errors)
    codes = [code_of(error) for error in errors]
    columns = {ROW_ID: ids, "error": said, "error_code": pa.array(codes, type=said.type)}
    table = pa.table({**columns, "input_tokens": tokens, "output_tokens": tokens})
    output.mkdir(exist_ok=True)
    checkpoint_of(output).mkdir(exist_ok=True)
    pq.write_table(table, output / f"{name}-0.parquet")
    if noted:
        pq.write_table(table.select([ROW_ID]), checkpoint_of(output) / f"{name}.parquet")


def code_of(error: Any) -> Any:
    """What stands in `error_code` beside an `error`."""
    if isinstance(error, list):
        codes = [code_of(one) for one in error]
        return codes if any(codes) else None
    return None if error is None or error.startswith("warning") else "bad"


def test_failed_rows_are_taken_out_of_shard_and_checkpoint(tmp_path: Path) -> None:
    """What failed is done again: neither the shards nor the checkpoint have it any more."""
    output = tmp_path / "out"
    shard(output, "a", [None, "bad", None])
    shard(output, "b", ["bad"])
    shard(output, "c", [None])
    assert read_shards(output).failed == 2
    standing = read_shards(output, retry_failed=True)
    assert (standing.ok, standing.failed, standing.output_tokens) == (3, 0, 6)
    assert read_shards(output) == standing
    left = pq.read_table(output).column(ROW_ID).to_pylist()
    assert sorted(left) == ["a-0", "a-2", "c-0"]
    assert sorted(pq.read_table(checkpoint_of(output)).column(ROW_ID).to_pylist()) == sorted(left)


def test_warnings_are_no_failures(tmp_path: Path) -> None:
    """A row whose `error` is a warning beside its answer is done."""
    output = tmp_path / "out"
    shard(output, "a", [None, "warning: odd", "row 400: bad"])
    assert read_shards(output).ok == 2
    shard(output, "b", [["warning: odd", None], [None, "row 400: bad"], None])
    assert (read_shards(output).ok, read_shards(output).failed) == (4, 2)
    read_shards(output, retry_failed=True)
    assert read_shards(output).ok == 4


def test_taking_out_goes_on_after_a_kill_between_its_two_steps(tmp_path: Path) -> None:
    """With the checkpoint written and the shard not, the next start finishes it."""
    output = tmp_path / "out"
    shard(output, "a", [None, "bad"])
    note = checkpoint_of(output) / "a.parquet"
    pq.write_table(pq.read_table(note).slice(0, 1), note)
    read_shards(output, retry_failed=True)
    assert pq.read_table(output).column(ROW_ID).to_pylist() == ["a-0"]
    assert pq.read_table(note).column(ROW_ID).to_pylist() == ["a-0"]


def test_a_shard_without_its_checkpoint_does_not_count(tmp_path: Path) -> None:
    """What was written by a task that was killed is none of what is done."""
    output = tmp_path / "out"
    shard(output, "a", [None, None])
    shard(output, "killed", [None], noted=False)
    assert read_shards(output).ok == 2


def test_starting_over_removes_shards_alone(tmp_path: Path) -> None:
    """Other files in the folder stay where they are."""
    output = tmp_path / "out"
    shard(output, "a", [None])
    (output / "README.md").write_text("mine", encoding="utf-8")
    remove_shards(output)
    assert [path.name for path in output.iterdir()] == ["README.md"]
    assert not checkpoint_of(output).exists()
