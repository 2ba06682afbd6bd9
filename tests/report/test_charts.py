"""Charts: every mark within the picture, and time that nobody worked left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints._store.history import Change, Sample
from distilabel_endpoints.histogram import Histogram
from distilabel_endpoints.report.charts import HEIGHT, LEFT, WIDTH, histogram_chart, timeline


@given(st.lists(st.floats(0, 1e7), max_size=50))
def test_bars_lie_within_the_picture(values: list[float]) -> None:
    """Also for no numbers, and for one number a thousand times."""
    chart = histogram_chart(Histogram(values), "tokens", str)
    for bar in chart.bars:
        assert LEFT <= bar.x <= bar.x + bar.width <= WIDTH
        assert 0 <= bar.y <= bar.y + bar.height <= HEIGHT + 0.2
    assert all(0 <= tick.at <= HEIGHT for tick in chart.y_ticks)


samples = st.lists(
    st.builds(
        Sample,
        at=st.floats(0, 1e6),
        part=st.integers(0, 3),
        limit=st.none() | st.integers(0, 4096),
        in_flight=st.integers(0, 9),
        done=st.integers(0, 1000),
        failed=st.just(0),
        output_tokens=st.integers(0, 1000),
    ),
    max_size=40,
)


@given(samples, st.floats(-1e6, 2e6))
def test_lines_lie_within_the_picture(given_samples: list[Sample], at: float) -> None:
    """Whatever the clock did, in whatever order the samples are."""
    chart = timeline(given_samples, [Change(at, "limit", "x")], lambda _, now: now.limit)
    for line in chart.lines:
        for point in line.split():
            x, y = map(float, point.split(","))
            assert LEFT <= x <= WIDTH
            assert 0 <= y <= HEIGHT
    assert all(LEFT <= mark.x <= WIDTH for mark in chart.marks)


def test_a_night_between_two_processes_takes_no_room() -> None:
    """Ten seconds of work, a day of nothing, ten seconds of work: twenty seconds."""
    one = [Sample(float(n), 0, 8, 0, n, 0, n) for n in range(11)]
    two = [Sample(86_400.0 + n, 1, 8, 0, 11 + n, 0, n) for n in range(11)]
    chart = timeline(one + two, [], lambda _, now: now.limit)
    assert [tick.text for tick in chart.x_ticks] == ["0 s", "5 s", "10 s", "15 s", "20 s"]
    assert len(chart.lines) == 2
