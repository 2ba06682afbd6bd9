"""Every exception this package raises.

    DistilabelError
    ├── InputError (ValueError)          what the caller gave is wrong; nothing was sent
    │   ├── ConfigurationError           an attribute, flag or file key, alone or in combination
    │   │   ├── FingerprintError         the output was started with other settings
    │   │   └── OutputExistsError        the file at OUTPUT was not written by this run
    │   ├── InputChangedError            the input no longer holds rows that have answers
    │   ├── ParameterError               a generation parameter
    │   ├── ConversationError            a row's messages
    │   └── SchemaError                  a structured output's schema
    ├── InstallationError (ImportError)  something is missing beside us, or must not be there
    ├── EndpointError                    what the endpoint answered; carries a `Failure`
    │   ├── GenerationError              one row's failure: found beside its `None`, never raised
    │   └── RunError                     ends a run; carries the outputs finished so far
    │       ├── AuthenticationError      401: the token is missing, wrong or revoked
    │       ├── CreditError              402: the account has no credit left
    │       ├── AccessError              403: the token may not do this
    │       ├── ModelNotFoundError       404: no such model, endpoint or path
    │       ├── TargetError              the URL is not what it should be: TLS, redirect, web page
    │       └── UnavailableError         nothing answered within `wait_ready` seconds
    ├── AlarmError                       the answers cannot be right, or the user's alarm says so
    ├── BudgetError                      the budget is spent; a larger one resumes the run
    ├── UserCodeError                    a function of the caller's raised: `on_row`, an override
    └── StorageError (OSError)           this machine's disk: full, gone, failing
        ├── LockedError                  another process writes the same output
        └── DamagedError                 what is stored cannot be read, or trusted to be this run's

Messages say what, where and how to fix it, and never hold a secret or a prompt.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from distilabel_endpoints.records import Failure, FailureKind

__all__ = [
    "AccessError",
    "AlarmError",
    "AuthenticationError",
    "BudgetError",
    "ConfigurationError",
    "ConversationError",
    "CreditError",
    "DamagedError",
    "DistilabelError",
    "EndpointError",
    "FingerprintError",
    "GenerationError",
    "InputChangedError",
    "InputError",
    "InstallationError",
    "LockedError",
    "ModelNotFoundError",
    "OutputExistsError",
    "ParameterError",
    "RunError",
    "SchemaError",
    "StorageError",
    "TargetError",
    "UnavailableError",
    "UserCodeError",
    "run_error",
    "traceback_lines",
]


_PACKAGE: Final = str(Path(__file__).parent)


class DistilabelError(Exception):
    """The base of all our exceptions; `except DistilabelError` catches exactly ours."""

    def explain(self) -> str:
        """What happened and what to do about it, for a person; of more than a line if need be."""
        return str(self)

    def _render_traceback_(self) -> list[str]:
        """What IPython and Jupyter show instead of a traceback, most of which is our own code."""
        return traceback_lines(self, self.explain())


class InputError(DistilabelError, ValueError):
    """What the caller gave is wrong. Nothing was sent."""


class ConfigurationError(InputError):
    """An attribute, flag or configuration key is wrong, alone or beside another."""


class BudgetError(DistilabelError):
    """The budget of a run does not pay for another attempt, and rows are left.

    `summary` is the `RunSummary` of what was done and spent. The same call with a larger budget
    resumes.
    """

    def __init__(self, message: str, summary: Any = None) -> None:
        super().__init__(message)
        self.summary = summary


_OTHER_SETTINGS: Final = (
    "Use the old ones to resume, start over with --fresh (fresh=True in Python), or choose another "
    "output."
)


class FingerprintError(ConfigurationError):
    """The output was started with other settings, so its results cannot be resumed.

    `differences` maps each setting that differs to its old and its new value, as JSON text.
    """

    def __init__(self, output: str, differences: Mapping[str, tuple[str, str]]) -> None:
        super().__init__(output, differences)
        self.output = output
        self.differences = dict(differences)

    def __str__(self) -> str:
        lines = [
            f"  {field}: {_shortened(old)} -> {_shortened(new)}"
            for field, (old, new) in self.differences.items()
        ]
        return "\n".join(
            [
                f"{self.output} was started with other settings:",
                *lines,
                _OTHER_SETTINGS,
            ]
        )


class AlarmError(DistilabelError):
    """Answers that cannot be right, or that the user's own alarm ends a run for.

    `flaw` names what is wrong, `examples` are ordinals of rows with it, `summary` is the
    `RunSummary`. The same call with `alarms="off"` resumes.
    """

    def __init__(
        self, message: str, *, flaw: str = "", examples: tuple[int, ...] = (), summary: Any = None
    ) -> None:
        super().__init__(message)
        self.flaw = flaw
        self.examples = examples
        self.summary = summary


class OutputExistsError(ConfigurationError):
    """A file stands at OUTPUT that this run did not write, or that was changed since."""


class InputChangedError(InputError):
    """Rows that have answers are not in the input any more, or not as they were.

    The answers stay in the journal, and the output stays as it was. Raised before anything is
    sent, or when the input was changed while the run was reading it.
    """


class ParameterError(InputError):
    """A generation parameter is unknown, has a wrong value, or cannot be sent on this path."""


class ConversationError(InputError):
    """A row's messages are not a conversation that can be sent."""

    reason: str = "input"
    """`input`, or `input_surrogate` for text that UTF-8 cannot encode."""


