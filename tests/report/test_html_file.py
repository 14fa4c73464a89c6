"""report.html of a made-up run, opened and used in a real browser."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tasks.core.records import Verdict
from tasks.outputs.findings import read_findings
from tasks.report.findings import summarise_findings
from tasks.report.frames import read_frames
from tasks.report.html_file import write_html
from tasks.report.summary import summarise
from tasks.review.findings.suppressions import read_suppressions
from tests.browser import has_browser, open_browser
from tests.factories import POOL, comment, made_up, make_run, write_run

_ATTACK = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
_PATIENCE = 20.0


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A headless Chromium with a profile of its own."""
    if not has_browser():
        pytest.skip("no chromium and chromedriver here: install them to run the browser tests")
    profile = f"--user-data-dir={tmp_path_factory.mktemp('profile')}"
    with open_browser("--window-size=1280,1600", profile) as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 400 inputs, complete but for what the seed made fail."""
    failed = {
        "reason": "timeout", "endpoint": "https://models.example.test/v1", "model": "model-x",
        "calls": 10, "said": "no answer within 600 s", "is_reply": False,
    }  # fmt: skip
    upstream = {"failures": [failed], "holds": [], "closed": [], "adapted": {}, "goes_on_at": None}
    root = tmp_path_factory.mktemp("report") / "run"
    return _report(*make_run(root, inputs=400, upstream=upstream))


def _report(paths: Any, manifest: dict[str, Any]) -> Path:
    rows = [{"app_id": alias, "sends": 9, "most in a window": "3 of 3 in 60 s"} for alias in POOL]
    proof = {"kept": True, "sends": 36, "rate_limited": 0, "span_s": 1201.5, "optimum_s": 1180.0}
    frames = read_frames(paths)
    found = summarise_findings(read_findings(paths))
    proof |= {"app_ids": rows}
    write_html(paths, manifest, proof, frames, summarise(*frames), findings=found)
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
    assert "than the limit in force" in _text(browser, "#quota")
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
    """Opening one shows the message, its line among those around it, and the reason of the review."""
    _open(browser, page)
    row = browser.find_element(By.CSS_SELECTOR, "#findings tbody tr")
    line = row.find_element(By.CSS_SELECTOR, ".path .quiet").text.removeprefix("line ")
    opened = _open_first(browser)
    _screenshot(browser, "report-open")
    assert opened.find_element(By.CSS_SELECTOR, ".code .found > i").text == line
    assert len(opened.find_elements(By.CSS_SELECTOR, ".code .line:not(.found)")) >= 5
    assert "The code says so." in opened.text
    title = row.find_element(By.CSS_SELECTOR, "button.title")
    assert title.get_attribute("aria-expanded") == "true"
    title.click()
    _wait(browser, lambda: title.get_attribute("aria-expanded") == "false")
    assert browser.find_elements(By.CSS_SELECTOR, "#findings .code") == []


def _open_first(browser: webdriver.Chrome) -> WebElement:
    browser.find_element(By.CSS_SELECTOR, "#findings button.title").click()
    _wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#findings .opened .code"))
    return browser.find_element(By.CSS_SELECTOR, "#findings tr.opened, #findings tr:has(.opened)")


def test_a_finding_can_be_suppressed_by_copying(browser: webdriver.Chrome, page: Path) -> None:
    """The line that a button copies is one that suppressions.jsonl takes, for this very finding."""
    _open(browser, page)
    browser.execute_cdp_cmd("Browser.grantPermissions", {"permissions": _CLIPBOARD})
    opened = _open_first(browser)
    name, line = opened.find_elements(By.CSS_SELECTOR, ".copying")
    line.find_element(By.TAG_NAME, "button").click()
    _wait(browser, lambda: line.find_element(By.TAG_NAME, "button").text == "copied")
    copied = _clipboard(browser)
    fingerprint = name.find_element(By.TAG_NAME, "code").text
    assert set(read_suppressions([(1, json.loads(copied))], "copied")) == {fingerprint}
    name.find_element(By.TAG_NAME, "button").click()
    _wait(browser, lambda: _clipboard(browser) == fingerprint)


_CLIPBOARD = ["clipboardReadWrite", "clipboardSanitizedWrite"]


def _clipboard(browser: webdriver.Chrome) -> str:
    return str(browser.execute_script("return navigator.clipboard.readText()"))


def test_a_permalink_opens_its_finding(browser: webdriver.Chrome, page: Path) -> None:
    """Also one that is many pages down, from a fresh start and from within the page."""
    names = re.findall(r'"fingerprint":"([0-9a-f]+)"', page.read_text())
    browser.get("about:blank")
    for name in (names[-1], names[0]):
        browser.get(f"{page.as_uri()}#{name}")
        opened = f"tr[data-fingerprint='{name}'] + tr .permalink"
        _wait(browser, lambda at=opened: browser.find_elements(By.CSS_SELECTOR, at))
        link = browser.find_element(By.CSS_SELECTOR, opened)
        assert str(link.get_attribute("href")).endswith(f"#{name}")
        row = browser.find_element(By.CSS_SELECTOR, f"tr[data-fingerprint='{name}']")
        assert (
            0
            <= browser.execute_script("return arguments[0].getBoundingClientRect().top", row)
            < 800
        )


def test_every_control_has_a_name(browser: webdriver.Chrome, page: Path) -> None:
    """Buttons that sort and filter say what; charts are images with their figures in words."""
    _open(browser, page)
    heads = browser.find_elements(By.CSS_SELECTOR, "#findings thead th")
    for head in heads:
        title = head.find_element(By.CSS_SELECTOR, ".dt-column-title").text
        names = [one.accessible_name for one in head.find_elements(By.TAG_NAME, "button")]
        assert names
        assert names[0].startswith(f"Sort by {title}")
        assert all(title in name for name in names)
    charts = browser.find_elements(By.CSS_SELECTOR, ".chart")
    assert {chart.aria_role for chart in charts} <= {"img", "image"}
    assert "security" in charts[0].accessible_name
    assert all(chart.accessible_name for chart in charts)


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_light_and_dark_wide_and_narrow(
    browser: webdriver.Chrome, page: Path, mode: str, width: int
) -> None:
    """The page follows the reader's choice, and never scrolls sideways, an opened finding included."""
    features = [{"name": "prefers-color-scheme", "value": mode}]
    size = {"width": width, "height": 1600, "deviceScaleFactor": 1, "mobile": False}
    try:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        _open(browser, page)
        _open_first(browser)
        _screenshot(browser, f"report-{width}-{mode}")
        assert browser.execute_script(_WIDER) <= 0
        assert browser.execute_script(_NARROWEST) >= 20, "words are read from left to right"
        assert browser.execute_script(_BROKEN) == 0, "a severity is one line"
        for selector in ("body", "#verdict", ".card", "#findings", ".code", "button.copy"):
            ground = browser.execute_script(_GROUND, selector)
            assert (ground < 100) == (mode == "dark"), (selector, ground)
        assert browser.execute_script(_PALE) == []
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


