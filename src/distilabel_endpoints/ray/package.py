"""The one door to the library `ray`."""

from __future__ import annotations

from typing import Any

from distilabel_endpoints.errors import InstallationError, RunError
from distilabel_endpoints.records import Failure, FailureKind

__all__ = ["ray_error", "ray_package"]


def ray_package(purpose: str) -> Any:
    """The library `ray`, with `ray.data`.

    Args:
        purpose: what needs it, for the message.

    Raises:
        InstallationError: it is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise InstallationError(
            f'{purpose} needs ray, which is not installed: pip install "distilabel-endpoints[ray]"'
        ) from None
    return ray


def ray_error(error: Exception) -> RunError:
    """The error that ends a run, of what Ray reports: its last line."""
    last_line = (str(error).strip() or type(error).__name__).splitlines()[-1]
    return RunError(Failure(kind=FailureKind.LOCAL, code="ray", message=f"Ray: {last_line}"))
