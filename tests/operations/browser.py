"""The stack's UI in a real browser."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser import open_browser
from tests.operations.stack import Operator

__all__ = ["Page", "open_page"]


class Page:
    """One browser window on the UI of the stack."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self._driver = driver
        self._url = url

    def shows(self, path: str, *texts: str, shot: str, click: str = "") -> str:
        """Open a page, choose a tab, wait until it shows all `texts`; returns all that it shows.

        A tab of the page that is open already is chosen on it, as a person does.
        """
        if not (click and urlsplit(self._driver.current_url).path == path):
            self._driver.get(self._url + path)
        if click:
            tab = f"//*[contains(@class, 'tab')][normalize-space(.)='{click}']"
            WebDriverWait(self._driver, 60).until(
                lambda driver: driver.find_elements(By.XPATH, tab)
            )[0].click()
        try:
            WebDriverWait(self._driver, 60).until(
                lambda _: all(one in self._text() for one in texts)
            )
        finally:
            self._keep(shot)
        return self._text()

    def cancel(self, path: str, shot: str) -> float:
        """Cancel the run of a page, as a person does; returns when, as time.time() has it."""
        self._driver.get(self._url + path)
        try:
            self._press("Cancel")
            self._press("Confirm")
            return time.time()
        finally:
            self._keep(shot)

    def _press(self, text: str) -> None:
        path = f"//button[normalize-space(.)='{text}']"

        def press(driver: Chrome) -> bool:
            for button in driver.find_elements(By.XPATH, path):
                button.click()
                return True
            return False

        # A page that is still being drawn replaces its buttons.
        WebDriverWait(self._driver, 60, ignored_exceptions=[WebDriverException]).until(press)

    def _text(self) -> str:
        return str(self._driver.find_element(By.TAG_NAME, "body").text)

    def _keep(self, shot: str) -> None:
        folder = os.environ.get("BROWSER_SHOTS")
        if folder:
            self._driver.save_screenshot(str(Path(folder) / f"{shot}.png"))


@contextmanager
def open_page(operator: Operator) -> Iterator[Page]:
    """A headless browser with a window of a usual size, logged in."""
    with open_browser("--window-size=1500,1300") as driver:
        # What the login page keeps once the password was typed.
        driver.get(operator.stack.url)
        login = operator.stack.login
        driver.execute_script("localStorage.setItem('prefect-password', btoa(arguments[0]))", login)
        yield Page(driver, operator.stack.url)
