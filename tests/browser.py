"""A headless Chromium that opens one page from its file, and tells what it complained of and what it asked for."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest

OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
           "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage")


def programs():
    """(browser, driver): the paths of Chromium and its driver, None for what is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")


def start():
    """A Selenium driver of Chromium with a fresh profile; skips the test where browser, driver or Selenium are missing."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium (the extra `test`) is not installed")
    from selenium.webdriver.chrome.service import Service
    browser, driver = programs()
    if not (browser and driver):
        pytest.skip("no Chromium with its driver here; on Debian: apt-get install chromium chromium-driver")
    profile = tempfile.mkdtemp(prefix="minicnn-browser-")
    options = selenium.ChromeOptions()
    options.binary_location = browser
    for option in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = selenium.Chrome(options=options, service=Service(driver))
    started.profile = profile
    return started


def stop(browser):
    """End it and remove its profile."""
    browser.quit()
    shutil.rmtree(browser.profile, ignore_errors=True)


class Page:
    """One page in a browser of some width. do(script, *args) runs JavaScript, wait(script) waits until it gives something
    true, click(selector) clicks as a user does."""

    def __init__(self, browser, path, width=1280, height=900):
        self.browser, self.path = browser, Path(path).resolve()
        browser.get_log("browser"), browser.get_log("performance")          # what came before is not this page's
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
        browser.get(self.path.as_uri())

    def do(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def wait(self, script, *arguments, seconds=60):
        from selenium.webdriver.support.wait import WebDriverWait
        waiting = WebDriverWait(self.browser, seconds, poll_frequency=0.05)
        return waiting.until(lambda _: self.do(f"return {script}", *arguments), f"never true: {script}")

    def find(self, selector):
        from selenium.webdriver.common.by import By
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector):
        self.do("arguments[0].scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'})", self.find(selector))
        self.find(selector).click()

    def keys(self, selector, *keys):
        from selenium.webdriver.common.keys import Keys
        self.find(selector).send_keys(*[getattr(Keys, key) for key in keys])

    def complaints(self):
        """What the browser's console was told, but for notes."""
        return [entry for entry in self.browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self):
        """Addresses that were asked for, but for the page itself, what is inside it, and the browser's own new tab."""
        messages = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith(("data:", "blob:", "chrome:")) and url != self.path.as_uri()]
