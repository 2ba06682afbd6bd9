"""The package itself: what importing costs, what it gives, what it refuses."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import distilabel_endpoints

PACKAGE = Path(distilabel_endpoints.__file__).parent
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if not path.stem.startswith("__")]


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def third_party(modules: set[str]) -> set[str]:
    """Those that an installed distribution provides, ours aside."""
    # What a `.pth` file or a site hook loads at start is there before any import of ours.
    return (
        (modules & set(packages_distributions()))
        - {"distilabel", "distilabel_endpoints"}
        - modules_after("pass")
    )


def test_importing_the_package_loads_no_third_party_module() -> None:
    """`import distilabel_endpoints` loads the standard library only."""
    assert third_party(modules_after("import distilabel_endpoints")) == set()


def test_importing_the_class_loads_no_client() -> None:
    """The class costs pydantic, anyio and yaml; clients, tables and templates come when used."""
    loaded = third_party(
        modules_after("from distilabel_endpoints.llms import InferenceEndpointsLLM")
    )
    heavy = {"huggingface_hub", "openai", "aiohttp", "httpx2", "transformers", "pyarrow", "rich"}
    assert not loaded & heavy


def test_the_command_line_starts_light() -> None:
    """`distilabel-endpoints --help` needs click, and neither a client nor pydantic."""
    loaded = third_party(modules_after("import distilabel_endpoints.cli"))
    assert loaded == {"click"}


@pytest.mark.parametrize("name", distilabel_endpoints.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """What `__all__` promises can be imported."""
    assert getattr(distilabel_endpoints, name) is not None
    assert name in dir(distilabel_endpoints)


def test_completion_shows_public_names_only() -> None:
    """`dir()` is what `__all__` promises, sorted; no import of ours shows."""
    assert dir(distilabel_endpoints) == sorted(distilabel_endpoints.__all__)
    assert all(name == "__version__" or name[0] != "_" for name in dir(distilabel_endpoints))


def test_unknown_names_are_attribute_errors() -> None:
    """Lazy names do not turn a typo into something else."""
    with pytest.raises(AttributeError, match="Inference"):
        distilabel_endpoints.InferenceEndpointLLM  # noqa: B018


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_all_is_complete(path: Path) -> None:
    """`__all__` has every class and function of a module that has no underscore; ruff sorts it."""
    exported: list[str] = []
    defined: list[str] = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            exported = ast.literal_eval(node.value)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.append(node.name)
    assert [name for name in defined if name[0] != "_" and name not in exported] == []


def test_every_public_module_says_what_it_exports() -> None:
    """Each module has a docstring and an `__all__` whose names exist."""
    found = pkgutil.walk_packages(distilabel_endpoints.__path__, "distilabel_endpoints.")
    for info in found:
        if info.name.endswith(("__main__", "distilabel_endpoints.local.llama")):
            continue
        if info.name.startswith("distilabel_endpoints.pipeline"):
            continue  # beside upstream: tests/pipeline/test_pipeline_installation.py
        module = importlib.import_module(info.name)
        assert module.__doc__, info.name
        exported = getattr(module, "__all__", [])
        assert all(hasattr(module, name) for name in exported), info.name


@pytest.mark.parametrize("name", ["pipeline", "steps"])
def test_parts_of_upstream_say_what_to_install(name: str) -> None:
    """Without upstream, its modules end in one sentence with the command."""
    with pytest.raises(ImportError, match=r"pip install \"distilabel-endpoints\[pipeline\]\""):
        importlib.import_module(f"distilabel.{name}")


def test_other_names_are_not_there_without_upstream() -> None:
    """`distilabel.llms` has the one class, and `LLM` only where upstream is installed."""
    with pytest.raises(ImportError, match="LLM"):
        from distilabel.llms import LLM  # noqa: F401
