"""What a run over Ray has spent: a file beside its shards, which is read without Ray.

Rules
- What a worker may spend is in it before the worker gets it. So whatever is killed, the next job
  counts as spent what could have been.
- It belongs to one job at a time. A job that was taken for dead and still runs is granted nothing
  more.
"""

from __future__ import annotations

import fcntl
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from distilabel_endpoints._store.atomic import writing
from distilabel_endpoints.errors import DamagedError, StorageError
from distilabel_endpoints.spending.account import Earlier, read_earlier
from distilabel_endpoints.spending.amounts import Cost, Price
from distilabel_endpoints.spending.budget import Budget
from distilabel_endpoints.spending.treasury import most_of

__all__ = ["JobLedger", "begin_ledger", "change_ledger", "halt_path", "limit_of", "read_ledger"]

_NAME: Final = "_distilabel_endpoints_spent.json"
_LOCK: Final = "_distilabel_endpoints_spent.lock"
_HALT: Final = "_distilabel_endpoints_halt"


def halt_path(output: Path) -> Path:
    """The file that is there once the job in this folder reads no more rows."""
    return output / _HALT


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLedger:
    """The books of the job that runs, or ran last."""

    job: str
    """Which job this is."""
    began: float
    """When it began, by the wall clock."""
    limit: Cost
    """The most that the run may spend."""
    budget: str
    """The same and more, as the user wrote it."""
    is_priced: bool
    hourly: int | None
    """Picodollars an hour, if time is paid for and not tokens."""
    earlier: Earlier
    """What earlier jobs of the run have spent."""
    seconds: float
    """How long jobs have worked on the run."""
    ends_at: float | None = None
    """When the job's time is over, by the wall clock; None if it is not limited."""
    is_exhausted: bool = False
    """Whether this job left something undone for want of money or time."""
    workers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The last note of each worker, in which `most_*` is what it was granted."""

    @classmethod
    def decode(cls, text: bytes) -> Self:
        """From what `encode` gave. `ValueError`, `TypeError` or `KeyError` for anything else."""
        values = json.loads(text)
        earlier = values.pop("earlier")
        return cls(
            **{**values, "limit": Cost(*values["limit"])},
            earlier=Earlier(Cost(*earlier["cost"]), Cost(*earlier["unknown"]), earlier["seconds"]),
        )

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()

    def note(self, *, is_over: bool) -> dict[str, Any]:
        """All of it as one note, in the form of a run of one process.

        Args:
            is_over: whether no worker is left: then what is still reserved counts as spent.
        """
        known = unknown = most = Cost()
        for note in self.workers.values():
            spent = Cost(note["tokens"], note["picodollars"])
            known = known.plus(spent)
            unknown = unknown.plus(Cost(note["unknown_tokens"], note["unknown_picodollars"]))
            most = most.plus(most_of(note) if is_over else spent)
        known, most = known.plus(self.earlier.cost), most.plus(self.earlier.cost)
        unknown = unknown.plus(self.earlier.unknown)
        return {
            "tokens": known.tokens,
            "picodollars": known.picodollars,
            "unknown_tokens": unknown.tokens,
            "unknown_picodollars": unknown.picodollars,
            "most_tokens": most.tokens,
            "most_picodollars": most.picodollars,
            "seconds": self.seconds,
            "is_priced": self.is_priced,
            "hourly": self.hourly,
            "budget": self.budget,
        }


def read_ledger(output: Path) -> JobLedger | None:
    """The books of the run in this folder; None if it never sent anything.

    Raises:
        DamagedError: they are not what was written.
        StorageError: they cannot be read.
    """
    path = output / _NAME
    try:
        return JobLedger.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError, KeyError, AttributeError):
        raise DamagedError(
            f"{path} is damaged, so what the run has spent is not known. Use --fresh to start "
            "over, or remove it to count from zero."
        ) from None


def limit_of(budget: Budget, hourly: int | None) -> Cost:
    """What attempts may cost: if time is paid for, they cost no dollars besides."""
    return (replace(budget, picodollars=None) if hourly else budget).cost


def begin_ledger(
    output: Path,
    budget: Budget,
    *,
    price: Price | None,
    hourly: int | None,
    began: float,
    is_fresh: bool,
) -> JobLedger:
    """A job begins: from now on earlier ones are granted nothing.

    Args:
        output: the folder of the run.
        budget: of the run, all its jobs together.
        price: of a token, if it is known.
        hourly: picodollars an hour, if time is paid for.
        began: when, by the wall clock.
        is_fresh: whether the run starts over, with nothing spent.
    """
    with _locked(output):
        before = None if is_fresh else read_ledger(output)
        earlier = read_earlier(None if before is None else before.note(is_over=True), price)
        ledger = JobLedger(
            job=uuid.uuid4().hex,
            began=began,
            limit=limit_of(budget, hourly),
            budget=budget.text,
            is_priced=price is not None,
            hourly=hourly,
            earlier=earlier,
            seconds=earlier.seconds,
        )
        # Left by the job before, it would end this one at its first rows.
        halt_path(output).unlink(missing_ok=True)
        _write(output, ledger)
    return ledger


def change_ledger(output: Path, job: str, **changes: Any) -> JobLedger | None:
    """Write what has changed, and give back all of it; None if the run is another job's now."""
    with _locked(output):
        ledger = read_ledger(output)
        if ledger is None or ledger.job != job:
            return None
        ledger = replace(ledger, **changes)
        _write(output, ledger)
    return ledger


def _write(output: Path, ledger: JobLedger) -> None:
    with writing(output / _NAME) as file:
        file.write(ledger.encode())


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    try:
        output.mkdir(parents=True, exist_ok=True)
        with (output / _LOCK).open("ab") as file:
            # On a file that is never replaced, as the ledger is with every change.
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{output / _LOCK} cannot be locked: {error.strerror}.") from error
