"""The durable log of results: one SQLite file beside the output, `OUTPUT.journal`.

Rules
1. A row is done iff its result is committed; committed means it survives SIGKILL and power loss.
2. For one content, `ok` beats `failed` and the first committed `ok` stays.
3. One writer, any number of readers; neither makes the other fail.
4. A failed write or fsync ends the writer. It is never retried.
5. What fails its checksum is never handed out; what passes is never thrown away.

- `log`: what the run holds. `commit`: the writer's thread. `reader`: replay and statistics.
- `recovery`: create, check, rebuild. `database`: the SQLite file and its rules.
- `pages`: rows of a damaged file. `record`, `header`: values.
"""

from __future__ import annotations

from distilabel_endpoints._store.journal.commit import Pace
from distilabel_endpoints._store.journal.header import Header
from distilabel_endpoints._store.journal.log import Journal
from distilabel_endpoints._store.journal.reader import (
    NOTHING_STORED,
    Reader,
    Replay,
    RowStatus,
    StoreStatistics,
)
from distilabel_endpoints._store.journal.record import Entry, Record
from distilabel_endpoints._store.journal.recovery import Repair

__all__ = [
    "NOTHING_STORED",
    "Entry",
    "Header",
    "Journal",
    "Pace",
    "Reader",
    "Record",
    "Repair",
    "Replay",
    "RowStatus",
    "StoreStatistics",
]
