"""A job over real Ray, with the simulated endpoint as Hugging Face for driver and workers."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from command import (
    AT_SIMULATED_HUGGING_FACE,
    MAIN,
    Started,
    addresses_of,
    environment,
    start,
    started,
)

from distilabel_endpoints.testing import SimulatedEndpoint


def start_job(
    endpoint: SimulatedEndpoint, tmp_path: Path, short_folder: str, token: str, *words: object
) -> Started:
    """The command with `--ray`, in a process of its own; standard output and error are pipes."""
    # Ray starts its workers itself: they find the simulated Hugging Face when Python starts.
    (tmp_path / "site").mkdir(exist_ok=True)
    (tmp_path / "site" / "sitecustomize.py").write_text(AT_SIMULATED_HUGGING_FACE, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    variables = {
        **environment(HF_TOKEN=token, XDG_STATE_HOME=str(tmp_path / "state")),
        **addresses_of(endpoint),
        "PYTHONPATH": path.rstrip(os.pathsep),
        "RAY_TMPDIR": short_folder,
    }
    code = AT_SIMULATED_HUGGING_FACE + MAIN
    return started(list(map(str, [*words, "--ray"])), variables, code)


def finish(*words: object, **more: str) -> Any:
    """Run a command to its end; on a busy machine Ray alone takes a minute."""
    driver = start(*words, **more)
    out, err = driver.communicate(timeout=240)
    return SimpleNamespace(returncode=driver.returncode, stdout=out, stderr=err)
