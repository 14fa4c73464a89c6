"""The page that lists runs: one HTML file without scripts, its trend lines inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from deployments.run_pages.listing import RunRow, Trend

__all__ = ["render_runs", "spark_line"]

_WIDTH, _HEIGHT, _EDGE = 150, 30, 3
"""Pixels of a trend line, and what is left free around it."""

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Runs of nightly-review</title>
<link rel="icon" href="data:,">
<style>
:root { --ink: #1f2933; --quiet: #56616d; --line: #d9e0e7; --page: #f6f8fa; --card: #fff;
  --good: #17663a; --fair: #7a4b00; --bad: #b3261e; --mark: #2f6f9f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --quiet: #a3adb8; --line: #333c46;
  --page: #14181d; --card: #1c2229; --good: #6fcf97; --fair: #f0b95b; --bad: #ff8a80; --mark: #7fb8e0; } }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 24px; }
h1 { font-size: 24px; } h2 { font-size: 17px; margin-top: 32px; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: 7px 10px; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.words { overflow-wrap: anywhere; min-width: 140px; }
a { color: var(--mark); } .quiet { color: var(--quiet); }
.good { color: var(--good); } .fair { color: var(--fair); } .bad { color: var(--bad); font-weight: 600; }
svg { display: block; } polyline { fill: none; stroke: var(--mark); stroke-width: 2; }
circle { fill: var(--mark); }
td.started { white-space: nowrap; }
@media (max-width: 720px) {
  main { padding: 14px; }
  /* A run is a card: what its columns say stands below each other, with their names. */
  table, tbody { display: block; }
  thead { display: none; }
  tr { display: flex; flex-wrap: wrap; gap: 2px 14px; padding: 9px 10px; border-bottom: 1px solid var(--line); }
  tbody tr:last-child { border-bottom: 0; }
  td, td.number { padding: 0; border: 0; text-align: left; }
  td.words { flex-basis: 100%; }
  td[data-name]::before { content: attr(data-name) " "; color: var(--quiet); }
}
</style>
</head>
<body>
<main>
<h1>Runs</h1>
{% if trends %}
<h2>Trends</h2>
<div class="scroll"><table>
<thead><tr><th>Source</th><th>Runs</th><th>Findings</th><th>Cost</th><th>Coverage</th></tr></thead>
<tbody>
{% for one in trends %}
<tr><td class="words">{{ one.source }}</td><td data-name="runs">{{ one.count }}</td>
{% for line in one.lines %}<td data-name="{{ line.name }}">{{ line.svg }}<span class="quiet">{{ line.last }}</span></td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% endif %}
<h2>All runs</h2>
{% if runs %}
<div class="scroll"><table>
<thead><tr><th>Started</th><th>Source</th><th>Result</th><th>Findings</th><th class="number">Cost</th><th class="number">Coverage</th></tr></thead>
<tbody>
{% for run in runs %}
<tr><td class="started"><a href="{{ run.link }}">{{ run.started }}</a></td><td class="words">{{ run.source }}</td>
<td class="words {{ run.state }}">{{ run.result }}</td><td data-name="findings">{{ run.findings }}</td>
<td class="number" data-name="cost">{{ run.cost }}</td><td class="number" data-name="coverage">{{ run.coverage }}</td></tr>
{% endfor %}
</tbody></table></div>
{% else %}
<p class="quiet">No finished run in this folder yet.</p>
{% endif %}
</main>
</body>
</html>
"""
_TEMPLATE = Environment(
    autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
).from_string(_PAGE)


def render_runs(runs: Sequence[RunRow], trends: Sequence[Trend]) -> str:
    """The page as HTML; everything that a run says is escaped."""
    return _TEMPLATE.render(
        runs=[_run(one) for one in runs], trends=[_trend(one) for one in trends]
    )


def _run(one: RunRow) -> dict[str, str]:
    return {
        "link": f"/{quote(one.folder)}/report.html",
        "started": f"{one.started:%Y-%m-%d %H:%M}",
        "source": one.source,
        "result": one.result,
        "state": one.state,
        "findings": _findings(one),
        "cost": _money(one),
        "coverage": _coverage(one),
    }


def _findings(one: RunRow) -> str:
    counts = ", ".join(f"{count:,} {name}" for name, count in one.findings.items() if count)
    return f"{counts or 'none'}{'' if one.new is None else f'; {one.new:,} new'}"


def _money(one: RunRow) -> str:
    if one.cost is None:
        return "unknown"
    return f"{'' if one.cost_is_whole else 'over '}${one.cost:,.2f}"


def _coverage(one: RunRow) -> str:
    return f"{int(one.coverage * 1000) / 10:g} %"  # rounded up, 999 of 1,000 would be all


def _trend(one: Trend) -> dict[str, object]:
    last = one.runs[-1]
    values = {
        "findings": [float(sum(run.findings.values())) for run in one.runs],
        "cost": [run.cost or 0.0 for run in one.runs],
        "coverage": [run.coverage * 100 for run in one.runs],
    }
    told = (f"{values['findings'][-1]:,.0f}", _money(last), _coverage(last))
    lines = [
        {"name": name, "svg": spark_line(name, line), "last": text}
        for (name, line), text in zip(values.items(), told, strict=True)
    ]
    return {"source": one.source, "count": len(one.runs), "lines": lines}


def spark_line(name: str, values: Sequence[float]) -> Markup:
    """A line through `values`, oldest first, from their least to their greatest; numbers only."""
    low, high = min(values), max(values)
    across = (_WIDTH - 2 * _EDGE) / max(1, len(values) - 1)
    points = [
        (_EDGE + at * across, _EDGE + (_HEIGHT - 2 * _EDGE) * _depth(value, low, high))
        for at, value in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    label = f"{name}: {values[0]:,.4g} in the first run, {values[-1]:,.4g} in the last"
    return Markup(
        '<svg role="img" aria-label="{}" width="{}" height="{}"><polyline points="{}"/>'
        '<circle cx="{}" cy="{}" r="2.5"/></svg>'
    ).format(label, _WIDTH, _HEIGHT, line, f"{x:.1f}", f"{y:.1f}")


def _depth(value: float, low: float, high: float) -> float:
    """0 at the top; in the middle when all are the same."""
    return 0.5 if high == low else (high - value) / (high - low)
