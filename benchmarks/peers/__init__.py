"""Other programs, each in an environment of its own (`benchmarks/environments.py`).

    .venv/bin/python -m benchmarks peers      # makes the environments, says what is in them

Once made, they take part in `clients` and `cost`. Each module here sends a `Load` with one of
them, and runs in its environment: it needs nothing of this project but `benchmarks.spent`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.environments import ROOT, python_of
from benchmarks.tables import note, print_table, size

__all__ = ["PEERS", "Peer", "main"]

_VERSIONS = (
    "from importlib.metadata import distributions as all;"
    "print(*sorted({f'{d.name} {d.version}' for d in all() if d.name.replace('-', '_') in "
    "{'distilabel', 'litellm', 'openai', 'huggingface_hub', 'httpx', 'httpx2', 'aiohttp'}}),"
    " sep=', ')"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A program to compare with."""

    named: str
    module: str
    environment: str
    imported: str
    """How its users import it."""
    flags: tuple[str, ...] = ()
    """What it needs of the endpoint."""

    @property
    def installed(self) -> bool:
        """Whether its environment was made."""
        return (ROOT / self.environment / "installed.txt").is_file()


# Or litellm fetches a price list from the network at import.
_OFFLINE = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
# It gives a model of its own naming to whatever is behind a URL; TGI does not look at it.
_TGI = ("--flavor", "tgi")
_IMPORT = "from distilabel_endpoints.models.llms import InferenceEndpointsLLM"

PEERS: Mapping[str, Peer] = {
    "litellm": Peer(
        named="litellm", module="use_litellm", environment="litellm", imported="import litellm"
    ),
    "distilabel": Peer(
        named="distilabel 1.5.3, libraries of its time",
        module="use_distilabel",
        environment="distilabel-1.5.3",
        imported=_IMPORT,
        flags=_TGI,
    ),
    "distilabel-today": Peer(
        named="distilabel 1.5.3, huggingface_hub 2.4",
        module="use_distilabel",
        environment="distilabel-1.5.3-today",
        imported=_IMPORT,
        flags=_TGI,
    ),
}
"""By the name that `load.py` takes."""


def import_seconds(peer: Peer) -> float:
    """The median of some starts that import it, the first one left out."""
    command = [str(python_of(peer.environment)), "-W", "ignore", "-c", peer.imported]

    def once(_: int) -> float:
        started = time.monotonic()
        subprocess.run(command, check=True, capture_output=True, env=_OFFLINE)
        return time.monotonic() - started

    return statistics.median([once(n) for n in range(size(6, 2))][1:])


def describe(peer: Peer) -> tuple[str, ...]:
    """A line of the table; makes the environment."""
    try:
        python = python_of(peer.environment)
    except subprocess.CalledProcessError:
        return peer.named, "could not be installed", ""
    found = subprocess.run([python, "-c", _VERSIONS], check=True, capture_output=True, text=True)
    note(f"peers: {peer.named} is there")
    return peer.named, found.stdout.strip(), f"{import_seconds(peer):.2f}"


def main() -> None:
    """Make what is missing and print what there is."""
    rows = [describe(peer) for peer in PEERS.values()]
    print_table("environments of the peers", ("peer", "versions", "import s"), rows)
