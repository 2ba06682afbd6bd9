"""Datasets of the Hub: their addresses, and their rows from a Hub on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from command import run, run_code
from dataset_hub import DatasetHub, dataset_hub
from row_samples import jsonl

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.rows import open_rows
from distilabel_endpoints.rows.hub_datasets import HubAddress, hub_address, hub_name
from distilabel_endpoints.testing import SimulatedEndpoint

TEN = slice(None, 10)
READ = """
import json, sys
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.rows import open_rows

for address in sys.argv[1:]:
    try:
        source = open_rows(address)
        rows = [[row.columns["prompt"] for row in source] for _ in range(2)]
        print(json.dumps({"rows": rows, "places": [row.source for row in source][:1]}))
    except ConfigurationError as error:
        print(json.dumps({"error": str(error)}))
"""
CARD = """---
dataset_info:
  splits:
  - name: train
    num_examples: 10
    num_bytes: 0
  download_size: 0
  dataset_size: 0
---
"""


def lines(*texts: str) -> bytes:
    return b"".join(json.dumps({"prompt": text}).encode() + b"\n" for text in texts)


@pytest.fixture
def hub() -> Iterator[DatasetHub]:
    """A Hub with the dataset `o/n`."""
    files = {"train.jsonl": lines(*map(str, range(10))), "test.jsonl": lines("a test")}
    with dataset_hub(DatasetHub("o/n", files)) as hub:
        yield hub


def read(hub: DatasetHub, folder: Path, addresses: Sequence[str]) -> list[dict[str, Any]]:
    """What each address gives in a new process, whose Hub is this one."""
    ended = run_code(READ, *addresses, HF_ENDPOINT=hub.url, HF_HOME=str(folder / "home"))
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("hf://datasets/o/n", HubAddress("o/n")),
        ("hf://datasets/o/n:test", HubAddress("o/n", split="test")),
        ("hf://datasets/o/n/c", HubAddress("o/n", "c")),
        (
            "hf://datasets/o/n/c:test[:10]",
            HubAddress("o/n", "c", split="test", rows=TEN),
        ),
        ("hf://datasets/o/n:t[5:]", HubAddress("o/n", split="t", rows=slice(5, None))),
        (
            "hf://datasets/o/n:t[:10%]",
            HubAddress("o/n", split="t", rows=TEN, percent=True),
        ),
        (
            "hf://datasets/o/n@v1/d/a.jsonl.gz",
            HubAddress("o/n", file="d/a.jsonl.gz", revision="v1"),
        ),
        ("hf://datasets/o/n/d/*.parquet", HubAddress("o/n", file="d/*.parquet")),
        ("hf://datasets/o/n@v1/c:dev", HubAddress("o/n", "c", split="dev", revision="v1")),
    ],
)
def test_hub_addresses(address: str, parts: HubAddress) -> None:
    """Owner, name, revision, configuration and split are taken apart."""
    assert hub_address(address) == parts
    assert hub_name(address) == address
    assert hub_name("folder/file.jsonl") is None


@pytest.mark.parametrize(
    "address",
    ["hf://datasets/name", "hf://o/n", "hf://datasets/", "hf://", "hf://datasets/o/n:a[1]"],
)
def test_wrong_hub_addresses(address: str) -> None:
    """What starts like an address and is none is refused with the form it takes."""
    with pytest.raises(ConfigurationError, match="write hf://datasets/OWNER/NAME"):
        open_rows(address)


@pytest.mark.parametrize("path", ["data/none", "none/x.jsonl", "none", "a/b/c/d:e:f/", "/none/x"])
def test_paths_are_not_taken_for_hub_datasets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Only what looks like OWNER/NAME, and is not here, is a dataset of the Hub."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    jsonl(tmp_path / "data" / "prompts", [{"a": 1}])
    assert hub_name(path) is None
    assert hub_name("data/prompts") is None
    assert hub_name("owner/name") == "hf://datasets/owner/name"


def test_rows_of_a_hub_dataset(hub: DatasetHub, tmp_path: Path) -> None:
    """Splits, files, revisions and slices are these rows of the stream, the same each time."""
    expected = {
        "o/n": list("0123456789"),
        "o/n:test": ["a test"],
        "o/n@main:train[:2]": ["0", "1"],
        "o/n:train[8:]": ["8", "9"],
        "o/n:train[3:5]": ["3", "4"],
        "o/n:train[5:3]": [],
        "hf://datasets/o/n/test.jsonl": ["a test"],
        "hf://datasets/o/n/t*.jsonl:train[:2]": ["a test", "0"],
    }
    results = read(hub, tmp_path, list(expected))
    assert [result["rows"] for result in results] == [[rows, rows] for rows in expected.values()]
    assert results[0]["places"] == ["o/n, row 1"]


def test_a_percentage_of_a_hub_dataset(hub: DatasetHub, tmp_path: Path) -> None:
    """It is of the number of rows that the card states; without one it is refused."""
    (unknown,) = read(hub, tmp_path / "before", ["o/n:train[:20%]"])
    assert "the number of rows is not known" in unknown["error"]
    hub.files["README.md"] = CARD.encode()
    (result,) = read(hub, tmp_path / "after", ["o/n:train[15%:50%]"])
    assert result["rows"][0] == ["2", "3", "4"]


def test_hub_datasets_that_are_not_there(hub: DatasetHub, tmp_path: Path) -> None:
    """Each is named with the reason and the remedy, after one question to the Hub."""
    reasons = {
        "o/mistyped": "there is no such path here, and the Hub has no such dataset, or it is priv",
        "hf://datasets/o/mistyped": "cannot open hf://datasets/o/mistyped: the Hub has no such",
        "o/n@v9": "the dataset on the Hub has no revision 'v9'",
        "o/n:dev": "cannot open o/n:dev: Bad split: dev. Available splits:",
        "hf://datasets/o/n/odd": "BuilderConfig 'odd' not found",
        "o../n": "this cannot be the name of a dataset on the Hub",
    }
    results = read(hub, tmp_path, list(reasons))
    for result, reason in zip(results, reasons.values(), strict=True):
        assert reason in result["error"]
    asked = [path for path in hub.paths if "mistyped" in path]
    assert asked == ["/api/datasets/o/mistyped"] * 2


def test_a_gated_hub_dataset(hub: DatasetHub, tmp_path: Path) -> None:
    """The message has the page on which access is asked for."""
    hub.refuse = (403, "GatedRepo")
    (result,) = read(hub, tmp_path, ["o/n"])
    assert result["error"].endswith(f"ask for access at {hub.url}/datasets/o/n")


def test_a_hub_that_does_not_answer(tmp_path: Path) -> None:
    """One attempt, and one sentence with the address that was tried; no silent retries."""
    nowhere = DatasetHub("o/n", {}, url="http://127.0.0.1:9")
    ended = run_code(READ, "o/n", HF_ENDPOINT=nowhere.url, HF_HOME=str(tmp_path))
    message = json.loads(ended.stdout)["error"]
    assert "no such path here, and the Hub at http://127.0.0.1:9 cannot be reached" in message
    assert "Retrying" not in ended.stderr
    ended = run_code(READ, "o/n", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert "HF_HUB_OFFLINE is set" in json.loads(ended.stdout)["error"]


def test_an_address_means_the_hub(
    hub: DatasetHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder here with a dataset's name is not read in its place."""
    (tmp_path / "o" / "n").mkdir(parents=True)
    jsonl(tmp_path / "o" / "n" / "train.jsonl", [{"prompt": "from here"}])
    monkeypatch.chdir(tmp_path)
    here, there = read(hub, tmp_path, ["o/n", "hf://datasets/o/n"])
    assert here["rows"][0] == ["from here"]
    assert there["rows"][0] == list("0123456789")


def test_a_run_of_a_hub_dataset_is_exported_again(
    hub: DatasetHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its journal knows the dataset by its full address, from any folder."""
    monkeypatch.chdir(tmp_path)
    more = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    with SimulatedEndpoint() as endpoint:
        words = ("generate", "o/n:train[:3]", "--output", "out.jsonl", "--base-url", endpoint.url)
        ended = run(*words, **more)
        assert ended.returncode == 0, ended.stderr
    ended = run("export", "out.jsonl", "--to", "again.jsonl", **more)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()


@pytest.mark.parametrize("end", ["", "/tree/main/data", "?row=3"])
def test_a_page_of_the_hub_is_refused_with_the_name(end: str) -> None:
    """The address of a browser names the dataset to give."""
    with pytest.raises(ConfigurationError, match=r"give the dataset's name: o/n$"):
        open_rows(f"https://huggingface.co/datasets/o/n{end}")
