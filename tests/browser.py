"""A real browser, for tests of what a person sees, with an end to every wait for it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

__all__ = ["has_browser", "needs_browser", "open_browser"]

_BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
_DRIVER = shutil.which("chromedriver")

_PATIENCE = 120
"""Seconds that the driver may take for one command; Selenium itself waits for ever."""

_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
    "--disable-sync", "--disable-background-networking", "--disable-component-update",
    "--disable-extensions",
)  # fmt: skip

_FLAT = ("--disable-3d-apis", "--disable-software-rasterizer")
"""
Prefect's page of a run has a moving picture, which takes half a minute of CPU where no graphics card
draws it. It is there where somebody wants to look at the screenshots.
"""


def has_browser() -> bool:
    """Whether there is one on this machine."""
    return bool(_BROWSER and _DRIVER)


needs_browser = pytest.mark.skipif(
    not has_browser(), reason="needs chromium and chromedriver, see apt"
)


@contextmanager
def open_browser(*flags: str) -> Iterator[Chrome]:
    """A headless browser with more flags, closed after the block."""
    options = ChromeOptions()
    options.binary_location = str(_BROWSER)
    for flag in (*_FLAGS, *(() if "BROWSER_SHOTS" in os.environ else _FLAT), *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    earlier = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)  # read once, as the connection to the driver is made
    try:
        driver = Chrome(options=options, service=Service(str(_DRIVER)))
    finally:
        socket.setdefaulttimeout(earlier)
    try:
        yield driver
    finally:
        driver.quit()
