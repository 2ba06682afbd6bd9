"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from distilabel.local import LocalEndpoint


@pytest.fixture
def unused_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def local_endpoint() -> Iterator[LocalEndpoint]:
    """llama.cpp with the small real model: one for each pytest process, sharing the cores."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    with LocalEndpoint(threads=max(1, (os.cpu_count() or 1) // workers)) as endpoint:
        yield endpoint
