"""Beside upstream and without it: names, files, and what pip does to either."""

from __future__ import annotations

import base64
import hashlib
import importlib
import pkgutil
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

import distilabel_endpoints.pipeline as room

UPSTREAM = "distilabel==1.5.3"
FIRST = [
    "distilabel.llms.huggingface",
    "distilabel.models",
    "distilabel.pipeline",
    "distilabel_endpoints.pipeline",
]
NAMES = """
import importlib
importlib.import_module({first!r})
from distilabel.llms.huggingface import InferenceEndpointsLLM, TransformersLLM
from distilabel.llms import InferenceEndpointsLLM as of_llms, LLM, OpenAILLM
from distilabel.models import InferenceEndpointsLLM as upstream, LLM as same
from distilabel_endpoints.pipeline import InferenceEndpointsLLM as ours, patch
assert InferenceEndpointsLLM is of_llms is ours
assert issubclass(ours, upstream) and ours is not upstream and LLM is same
patch()
patch()
from distilabel.models import InferenceEndpointsLLM as one
from distilabel.models.llms import InferenceEndpointsLLM as two
from distilabel.models.llms.huggingface import InferenceEndpointsLLM as three
from distilabel.models.llms.huggingface.inference_endpoints import InferenceEndpointsLLM as four
assert {{one, two, three, four}} == {{ours}}
import distilabel.pipeline
"""


def test_every_module_says_what_it_exports() -> None:
    """Each module of the room has a docstring and an `__all__` whose names exist."""
    for info in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
        module = importlib.import_module(info.name)
        assert module.__doc__, info.name
        assert all(hasattr(module, name) for name in getattr(module, "__all__", [])), info.name


def python(*arguments: str, at: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run an interpreter: of this environment, or of the one in a folder."""
    interpreter = sys.executable if at is None else str(at / "bin" / "python")
    return subprocess.run(
        [interpreter, "-W", "ignore", *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.parametrize("first", FIRST)
def test_names_whatever_is_imported_first(first: str) -> None:
    """The documented import is our class, an LLM of upstream; after `patch()`, so are upstream's
    own names."""
    done = python("-c", NAMES.format(first=first))
    assert done.returncode == 0, done.stderr[-1500:]


SAVED = """
from distilabel.models import InferenceEndpointsLLM as Upstream
from distilabel.pipeline import Pipeline
from distilabel.steps.tasks import TextGeneration
with Pipeline(name="saved") as pipeline:
    TextGeneration(name="gen", llm=Upstream(base_url="http://localhost:1", api_key="x"))
pipeline.save({path!r}, format="yaml")
from distilabel_endpoints.pipeline import InferenceEndpointsLLM, patch
def loaded():
    return type(Pipeline.from_yaml({path!r}).dag.get_step("gen")["step"].llm)
assert loaded() is Upstream
patch()
assert loaded() is InferenceEndpointsLLM
"""


def test_saved_pipelines_of_upstream_load_with_our_class(tmp_path: Path) -> None:
    """Once `patch()` was called; before, they are what they were."""
    done = python("-c", SAVED.format(path=str(tmp_path / "saved.yaml")))
    assert done.returncode == 0, done.stderr[-1500:]


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A new one, with nothing in it; packages come into it through this environment's pip."""
    venv.create(tmp_path / "env", with_pip=False)
    return tmp_path / "env"


def pip(environment: Path, *arguments: str) -> None:
    """Run pip for an environment."""
    interpreter = str(environment / "bin" / "python")
    command = ["-m", "pip", "--disable-pip-version-check", "--quiet", "--python", interpreter]
    done = python(*command, *arguments)
    assert done.returncode == 0, done.stderr


def our_wheel() -> str:
    """The one this environment was made with."""
    (wheel,) = (Path(sys.prefix) / "wheels").glob("*.whl")
    return str(wheel)


def site(environment: Path) -> Path:
    """Where packages are."""
    (folder,) = (environment / "lib").glob("python*/site-packages")
    return folder


def installed(environment: Path) -> dict[str, Distribution]:
    """The distributions in an environment, by name."""
    return {d.metadata["Name"]: d for d in distributions(path=[str(site(environment))])}


def recorded(distribution: Distribution) -> dict[str, str]:
    """A distribution's files, with the hash that each had when it was installed."""
    files = distribution.files or []
    return {str(file): file.hash.value for file in files if file.hash is not None}


def present(environment: Path) -> dict[str, str]:
    """The files that are there, with their hashes; compiled ones aside."""
    root = site(environment)
    found = {}
    for file in root.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            digest = hashlib.sha256(file.read_bytes()).digest()
            found[str(file.relative_to(root))] = (
                base64.urlsafe_b64encode(digest).decode().rstrip("=")
            )
    return found


def is_whole(environment: Path, distribution: Distribution) -> bool:
    """Whether each of its files is as it was installed."""
    files, there = recorded(distribution), present(environment)
    inside = {name for name in files if not name.startswith("..")}
    return len(inside) > 20 and all(there.get(name) == files[name] for name in inside)


@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "upstream first"])
@pytest.mark.parametrize("removed", ["distilabel", "distilabel-endpoints"])
def test_installed_and_removed_in_any_order(
    environment: Path, ours_first: bool, removed: str
) -> None:
    """No file is of both, none is overwritten; removing one leaves the other whole, and nothing
    of its own."""
    packages = [our_wheel(), UPSTREAM] if ours_first else [UPSTREAM, our_wheel()]
    for package in packages:
        pip(environment, "install", "--no-deps", "--no-compile", package)
    both = installed(environment)
    ours, upstream = both["distilabel-endpoints"], both["distilabel"]
    assert not set(recorded(ours)) & set(recorded(upstream))
    assert is_whole(environment, ours)
    assert is_whole(environment, upstream)
    pip(environment, "uninstall", "--yes", removed)
    (left,) = installed(environment).values()
    assert left.metadata["Name"] != removed
    assert is_whole(environment, left)
    named = {str(file) for file in left.files or []}
    assert set(present(environment)) <= named


