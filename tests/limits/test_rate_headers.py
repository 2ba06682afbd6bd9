"""Reading rate-limit headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints._limits.quotas import Quota, read_quotas


def test_openai_headers_are_a_bucket_for_each_unit() -> None:
    """Capacity, rest, and how long until it is full."""
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert read_quotas(headers) == [
        Quota(unit="requests", remaining=59, reset=1, capacity=60),
        Quota(unit="tokens", remaining=149984, reset=360, capacity=150000),
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("1s", 1.0),
        ("120ms", 0.12),
        ("6m0s", 360.0),
        ("2m59.56s", 179.56),
        ("1h2m3s", 3723.0),
        ("1d", 86400.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """Plain seconds and the compact form."""
    headers = {"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": text}
    assert [quota.reset for quota in read_quotas(headers)] == [pytest.approx(seconds)]


@pytest.mark.parametrize(
    "text", ["", "soon", "-3", "nan", "inf", "1x", "5s!", "1767225600", "2026-01-01T00:00:00Z"]
)
def test_a_reset_that_is_no_number_of_seconds_is_no_quota(text: str) -> None:
    """Clock times included: no wall clock enters."""
    headers = {"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": text}
    assert read_quotas(headers) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"ratelimit": '"api";r=50;t=30'},
        {"ratelimit": "limit=100, remaining=50, reset=30"},
        {"ratelimit-limit": "100", "ratelimit-remaining": "50", "ratelimit-reset": "30"},
        {"x-ratelimit-remaining": "50", "x-ratelimit-reset": "30"},
    ],
)
def test_every_spelling_of_the_ietf_draft_is_a_window(headers: dict[str, str]) -> None:
    """So many left for so many seconds."""
    assert read_quotas(headers) == [Quota(unit="requests", remaining=50, reset=30)]


def test_several_policies_in_one_header() -> None:
    """Each is a quota of its own."""
    found = read_quotas({"ratelimit": '"burst";r=5;t=1, "daily";r=900;t=3600'})
    assert [(quota.remaining, quota.reset) for quota in found] == [(5, 1), (900, 3600)]


@given(st.dictionaries(st.sampled_from(["ratelimit", "x-ratelimit-remaining"]), st.text()))
def test_any_text_is_survived(headers: dict[str, str]) -> None:
    """Headers come from anywhere."""
    for quota in read_quotas({**headers, "x-ratelimit-reset": "5"}):
        assert quota.remaining >= 0.0
