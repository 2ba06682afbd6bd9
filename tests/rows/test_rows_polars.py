"""DataFrames and columns of the real polars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from row_samples import good, write_all

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.rows import open_rows
from distilabel_endpoints.testing import SimulatedEndpoint

pl = pytest.importorskip("polars")

TALK = [{"role": "user", "content": "hi"}]
ROWS: list[dict[str, Any]] = [
    {"id": 1, "prompt": "a", "kind": "x", "talk": TALK},
    {"id": 2, "prompt": None, "kind": "y", "talk": None},
]


@pytest.fixture
def frame() -> Any:
    return pl.DataFrame(ROWS, schema_overrides={"kind": pl.Categorical})


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "arrow", "feather"])
def test_rows_of_polars(frame: Any, tmp_path: Path, suffix: str) -> None:
    """They are those of `to_dicts()`, with their number, and are read again from every format."""
    source = open_rows(frame)
    assert good(source) == good(source) == frame.to_dicts() == ROWS
    assert source.count_hint == 2
    write_all(source, tmp_path / f"y.{suffix}")
    again = good(open_rows(tmp_path / f"y.{suffix}"))
    assert [{name: row[name] for name in ROWS[0]} for row in again] == ROWS


def test_a_run_of_a_frame_of_polars(frame: Any, tmp_path: Path) -> None:
    """A frame goes in, and polars reads what comes out; a null prompt is a failed row."""
    with SimulatedEndpoint() as endpoint, InferenceEndpointsLLM(base_url=endpoint.url) as llm:
        done = generate_dataset(llm, frame.drop("talk"), tmp_path / "out.feather", max_new_tokens=8)
    assert (done.summary.ok, done.summary.failed) == (1, 1)
    answers = pl.read_ipc(tmp_path / "out.feather")
    assert answers["id"].to_list() == [1, 2]
    assert answers["generation"].is_null().to_list() == [False, True]


def test_a_column_of_polars(frame: Any) -> None:
    """A Series of texts is a list of prompts."""
    assert good(open_rows(frame["prompt"].drop_nulls())) == [{"prompt": "a"}]


def test_frames_of_polars_that_are_not_tables(frame: Any) -> None:
    """Lazy frames, Python objects, types that Arrow lacks and bare tuples are refused by name."""
    refused = {
        "collect.. it first": frame.lazy(),
        "'o' of the DataFrame holds Python objects": frame.with_columns(
            o=pl.Series([object(), None], dtype=pl.Object)
        ),
        "does not fit a table": frame.with_columns(n=pl.Series([1, 2], dtype=pl.Int128)),
        "give mappings of columns": frame.rows(),
    }
    for message, source in refused.items():
        with pytest.raises(ConfigurationError, match=message):
            open_rows(source)
