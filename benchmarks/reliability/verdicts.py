"""What was found, in tables: one figure per promise and client first, then every case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from benchmarks.reliability.matrix import GROUPS
from benchmarks.reliability.stage import DEADLINE, Finding, Report
from benchmarks.tables import print_table

__all__ = ["print_reports"]

_TITLES: Final = {
    "status": "Error statuses",
    "throttled": "Too many requests",
    "connection": "Below HTTP",
    "answer": "Answers that are none",
    "elsewhere": "Redirects",
}
_LARGE: Final = 10**6


def print_reports(reports: Sequence[Report]) -> None:
    """Every table, in Markdown."""
    print("\n" + "\n".join(_versions(reports)))
    heads = ("", *(report.contender.name for report in reports))
    print_table("In numbers", heads, [_row(name, reports, f) for name, f in _FIGURES])
    for group in GROUPS:
        found = [[f for f in report.findings if f.case.group == group] for report in reports]
        rows = [_case(same) for same in zip(*found, strict=True)]
        print_table(_TITLES[group], ("fault", "strikes", *heads[1:]), rows)


def _versions(reports: Sequence[Report]) -> Iterator[str]:
    """What runs on what, a line for each set of versions."""
    names: dict[str, list[str]] = {}
    for report in reports:
        said = ", ".join(f"{name} {version}" for name, version in report.versions.items())
        names.setdefault(said, []).append(report.contender.name)
    for said, who in names.items():
        yield f"- on {said}: {'; '.join(who)}"


def _row(name: str, reports: Sequence[Report], figure: Callable[[Report], str]) -> tuple[str, ...]:
    return name, *(figure(report) for report in reports)


def _share(
    among: Callable[[Finding], bool], counted: Callable[[Finding], bool]
) -> Callable[[Report], str]:
    def figure(report: Report) -> str:
        found = [finding for finding in report.findings if among(finding)]
        return f"{sum(map(counted, found))} of {len(found)}"

    return figure


def _is(*outcomes: str) -> Callable[[Finding], bool]:
    return lambda finding: finding.outcome in outcomes


def _shows(what: str, *places: str) -> Callable[[Finding], bool]:
    return lambda finding: any(place in places for place in finding.leaks.get(what, ()))


def _any(_: Finding) -> bool:
    return True


def _passing(finding: Finding) -> bool:
    return finding.case.times is not None


def _lasting(finding: Finding) -> bool:
    return finding.case.times is None


def _raised(finding: Finding) -> bool:
    return finding.outcome in {"typed", "foreign"}


_FIGURES: Final[tuple[tuple[str, Callable[[Report], str]], ...]] = (
    ("passing faults: answered, or marked", _share(_passing, _is("answered", "marked"))),
    ("lasting faults: its own error, or waits", _share(_lasting, _is("typed", "waits", "marked"))),
    ("an exception of something below it", _share(_any, _is("foreign"))),
    ("`None`, and no reason in the output", _share(_any, _is("none"))),
    (f"hung in one request for {DEADLINE:.0f} s", _share(_any, _is("hung"))),
    ("took what is not the answer for one", _share(_any, _is("wrong"))),
    ("prompt reached another host", _share(_any, lambda f: "prompt" in f.sent_on)),
    ("any request reached another host", _share(_any, lambda f: bool(f.sent_on))),
    ("errors that show the token", _share(_raised, _shows("token", "traceback", "pickle"))),
    ("errors that show the prompt, pickled", _share(_raised, _shows("prompt", "pickle"))),
    ("errors that show the prompt, with locals", _share(_raised, _shows("prompt", "traceback"))),
)


def _case(same: Sequence[Finding]) -> tuple[str, ...]:
    case = same[0].case
    return case.name, case.often, *map(_cell, same)


def _cell(finding: Finding) -> str:
    sent_on = f", **{finding.sent_on[0]} sent on**" if finding.sent_on else ""
    return f"{_said(finding)} ({finding.requests}){sent_on}"


def _said(finding: Finding) -> str:
    match finding.outcome:
        case "typed":
            return "error"
        case "foreign":
            return f"**`{finding.error}`**"
        case "none":
            return "**`None`**"
        case "wrong" if finding.size > _LARGE:
            return f"**{finding.size / 2**20:.0f} MB taken**"
        case "wrong":
            return "**wrong answer**"
        case "hung" | "died":
            return f"**{finding.outcome}**"
        case _:
            return finding.outcome
