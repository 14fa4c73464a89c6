"""The drawn charts: what is written in them, and that names cannot break out of them."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from tasks.report.html.charts import draw, latency_chart, quota_chart, severity_chart
from tasks.report.html.series import Points


def _texts(svg: str) -> list[str]:
    root = ET.fromstring(svg)
    return [text for part in root.iter() if part.tag.endswith("text") and (text := part.text)]


def _found(*counts: int) -> Points:
    categories = ("bug", "test", "style")
    return [
        {"severity": "high", "category": category, "count": count}
        for category, count in zip(categories, counts, strict=False)
    ]


@pytest.mark.parametrize(
    ("counts", "ticks"), [((1, 1), ["0", "1"]), ((3, 2), ["0", "1", "2", "3"])]
)
def test_few_findings_have_whole_ticks(counts: tuple[int, ...], ticks: list[str]) -> None:
    """There is no half finding, and no tick twice."""
    numbers = [text for text in _texts(draw(severity_chart(_found(*counts)))) if text.isdigit()]
    assert numbers == ticks


def test_bars_describe_themselves() -> None:
    """Each bar has words for a screen reader and for the hint under the mouse."""
    assert 'aria-label="1,200 high in bug"' in draw(severity_chart(_found(1200, 7)))


@pytest.mark.parametrize(("seconds", "shown"), [(90, r"^0\d:\d\d:\d\d$"), (7200, r"^0\d:\d\d$")])
def test_the_clock_fits_the_length_of_the_run(seconds: int, shown: str) -> None:
    """A run of a minute needs seconds, one of hours does not."""
    points = [
        {"time": time * 1000, "which": "median", "seconds": 1.0} for time in range(0, seconds, 10)
    ]
    assert sum(bool(re.match(shown, text)) for text in _texts(draw(latency_chart(points)))) > 2


def test_names_are_text_in_the_drawing() -> None:
    """An alias with markup stays an alias."""
    hostile = "</svg><script>alert(1)</script>"
    points = [{"time": 0, "app_id": hostile, "used": 1, "limit": 3}]
    svg = draw(quota_chart(points))
    assert "<script" not in svg
    assert hostile in _texts(svg)
