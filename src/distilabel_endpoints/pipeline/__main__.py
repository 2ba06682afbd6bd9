"""`python -m distilabel_endpoints.pipeline PROGRAM.py ...`: a program as it is, with our class.

`-m MODULE ...` runs a module, as in `-m distilabel pipeline run --config pipeline.yaml`.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from distilabel_endpoints.errors import InstallationError

_USAGE = "usage: python -m distilabel_endpoints.pipeline (PROGRAM.py | -m MODULE) [ARGUMENT ...]"


def main() -> None:
    """Call `patch()`, then run the program with the arguments after its name."""
    arguments = sys.argv[1:]
    is_module = arguments[:1] == ["-m"]
    program = arguments[is_module:][:1]
    if not program or program[0].startswith("-"):
        sys.exit(_USAGE)
    try:
        from distilabel_endpoints.pipeline import patch
    except InstallationError as error:
        sys.exit(str(error))
    patch()
    sys.argv = arguments[is_module:]
    if is_module:
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(program[0]).resolve().parent)
        runpy.run_path(program[0], run_name="__main__")


if __name__ == "__main__":
    main()
