"""The journal against a dictionary: any sequence of appends, flushes, resumes and crashes."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from distilabel_endpoints._store.journal import Journal, Pace, Reader, Record, Repair, RowStatus
from distilabel_endpoints.errors import FingerprintError, LockedError
from distilabel_endpoints.records import Completion, Failure, FailureKind, Result, Usage

SPEC = {"model_id": "m", "seed": 0}
BY_HAND = Pace(group=10**9, delay=3600)
ORDINALS = st.integers(0, 12)
HASHES = st.sampled_from([b"first", b"second"])
TEXTS = st.text(max_size=20) | st.sampled_from(["\ud800", "x" * 5000])
MEMORY = Path("/dev/shm")


def answered(ordinal: int, text: str) -> Result:
    return Result(
        ordinal=ordinal,
        completions=(Completion(text=text),),
        failures=(None,),
        usages=(Usage(1, len(text)),),
        attempts=1,
    )


def refused(ordinal: int, message: str) -> Result:
    failure = Failure(kind=FailureKind.ROW, message=message)
    return Result(ordinal=ordinal, completions=(None,), failures=(failure,), attempts=1)


class JournalMachine(RuleBasedStateMachine):
    """Two dictionaries: what is committed, and what was appended since."""

    def __init__(self) -> None:
        super().__init__()
        memory = MEMORY if os.access(MEMORY, os.W_OK) else None
        self.place = tempfile.TemporaryDirectory(dir=memory)
        self.lives = 0
        self.committed: dict[int, tuple[bytes, Result]] = {}
        self.pending: list[tuple[bytes, Result]] = []
        self.notes: dict[str, int] = {}
        self.pending_notes: dict[str, int] = {}
        self.told: list[int] = []
        self.expected: list[int] = []

    @property
    def output(self) -> Path:
        return Path(self.place.name) / str(self.lives) / "out.jsonl"

    def open(self) -> None:
        self.journal = Journal(self.output, SPEC, on_committed=self.tell, pace=BY_HAND)
        assert self.journal.repair == Repair()

    def tell(self, records: list[Record]) -> None:
        self.told += [record.ordinal for record in records]

    def settle(self) -> None:
        """What a commit of everything pending does."""
        for content_hash, result in self.pending:
            old_hash, old = self.committed.get(result.ordinal, (content_hash, None))
            if old is None or old.status == "failed" or old_hash != content_hash:
                self.committed[result.ordinal] = content_hash, result
            self.expected.append(result.ordinal)
        self.notes |= self.pending_notes
        self.pending, self.pending_notes = [], {}

    @initialize()
    def begin(self) -> None:
        self.output.parent.mkdir()
        self.open()

    @rule(ordinal=ORDINALS, content_hash=HASHES, text=TEXTS, fails=st.booleans())
    def append(self, ordinal: int, content_hash: bytes, text: str, fails: bool) -> None:
        result = refused(ordinal, text) if fails else answered(ordinal, text)
        self.journal.append(result, content_hash)
        self.pending.append((content_hash, result))
        assert self.journal.backlog == len(self.pending)

    @rule(name=st.sampled_from("ab"), value=st.integers())
    def note(self, name: str, value: int) -> None:
        """A note starts a commit of its own, so what is pending goes with it."""
        self.journal.write_note(name, value)
        self.pending_notes[name] = value
        self.journal.flush()
        self.settle()

    @rule()
    def flush(self) -> None:
        self.journal.flush()
        self.settle()
        assert self.told == self.expected

    @rule()
    def resume(self) -> None:
        self.journal.close()
        self.settle()
        self.open()

    @rule()
    def resume_twice(self) -> None:
        """Replaying twice equals replaying once."""
        self.resume()
        self.resume()

    @rule()
    def crash(self) -> None:
        """The files as they are, in another place: what was not committed never was."""
        left = self.output.parent
        self.lives += 1
        shutil.copytree(left, self.output.parent)
        self.journal.close()
        del self.told[len(self.expected) :]
        self.pending, self.pending_notes = [], {}
        self.open()

    @rule()
    def second_writer(self) -> None:
        with pytest.raises(LockedError):
            Journal(self.output, SPEC)

    @rule()
    def other_spec(self) -> None:
        self.journal.close()
        self.settle()
        if any(result.status == "ok" for _, result in self.committed.values()):
            with pytest.raises(FingerprintError):
                Journal(self.output, {**SPEC, "seed": 1})
        self.open()

    @invariant()
    def agrees(self) -> None:
        with Reader(self.output) as reader:
            found = {
                record.ordinal: (record.content_hash, record.result) for record in reader.results()
            }
            assert found == self.committed
            assert [*found] == sorted(found)
            assert {name: reader.note(name) for name in self.notes} == self.notes
            totals = reader.statistics()
            failed = sum(result.status == "failed" for _, result in self.committed.values())
            assert (totals.ok, totals.failed) == (len(self.committed) - failed, failed)
            replay = reader.replay()
            for ordinal in range(14):
                for content_hash in (b"first", b"second"):
                    assert replay.find(ordinal, content_hash) is self.standing(
                        ordinal, content_hash
                    )

    def standing(self, ordinal: int, content_hash: bytes) -> RowStatus:
        if ordinal not in self.committed:
            return RowStatus.ABSENT
        found, result = self.committed[ordinal]
        if found == content_hash:
            return RowStatus(result.status)
        # A row without a good result may change: it is then as if it had none.
        return RowStatus.CHANGED if result.status == "ok" else RowStatus.ABSENT

    def teardown(self) -> None:
        self.journal.close()
        self.place.cleanup()


def test_any_history() -> None:
    """After every step of any history the journal holds and answers what the model does."""
    run_state_machine_as_test(
        JournalMachine, settings=settings(deadline=None, max_examples=30, stateful_step_count=30)
    )


@pytest.mark.prove
def test_any_long_history() -> None:
    """The same for a thousand longer histories."""
    run_state_machine_as_test(
        JournalMachine, settings=settings(deadline=None, max_examples=1000, stateful_step_count=60)
    )