_PALE = """
const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
function rgba(colour) {
  pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
  return [...pen.getImageData(0, 0, 1, 1).data].map((value, at) => at < 3 ? value : value / 255);
}
const over = (top, ground) => [0, 1, 2].map((at) => top[at] * top[3] + ground[at] * (1 - top[3]));
function groundOf(node) {
  const grounds = [];
  for (; node; node = node.parentElement) grounds.unshift(rgba(getComputedStyle(node).backgroundColor));
  return grounds.reduce((below, top) => over(top, below), [255, 255, 255]);
}
function light(colour) {
  const [red, green, blue] = colour.map((one) => one / 255)
    .map((one) => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
function contrast(colour, ground) {
  const [less, more] = [light(over(rgba(colour), ground)), light(ground)].sort((a, b) => a - b);
  return (more + 0.05) / (less + 0.05);
}
const shown = [...document.querySelectorAll("body *:not(script, style, button.disabled)")].filter((node) =>
  node.checkVisibility() && [...node.childNodes].some((one) => one.nodeType === 3 && one.textContent.trim()));
const pairs = shown.map((node) => {
  const style = getComputedStyle(node);
  return [node.textContent, node instanceof SVGElement ? style.fill : style.color, groundOf(node)];
});
const box = document.querySelector(".dt-search input");
pairs.push(["placeholder", getComputedStyle(box, "::placeholder").color, groundOf(box)]);
return pairs.filter(([, colour, ground]) => contrast(colour, ground) < 4.5).map(([text]) => text.trim().slice(0, 40));
"""
"""Texts with less than 4.5:1 to their ground; a button that can do nothing is none."""
_WIDER = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
_NARROWEST = """
const cells = [...document.querySelectorAll(".said td, #findings td")].filter((cell) => cell.innerText.trim());
return Math.min(...cells.map((cell) => cell.getBoundingClientRect().width));
"""
_BROKEN = """
return [...document.querySelectorAll("#findings .severity")].filter((one) => one.getClientRects().length > 1).length;
"""
_GROUND = """
const ground = getComputedStyle(document.querySelector(arguments[0])).backgroundColor;
return Math.max(...ground.match(/[\\d.]+/g).slice(0, 3).map(Number));
"""
"""The brightest of red, green and blue of an element's ground, 0 to 255."""


def test_five_thousand_findings_open_quickly(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """The page is ready, table and all, within the bound; what is not seen is not drawn."""
    rng = Random(3)
    reviews = []
    for number in range(1250):
        source, _, calls = made_up(rng, number)
        found = [
            replace(comment(source.input_id, path=source.path, line=line), outcome="kept")
            for line in (1, 3, 5, 7)
        ]
        reviews.append((source, found, calls))
    page = _report(*write_run(tmp_path / "run", reviews))
    assert page.stat().st_size < 12 * 2**20
    _open(browser, page)
    assert "of 5,000" in _text(browser, ".dt-info")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#findings tbody tr")) == 25
    ready = browser.execute_script(
        "const [page] = performance.getEntriesByType('navigation'); return page.domContentLoadedEventEnd"
    )
    assert ready < _READY_MS


_READY_MS = 6000
"""2,000 on a machine of its own; tests share theirs."""


def test_hostile_texts_stay_texts(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """Markup in every text of a finding is shown as it is, also after filtering and opening."""
    source, _, calls = made_up(Random(1), 1)
    source = replace(source, content=f"{_ATTACK}\n" * 3)
    fields = ("title", "message", "rationale", "existing_code", "suggestion", "path")
    verdict = Verdict("model-r", "ok", "confirmed", 9, _ATTACK, _ATTACK)
    hostile = comment(source.input_id, **dict.fromkeys(fields, _ATTACK), verdict=verdict)
    calls = [replace(call, app_id="team-a") for call in calls]
    written = write_run(tmp_path / "run", [(source, [replace(hostile, outcome="kept")], calls)])
    _console(browser)
    _open(browser, _report(*written))
    browser.find_element(By.CSS_SELECTOR, ".dt-search input").send_keys("onerror")
    _open_first(browser)
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
