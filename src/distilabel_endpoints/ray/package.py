"""The one door to the library `ray`."""

from __future__ import annotations

from typing import Any

from distilabel_endpoints.errors import InstallationError

__all__ = ["ray_package"]


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
