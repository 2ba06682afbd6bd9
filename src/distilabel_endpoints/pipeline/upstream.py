"""Whether the distribution `distilabel` is here, in a version whose pipelines this room fits."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from distilabel_endpoints.errors import InstallationError

__all__ = ["INSTALL", "fits", "is_installed", "require_upstream"]

INSTALL: Final = 'pip install "distilabel-endpoints[pipeline]"'


def is_installed() -> bool:
    """Whether `import distilabel.models` gives upstream's package."""
    return _version() is not None


def fits() -> bool:
    """Whether it is of the minor version whose inner workings are known here."""
    return (_version() or "").split(".")[:2] == ["1", "5"]


def require_upstream() -> None:
    """Refuse to go further if upstream's pipelines cannot be used.

    Raises:
        InstallationError: `distilabel` is missing, or of another minor version.
    """
    if not is_installed():
        raise InstallationError(
            f"distilabel_endpoints.pipeline needs the distribution distilabel: {INSTALL}"
        )
    if not fits():
        raise InstallationError(
            f"distilabel {_version()} is installed, and distilabel_endpoints.pipeline works with "
            f"1.5 only: {INSTALL}"
        )


def _version() -> str | None:
    try:
        return version("distilabel")
    except PackageNotFoundError:
        return None
