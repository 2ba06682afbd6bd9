"""Fixtures for pipelines of upstream, run where it is installed beside a wheel of ours."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

__all__ = ["as_it_was", "pytest_report_header", "tokenizer", "unused_port"]


@pytest.fixture(autouse=True)
def as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No token lies about, and a run's handler of interrupts does not outlive it."""
    handler = signal.getsignal(signal.SIGINT)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def unused_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small tokenizer with a chat template."""
    from chat_tokenizer import make_tokenizer

    return str(make_tokenizer(tmp_path_factory.mktemp("tokenizer") / "small"))


def pytest_report_header() -> str:
    """Which upstream it is."""
    import distilabel_endpoints

    return f"distilabel {version('distilabel')} beside {distilabel_endpoints.__file__}"
