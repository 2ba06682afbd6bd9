"""The error tree: what is drawn is what there is, and every error travels."""

from __future__ import annotations

import copy
import inspect
import pickle  # noqa: TID251 - exceptions cross processes by pickling, ours must survive it
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distilabel_endpoints import errors
from distilabel_endpoints._clients.parameters import check_parameters
from distilabel_endpoints._targets.urls import check_base_url
from distilabel_endpoints.errors import (
    ConfigurationError,
    DistilabelError,
    EndpointError,
    FingerprintError,
    GenerationError,
    InputError,
    LockedError,
    RunError,
    StorageError,
    UnavailableError,
    UserCodeError,
    run_error,
)
from distilabel_endpoints.llms.serialization import Serializable
from distilabel_endpoints.records import Failure, FailureKind

FAILURE = Failure(kind=FailureKind.RUN, message="no", status=401, hint="Fix it.")
CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, Exception) and not name.startswith("_")
}


def drawn() -> dict[str, tuple[str | None, str | None]]:
    """Each class of the docstring's tree, with the parent and the builtin it is drawn with."""
    found: dict[str, tuple[str | None, str | None]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^    ((?:[│ ]   )*)(?:[├└]── )?(\w+Error)(?: \((\w+)\))?", line)
        if match is None:
            continue
        depth = len(match[1]) // 4 + (1 if re.search("[├└]", line) else 0)
        above[depth:] = [match[2]]
        found[match[2]] = (above[depth - 1] if depth else None, match[3])
    return found


def test_the_tree_that_is_drawn_is_the_tree_there_is() -> None:
    """Every class stands in the docstring, under its parent, with the builtin it also is."""
    actual = {}
    for name, kind in CLASSES.items():
        bases = [base.__name__ for base in kind.__bases__]
        parent = bases[0] if bases[0] in CLASSES else None
        actual[name] = (parent, next((b for b in bases if b not in CLASSES and parent), None))
    assert drawn() == actual


def test_every_class_is_exported_and_says_what_it_is() -> None:
    """No error is hidden, and each has a docstring of its own."""
    assert {*CLASSES, "run_error", "traceback_lines"} == set(errors.__all__)
    assert all(kind.__doc__ for kind in CLASSES.values())


def made(kind: type[Exception]) -> Exception:
    """One of each."""
    if kind is FingerprintError:
        return FingerprintError("out.jsonl", {"seed": ("1", "2")})
    if kind is UserCodeError:
        return UserCodeError("on_row", 3, "ValueError: no idea")
    if issubclass(kind, RunError):
        return kind(FAILURE, [{"generations": ["a"]}, None])
    if issubclass(kind, EndpointError):
        return kind(FAILURE)
    return kind(28, "No space left") if issubclass(kind, OSError) else kind("what and where")


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
@pytest.mark.parametrize("travel", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_every_error_survives_a_journey(
    kind: type[Exception], travel: Callable[[Exception], Exception]
) -> None:
    """Class, message, notes and all it carries are the same on the other side."""
    error = made(kind)
    error.add_note("beside it")
    other = travel(error)
    assert type(other) is kind
    assert (str(other), other.args) == (str(error), error.args)
    assert {k: v for k, v in vars(other).items() if k != "failure"} == {
        k: v for k, v in vars(error).items() if k != "failure"
    }
    assert getattr(other, "failure", None) == getattr(error, "failure", None)


def test_an_endpoints_error_says_what_to_do() -> None:
    """Status, words and hint, and never the outputs it carries."""
    error = run_error(FAILURE, ["private text"])
    assert str(error) == "run 401: no Hint: Fix it."
    assert error.outputs == ["private text"]
    assert "private" not in repr(error)
    assert run_error(FAILURE).outputs == []


@pytest.mark.parametrize(
    ("code", "status", "kind", "name"),
    [
        (None, 401, FailureKind.RUN, "AuthenticationError"),
        (None, 402, FailureKind.RUN, "CreditError"),
        (None, 403, FailureKind.RUN, "AccessError"),
        (None, 404, FailureKind.RUN, "ModelNotFoundError"),
        (None, 400, FailureKind.RUN, "RunError"),
        (None, None, FailureKind.LOCAL, "RunError"),
        ("no_token", None, FailureKind.RUN, "AuthenticationError"),
        ("unavailable", 404, FailureKind.UNAVAILABLE, "UnavailableError"),
        ("refused", None, FailureKind.UNAVAILABLE, "UnavailableError"),
        ("tls", None, FailureKind.RUN, "TargetError"),
        ("web_page", 200, FailureKind.BAD_RESPONSE, "TargetError"),
        ("systemic", 422, FailureKind.RUN, "RunError"),
        ("systemic", 401, FailureKind.RUN, "AuthenticationError"),
    ],
)
def test_the_most_specific_error_is_raised(
    code: str | None, status: int | None, kind: FailureKind, name: str
) -> None:
    """The code decides, then the status, then what kind of failure it is."""
    failure = Failure(kind=kind, message="m", code=code, status=status)
    assert type(run_error(failure)).__name__ == name


def test_errors_are_what_callers_expect_them_to_be() -> None:
    """Ours are caught as ours, and as the builtin that fits."""
    assert issubclass(InputError, ValueError)
    assert issubclass(StorageError, OSError)
    assert issubclass(errors.InstallationError, ImportError)
    assert all(issubclass(kind, DistilabelError) for kind in CLASSES.values())
    assert issubclass(LockedError, StorageError)
    assert issubclass(UnavailableError, RunError)


def test_a_rows_error_is_a_value() -> None:
    """Two errors of one failure are equal, whatever list they stand in."""
    same = Failure(kind=FailureKind.RUN, message="no", status=401, hint="Fix it.")
    assert GenerationError(FAILURE) == GenerationError(same)
    assert len({GenerationError(FAILURE), GenerationError(same)}) == 1
    other = GenerationError(FAILURE.after(2))
    assert GenerationError(FAILURE) != other
    assert GenerationError(FAILURE) != "no"


def test_a_fingerprints_difference_is_shown_field_by_field() -> None:
    """Old and new of each, shortened, and what to do."""
    error = FingerprintError("out.jsonl", {"prompt": ('"a"', '"' + "b" * 99 + '"')})
    first, second, last = str(error).splitlines()
    assert "out.jsonl" in first
    assert second.startswith('  prompt: "a" -> "bbb')
    assert len(second) < 90
    assert "--fresh" in last


def _bad_yaml(folder: Path) -> Any:
    path = folder / "a.yaml"
    path.write_text("a: [1\nkey: hf_secret", encoding="utf-8")
    return Serializable.from_file(path)


@pytest.mark.parametrize(
    "fail",
    [
        lambda _: check_base_url("http://[::1"),
        lambda _: check_parameters({"nonsense": 1}),
        _bad_yaml,
    ],
    ids=["url", "parameter", "file"],
)
def test_no_error_drags_another_along(fail: Callable[[Path], Any], tmp_path: Path) -> None:
    """A traceback shows our message alone: what lies under it may hold what must not be shown."""
    with pytest.raises(InputError) as caught:
        fail(tmp_path)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert "hf_secret" not in str(caught.value)
    assert isinstance(caught.value, ConfigurationError | InputError)
