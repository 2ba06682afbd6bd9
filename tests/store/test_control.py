"""The control file: read as it was written, and refused if anybody else could have written it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints._store.control import (
    Tuning,
    accepting_tuning,
    control_path,
    read_control,
    write_control,
)
from distilabel_endpoints.errors import StorageError

REQUESTED = Tuning(max_concurrency=64, paused=True, by="ada on host, process 1", at="2026-01-01")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


def test_wishes_are_read_as_they_were_written(output: Path) -> None:
    """By their owner alone; those of an earlier run are gone, and these are when the run ends."""
    write_control(output, Tuning(paused=True))
    with accepting_tuning(output):
        assert read_control(output) is None
        write_control(output, REQUESTED)
        assert read_control(output) == REQUESTED
        assert control_path(output).stat().st_mode & 0o777 == 0o600
    assert read_control(output) is None


@pytest.mark.promise("S14")
@pytest.mark.parametrize("mode", [0o640, 0o606, 0o620, 0o644, 0o777])
def test_a_file_that_others_could_touch_is_refused(output: Path, mode: int) -> None:
    """Whoever may write it could pause the run, and whoever may read it learns who steers."""
    write_control(output, REQUESTED)
    control_path(output).chmod(mode)
    with pytest.raises(StorageError, match="mode 600"):
        read_control(output)


@pytest.mark.promise("S10")
def test_links_folders_and_pipes_are_refused(output: Path, tmp_path: Path) -> None:
    """None is followed, and none holds the run up."""
    target = tmp_path / "elsewhere"
    write_control(target, REQUESTED)
    path = control_path(output)
    path.symlink_to(control_path(target))
    with pytest.raises(StorageError, match="is ignored"):
        read_control(output)
    path.unlink()
    path.mkdir(mode=0o700)
    with pytest.raises(StorageError, match="is ignored"):
        read_control(output)
    path.rmdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(StorageError, match="is ignored"):
        read_control(output)


WHOLE: dict[str, object] = {
    "format": 2, "max_concurrency": 1, "paused": False, "budget": ["$1"], "by": "", "at": "",
}  # fmt: skip
CHANGES: list[dict[str, object]] = [
    {"max_concurrency": 0},
    {"max_concurrency": True},
    {"max_concurrency": 9999999},
    {"format": 1},
    {"paused": 1},
    {"budget": "$1"},
    {"budget": [1]},
]


def test_what_is_refused_differs_in_one_field(output: Path) -> None:
    """The document that the refused ones are made of is obeyed."""
    control_path(output).touch(0o600)
    control_path(output).write_bytes(json.dumps(WHOLE).encode())
    assert read_control(output) == Tuning(max_concurrency=1, budget=("$1",))
    for change in CHANGES:
        control_path(output).write_bytes(json.dumps({**WHOLE, **change}).encode())
        with pytest.raises(StorageError, match="is not what `tune` writes"):
            read_control(output)


@given(
    st.binary(max_size=200)
    | st.sampled_from(
        [
            *(json.dumps({**WHOLE, **change}).encode() for change in CHANGES),
            json.dumps({name: WHOLE[name] for name in WHOLE if name != "budget"}).encode(),
            b"[" * 100_000,
        ]
    )
)
def test_anything_else_is_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever the bytes: refused, never obeyed and never a crash."""
    output = tmp_path_factory.mktemp("control") / "out.jsonl"
    path = control_path(output)
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(StorageError, match="not what"):
        read_control(output)
