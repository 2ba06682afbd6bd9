"""A file and its card as a dataset on the Hub: one repository, one commit.

The only place that writes to the Hub. The token is the saved one or `HF_TOKEN`, never an LLM's
`api_key`: that one may be for another server. The library's exceptions hold the request with the
token, so none leaves this module.
"""

from __future__ import annotations

from pathlib import Path

from distilabel_endpoints._targets.credentials import saved_token
from distilabel_endpoints.errors import ConfigurationError, RunError, run_error
from distilabel_endpoints.records import Failure, FailureKind

__all__ = ["check_repository", "upload_dataset"]


def check_repository(name: str) -> None:
    """What can be known of `OWNER/NAME` without asking the Hub.

    Raises:
        ConfigurationError: it is no name of a repository, or there is no token to write with.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise ConfigurationError(
            f"push_to_hub: {name!r} is no name of a repository; give OWNER/NAME."
        ) from None
    if saved_token() is None:
        raise ConfigurationError(
            "push_to_hub needs a token that may write: set HF_TOKEN, or run `hf auth login`."
        )


def upload_dataset(name: str, file: Path, *, path: str, card: str) -> str:
    """Commit `file` as `path`, with `card` as README.md; gives back the dataset's URL.

    A repository that is not there yet is made, private.

    Raises:
        RunError: the Hub refused it, or was not to be reached. The file is as it was.
    """
    import httpx2
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    api = HfApi()
    try:
        made = api.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        api.create_commit(
            made.repo_id,
            [CommitOperationAdd(path, str(file)), CommitOperationAdd("README.md", card.encode())],
            commit_message=f"Write {path}",
            repo_type="dataset",
        )
    except HfHubHTTPError as error:
        said = error.server_message or "the Hub refused it"
        failed = _failed(name, file, said, error.response.status_code)
    except (httpx2.TransportError, OfflineModeIsEnabled) as error:
        failed = _failed(name, file, type(error).__name__, None)
    else:
        return str(made.url)
    raise failed


def _failed(name: str, file: Path, said: str, status: int | None) -> RunError:
    kind = FailureKind.RUN if status else FailureKind.UNAVAILABLE
    return run_error(
        Failure(
            kind=kind,
            message=f"{file} is written, and was not pushed to {name}: {said}",
            status=status,
            hint="The same call or command pushes it again and sends no generation.",
        )
    )
