"""Reports and rows of a run over Ray, read from its shards, without Ray."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_report import said

from distilabel_endpoints._store.journal.record import encode_failures
from distilabel_endpoints.ray.marker import Marker
from distilabel_endpoints.ray.shards import checkpoint_of
from distilabel_endpoints.ray.source import FAILURE, ROW_ID, look_through
from distilabel_endpoints.records import Failure, FailureKind
from distilabel_endpoints.report import write_report
from distilabel_endpoints.report.stored import open_stored
from distilabel_endpoints.report.viewer import view
from distilabel_endpoints.rows import OutputColumns
from distilabel_endpoints.rows.tables import added_fields
from distilabel_endpoints.runs.finished import column_note

TOO_LONG = Failure(kind=FailureKind.ROW, code="too_long", status=400, message="too many tokens")
OFF_SCHEMA = Failure(
    kind=FailureKind.CONTENT, code="off_schema", message="off", finish_reason="stop"
)
FAILURES = {5: encode_failures([TOO_LONG]), 6: encode_failures([OFF_SCHEMA])}
OPTIONS: dict[str, Any] = {
    "input_column": None,
    "system": None,
    "template": None,
    "format": "auto",
    "drop_last_assistant": False,
    "row_settings": True,
}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Twenty rows in two shards, the later ones first; row 5 failed, row 6 was refused."""
    folder = tmp_path / "answers"
    rows = tmp_path / "in.jsonl"
    rows.write_text("".join(f'{{"prompt": "Question {n}?"}}\n' for n in range(20)))
    spec = {"model": "m", "column_prefix": "x_", "num_generations": 1, **OPTIONS}
    about = {"columns": column_note(OutputColumns("m", prefix="x_"))}
    Marker.of(spec, look_through(str(rows)), about).write(folder)
    write_shard(folder, "a", range(10, 20))
    write_shard(folder, "b", range(10))
    return folder


def write_shard(folder: Path, name: str, ordinals: range) -> None:
    columns = OutputColumns("m", prefix="x_")
    rows = [
        {
            ROW_ID: f"{n:012d}-{n:032x}",
            "prompt": f"Question {n}?",
            "x_generation": None if n in (5, 6) else "so on and on. " * (20 if n == 7 else 1),
            "x_model_name": "m",
            "x_finish_reason": {5: None, 6: "stop"}.get(n, "stop"),
            "x_input_tokens": None if n == 5 else 3,
            "x_output_tokens": None if n == 5 else 4,
            "x_error": {5: TOO_LONG.describe(), 6: OFF_SCHEMA.describe()}.get(n),
            "x_error_code": {5: "too_long", 6: "off_schema"}.get(n),
            "x_reasoning": None,
            "x_failed_generation": "{]" if n == 6 else None,
            FAILURE: FAILURES.get(n),
        }
        for n in ordinals
    ]
    given = [pa.field(ROW_ID, pa.string()), pa.field("prompt", pa.string())]
    schema = pa.schema([*given, *added_fields(columns), pa.field(FAILURE, pa.string())])
    table = pa.Table.from_pylist(rows, schema=schema)
    checkpoint_of(folder).mkdir(exist_ok=True)
    pq.write_table(table, folder / f"{name}-0.parquet")
    pq.write_table(table.select([ROW_ID]), checkpoint_of(folder) / f"{name}.parquet")


def test_a_folder_has_a_report_like_any_run(output: Path) -> None:
    """Counts, flaws, failures and prompts come out of the shards."""
    text = said(write_report(output))
    assert "18 rows ok of 20" in text
    assert "too_long HTTP 400 : 1 row (5 %)" in text
    assert "loops the same piece of text again and again until the end 1" in text
    assert "off schema does not fit structured_output 1" in text
    assert "refused answer {]" in text
    assert "user Question 5?" in text


def test_rows_are_in_the_inputs_order(output: Path) -> None:
    """Whichever shard they are in."""
    with open_stored(output) as rows:
        assert list(rows.index().ordinals) == list(range(20))
        assert sorted(row.ordinal for row in rows.scan()) == list(range(20))
    stream = io.StringIO()
    commands = iter(["n", "g 20", "q"])
    view(output, only="failed", read=lambda: next(commands, None), stream=stream)
    shown = stream.getvalue()
    assert shown.index("row 6 (failed)") < shown.index("row 7 (failed, off_schema)")
    assert "row 20 (ok)" in shown