def test_an_old_upstream_is_refused(environment: Path) -> None:
    """Releases before 1.5 have files of the same names: the message says so, and the way out."""
    pip(environment, "install", "--no-deps", "--no-compile", "distilabel==1.4.2")
    pip(environment, "install", "--no-deps", "--no-compile", our_wheel())
    for name in ("distilabel_endpoints", "distilabel_endpoints.cli"):
        done = python("-c", f"import {name}", at=environment)
        assert "InstallationError" in done.stderr
        assert 'pip install "distilabel==1.5.3"' in done.stderr
    pip(environment, "uninstall", "--yes", "distilabel")
    pip(environment, "install", "--no-deps", "--no-compile", UPSTREAM)
    pip(environment, "install", "--no-deps", "--no-compile", "--force-reinstall", our_wheel())
    assert python("-c", "import distilabel_endpoints", at=environment).returncode == 0
    assert all(is_whole(environment, one) for one in installed(environment).values())


def test_without_upstream(environment: Path) -> None:
    """The room says what to install; the documented import gives our class alone."""
    pip(environment, "install", "--no-deps", "--no-compile", our_wheel())
    with (site(environment) / "deps.pth").open("w") as file:
        file.write(f"import sys; sys.path.append({str(dependencies(environment))!r})\n")
    done = python("-c", "from distilabel_endpoints.pipeline import patch", at=environment)
    assert done.stderr.rstrip().endswith(
        "distilabel_endpoints.pipeline needs the distribution distilabel: "
        'pip install "distilabel-endpoints[pipeline]"'
    )
    names = (
        "from distilabel.llms.huggingface import InferenceEndpointsLLM as one\n"
        "from distilabel.llms import InferenceEndpointsLLM as two\n"
        "from distilabel.models.llms.huggingface import InferenceEndpointsLLM as three\n"
        "from distilabel_endpoints import InferenceEndpointsLLM as ours\n"
        "assert one is two is three is ours\n"
    )
    done = python("-c", names, at=environment)
    assert done.returncode == 0, done.stderr[-1500:]


def dependencies(environment: Path) -> Path:
    """This environment's packages but the two in question, as links in a folder."""
    folder = environment / "dependencies"
    folder.mkdir()
    (packages,) = (Path(sys.prefix) / "lib").glob("python*/site-packages")
    for entry in packages.iterdir():
        if not entry.name.startswith("distilabel"):
            (folder / entry.name).symlink_to(entry)
    return folder
