"""Refuses to work beside the distribution `distilabel`, which owns the same import name.

Two distributions that write one package leave a mixture of both on the disk: whichever was
installed last wins file by file. Saying so at import is better than any error that follows.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from distilabel.errors import InstallationError

__all__ = ["refuse_other_distribution"]


def refuse_other_distribution(name: str = "distilabel") -> None:
    """Raise `InstallationError` when the distribution `name` is installed here."""
    try:
        found = version(name)
    except PackageNotFoundError:
        return
    raise InstallationError(
        f"The distribution '{name}' {found} is installed in this environment. It provides the "
        "same import package as 'distilabel-endpoints', and the two overwrite each other's "
        f"files. Keep one: pip uninstall -y {name} && "
        "pip install --force-reinstall distilabel-endpoints"
    )
