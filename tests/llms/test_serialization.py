"""Objects as JSON and YAML and back, without secrets and without importing strangers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.llms.serialization import Serializable, load_class


class Sample(Serializable):
    """A small object with one of everything."""

    name: str
    count: int = 0
    share: float | None = None
    nested: dict[str, Any] = Field(default_factory=dict)
    api_key: SecretStr | None = Field(default=None, repr=False)
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    forgotten: SecretStr | None = None
    several: list[SecretStr] = Field(default_factory=list)


class Child(Sample):
    extra: str = "x"


class Outer:
    class Inner(Serializable):
        value: int = 1


FULL = Sample(
    name="naïve 東京 😀",
    count=-3,
    share=0.1,
    nested={"a": [1, None, True, {"b": "c: d\n- e"}], "yes": "no", "1": "2"},
    api_key=SecretStr("hf_secret1"),
    headers={"X-Key": "secret2"},
    forgotten=SecretStr("secret3"),
    several=[SecretStr("secret4")],
)
BARE = FULL.model_copy(update={"api_key": None, "headers": {}, "forgotten": None, "several": []})


def test_a_dump_is_plain_and_names_its_class() -> None:
    """JSON values only, with the class to make of them."""
    dumped = FULL.dump()
    assert json.loads(json.dumps(dumped)) == dumped
    assert dumped["type_info"] == {"module": __name__, "name": "Sample"}
    assert dumped["nested"] == FULL.nested


@pytest.mark.promise("S3")
@pytest.mark.parametrize("ending", ["json", "yaml", "yml", "JSON", "YAML"])
def test_a_saved_object_comes_back(tmp_path: Path, ending: str) -> None:
    """Everything but the secrets, which are nowhere in the file."""
    path = tmp_path / f"sample.{ending}"
    FULL.save(path)
    assert Sample.from_file(path) == BARE
    assert "secret" not in path.read_text(encoding="utf-8")
    assert "東京" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("format_", ["json", "yaml"])
def test_a_format_may_be_said(tmp_path: Path, format_: Literal["json", "yaml"]) -> None:
    """It wins over the ending, and is needed where that says nothing."""
    path = str(tmp_path / "sample.txt")
    FULL.save(path, format=format_)
    assert Sample.from_file(path, format=format_) == BARE
    text = Path(path).read_text(encoding="utf-8")
    assert text.startswith("{") is (format_ == "json")


@pytest.mark.parametrize("name", ["sample", "sample.txt", "sample.json.gz", ".json"])
def test_an_ending_that_says_nothing_is_an_error(tmp_path: Path, name: str) -> None:
    """The error says what to give; nothing is written."""
    with pytest.raises(ConfigurationError, match="say format='json' or format='yaml'"):
        FULL.save(tmp_path / name)
    assert not (tmp_path / name).exists()
    with pytest.raises(ConfigurationError, match="say format="):
        Sample.from_file(tmp_path / name)


def test_a_class_outside_the_package_loads_what_it_dumped() -> None:
    """A user's own subclass round-trips through itself, wherever it is defined."""

    class Local(Sample):
        pass

    for kind in (Sample, Child, Local, Outer.Inner):
        values = {} if kind is Outer.Inner else {"name": "a"}
        made = kind(**values)
        again = kind.from_dict(made.dump())
        assert type(again) is kind
        assert again == made


def test_a_dump_without_a_class_is_of_the_one_asked() -> None:
    """`type_info` may be left out of a file written by hand."""
    values = {"name": "a"}
    assert Sample.from_dict(values) == Sample(name="a")
    assert values == {"name": "a"}


def test_a_wrong_value_names_its_field() -> None:
    """Values are checked as they are for any new object."""
    with pytest.raises(ConfigurationError, match="count"):
        Sample.from_dict({"name": "a", "count": "many"})


@pytest.mark.parametrize(
    "info",
    [
        {"module": __name__, "name": "Child"},
        {"module": "os", "name": "system"},
        {"module": "pydantic", "name": "BaseModel"},
        {"module": "distilabel_endpoints.errors", "name": "ConfigurationError"},
        {"module": "distilabel_endpoints.llms.serialization", "name": "json"},
        {"module": "distilabel_endpoints.llms.serialization", "name": "Missing"},
        {"module": "distilabel_endpoints.llms.serialization", "name": "Serializable.dump"},
        {"module": "distilabel_endpoints.nowhere", "name": "X"},
        {"module": "distilabel_endpoints..llms", "name": "X"},
        {"module": "distilabel_endpointsevil", "name": "X"},
        {"module": "distilabel_endpoints.\x00", "name": "X"},
        {"module": "", "name": ""},
        {"module": 1, "name": "X"},
        {"module": "distilabel_endpoints"},
        {},
        [],
        "distilabel_endpoints.llms.serialization.Serializable",
        5,
    ],
)
def test_no_other_class_is_loaded(info: Any) -> None:
    """Foreign classes, other things, nonsense: refused, and nothing is imported."""
    before = set(sys.modules)
    with pytest.raises(ConfigurationError, match="type_info"):
        Sample.from_dict({"name": "a", "type_info": info})
    assert {
        name for name in set(sys.modules) - before if not name.startswith("distilabel_endpoints")
    } == set()


