"""Reports as files: of one run, and of two side by side."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints._store.atomic import writing
from distilabel_endpoints._store.history import History, Sample
from distilabel_endpoints._store.place import beside
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.histogram import Histogram
from distilabel_endpoints.progress.formatting import count, duration, rate, share, short_count
from distilabel_endpoints.progress.report import spent_parts
from distilabel_endpoints.quality.flaws import Flaw
from distilabel_endpoints.report.charts import histogram_chart, timeline
from distilabel_endpoints.report.figures import EXAMPLES, Figures, gather, sample_key
from distilabel_endpoints.report.page import RowView, render, row_view, shown_line
from distilabel_endpoints.report.stored import AboutRun, StoredRows, open_stored
from distilabel_endpoints.served import Served

__all__ = ["report_path", "write_comparison", "write_report"]

_MEANINGS: Final = {
    Flaw.EMPTY: "no text, or all tokens went into thinking",
    Flaw.TRUNCATED: "cut off at max_new_tokens",
    Flaw.LOOPS: "the same piece of text again and again until the end",
    Flaw.OFF_SCHEMA: "does not fit structured_output",
    Flaw.FILTERED: "stopped by the server's content filter",
}
_PAIRS: Final = 10
_MARKS: Final = 60


def report_path(output: Path) -> Path:
    """Where the report of a run is written to by default."""
    return beside(output, ".report.html")


def write_report(output: Path, target: Path | None = None) -> Path:
    """Write the report of the run that writes `output`; also while it is in progress.

    Args:
        output: the run's output.
        target: the file to write; default: `OUTPUT.report.html`.

    Raises:
        ConfigurationError: there is no such run, or `target` cannot be written there.
        StorageError: something cannot be read or written.
    """
    target = target or report_path(output)
    _check_target(target, output)
    with open_stored(output) as rows:
        figures = gather(rows.scan())
        page = _page(rows, figures, History.read(output))
    _write(target, page)
    return target


def write_comparison(first: Path, second: Path, target: Path | None = None) -> Path:
    """Write a page with two runs side by side.

    Args:
        first: one run's output.
        second: the other's.
        target: the file to write; default: beside the second, `OUTPUT.comparison.html`.

    Raises:
        ConfigurationError: one of them is not there, or `target` cannot be written there.
        StorageError: something cannot be read or written.
    """
    target = target or beside(second, ".comparison.html")
    for output in (first, second):
        _check_target(target, output)
    with open_stored(first) as a, open_stored(second) as b:
        page = _comparison(a, b)
    _write(target, page)
    return target


def _check_target(target: Path, output: Path) -> None:
    if target.suffix.lower() not in {".html", ".htm"}:
        raise ConfigurationError(f"a report is a file named .html; {target} is not")
    if target.absolute() == output.absolute():
        raise ConfigurationError(f"{target} is the output itself; choose another file")


def _write(target: Path, page: str) -> None:
    with writing(target) as file:
        file.write(page.encode("utf-8", "replace"))


def _page(rows: StoredRows, figures: Figures, history: History) -> str:
    about = rows.about
    views = _views(rows, figures.shown())
    failed = [
        {
            "code": shown_line(failure.code, 80),
            "status": failure.status,
            "rows": _rows(failure.rows),
            "share": share(failure.rows, figures.rows),
            "hint": None if failure.hint is None else shown_line(failure.hint),
            "examples": _pick(views, failure.examples[:EXAMPLES]),
        }
        for failure in figures.failures_by_rows
    ]
    return render(
        "report.html",
        f"Report of {Path(about.output).name}",
        {
            "model": shown_line(about.model),
            "state": _state(about, figures),
            "facts": _facts(about, figures, history),
            "notes": _notes(rows),
            "flaws": _flaws(figures),
            "finishes": _finishes(figures),
            "lengths": _lengths(figures),
            "timelines": _timelines(history),
            "latencies": _latencies(history),
            "changes": _changes(history),
            "served": _served(history),
            "failures": failed,
            "groups": [
                {
                    "name": f"{len(figures.sample)} rows at random",
                    "rows": _pick(views, figures.sample),
                },
                {"name": "The longest answers", "rows": _pick(views, figures.longest)},
                {"name": "The shortest answers", "rows": _pick(views, figures.shortest)},
            ],
            "settings": _settings(about),
        },
    )


def _views(rows: StoredRows, ordinals: Collection[int]) -> dict[int, RowView]:
    stored = rows.fetch(ordinals)
    prompts = rows.prompts(list(stored.values()))
    return {n: row_view(row, prompts[n]) for n, row in stored.items()}


def _pick(views: Mapping[int, RowView], ordinals: Iterable[int]) -> list[RowView]:
    return [views[ordinal] for ordinal in ordinals if ordinal in views]


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number:,} rows"


def _state(about: AboutRun, figures: Figures) -> str:
    begun = f"begun {about.created.replace('T', ' ').replace('+00:00', ' UTC')}"
    left = None if about.total is None else about.total - figures.rows - about.skipped
    if about.running is not None:
        state = f"being written by {about.running}"
    elif left:
        state = f"stopped with {_rows(left)} left"
    else:
        state = "finished" if left == 0 else "stopped"
    source = f", from {shown_line(about.input, 200)}" if about.input else ""
    return f"{state}; {begun}{source}"


def _notes(rows: StoredRows) -> list[str]:
    if not rows.damaged:
        return []
    return [f"{_rows(rows.damaged)} were skipped: their results are damaged."]


def _fact(name: str, value: str, kind: str = "") -> dict[str, str]:
    return {"name": name, "value": value, "kind": kind}


def _facts(about: AboutRun, figures: Figures, history: History) -> list[dict[str, str]]:
    total = "?" if about.total is None else count(about.total)
    facts = [
        _fact(f"rows ok of {total}", count(figures.ok), "good"),
        _fact("rows failed", count(figures.failed), "bad" if figures.failed else ""),
        _fact("tokens in", short_count(figures.input_tokens)),
        _fact("tokens out", short_count(figures.output_tokens)),
    ]
    if about.skipped:
        facts.insert(2, _fact("rows left out", count(about.skipped)))
    if figures.attempts:
        facts.append(_fact("requests for them", count(figures.attempts)))
    if about.spent is not None:
        amount, text = spent_parts(about.spent)
        facts.append(_fact(f"spent{text}", amount))
    seconds, done, tokens = _worked(history.samples)
    if seconds > 0:
        facts.append(_fact("time of work", duration(seconds)))
        facts.append(_fact("rows/s on average", rate(done / seconds)))
        facts.append(_fact("output tokens/s", rate(tokens / seconds)))
    return facts


def _worked(samples: Sequence[Sample]) -> tuple[float, int, int]:
    """Seconds, rows and output tokens between samples of one process."""
    seconds, done, tokens = 0.0, 0, 0
    for before, now in pairwise(samples):
        if before.part == now.part and now.at > before.at:
            seconds += now.at - before.at
            done += max(0, now.done - before.done)
            tokens += max(0, now.output_tokens - before.output_tokens)
    return seconds, done, tokens


def _flaws(figures: Figures) -> list[dict[str, Any]]:
    return [
        {
            "name": str(flaw).replace("_", " "),
            "meaning": meaning,
            "count": count(figures.flaws[flaw]),
            "share": share(figures.flaws[flaw], figures.answers),
            "part": round(figures.flaws[flaw] / figures.answers, 4) if figures.answers else 0,
        }
        for flaw, meaning in _MEANINGS.items()
    ]


def _finishes(figures: Figures) -> list[dict[str, str]]:
    return [
        {
            "name": shown_line(name, 60),
            "count": count(number),
            "share": share(number, figures.answers),
        }
        for name, number in figures.finishes.most_common()
    ]


def _bars(
    caption: str, histogram: Histogram, unit: str, *, seconds: bool = False
) -> dict[str, Any]:
    form = _seconds if seconds else _whole
    low, middle, high = (histogram.quantile(q) or 0.0 for q in (0.5, 0.95, 1.0))
    note = f"half below {form(low)}, 95 % below {form(middle)}, longest {form(high)} {unit}".strip()
    return {
        "caption": caption,
        "note": note,
        "chart": histogram_chart(histogram, unit, form),
    }


def _whole(number: float) -> str:
    return short_count(round(number)) if number >= 1 else f"{number:.2g}"


def _seconds(number: float) -> str:
    if number < 1:
        return f"{number * 1000:.0f} ms"
    return f"{number:.1f} s" if number < 10 else duration(number)


def _lengths(figures: Figures) -> list[dict[str, Any]]:
    charts = []
    if figures.prompt_tokens.count:
        charts.append(_bars("Prompts", figures.prompt_tokens, "tokens"))
    if figures.answer_tokens.count:
        charts.append(_bars("Answers", figures.answer_tokens, "tokens"))
    if figures.answer_characters.count:
        charts.append(_bars("Answers", figures.answer_characters, "characters"))
    return charts


def _latencies(history: History) -> list[dict[str, Any]]:
    latency, first = Histogram(), Histogram()
    for served in history.served.values():
        latency.merge(served.latency)
        first.merge(served.first_token)
    charts = []
    if latency.count:
        charts.append(_bars("Latency", latency, "", seconds=True))
    if first.count:
        charts.append(_bars("Time to first token", first, "", seconds=True))
    return charts


def _timelines(history: History) -> list[dict[str, Any]]:
    samples = history.samples
    if len(samples) < 2:
        return []
    marks = [change for change in history.changes if change.kind != "begin"][-_MARKS:]

    def per_second(name: str) -> Any:
        def value(before: Sample, now: Sample) -> float:
            more: int = getattr(now, name) - getattr(before, name)
            return max(0, more) / (now.at - before.at)

        return value

    limit = timeline(samples, marks, lambda _, now: now.limit)
    highest = max(sample.limit or 0 for sample in samples)
    return [
        {
            "caption": "Limit on requests in flight",
            "note": f"at most {highest:,}; a line for each change",
            "chart": limit,
            "second": None,
        },
        {
            "caption": "Goodput",
            "note": "output tokens per second",
            "chart": timeline(samples, (), per_second("output_tokens")),
            "second": None,
        },
        {
            "caption": "Rows that ended",
            "note": "per second",
            "chart": timeline(samples, (), per_second("done")),
            "second": None,
        },
    ]


def _changes(history: History) -> list[dict[str, str]]:
    first = history.samples[0].at if history.samples else 0.0
    return [
        {
            "after": duration(max(0.0, change.at - first)),
            "kind": change.kind,
            "text": shown_line(change.text),
        }
        for change in history.changes
    ]


def _served(history: History) -> list[dict[str, str]]:
    parts = sorted(history.served.items(), key=lambda part: -part[1].answers)
    return [_served_by(endpoint, provider, served) for (endpoint, provider), served in parts]


def _served_by(endpoint: str, provider: str, served: Served) -> dict[str, str]:
    def quantile(histogram: Histogram, at: float) -> str:
        number = histogram.quantile(at)
        return "" if number is None else _seconds(number)

    return {
        "endpoint": shown_line(endpoint, 120) or "the endpoint",
        "provider": shown_line(provider, 60),
        "answers": count(served.answers),
        "tokens": short_count(served.output_tokens),
        "p50": quantile(served.latency, 0.5),
        "p95": quantile(served.latency, 0.95),
        "first": quantile(served.first_token, 0.5),
    }


def _settings(about: AboutRun) -> list[dict[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    return [
        *(
            {"name": shown_line(name, 60), "value": shown_line(_json(value), 2000)}
            for name, value in sorted(about.spec.items())
            if value not in (None, "", {}, [])
        ),
        {"name": "versions", "value": shown_line(versions)},
    ]


def _json(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _comparison(a: StoredRows, b: StoredRows) -> str:
    one, other = gather(a.scan()), gather(b.scan())
    groups = _pairs(a, b)
    lengths = [
        {**chart, "caption": f"{name}: {chart['caption']}"}
        for name, figures in (("A", one), ("B", other))
        for chart in _lengths(figures)[:2]
    ]
    return render(
        "comparison.html",
        f"{Path(a.about.output).name} and {Path(b.about.output).name}",
        {
            "a": {"output": shown_line(a.about.output), "model": shown_line(a.about.model)},
            "b": {"output": shown_line(b.about.output), "model": shown_line(b.about.model)},
            "notes": [*_notes(a), *_notes(b)],
            "figures": _side_by_side(one, other),
            "settings": _differing(a.about, b.about),
            "lengths": lengths,
            "groups": groups,
        },
    )


def _side_by_side(one: Figures, other: Figures) -> list[dict[str, str]]:
    def entry(name: str, a: str, b: str) -> dict[str, str]:
        return {"name": name, "a": a, "b": b}

    def both(name: str, of: Any) -> dict[str, str]:
        return entry(name, of(one), of(other))

    def quantile(name: str, at: float) -> Any:
        return lambda figures: _whole(getattr(figures, name).quantile(at) or 0.0)

    return [
        both("rows ok", lambda f: count(f.ok)),
        both("rows failed", lambda f: count(f.failed)),
        both("tokens in", lambda f: short_count(f.input_tokens)),
        both("tokens out", lambda f: short_count(f.output_tokens)),
        both("answer, median, in tokens", quantile("answer_tokens", 0.5)),
        both("answer, 95 %, in tokens", quantile("answer_tokens", 0.95)),
        both("answer, median, in characters", quantile("answer_characters", 0.5)),
        *(
            entry(
                f"answers: {str(flaw).replace('_', ' ')}",
                share(one.flaws[flaw], one.answers),
                share(other.flaws[flaw], other.answers),
            )
            for flaw in _MEANINGS
        ),
        *(
            entry(
                f"failed: {shown_line(code, 80)}{f' ({status})' if status else ''}",
                count(_failed(one, code, status)),
                count(_failed(other, code, status)),
            )
            for code, status in dict.fromkeys(
                (f.code, f.status) for f in [*one.failures_by_rows, *other.failures_by_rows]
            )
        ),
    ]


def _failed(figures: Figures, code: str, status: int | None) -> int:
    entry = figures.failures.get((code, status))
    return entry.rows if entry else 0


def _differing(a: AboutRun, b: AboutRun) -> list[dict[str, str]]:
    return [
        {
            "name": shown_line(name, 60),
            "a": shown_line(_json(a.spec.get(name)), 2000),
            "b": shown_line(_json(b.spec.get(name)), 2000),
        }
        for name in sorted({*a.spec, *b.spec})
        if a.spec.get(name) != b.spec.get(name)
    ]


def _pairs(a: StoredRows, b: StoredRows) -> list[dict[str, Any]]:
    """Rows that both runs have ended: those that went otherwise, and some at random."""
    ones = dict(zip(*_statuses(a), strict=True))
    others = dict(zip(*_statuses(b), strict=True))
    common = sorted(ones.keys() & others.keys(), key=sample_key)
    worse = sorted([n for n in common if others[n] and not ones[n]][:_PAIRS])
    better = sorted([n for n in common if ones[n] and not others[n]][:_PAIRS])
    sample = sorted(common[: 2 * _PAIRS])
    wanted = {*worse, *better, *sample}
    left, right = _views(a, wanted), _views(b, wanted)

    def group(name: str, ordinals: list[int]) -> dict[str, Any]:
        both = [(left[n], right[n]) for n in ordinals if n in left and n in right]
        return {
            "name": name,
            "pairs": [
                {"a": x, "b": y, "differs": x.prompt != y.prompt and not (x.missing or y.missing)}
                for x, y in both
            ],
        }

    return [
        group("Failed in B only", worse),
        group("Failed in A only", better),
        group("At random", sample),
    ]


def _statuses(rows: StoredRows) -> tuple[Iterable[int], Iterable[int]]:
    index = rows.index()
    return index.ordinals, index.failed
