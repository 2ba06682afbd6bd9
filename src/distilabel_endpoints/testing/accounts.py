"""Who may do what: tokens that are accepted, tokens that were revoked, and the credit left.

Written from any thread (single assignments), read by the serving loop.
"""

from __future__ import annotations

import hashlib

from distilabel_endpoints.testing.endpoint_settings import Settings, Token

__all__ = ["Accounts", "person"]


def person(name: str) -> dict[str, str]:
    """A user as the Hub and the control plane name them."""
    return {"id": hashlib.sha256(name.encode()).hexdigest()[:24], "name": name}


class Accounts:
    """The tokens and the credit of one endpoint."""

    def __init__(self, settings: Settings) -> None:
        self._known = {token.value: token for token in settings.tokens}
        self._revoked: frozenset[str] = frozenset()
        self.credits = settings.credits
        """Requests the router still answers; `None`: any number."""

    @property
    def restricted(self) -> bool:
        """Whether the data plane asks for a token at all."""
        return bool(self._known)

    def token(self, value: str | None) -> Token | None:
        """The account behind a token; `None` if it is not accepted."""
        if value is None or value in self._revoked:
            return None
        if self._known:
            return self._known.get(value)
        return Token(value) if value.startswith("hf_") else None

    def accepts(self, value: str | None) -> bool:
        """Whether the data plane lets this token in."""
        if value is not None and value in self._revoked:
            return False
        return not self.restricted or self.token(value) is not None

    def revoke(self, value: str) -> None:
        """Stop accepting a token."""
        self._revoked |= {value}

    def restore(self, value: str) -> None:
        """Accept a revoked token again."""
        self._revoked -= {value}

    def spend(self) -> bool:
        """Take one request's credit; `False` if none is left."""
        if self.credits is None:
            return True
        if self.credits <= 0:
            return False
        self.credits -= 1
        return True