def test_a_class_of_the_package_must_be_one_that_was_asked() -> None:
    """A dump of something else is not taken for this."""
    info = {"module": "distilabel_endpoints.llms.serialization", "name": "Serializable"}
    assert load_class(info) is Serializable
    with pytest.raises(ConfigurationError, match="names Serializable, not Sample"):
        Sample.from_dict({"type_info": info})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b'{"name": ', "line 1"),
        ("a.json", b"[1]", "holds list"),
        ("a.json", b"null", "holds NoneType"),
        ("a.json", b"\xff\xfe\xfa", "not UTF-8"),
        ("a.json", b"[" * 100_000, "not what its ending"),
        ("a.yaml", b"name: [a\nkey: hf_secret", "line 2"),
        ("a.yaml", b"name: \x00", "not what its ending"),
        ("a.yaml", b"!!python/object/apply:os.system [exit]", "line 1"),
        ("a.yaml", b"- a", "holds list"),
        ("a.yaml", b"", "holds NoneType"),
    ],
)
def test_a_file_that_is_none_is_an_error(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    """What is wrong and where, without showing what stands in the file."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said) as caught:
        Sample.from_file(path)
    assert str(path) in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    """The system's own error says it best."""
    with pytest.raises(FileNotFoundError):
        Sample.from_file(tmp_path / "none.json")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), VALUES, max_size=4), st.text())
def test_any_json_value_survives_both_formats(nested: dict[str, Any], name: str) -> None:
    """Whatever text or number is in it, JSON and YAML give the same back."""
    sample = Sample(name=name, nested=nested)
    with TemporaryDirectory() as folder:
        for ending in ("json", "yaml"):
            path = Path(folder, f"sample.{ending}")
            sample.save(path)
            assert Sample.from_file(path) == sample


def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """Half a character is refused before the file is touched."""
    path = tmp_path / "sample.json"
    FULL.save(path)
    with pytest.raises(UnicodeEncodeError):
        Sample(name="\ud800").save(path)
    assert Sample.from_file(path) == BARE


def test_it_is_a_pydantic_model() -> None:
    """A subclass adds fields and nothing else."""
    assert issubclass(Serializable, BaseModel)
    assert Serializable.model_fields == {}


UPSTREAMS = [
    "distilabel.llms.huggingface.inference_endpoints",
    "distilabel.models.llms.huggingface.inference_endpoints",
    "distilabel_endpoints.pipeline",
]


def saved_by_upstream(module: str, **more: Any) -> dict[str, Any]:
    """The dump of an LLM as distilabel 1.5 makes it."""
    return {
        "use_magpie_template": False,
        "magpie_pre_query_template": None,
        "generation_kwargs": {"temperature": 0.5},
        "use_offline_batch_generation": False,
        "offline_batch_generation_block_until_done": None,
        "jobs_ids": None,
        "base_url": "http://localhost:1",
        "structured_output": None,
        **more,
        "type_info": {"module": module, "name": "InferenceEndpointsLLM"},
    }


@pytest.mark.parametrize("module", UPSTREAMS)
def test_what_upstream_saved_loads(module: str, tmp_path: Path) -> None:
    """The class as distilabel names it, before 1.5 and since, is ours; what is for its pipelines
    alone is left out."""
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps(saved_by_upstream(module)))
    llm = InferenceEndpointsLLM.from_file(saved)
    assert type(llm) is InferenceEndpointsLLM
    assert llm.generation_kwargs == {"temperature": 0.5}
    assert type(Serializable.from_dict(saved_by_upstream(module))) is InferenceEndpointsLLM


def test_what_upstream_saved_and_used_is_an_error() -> None:
    """An attribute that decides what is asked is not dropped in silence."""
    saved = saved_by_upstream(UPSTREAMS[1], use_magpie_template=True)
    with pytest.raises(ConfigurationError, match="use_magpie_template"):
        InferenceEndpointsLLM.from_dict(saved)
