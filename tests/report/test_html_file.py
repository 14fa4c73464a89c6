"""report.html of a made-up run, opened and used in a real browser."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tasks.core.records import Verdict
from tasks.report.frames import read_frames
from tasks.report.html_file import write_html
from tasks.report.summary import summarise
from tests.factories import POOL, comment, made_up, make_run, write_run

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1280,1600",
)  # fmt: skip
_ATTACK = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
_PATIENCE = 20.0


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A headless Chromium with a profile of its own."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no chromium and chromedriver here: install them to run the browser tests")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 400 inputs, complete but for what the seed made fail."""
    return _report(*make_run(tmp_path_factory.mktemp("report") / "run", inputs=400))


def _report(paths: Any, manifest: dict[str, Any]) -> Path:
    rows = [{"app_id": alias, "sends": 9, "most in a window": "3 of 3 in 60 s"} for alias in POOL]
    proof = {"kept": True, "sends": 36, "rate_limited": 0, "span_s": 1201.5, "optimum_s": 1180.0}
    frames = read_frames(paths)
    write_html(paths, manifest, proof | {"app_ids": rows}, frames, summarise(*frames))
    return Path(paths.html)


def _open(browser: webdriver.Chrome, page: Path) -> None:
    browser.get(page.as_uri())
    _wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#findings.dataTable"))


def _wait(browser: webdriver.Chrome, condition: Callable[[], object]) -> None:
    WebDriverWait(browser, _PATIENCE, poll_frequency=0.05).until(lambda _: condition())


def _text(browser: webdriver.Chrome, selector: str) -> str:
    return browser.find_element(By.CSS_SELECTOR, selector).text


def _column(browser: webdriver.Chrome, number: int) -> list[str]:
    # One script call: the table may be drawn anew between two calls of the driver.
    cells = f"document.querySelectorAll('#findings tbody td:nth-child({number})')"
    return list(browser.execute_script(f"return [...{cells}].map(cell => cell.innerText)"))


def _console(browser: webdriver.Chrome) -> list[str]:
    """What the console said since the last look."""
    entries = browser.get_log("browser")  # type: ignore[no-untyped-call]  # has no annotations
    return [entry["message"] for entry in entries]


