"""Kill, starve and fail the journals of forked children, and check what each leaves.

Run as a script, in a process of its own: `journal_crash.py MODE DIRECTORY [ROUNDS [SEED]]`. What a
child was told is committed comes back through a pipe; whatever became of the child, all of that
must be in its journal, whole. Prints one line of JSON; any surprise is a traceback.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from pathlib import Path

from journals import SPEC, hash_of, stored, varied

from distilabel_endpoints._store.journal import Journal, Pace, Record, Repair
from distilabel_endpoints.errors import StorageError

STORAGE_FAILED = 4
ROWS = 60
BUSY = Pace(group=8, delay=0)


def work(output: Path, rows: Iterable[int], told: int) -> None:
    """Append `rows`, and write each to `told` once it is committed."""

    def tell(records: list[Record]) -> None:
        os.write(told, b"".join(b"%d\n" % record.ordinal for record in records))

    with Journal(output, SPEC, on_committed=tell, pace=BUSY) as journal:
        for ordinal in rows:
            journal.append(varied(ordinal), hash_of(ordinal))
            if ordinal % 3 == 0:
                journal.flush()


def child(
    output: Path,
    rows: Iterable[int],
    *,
    before: Callable[[], object] = lambda: None,
    patience: int = sys.maxsize,
) -> tuple[set[int], int]:
    """What a child that does `work` was told, and its exit code.

    It is killed as soon as it was told of `patience` bytes' worth of rows.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        code = 99
        try:
            before()
            work(output, rows, writing)
            code = 0
        except StorageError:
            code = STORAGE_FAILED
        finally:
            os._exit(code)
    os.close(writing)
    heard = b""
    while piece := os.read(reading, min(4096, max(1, patience))):
        heard += piece
        if len(heard) >= patience:
            os.kill(pid, signal.SIGKILL)
            patience = sys.maxsize
    os.close(reading)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {int(line) for line in heard.split(b"\n")[:-1]}, code


def check(output: Path, told: set[int]) -> set[int]:
    """The rows in the journal: whole, all that was told among them, and nothing damaged."""
    with Journal(output, SPEC) as journal:
        assert journal.repair == Repair(), journal.repair
    found = stored(output)
    assert told <= found.keys(), sorted(told - found.keys())
    assert all(result == varied(ordinal) for ordinal, result in found.items())
    return set(found)


def kill(directory: Path, rounds: int, seed: int) -> dict[str, int]:
    """SIGKILL at random moments, resuming each time, until all rows are there."""
    dice = random.Random(seed)
    output = directory / "out.jsonl"
    killed = finished = total = 0
    done: set[int] = set()
    while killed < rounds:
        if len(done) == total:
            finished += 1
            total += ROWS
        todo = [ordinal for ordinal in range(total) if ordinal not in done]
        dice.shuffle(todo)
        told, code = child(output, todo, patience=dice.randrange(4 * len(todo)))
        assert code in {0, -signal.SIGKILL}, code
        done = check(output, done | told)
        assert code or len(done) == total
        killed += code == -signal.SIGKILL
    return {"killed": killed, "finished": finished, "rows": len(done)}


def fail(directory: Path, kinds: int, deed: int, error: int, stride: int) -> dict[str, int]:
    """Strike at every `stride`-th call of these kinds in the life of a journal."""
    faults = ctypes.CDLL(None)
    told_most = 0
    for strikes in count():
        output = directory / str(strikes) / "out.jsonl"
        output.parent.mkdir()
        arm = partial(
            faults.disk_faults_arm, kinds, deed, error, ctypes.c_long(1 + strikes * stride)
        )
        told, code = child(output, range(ROWS), before=arm)
        if len(told) == ROWS and not code:
            break
        assert code == (-signal.SIGKILL if error == signal.SIGKILL else STORAGE_FAILED), code
        check(output, told)
        shutil.rmtree(output.parent)
        told_most = max(told_most, len(told))
    return {"strikes": strikes, "told_most": told_most}


def starve(directory: Path, stride: int) -> dict[str, int]:
    """Let files grow to a limit only, for every limit up to what is needed."""
    for strikes in count():
        output = directory / str(strikes) / "out.jsonl"
        output.parent.mkdir()
        limit = strikes * stride
        bound = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
        told, code = child(output, range(ROWS), before=bound)
        if not code:
            break
        assert code == STORAGE_FAILED, (limit, code)
        assert len(told) < ROWS
        check(output, told)
        shutil.rmtree(output.parent)
    return {"strikes": strikes}


def fill(directory: Path) -> dict[str, int]:
    """Write until the disk that `directory` is on is full; what was told is there."""
    output = directory / "out.jsonl"
    told, code = child(output, range(10**6))
    assert code == STORAGE_FAILED, code
    found = stored(output)
    assert told <= found.keys()
    assert all(result == varied(ordinal) for ordinal, result in found.items())
    return {"told": len(told)}


FAULTS = {
    "writes-once": (1, 0, errno.ENOSPC),
    "writes-on": (1, 1, errno.ENOSPC),
    "writes-short": (1, 2, errno.EIO),
    "syncs-once": (2, 0, errno.EIO),
    "syncs-on": (2, 1, errno.EIO),
    "die": (7, 3, signal.SIGKILL),
}


def main(mode: str, directory: str, rounds: str = "1", seed: str = "0") -> None:
    """Run one mode and print what happened."""
    place = Path(directory)
    match mode:
        case "kill":
            found = kill(place, int(rounds), int(seed))
        case "starve":
            found = starve(place, int(rounds))
        case "fill":
            found = fill(place)
        case _:
            found = fail(place, *FAULTS[mode], stride=int(rounds))
    print(json.dumps(found))  # noqa: T201 - the answer to whoever started this script


if __name__ == "__main__":
    main(*sys.argv[1:])
