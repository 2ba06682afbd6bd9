"""Pages of hostile runs hold text and nothing else: no script, no address, no handler."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hostile import BEACON, HOSTILE, hostile_run

from distilabel_endpoints.progress import safe_text
from distilabel_endpoints.report import write_comparison, write_report

ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "nav", "footer", "h1", "h2", "h3", "p"),
    *("b", "br", "span", "a", "div", "pre", "code", "table", "tr", "th", "td", "meter"),
    *("details", "summary", "figure", "figcaption"),
    *("svg", "line", "text", "rect", "polyline"),
}
ADDRESSES = {"src", "href", "action", "formaction", "data", "poster", "srcset", "xlink:href"}


class Page(HTMLParser):
    """What a browser would make of a page, as far as it matters here."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.comments: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The report of a hostile run, and the page that compares it with itself."""
    output = hostile_run(tmp_path_factory.mktemp("hostile") / "<script>alert(1)<!--.jsonl")
    report = write_report(output)
    comparison = write_comparison(output, output)
    return {page.suffixes[-2]: page.read_text("utf-8") for page in (report, comparison)}


@pytest.mark.promise("S8")
@pytest.mark.parametrize("kind", [".report", ".comparison"])
def test_a_page_holds_only_what_its_template_has(pages: dict[str, str], kind: str) -> None:
    """Elements of ours, no handler, no address but places on the page itself."""
    page = Page(pages[kind])
    assert page.elements <= ELEMENTS
    assert page.comments == []
    handlers = [(tag, name) for tag, name, _ in page.attributes if name.startswith("on")]
    assert handlers == []
    assert {name for _, name, _ in page.attributes if name == "style"} == set()
    addresses = [value for _, name, value in page.attributes if name in ADDRESSES]
    assert all(re.fullmatch(r"#[a-z]+", address) for address in addresses), addresses


@pytest.mark.promise("S8")
@pytest.mark.parametrize("kind", [".report", ".comparison"])
def test_the_policy_allows_the_page_its_own_style_and_nothing_else(
    pages: dict[str, str], kind: str
) -> None:
    """By the hash of the style sheet, so that no other one is taken either."""
    text = pages[kind]
    policy = next(
        value
        for tag, name, value in Page(text).attributes
        if (tag, name) == ("meta", "content")
        if "default-src" in value
    )
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style
    assert "@import" not in style


def test_hostile_texts_are_shown_as_they_are(pages: dict[str, str]) -> None:
    """A reader sees what the model wrote, character by character, but for what hides text."""
    said = "".join(Page(pages[".report"]).texts)
    for text in HOSTILE:
        assert safe_text(text.encode("utf-8", "replace").decode(), newlines=True) in said
    assert BEACON in said
