"""Outputs appear whole or not at all, and only where an ordinary file may be."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from distilabel_endpoints._store.atomic import check_target, writing
from distilabel_endpoints.errors import ConfigurationError, StorageError


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    """Until the block ends the old content stands there; then the new one, for its owner only."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"old")
    (tmp_path / "out.jsonl.part").write_bytes(b"left by a crash")
    with writing(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing/out", "no such folder: .*missing; make it"),
        ("link", "link is a symbolic link; give the file that it points to"),
        ("folder", "folder is not a file; give another output"),
    ],
)
def test_what_is_not_a_place_for_a_file_is_refused(tmp_path: Path, name: str, message: str) -> None:
    """Before anything is written; the message says what to give instead."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match=message):
        check_target(tmp_path / name)
    with pytest.raises(ConfigurationError, match=message), writing(tmp_path / name):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the file and the reason, and nothing is left of the attempt."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"old")

    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    full = pytest.raises(StorageError, match="cannot write: No space left on device")
    with full as caught, writing(path) as file:
        file.write(b"new")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


def test_the_last_look_at_a_file_may_refuse_it(tmp_path: Path) -> None:
    """What it raises comes through as it is, and nothing appears."""
    path, seen = tmp_path / "out.jsonl", []

    def refuse(part: Path) -> None:
        seen.append(part.read_bytes())
        raise StorageError("the journal lost a row")

    refused = pytest.raises(StorageError, match=r"^the journal lost a row$")
    with refused, writing(path, before_rename=refuse) as file:
        file.write(b"new")
    assert seen == [b"new"]
    assert not [*tmp_path.iterdir()]
