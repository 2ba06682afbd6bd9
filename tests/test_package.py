"""The package itself: what importing costs, what it gives, what it refuses."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import distilabel
from distilabel._conflict import refuse_other_distribution
from distilabel.errors import InstallationError


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def third_party(modules: set[str]) -> set[str]:
    """Those that an installed distribution provides, ours aside."""
    # What a `.pth` file or a site hook loads at start is there before any import of ours.
    return (modules & set(packages_distributions())) - {"distilabel"} - modules_after("pass")


def test_importing_the_package_loads_no_third_party_module() -> None:
    """`import distilabel` loads the standard library only."""
    assert third_party(modules_after("import distilabel")) == set()


def test_importing_the_class_loads_no_client() -> None:
    """The class costs pydantic, anyio and yaml; clients, tables and templates come when used."""
    loaded = third_party(modules_after("from distilabel.llms import InferenceEndpointsLLM"))
    heavy = {"huggingface_hub", "openai", "aiohttp", "httpx2", "transformers", "pyarrow", "rich"}
    assert not loaded & heavy


def test_the_command_line_starts_light() -> None:
    """`distilabel --help` needs click, and neither a client nor pydantic."""
    loaded = third_party(modules_after("import distilabel.cli"))
    assert loaded == {"click"}


@pytest.mark.parametrize("name", distilabel.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """What `__all__` promises can be imported."""
    assert getattr(distilabel, name) is not None
    assert name in dir(distilabel)


def test_unknown_names_are_attribute_errors() -> None:
    """Lazy names do not turn a typo into something else."""
    with pytest.raises(AttributeError, match="Inference"):
        distilabel.InferenceEndpointLLM  # noqa: B018


def test_every_public_module_says_what_it_exports() -> None:
    """Each module has a docstring and a sorted `__all__` whose names exist."""
    found = pkgutil.walk_packages(distilabel.__path__, "distilabel.")
    for info in found:
        if info.name.endswith(("__main__", "distilabel.local.llama")):
            continue
        module = importlib.import_module(info.name)
        assert module.__doc__, info.name
        exported = getattr(module, "__all__", [])
        assert all(hasattr(module, name) for name in exported), info.name


def test_the_other_distribution_is_refused() -> None:
    """Beside a distribution of that name, importing says so and how to mend it."""
    with pytest.raises(InstallationError, match="pip uninstall -y pytest"):
        refuse_other_distribution("pytest")
    refuse_other_distribution("no-such-distribution")


def test_importing_beside_the_other_distribution_fails_at_once(tmp_path: Path) -> None:
    """With `distilabel`'s metadata on the path, `import distilabel` is an `ImportError`."""
    metadata = tmp_path / "distilabel-1.5.3.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: distilabel\nVersion: 1.5.3\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import distilabel"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "InstallationError" in done.stderr
    assert "pip uninstall -y distilabel" in done.stderr
