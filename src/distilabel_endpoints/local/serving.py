"""The embedded endpoint as a program: listens until SIGINT or SIGTERM, then ends cleanly."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from distilabel_endpoints.local.embedded import LocalEndpoint

__all__ = ["announce", "serve"]


class _Interrupted(BaseException):
    """SIGINT or SIGTERM."""


def announce(endpoint: LocalEndpoint) -> None:
    """What is served, for people, on stderr; the URL alone, for programs, on stdout."""
    import click

    click.echo(f"{endpoint.model_name} at {endpoint.base_url}; Ctrl-C ends it.", err=True)
    click.echo(endpoint.base_url)


def serve(
    model: str | Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    slots: int = 4,
    context: int = 2048,
    threads: int | None = None,
    verbose: bool = False,
    on_ready: Callable[[LocalEndpoint], None] = announce,
) -> int:
    """Serve until SIGINT or SIGTERM; must be called from the main thread.

    `on_ready` is called once requests are answered. The other arguments, and what is raised, are
    those of `LocalEndpoint`; UnavailableError also if llama.cpp crashes later.

    Returns:
        The exit code of a clean end, 0.
    """
    try:
        with (
            _interrupting(signal.SIGINT, signal.SIGTERM),
            LocalEndpoint(
                model,
                slots=slots,
                context=context,
                threads=threads,
                host=host,
                port=port,
                verbose=verbose,
            ) as endpoint,
        ):
            on_ready(endpoint)
            endpoint.wait()
    except _Interrupted:
        pass
    return 0


@contextmanager
def _interrupting(*numbers: signal.Signals) -> Iterator[None]:
    """Inside, these signals raise `_Interrupted`, also while the model loads."""
    before = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _interrupt(number: int, _frame: object) -> NoReturn:
    raise _Interrupted(number)
