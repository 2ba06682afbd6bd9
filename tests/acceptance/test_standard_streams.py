"""`-o -`: rows on standard output, everything else on standard error, and a run that resumes."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import arguments, environment, ids_of, rows_of, run, run_code, write_rows

from distilabel_endpoints.testing import Fault, Respond, SimulatedEndpoint

GONE = """
import os
from pathlib import Path
from distilabel_endpoints.runs.standard_output import copy_out
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 1)
copy_out(Path({path!r}))
"""

NO_ROOM = """
import io, resource
from distilabel_endpoints.errors import StorageError
from distilabel_endpoints.runs.standard_output import spooled
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    spooled(io.BytesIO(bytes(3_000_000)))
except StorageError as error:
    print(error)
"""


def printed(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_rows_are_printed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed row is there, too; the same command prints a finished run again."""
    monkeypatch.chdir(tmp_path)
    rows = write_rows(tmp_path / "rows.jsonl", 4)
    refused = Fault(Respond(400, {"error": {"message": "no"}}), marker="Question 2?")
    with SimulatedEndpoint(faults=(refused,)) as server:
        done = run("generate", rows, "-o", "-", "--base-url", server.url)
        sent = len(server.generations)
        again = run("generate", rows, "-o", "/dev/stdout", "--base-url", server.url)
    assert (done.returncode, again.returncode) == (2, 2)
    assert ids_of(printed(done.stdout)) == ["row-0", "row-1", "row-2", "row-3"]
    assert [row["generation"] is None for row in printed(done.stdout)] == [
        False,
        False,
        True,
        False,
    ]
    assert "Finished" in done.stderr
    assert printed(done.stdout) == printed(again.stdout) == rows_of(tmp_path / "rows.answers.jsonl")
    assert len(server.generations) <= sent + 1  # the failed row may be tried again


def test_rows_in_and_out_of_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other rows are another run; the same rows are the same one, and are not sent again."""
    monkeypatch.chdir(tmp_path)
    with SimulatedEndpoint() as server:
        words = ("generate", "-", "-o", "-", "--base-url", server.url)
        for prompt, requests in (("a", 1), ("b", 2), ("a", 2)):
            done = run(*words, stdin=json.dumps({"prompt": prompt}) + "\n")
            assert done.returncode == 0, done.stderr[-800:]
            assert [row["prompt"] for row in printed(done.stdout)] == [prompt]
            assert len(server.generations) == requests


@contextmanager
def pipe_of(path: Path, text: str) -> Iterator[Path]:
    """A named pipe that somebody writes `text` into once."""
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(text,))
    writer.start()
    yield path
    writer.join()
    path.unlink()


@pytest.mark.timeout(60)
def test_a_named_pipe_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are kept, so that the run and its export read them; the same rows resume it."""
    monkeypatch.chdir(tmp_path)
    text = "".join(f'{{"prompt": "{n}"}}\n' for n in range(3))
    with SimulatedEndpoint() as server:
        at = ("--base-url", server.url)
        for name, output in (("rows.jsonl", "out.jsonl"), ("rows", "out.jsonl"), ("rows", "-")):
            with pipe_of(tmp_path / name, text) as pipe:
                done = run("generate", pipe, "-o", output, *at)
            assert done.returncode == 0, done.stderr[-800:]
            sent = len(server.generations)
            assert sent == (6 if output == "-" else 3)
        assert [row["prompt"] for row in printed(done.stdout)] == ["0", "1", "2"]
        assert run("export", "out.jsonl", "--to", "again.jsonl").returncode == 0
    assert rows_of(tmp_path / "again.jsonl") == rows_of(tmp_path / "out.jsonl")


@pytest.mark.timeout(60)
def test_the_pipe_of_a_shell_needs_an_output(tmp_path: Path) -> None:
    """`<(...)` has no name that an output could be called after."""
    done = run("generate", "/dev/fd/63", "--base-url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "say where to write: --output FILE" in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b'{"prompt": "a"}\n'), "compressed by gzip; add .gz to its name, or run"),
        ('{"prompt": "a"}\n'.encode("utf-16"), "text in UTF-16"),
        (b"prompt,id\na,1\n", "a row is an object on one line, as in"),
    ],
    ids=["gzip", "UTF-16", "CSV"],
)
def test_other_formats_on_standard_input_are_named(
    tmp_path: Path, content: bytes, said: str
) -> None:
    """The error says standard input, not a file that the user never made."""
    with SimulatedEndpoint() as server:
        words = arguments("generate", "-", "-o", tmp_path / "o.jsonl", "--base-url", server.url)
        done = subprocess.run(
            words, input=content, capture_output=True, env=environment(), check=False
        )
        assert not server.generations
    assert done.returncode == 1
    assert f"standard input{':1, byte 0' * content.startswith(b'prompt')}: " in done.stderr.decode()
    assert said in done.stderr.decode()


def test_a_stopped_run_prints_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the rows would look like all of them: they are kept for the same command."""
    monkeypatch.chdir(tmp_path)
    rows = write_rows(tmp_path / "rows.jsonl", 2)
    refused = Fault(Respond(401, {"error": {"message": "no"}}))
    with SimulatedEndpoint(faults=(refused,)) as server:
        done = run("generate", rows, "-o", "-", "--base-url", server.url)
    assert (done.returncode, done.stdout) == (3, "")
    assert (tmp_path / "rows.answers.jsonl.journal").exists()


def test_what_cannot_be_printed(tmp_path: Path) -> None:
    """Events and rows do not share a stream."""
    rows = write_rows(tmp_path / "rows.jsonl", 1)
    done = run("generate", rows, "-o", "-", "--json", "--base-url", "http://127.0.0.1:1")
    assert (done.returncode, "both print" in done.stderr) == (1, True)


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    """`| head` ends before the rows do: no traceback, and the run's own exit code."""
    path = tmp_path / "x.jsonl"
    path.write_text("x" * 300_000)
    done = run_code(GONE.format(path=str(path)))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_behind_standard_output(tmp_path: Path) -> None:
    """`-o - > FILE` on a full disk is exit code 4, and the message names the file with the rows."""
    rows = write_rows(tmp_path / "rows.jsonl", 2)
    with SimulatedEndpoint() as server, Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            arguments("generate", rows, "-o", "-", "--base-url", server.url),
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment(),
            timeout=120,
        )
    assert done.returncode == 4, done.stderr
    assert "rows.answers.jsonl could not be printed: No space left on device" in done.stderr
    assert len(rows_of(tmp_path / "rows.answers.jsonl")) == 2


def test_no_room_for_the_rows_of_a_pipe() -> None:
    """The error says which folder is full, and how to choose another."""
    done = run_code(NO_ROOM)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cannot be kept in" in done.stdout
    assert "TMPDIR" in done.stdout
