"""The documentation's own pages: their blocks and commands run, and the reference is complete."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import run

from distilabel_endpoints.cli import EXIT_CODES, commands
from distilabel_endpoints.rows import OutputColumns
from distilabel_endpoints.rows.compression import COMPRESSIONS
from distilabel_endpoints.rows.folders import TABLES, TEXTS
from distilabel_endpoints.testing import SimulatedEndpoint

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(python|console|bash|toml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ELSEWHERE = {
    "coming-from-distilabel.md": "tests/pipeline",
    "endpoints.md": "tests/lifecycle/test_life.py",
    "index.md": "tutorial.md has the same command",
    "scale.md": "tests/distributed/test_ray_survival.py",
    "targets.md": "tests/targets/test_targets.py",
    "testing.md": "tests/testing/test_simulated_package.py",
}
"""Pages with blocks that other tests run."""
PAGES = sorted(
    page.name
    for page in DOCS.glob("*.md")
    if BLOCK.search(page.read_text(encoding="utf-8")) and page.name not in ELSEWHERE
)
BATCH = {
    "custom_id": "1",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": "simulated-model", "messages": [{"role": "user", "content": "Hi"}]},
}
PAGE_MAKERS: dict[str, Callable[[], str]] = runpy.run_path(str(DOCS / "reference_pages.py"))[
    "PAGES"
]


def run_commands(text: str) -> None:
    """Each line is a command of ours that ends well; lines of output are left out."""
    for line in text.splitlines():
        if line.startswith(("distilabel-endpoints ", "$ ")):
            program, *words = shlex.split(line.removeprefix("$ "))
            assert program == "distilabel-endpoints"
            done = run(*words)
            assert done.returncode == 0, (line, done.stderr)


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_and_commands_of_a_page_run(
    page: str,
    simulated_endpoint: Callable[..., SimulatedEndpoint],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the order of the page, in one folder, as they stand but for the port."""
    url = simulated_endpoint(flavor="vllm").url
    monkeypatch.chdir(tmp_path)
    Path("documents.jsonl").write_text(json.dumps({"text": "Rain fell."}) + "\n")
    Path("prompts.jsonl").write_text(json.dumps({"prompt": "Why?"}) + "\n")
    Path("batch.jsonl").write_text(json.dumps(BATCH) + "\n")
    names: dict[str, Any] = {"__name__": "__main__"}
    for kind, text in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        there = re.sub(r"http://localhost:80[08]\d", url, text)
        if kind == "python":
            exec(compile(there, page, "exec"), names)
        elif kind == "toml":
            Path("run.toml").write_text(there)
            there = "distilabel-endpoints config --config run.toml"
        if kind != "python":
            run_commands(there)
    if "llm" in names:
        names["llm"].close()


def test_each_page_has_its_place() -> None:
    """What the navigation names is there or made from the code."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"[\w/-]+\.md", str(yaml.safe_load(text)["nav"]))
    made = {f"reference/{name}.md" for name in PAGE_MAKERS}
    assert made <= set(named)
    assert not [name for name in named if name not in made and not (DOCS / name).exists()]


def test_the_reference_has_every_flag_column_code_and_parameter() -> None:
    """Made from the code: nothing can be missing from it."""
    page = PAGE_MAKERS["commands"]()
    for command in commands.commands.values():
        for option in command.params:
            for name in option.opts:
                assert name.strip("-") in page.lower() or name in page
    columns = PAGE_MAKERS["columns"]()
    everything = OutputColumns(
        model_name="m",
        tool_calls=True,
        logprobs=True,
        reasoning_tokens=True,
        labels=True,
        provider=True,
    )
    assert not [name for name in everything.names if f"`{name}`" not in columns]
    codes = PAGE_MAKERS["exit-codes"]()
    assert not [code for code in EXIT_CODES if f"| {code} |" not in codes]
    assert "| `temperature` |" in PAGE_MAKERS["parameters"]()


def test_links_to_the_repository_become_words() -> None:
    """On the site a test stands behind its word; a link to a file that is not there is an error."""
    hook = runpy.run_path(str(DOCS / "site_pages.py"))["on_page_markdown"]
    link = '[yes](../tests/llms/test_dialects.py "test_seeds")'
    assert hook(link) == '<span title="tests/llms/test_dialects.py test_seeds">yes</span>'
    with pytest.raises(ValueError, match="leads nowhere"):
        hook("[yes](../tests/gone.py)")


def test_the_readmes_ten_lines_run(capsys: pytest.CaptureFixture[str]) -> None:
    """As a file, as they stand, with the real small model; and every page it links to is there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    ((kind, block),) = BLOCK.findall(text)
    assert kind == "python"
    assert len([line for line in block.splitlines() if line]) <= 11
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    assert "output_tokens" in capsys.readouterr().out
    linked = re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text)
    assert not [path for path in linked if not (ROOT / path).exists()]
    assert len(text.splitlines()) <= 150


@pytest.mark.parametrize("ending", [*TEXTS, *TABLES, *COMPRESSIONS])
def test_every_format_has_an_example(ending: str) -> None:
    """An ending that is read stands in the table of formats, and in the blocks, which run."""
    page = (DOCS / "datasets.md").read_text(encoding="utf-8")
    section = page.partition("### Each format, in and out")[2].partition("\n#")[0]
    table = page.partition("| input | read as |")[2].partition("\n\n")[0]
    assert f"`{ending}`" in table
    assert f'{ending}"' in section or f"{ending}." in section
