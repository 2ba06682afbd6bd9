"""Whatever can be read is read the same by a job over Ray: what is sent, and what comes out."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints._engine.generations import RowPlan
from distilabel_endpoints.ray import generate_ray, read_rows, write_shards
from distilabel_endpoints.ray.originals import ORIGINAL, restored
from distilabel_endpoints.ray.source import ADDED, PLACE, ROW_ID, look_through
from distilabel_endpoints.ray.worker import GenerateRows, JobSpec
from distilabel_endpoints.rows import Row, open_rows
from distilabel_endpoints.rows.json_text import json_text
from distilabel_endpoints.rows.tables import given_table, learn_layout
from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.planning import RowPlanner
from distilabel_endpoints.testing import SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]
Write = Callable[[Path], Path]

QUESTIONS = ("Why is the sky blue?", "Où est la clé ?", 'A "quoted", long\tone')
PROMPTS: list[dict[str, Any]] = [{"id": n, "prompt": text} for n, text in enumerate(QUESTIONS)]
SHAREGPT: list[dict[str, Any]] = [
    {"conversations": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": text}]}
    for text in QUESTIONS
]
ALPACA: list[dict[str, Any]] = [
    {"instruction": "Answer.", "input": text, "output": "-", "system": "Be brief."}
    for text in QUESTIONS
]
MESSAGES: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": QUESTIONS[0]}], "tag": {"a": 1}},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": QUESTIONS[1]}]}]},
    {
        "messages": [
            {"role": "user", "content": QUESTIONS[2]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]},
            {"role": "tool", "content": "42", "tool_call_id": "1"},
        ]
    },
]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def text(name: str, content: bytes) -> Write:
    """What writes these bytes to a file of that name."""

    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def table(name: str, write_table: Callable[[Any, str], None], rows: Any = PROMPTS) -> Write:
    """What writes these rows as a table."""

    def write(folder: Path) -> Path:
        write_table(pa.Table.from_pylist(rows), str(folder / name))
        return folder / name

    return write


def arrow_stream(rows: Any, path: str) -> None:
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, rows.schema) as writer:
        writer.write_table(rows)


def zst(folder: Path) -> Path:
    with pa.output_stream(str(folder / "in.jsonl.zst"), compression="zstd") as file:
        file.write(lines(PROMPTS))
    return folder / "in.jsonl.zst"


def hive(folder: Path) -> Path:
    for language in ("de", "en"):
        place = folder / "hive" / f"language={language}"
        place.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(PROMPTS), place / "part.parquet")
    return folder / "hive"


def mixed_folder(folder: Path) -> Path:
    (folder / "mixed").mkdir()
    (folder / "mixed" / "a.jsonl").write_bytes(lines(PROMPTS))
    (folder / "mixed" / "b.jsonl.gz").write_bytes(gzip.compress(lines(PROMPTS[:1])))
    return folder / "mixed"


PLAIN = lines(PROMPTS)
TSV = b'id\tprompt\n0\tWhy is the sky blue?\n1\t"A ""quoted""\tone"\n'
FORMATS: dict[str, Write] = {
    "jsonl": text("in.jsonl", PLAIN),
    "ndjson": text("in.ndjson", PLAIN),
    "json": text("in.json", json.dumps(PROMPTS).encode()),
    "csv": text("in.csv", b"id;prompt\n0;Why?\n1;-0.5\n2;+49 30\n"),
    "tsv": text("in.tsv", TSV),
    "txt": text("in.txt", "\n".join(QUESTIONS).encode()),
    "gz": text("in.jsonl.gz", gzip.compress(PLAIN)),
    "xz": text("in.jsonl.xz", lzma.compress(PLAIN)),
    "bz2": text("in.jsonl.bz2", bz2.compress(PLAIN)),
    "zst": zst,
    "parquet": table("in.parquet", pq.write_table),
    "arrow": table("in.arrow", arrow_stream),
    "feather": table("in.feather", feather.write_feather),
    "sharegpt": text("in.jsonl", lines(SHAREGPT)),
    "sharegpt parquet": table("in.parquet", pq.write_table, SHAREGPT),
    "alpaca": text("in.jsonl", lines(ALPACA)),
    "messages": text("in.jsonl", lines(MESSAGES)),
    "messages as text": text(
        "in.jsonl", lines([{"messages": json.dumps(row["messages"])} for row in MESSAGES])
    ),
    "own settings": text(
        "in.jsonl",
        lines([{**row, "parameters": {"temperature": 0.1 * row["id"]}} for row in PROMPTS]),
    ),
    "bad rows": text("in.jsonl", PLAIN + b"not json\n" + lines([{"id": 9, "prompt": 7}])),
    "hive": hive,
    "folder": mixed_folder,
}


@pytest.fixture
def llm(simulated_endpoint: Make) -> InferenceEndpointsLLM:
    """What plans the rows; it is asked for nothing more."""
    return InferenceEndpointsLLM(base_url=simulated_endpoint(flavor="vllm").url)


@pytest.mark.parametrize("name", FORMATS)
def test_workers_plan_what_one_process_plans(
    name: str, llm: InferenceEndpointsLLM, tmp_path: Path
) -> None:
    """The same requests from the same places, for every format: tables change no conversation."""
    path, options = FORMATS[name](tmp_path), RunOptions()
    source = open_rows(path)
    planner = RowPlanner(llm, source.columns, options, first=source.first)
    local = [(row.place, planned(planner, row)) for row in source]
    over_ray: list[Any] = []
    file = replace(look_through(str(path)), has_places=True)
    worker = GenerateRows(JobSpec(parcel=None, options=options, id_column=ROW_ID), None)  # type: ignore[arg-type]
    for block in file.tables():
        names = [name for name in block.column_names if name not in ADDED]
        planner = RowPlanner(llm, names, options)
        over_ray += [(row.place, planned(planner, row)) for row in worker._rows(block)]
    assert over_ray == local


def planned(planner: RowPlanner, row: Any) -> Any:
    """What is sent for a row, or why nothing is."""
    if not isinstance(row, Row):
        return row.reason
    try:
        plan: RowPlan = planner.plan(row)
    except Exception as error:  # noqa: BLE001 - whatever one says, the other must say
        return str(error)
    return plan.request


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(st.sampled_from("pqr"), VALUES, min_size=1), min_size=1, max_size=4)


@given(ROWS)
@settings(deadline=None)  # the first call imports
def test_a_row_comes_back_from_any_table(rows: list[dict[str, Any]]) -> None:
    """Whatever the values of a column have in common, each row is what was read."""
    source = open_rows(rows)
    items = [row for row in source if isinstance(row, Row)]
    cells = given_table(learn_layout(source), items).to_pylist()
    for row, read in zip(cells, items, strict=True):
        back = restored(row, json_text(dict(read.columns)))
        assert json_text(back) == json_text(dict(read.columns))


def test_what_a_pipeline_changes_is_sent() -> None:
    """A stage before the model may change a column, add one, and drop one."""
    text = json_text({"prompt": ["a", 1], "messages": [{"content": "b"}], "gone": 1})
    cells = {
        "prompt": '["a", 1]',
        "messages": [{"content": "changed", "name": None}],
        "added": "new",
    }
    assert restored(cells, text) == {
        "prompt": ["a", 1],
        "messages": [{"content": "changed", "name": None}],
        "added": "new",
    }


@pytest.mark.parametrize("own", [1, "Paris", "[1, 2]", "null", None])
def test_a_table_with_such_columns_of_its_own(own: Any, llm: InferenceEndpointsLLM) -> None:
    """In a pipeline of the user's own, columns that no reading wrote do not end the job."""
    block = pa.table({"prompt": ["Why?"], ORIGINAL: [own], PLACE: [own]})
    worker = GenerateRows(JobSpec(parcel=None, options=RunOptions(), id_column=None), None)  # type: ignore[arg-type]
    (row,) = worker._rows(block)
    assert planned(RowPlanner(llm, ["prompt"], RunOptions()), row).messages[0]["content"] == "Why?"


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
def test_every_format_over_real_ray(
    ray_session: Path, simulated_endpoint: Make, tmp_path: Path
) -> None:
    """The columns and answers of each format are those of a run of one process."""
    endpoint = simulated_endpoint(flavor="vllm")
    for name, write in FORMATS.items():
        place = tmp_path / name.replace(" ", "-")
        place.mkdir()
        path = write(place)
        with InferenceEndpointsLLM(base_url=endpoint.url, max_concurrency=4) as llm:
            done = generate_dataset(llm, path, place / "local.parquet", max_new_tokens=4)
            ds = generate_ray(llm, read_rows(str(path)), actors=1, max_new_tokens=4)
            write_shards(ds, place / "shards")
        wanted = pq.read_table(done.output)
        rows = pq.read_table(place / "shards", partitioning=None).sort_by(ROW_ID)
        found = rows.select(wanted.column_names).to_pylist()
        assert list(map(comparable, found)) == list(map(comparable, wanted.to_pylist())), name


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the words for its place: a worker sees blocks, not lines of files."""
    return {**row, "error": row["error"] is not None}
