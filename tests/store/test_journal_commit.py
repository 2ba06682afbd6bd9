"""Group commit: when groups are due, who is told what, and how it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from journals import BY_HAND, hash_of, into, ok

from distilabel_endpoints._store.journal.commit import Committer, Pace
from distilabel_endpoints._store.journal.database import Note
from distilabel_endpoints._store.journal.record import Record, seal
from distilabel_endpoints.errors import StorageError

FOR_EVER = 20.0
"""Seconds after which a test gives up waiting."""


def record(ordinal: int) -> Record:
    return seal(ok(ordinal), hash_of(ordinal))


class Disk:
    """A disk that remembers groups, and can be held up or broken."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.notes: list[str] = []
        self.told: list[int] = []
        self.error: Exception | None = None
        self.free = threading.Event()
        self.free.set()
        self.busy = threading.Event()
        self.written = threading.Condition()

    def commit(self, records: list[Record], notes: list[Note]) -> None:
        self.busy.set()
        assert self.free.wait(FOR_EVER)
        if self.error:
            raise self.error
        with self.written:
            self.groups.append([record.ordinal for record in records])
            self.notes += [name for name, _ in notes]
            self.written.notify_all()

    def wait_for(self, groups: int) -> None:
        with self.written:
            assert self.written.wait_for(lambda: len(self.groups) >= groups, FOR_EVER)

    @contextmanager
    def committer(self, pace: Pace = BY_HAND) -> Iterator[Committer]:
        committer = Committer(
            self.commit,
            on_committed=into(self.told),
            pace=pace,
        )
        try:
            yield committer
        finally:
            self.free.set()
            if self.error:
                with pytest.raises(StorageError):
                    committer.close()
            else:
                committer.close()


class Watched(Committer):
    """Says when its writer has looked at a group and found it too small."""

    looked: threading.Event

    def _due(self) -> bool:
        due = super()._due()
        if not due:
            self.looked.set()
        return due


def test_full_group_is_due_at_once() -> None:
    """The record that fills a group wakes the writer; the ones before let it sleep."""
    disk = Disk()
    Watched.looked = threading.Event()
    committer = Watched(disk.commit, pace=Pace(group=3, delay=3600))
    for ordinal in range(2):
        committer.append(record(ordinal))
    assert committer.looked.wait(FOR_EVER)
    assert not disk.busy.is_set()
    committer.append(record(2))
    disk.wait_for(1)
    committer.append(record(3))
    committer.close()
    assert disk.groups == [[0, 1, 2], [3]]


def test_first_record_waits_for_the_delay_only() -> None:
    """A lone record is committed when its time is up, without another call."""
    disk = Disk()
    with disk.committer(Pace(group=1000, delay=0.001)) as committer:
        committer.append(record(7))
        disk.wait_for(1)
        assert disk.groups == [[7]]


def test_slow_disk_makes_larger_groups() -> None:
    """While a commit is under way `append` returns at once; what gathered goes in one group."""
    disk = Disk()
    with disk.committer(Pace(group=2, delay=3600)) as committer:
        disk.free.clear()
        for ordinal in range(2):
            committer.append(record(ordinal))
        assert disk.busy.wait(FOR_EVER)
        for ordinal in range(2, 50):
            committer.append(record(ordinal))
        assert committer.backlog == 50
        assert disk.told == []
        disk.free.set()
        committer.flush()
        assert committer.backlog == 0
    assert disk.groups == [[0, 1], [*range(2, 50)]]
    assert disk.told == [*range(50)]


def test_flush_waits_for_its_own() -> None:
    """A flush returns when what was appended before it is committed and told."""
    disk = Disk()
    with disk.committer() as committer:
        committer.flush()
        committer.append(record(1))
        committer.flush()
        assert disk.told == [1]


def test_note_goes_with_what_came_before() -> None:
    """A note is committed at once, in one group with the records appended before it."""
    disk = Disk()
    with disk.committer() as committer:
        committer.append(record(1))
        committer.write_note(("n", b"1"))
        disk.wait_for(1)
        committer.flush()
        assert (disk.groups, disk.notes, committer.backlog) == ([[1]], ["n"], 0)


def test_many_threads() -> None:
    """Threads that append together lose nothing, and each sees its own order kept."""
    disk = Disk()
    with disk.committer(Pace(group=8, delay=0.001)) as committer:

        def append(first: int) -> None:
            for ordinal in range(first, first + 500):
                committer.append(record(ordinal))

        threads = [threading.Thread(target=append, args=(n * 1000,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(FOR_EVER)
        committer.flush()
    for n in range(4):
        assert [o for o in disk.told if o // 1000 == n] == [*range(n * 1000, n * 1000 + 500)]
    assert disk.told == [ordinal for group in disk.groups for ordinal in group]


CALLS: list[Callable[[Committer], object]] = [
    lambda committer: committer.append(record(9)),
    lambda committer: committer.write_note(("n", b"1")),
    lambda committer: committer.flush(),
    lambda committer: committer.close(),
]


@pytest.mark.promise("R13")
@pytest.mark.parametrize("call", CALLS, ids=["append", "note", "flush", "close"])
def test_failure_is_final(call: Callable[[Committer], object]) -> None:
    """After one failed write nothing is written or told, and every call raises that error."""
    disk = Disk()
    with disk.committer() as committer:
        committer.append(record(0))
        committer.flush()
        disk.error = StorageError("the disk is full")
        committer.append(record(1))
        with pytest.raises(StorageError, match="the disk is full"):
            committer.flush()
        disk.error = None
        for _ in range(2):
            with pytest.raises(StorageError, match="the disk is full") as caught:
                call(committer)
            assert str(caught.value.__cause__) == "the disk is full"
        disk.error = StorageError("what closing raises is the writer's own")
    assert (disk.groups, disk.told) == ([[0]], [0])


def test_flush_under_way_learns_of_the_failure() -> None:
    """Whoever waits when the disk fails is woken with the error."""
    disk = Disk()
    disk.error = StorageError("gone")
    disk.free.clear()

    async def run(committer: Committer) -> None:
        flushing = [asyncio.create_task(asyncio.to_thread(committer.flush)) for _ in range(3)]
        assert await asyncio.to_thread(disk.busy.wait, FOR_EVER)
        disk.free.set()
        for task in flushing:
            with pytest.raises(StorageError, match="gone"):
                await task

    with disk.committer(Pace(group=1, delay=0)) as committer:
        committer.append(record(0))
        asyncio.run(run(committer))


def test_listener_that_raises() -> None:
    """A listener's own error ends the writer loudly; nobody waits for ever."""

    def listen(records: list[Record]) -> None:
        raise ValueError(records)

    committer = Committer(Disk().commit, on_committed=listen, pace=BY_HAND)
    committer.append(record(0))
    with pytest.raises(RuntimeError, match="ended unexpectedly"):
        committer.flush()
    with pytest.raises(RuntimeError, match="ended unexpectedly"):
        committer.close()


def test_who_wrote_a_note_hears_how_it_ended() -> None:
    """With nothing when it is durable, with the error when it never will be; once each."""
    disk = Disk()
    ends: list[Exception | None] = []
    with disk.committer() as committer:
        committer.write_note(("first", b"1"), ends.append)
        committer.flush()
        assert ends == [None]
        disk.error = StorageError("the disk is full")
        committer.write_note(("second", b"2"), ends.append)
        with pytest.raises(StorageError, match="the disk is full"):
            committer.flush()
    assert ends == [None, disk.error]
