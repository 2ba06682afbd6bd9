"""What is sent as a secret is never shown, whatever it looks like and wherever a server says it."""

from __future__ import annotations

import json
from itertools import product
from typing import get_args
from urllib.parse import quote

import pytest

from distilabel_endpoints._clients.error_text import hide
from distilabel_endpoints._clients.transport import open_session
from distilabel_endpoints.records import MESSAGE_LIMIT, Failure, Request
from distilabel_endpoints.testing import Action, Fault, Respond, Rewrite, serve
from virtual import TRUST, Library, VirtualConnector, open_client, run_virtually

TOKEN, KEY = "zq81+unknown/form=", "another.secret~of-a-header"
HELLO = [{"role": "user", "content": "Say hello"}]
SAYING = f"no such caller: {TOKEN}, {quote(TOKEN, safe='')}, {KEY}"
ECHOES: dict[str, Action] = {
    "status": Respond(400, {"error": SAYING}),
    "text": Respond(500, SAYING, content_type="text/plain"),
    "page": Respond(200, f"<html><title>{SAYING}</title></html>", content_type="text/html"),
    "escaped": Respond(400, json.dumps({"error": SAYING}).replace("/", "\\/")),
    "redirect": Respond(307, headers=(("Location", f"http://{KEY}.example/"),)),
    "in a 200": Rewrite(lambda _: {"error": {"message": SAYING}}),
    "cut in two": Respond(400, {"error": "x" * (MESSAGE_LIMIT - 8) + TOKEN}),
}


@pytest.mark.parametrize("name", ECHOES)
def test_what_was_sent_is_not_shown(name: str) -> None:
    """The token and the headers' values, as they are or quoted, through either client."""

    async def failure(library: Library, *, stream: bool) -> Failure:
        connector = VirtualConnector(limit=0)
        async with serve(port=8000, faults=(Fault(ECHOES[name]),)) as endpoint:
            session = open_session(
                endpoint.url, TOKEN, {"x-key": KEY}, trust=TRUST, connector=lambda _: connector
            )
            client = open_client(library, session, endpoint)
            outcome = await client.complete(Request(ordinal=0, messages=HELLO, stream=stream))
            await client.aclose()
            await connector.close()
        assert isinstance(outcome, Failure)
        return outcome

    for library, stream in product(get_args(Library), (False, True)):
        told = run_virtually(failure(library, stream=stream)).describe()
        for secret in (TOKEN, quote(TOKEN, safe=""), KEY, TOKEN[:6]):
            assert secret not in told, (library, stream, told)
        assert "[secret]" in told or name in {"cut in two", "redirect"}


def test_hiding_leaves_everything_else() -> None:
    """Only the very string goes."""
    assert hide("a secret is a secrets b", ["secret i"]) == "a [secret]s a secrets b"
    assert hide("nothing", []) == "nothing"
