"""Reports of hostile runs in a real Chromium, which tells every request and every script."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hostile import hostile_run

from distilabel_endpoints.report import write_comparison, write_report

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@asynccontextmanager
async def browser() -> AsyncIterator[str]:
    """A headless Chromium; gives the address of its debugger."""
    assert BROWSER is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            BROWSER,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--remote-debugging-address=127.0.0.1",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "HOME": profile},
        )
        try:
            port_file = Path(profile) / "DevToolsActivePort"
            async with asyncio.timeout(60):
                while not port_file.exists() or "\n" not in port_file.read_text():
                    await asyncio.sleep(0.05)
            yield f"http://127.0.0.1:{port_file.read_text().splitlines()[0]}"
        finally:
            process.kill()
            await process.wait()


class Tab:
    """One page of the browser, driven by its debugging protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.events: list[dict[str, Any]] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; keep what happens meanwhile."""
        self._number += 1
        number = self._number
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(60):
            while True:
                message = json.loads((await self._socket.receive()).data)
                if message.get("id") == number:
                    assert "error" not in message, message
                    result: dict[str, Any] = message["result"]
                    return result
                self.events.append(message)

    async def visit(self, page: Path) -> None:
        """Load a page, click on all there is, and wait until nothing more comes."""
        for domain in ("Page", "Network", "Runtime", "Debugger", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=page.as_uri())
        for _ in range(20):
            await asyncio.sleep(0.1)
            state = await self.call("Runtime.evaluate", expression="document.readyState")
            if state["result"]["value"] == "complete":
                break
        # The debugger's own doing, which no policy of a page forbids.
        script = "for (const e of document.querySelectorAll('details')) e.open = true; 0"
        await self.call("Runtime.evaluate", expression=script)
        await asyncio.sleep(0.5)
        await self.call("Runtime.evaluate", expression="0")

    def named(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") == method]


async def look_at(page: Path) -> tuple[Tab, str]:
    """What a browser does with a page, and its title."""
    async with browser() as address, aiohttp.ClientSession() as session:
        async with session.get(f"{address}/json/list") as response:
            target = next(t for t in await response.json() if t["type"] == "page")
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            tab = Tab(socket)
            await tab.visit(page)
            title = await tab.call("Runtime.evaluate", expression="document.title")
    return tab, str(title["result"]["value"])


@pytest.mark.prove
@pytest.mark.promise("S8")
@pytest.mark.skipif(BROWSER is None, reason="needs a Chromium on this machine")
@pytest.mark.parametrize("kind", ["report", "comparison"])
def test_a_hostile_report_requests_nothing_and_runs_nothing(tmp_path: Path, kind: str) -> None:
    """The page itself is the only request; no script, no dialogue, no complaint of the policy."""
    output = hostile_run(tmp_path / "answers.jsonl")
    page = write_report(output) if kind == "report" else write_comparison(output, output)
    tab, title = asyncio.run(look_at(page))
    requests = [request["request"]["url"] for request in tab.named("Network.requestWillBeSent")]
    assert requests == [page.as_uri()]
    scripts = [s["url"] for s in tab.named("Debugger.scriptParsed") if s["url"]]
    assert scripts == []
    assert tab.named("Page.javascriptDialogOpening") == []
    complaints = [entry["entry"]["text"] for entry in tab.named("Log.entryAdded")]
    assert complaints == []
    assert "owned" not in title


@pytest.mark.prove
@pytest.mark.skipif(BROWSER is None, reason="needs a Chromium on this machine")
def test_the_browser_would_tell(tmp_path: Path) -> None:
    """A page without escaping and policy is caught: requests, scripts and the title."""
    page = tmp_path / "bad.html"
    page.write_text("<script>document.title='owned'; fetch('http://127.0.0.1:9/x')</script>")
    tab, title = asyncio.run(look_at(page))
    requests = [request["request"]["url"] for request in tab.named("Network.requestWillBeSent")]
    assert "http://127.0.0.1:9/x" in requests
    assert [script for script in tab.named("Debugger.scriptParsed") if script["url"]]
    assert title == "owned"