class SchemaError(InputError):
    """A structured output's schema is not one that can be used."""


class InstallationError(DistilabelError, ImportError):
    """A needed package is missing, or one that must not be there is installed."""


class EndpointError(DistilabelError):
    """What the endpoint did. `failure` holds kind, status, message and hint."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        return self.failure.describe()

    def explain(self) -> str:
        failure = self.failure
        text = failure.message.removeprefix("refused: ")
        if failure.status is not None:
            text = f"The endpoint answered {failure.status}: {text}"
        elif text != failure.message:
            text = f"Cannot connect to {text}"
        return "\n".join([text, *([failure.hint] if failure.hint else [])])


class GenerationError(EndpointError):
    """One row's failure. It stands in `errors` beside the `None` in `generations`."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GenerationError) and other.failure == self.failure

    def __hash__(self) -> int:
        return hash(self.failure)


class RunError(EndpointError):
    """The run cannot continue. `outputs` holds what was finished, in input order.

    Rows that were not finished are `None` in `outputs`.
    """

    def __init__(self, failure: Failure, outputs: list[Any] | None = None) -> None:
        super().__init__(failure)
        self.outputs = outputs if outputs is not None else []


class AuthenticationError(RunError):
    """401: the token is missing, wrong, expired or revoked."""


class CreditError(RunError):
    """402: the account that pays has no credit left."""


class AccessError(RunError):
    """403: the token is valid and may not do this (a gated model, a missing permission)."""


class ModelNotFoundError(RunError):
    """404: no such model, endpoint or path."""


class TargetError(RunError):
    """The URL is not what it should be: a TLS failure, a redirect, a web page."""


class UnavailableError(RunError):
    """Nothing answered, or the endpoint was not ready, within `wait_ready` seconds."""


class UserCodeError(DistilabelError):
    """Code of yours that a run or a call uses raised an error, which is its `__cause__`.

    Attributes:
        index: the row, counted from 0.
        outputs: as those of `RunError`, if a call of `generate` was ended.
    """

    def __init__(self, name: str, index: int, reason: str) -> None:
        super().__init__(name, index, reason)
        self.name = name
        self.index = index
        self.reason = reason
        self.outputs: list[Any] = []

    def __str__(self) -> str:
        return f"{self.name} raised an error at row {self.index + 1}: {self.reason}"


class StorageError(DistilabelError, OSError):
    """This machine's disk failed: full, gone or broken. What was committed is safe."""


class LockedError(StorageError):
    """Another process is writing the same output."""


class DamagedError(StorageError):
    """What is stored cannot be read, or cannot be trusted to be this run's."""


_BY_CODE: Final[Mapping[str, type[RunError]]] = MappingProxyType(
    {
        "forbidden": AccessError,
        "gated": AccessError,
        "insecure": TargetError,
        "no_credit": CreditError,
        "no_inference_right": AccessError,
        "no_token": AuthenticationError,
        "not_found": ModelNotFoundError,
        "not_served": ModelNotFoundError,
        "protocol": TargetError,
        "redirect": TargetError,
        "tls": TargetError,
        "too_expensive": CreditError,
        "unauthorized": AuthenticationError,
        "unavailable": UnavailableError,
        "web_page": TargetError,
        "wrong_scheme": TargetError,
    }
)
_BY_STATUS: Final[Mapping[int, type[RunError]]] = MappingProxyType(
    {
        401: AuthenticationError,
        402: CreditError,
        403: AccessError,
        404: ModelNotFoundError,
    }
)


def traceback_lines(error: BaseException, text: str) -> list[str]:
    """The caller's line that led to `error`, and the error with its text last: a few lines.

    The whole traceback stays at hand: `traceback.print_exception(sys.last_exc)`.
    """
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_library(f.filename)]
    lines = [f"{frames[-1].name}, line {frames[-1].lineno}: {frames[-1].line}"] if frames else []
    return [*lines, "", *f"{type(error).__name__}: {text}".splitlines()]


def _is_library(filename: str) -> bool:
    """Whether a frame is not the caller's: ours, IPython's, or an installed package's."""
    return filename.startswith(_PACKAGE) or "site-packages" in filename


def _shortened(value: str, most: int = 60) -> str:
    return value if len(value) <= most else f"{value[: most - 1]}…"


def run_error(failure: Failure, outputs: list[Any] | None = None) -> RunError:
    """The most specific `RunError` for a failure that ends a run."""
    kind = _BY_CODE.get(failure.code or "") or _BY_STATUS.get(failure.status or 0)
    if kind is None:
        kind = UnavailableError if failure.kind is FailureKind.UNAVAILABLE else RunError
    return kind(failure, outputs)
