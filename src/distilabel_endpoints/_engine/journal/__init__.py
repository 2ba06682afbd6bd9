"""The durable log of results: one SQLite file beside the output, `OUTPUT.journal`.

Rules
1. A row is done iff its result is committed; committed means it survives SIGKILL and power loss.
2. For one content, `ok` beats `failed` and the first committed `ok` stays.
3. One writer, any number of readers; neither makes the other fail.
4. A failed write or fsync ends the writer. It is never retried.
5. What fails its checksum is never handed out; what passes is never thrown away.

log.py      Journal: what the run holds            commit.py  the writer's thread
reader.py   Reader: replay, results, statistics    lock.py    one writer per output
opening.py  create, check, rebuild                 store.py   the SQLite file and its rules
pages.py    rows of a damaged file                 record.py, header.py, place.py  values and paths
"""

from __future__ import annotations

from distilabel_endpoints._engine.journal.commit import Pace
from distilabel_endpoints._engine.journal.header import Header
from distilabel_endpoints._engine.journal.lock import Holder, holder_of
from distilabel_endpoints._engine.journal.log import Journal
from distilabel_endpoints._engine.journal.opening import Repair
from distilabel_endpoints._engine.journal.place import check_space, journal_path
from distilabel_endpoints._engine.journal.reader import Reader, Reason, Replay, Standing, Statistics
from distilabel_endpoints._engine.journal.record import Entry, Record

__all__ = [
    "Entry",
    "Header",
    "Holder",
    "Journal",
    "Pace",
    "Reader",
    "Reason",
    "Record",
    "Repair",
    "Replay",
    "Standing",
    "Statistics",
    "check_space",
    "holder_of",
    "journal_path",
]
