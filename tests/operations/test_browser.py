"""What a person sees in the morning, in a real browser; skipped where there is none.

Screenshots are written to the folder in BROWSER_SHOTS, if that is set.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser import needs_browser
from tests.operations.browser import Page, open_page
from tests.operations.conftest import Evening
from tests.operations.stack import KEYS, Operator

pytestmark = needs_browser


@pytest.fixture(scope="module")
def page(operator: Operator) -> Iterator[Page]:
    """A browser for all tests."""
    with open_page(operator) as opened:
        yield opened


def test_runs_are_told_apart_by_name_and_colour(
    operator: Operator, evening: Evening, page: Page
) -> None:
    """The list of runs says dataset, date and counts, and which one has gaps."""
    operator.ended(evening.nightly)
    gaps = operator.ended(evening.gaps)

    shown = page.shows("/runs", gaps.name, "Failed", "Completed", shot="runs")
    assert "8 inputs," in shown
    assert "4 of 6 inputs" in gaps.name


@pytest.mark.parametrize("version", ["", "/v2"])
def test_a_red_night_is_on_the_page_of_its_deployment(
    operator: Operator, evening: Evening, page: Page, version: str
) -> None:
    """Its list of runs, which both UIs filter by names of states, has the run that ended with gaps."""
    gaps = operator.ended(evening.gaps)

    address = f"{version}/deployments/deployment/{gaps.deployment_id}"
    shown = page.shows(address, gaps.name, "Failed", shot=f"deployment{version.replace('/', '-')}")
    assert ("Switch to V1 UI" in shown) == bool(version)


def test_flow_run_page_leads_to_its_results(
    operator: Operator, evening: Evening, page: Page
) -> None:
    """State, logs without noise, and the artifacts are on the page of the run."""
    gaps = operator.ended(evening.gaps)
    address = f"/runs/flow-run/{gaps.id}"

    shown = page.shows(address, gaps.name, "Failed", "6 inputs accepted", shot="run")
    assert "Traceback" not in shown
    page.shows(
        address,
        "bulk-review-report",
        "bulk-review-failed-cells",
        "bulk-review-top-findings",
        shot="run-artifacts",
        click="Artifacts",
    )
    message = "INCOMPLETE: 4 of 6 inputs, 2 not in full: 2 content_filter"
    page.shows(address, message, shot="run-details", click="Details")


def test_report_and_tables_can_be_read(operator: Operator, evening: Evening, page: Page) -> None:
    """The report is rendered as a page with tables; the failed cells are a table with reasons."""
    found = operator.artifacts(operator.ended(evening.gaps))

    report = page.shows(
        f"/artifacts/artifact/{found['bulk-review-report']['id']}",
        "Coverage",
        "Quota proof",
        "team-two",
        shot="report",
    )
    assert "| --- |" not in report
    failed = page.shows(
        f"/artifacts/artifact/{found['bulk-review-failed-cells']['id']}",
        "gaps-000",
        "content_filter",
        shot="failed-cells",
    )
    assert not [key for key in KEYS.values() if key in report + failed]


def test_concurrency_page_shows_the_pool(operator: Operator, evening: Evening, page: Page) -> None:
    """One limit per app_id, by alias, with the quota's number, beside that of the nightly."""
    operator.ended(evening.gaps)

    shown = page.shows(
        "/concurrency-limits", "app-id-team-one", "app-id-team-two", shot="concurrency"
    )
    assert "500" in shown
    assert not [key for key in KEYS.values() if key in shown]


def test_form_of_a_custom_run_explains_itself(
    operator: Operator, evening: Evening, page: Page
) -> None:
    """Starting a run by hand shows each parameter with its description and its choices."""
    del evening
    adhoc = operator.client.read_deployment_by_name("bulk-review/adhoc")

    shown = page.shows(
        f"/deployments/deployment/{adhoc.id}/run",
        "source",
        "The review.toml to use.",
        "Ask every question anew",
        shot="form",
    )
    assert "limit" in shown