def _screenshot(browser: webdriver.Chrome, name: str) -> None:
    """For a person's eyes, where SCREENSHOTS names a folder."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_what_a_person_reads_first(browser: webdriver.Chrome, page: Path) -> None:
    """The verdict in red, the totals, four charts with their data, and the worst finding on top."""
    _open(browser, page)
    _screenshot(browser, "report")
    verdict = browser.find_element(By.ID, "verdict")
    assert verdict.text.startswith("INCOMPLETE: ")
    assert verdict.value_of_css_property("color") in {"rgba(179, 38, 30, 1)", "rgb(179, 38, 30)"}
    cards = _text(browser, ".cards")
    assert re.search(r"inputs\n400\n\d+ complete, \d+ partial", cards)
    charts = browser.find_elements(By.CSS_SELECTOR, ".chart svg")
    assert len(charts) == 4
    assert all(chart.size["height"] > 100 for chart in charts)
    for alias in POOL:
        assert alias in charts[3].text
    assert _column(browser, 1)[0] == "critical"
    assert "no window was ever exceeded" in _text(browser, "#quota")
    assert re.search(r"other-family model-x 400", _text(browser, "#checks"))


def test_the_console_is_silent(browser: webdriver.Chrome, page: Path) -> None:
    """No script error, no blocked resource, nothing asked of the network."""
    _console(browser)
    _open(browser, page)
    loaded = browser.execute_script("return performance.getEntriesByType('resource').length")
    assert _console(browser) == []
    assert loaded == 0


def test_a_word_filters_the_table(browser: webdriver.Chrome, page: Path) -> None:
    """Typing leaves the rows that hold the word, also where only the message has it."""
    _open(browser, page)
    before = _text(browser, ".dt-info")
    box = browser.find_element(By.CSS_SELECTOR, ".dt-search input")
    box.send_keys("SQL text as it came")
    _wait(browser, lambda: _text(browser, ".dt-info") != before)
    assert set(_column(browser, 2)) == {"security"}
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys("no such word anywhere")
    _wait(browser, lambda: "No matching records found" in _text(browser, "#findings"))


def test_a_click_sorts_and_lists_filter(browser: webdriver.Chrome, page: Path) -> None:
    """The score column sorts by number; the severity list narrows to one severity."""
    _open(browser, page)
    browser.find_elements(By.CSS_SELECTOR, "#findings th:nth-child(5) button")[0].click()
    _wait(browser, lambda: _column(browser, 5) == sorted(_column(browser, 5), key=_score))
    browser.find_elements(By.CSS_SELECTOR, "#findings th:nth-child(1) button")[1].click()
    _wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".dtcc-list-buttons button"))
    choices = browser.find_elements(By.CSS_SELECTOR, ".dtcc-list-buttons button")
    assert {choice.text for choice in choices} == {"critical", "high", "medium", "low"}
    next(choice for choice in choices if choice.text == "low").click()
    _wait(browser, lambda: set(_column(browser, 1)) == {"low"})


def _score(text: str) -> int:
    return int(text) if text else -1


def test_a_finding_opens_to_its_code(browser: webdriver.Chrome, page: Path) -> None:
    """Opening one shows the message, the numbered line and the reason of the review."""
    _open(browser, page)
    row = browser.find_element(By.CSS_SELECTOR, "#findings tbody tr")
    line = row.find_element(By.CSS_SELECTOR, ".path .quiet").text.removeprefix("line ")
    row.find_element(By.TAG_NAME, "summary").click()
    _wait(browser, lambda: row.find_element(By.CSS_SELECTOR, ".code").is_displayed())
    _screenshot(browser, "report-open")
    assert row.find_element(By.CSS_SELECTOR, ".code > i").text == line
    assert "The code says so." in row.text


def test_hostile_texts_stay_texts(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """Markup in every text of a finding is shown as it is, also after filtering and opening."""
    source, _, calls = made_up(Random(1), 1)
    fields = ("title", "message", "rationale", "existing_code", "suggestion", "path")
    verdict = Verdict("model-r", "ok", "confirmed", 9, _ATTACK, _ATTACK)
    hostile = comment(source.input_id, **dict.fromkeys(fields, _ATTACK), verdict=verdict)
    calls = [replace(call, app_id="team-a") for call in calls]
    written = write_run(tmp_path / "run", [(source, [replace(hostile, outcome="kept")], calls)])
    _console(browser)
    _open(browser, _report(*written))
    browser.find_element(By.CSS_SELECTOR, ".dt-search input").send_keys("onerror")
    browser.find_element(By.TAG_NAME, "summary").click()
    shown = _text(browser, "#findings tbody")
    assert shown.count("<script>document.title='owned'</script>") >= len(fields)
    assert browser.find_elements(By.CSS_SELECTOR, "#findings img, #findings script") == []
    assert browser.title.startswith("Review ")
    assert _console(browser) == []


_PLANT = """
document.querySelector("main").insertAdjacentHTML("beforeend", arguments[0]);
const planted = document.querySelector("#planted");
planted.addEventListener("error", () => { document.body.dataset.failed = "yes"; });
planted.src = "data:,";
"""


def test_the_page_stops_what_escaping_would_miss(browser: webdriver.Chrome, page: Path) -> None:
    """Even markup that got into the page does not run: the policy allows two scripts only."""
    _open(browser, page)
    browser.execute_script(_PLANT, "<img id=planted onerror=\"document.title='owned'\">")
    _wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "body[data-failed=yes]"))
    assert browser.title.startswith("Review ")


def test_a_phone_scrolls_down_only(browser: webdriver.Chrome, page: Path) -> None:
    """On a narrow screen the page itself never scrolls sideways; wide parts do by themselves."""
    try:
        browser.set_window_size(500, 900)
        _open(browser, page)
        _screenshot(browser, "report-narrow")
        wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert browser.execute_script(wide) <= 0
    finally:
        browser.set_window_size(1280, 1600)
