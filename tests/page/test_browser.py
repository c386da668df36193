"""Pages in a real browser: they say what their files say, complain of nothing, fit the screen."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from page_sources import explanation, session_in
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="there is no Chromium with its chromedriver"
)
PHONE, SCREEN = (390, 844), (1400, 900)


Make = Callable[..., "subprocess.CompletedProcess[str]"]

# Titles of columns, and where a row of the JSON has the same.
SHOWN: dict[str, Callable[[Any], float]] = {
    "median ms": lambda row: row["latency"]["median_ms"],
    "best": lambda row: row["latency"]["best_ms"],
    "p10": lambda row: row["latency"]["p10_ms"],
    "p90": lambda row: row["latency"]["p90_ms"],
    "FPS": lambda row: row["fps"],
    "MiB": lambda row: row["peak_rss_bytes"] / 2**20,
    "rel. err": lambda row: row["accuracy"]["relative_error"],
    "max abs err": lambda row: row["accuracy"]["max_abs_error"],
    "mse": lambda row: row["accuracy"]["mse"],
    "samples": lambda row: sum(len(turn["seconds"]) for turn in row["rounds"]),
    "to first ms": lambda row: 1e3 * (row["import_s"] + row["load_s"] + row["first_run_s"]),
    "import": lambda row: 1e3 * row["import_s"],
    "load": lambda row: 1e3 * row["load_s"],
    "first run": lambda row: 1e3 * row["first_run_s"],
    "CPU ms a run": lambda row: row["cpu_ms"],
    "CPU ms idle": lambda row: 1e3 * row["idle_cpu_s"],
    "vs best*": lambda row: row["ratio"]["value"],
    "busy cores": lambda row: row["busy_cores"],
    "M instr. a run": lambda row: row["instructions"] / 1e6,
    "FPS at once": lambda row: median(row["at_once"]["runs_per_s"]),
}
TWO_PLACES = 0.0051
WORDS = ("runtime", "remark", "matched")
TABLES = """
return [...document.querySelectorAll("section:first-of-type table")].map(table =>
  [...table.rows].map(row => [...row.cells].map(cell => cell.innerText.trim())))
"""
DRAWN = """
return [...document.querySelectorAll(".chart")].map(chart => chart.querySelectorAll("svg").length)
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    assert CHROMIUM is not None
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(make: Make, bench_file: Path, tmp_path: Path) -> str:
    """The address of a page of a benchmark, a session and an explanation."""
    (tmp_path / "explain.json").write_text(explanation().to_json(), "utf-8")
    session = session_in(tmp_path / "catalogue.db")
    done = make(bench_file.name, "explain.json", session, "--catalogue", "catalogue.db")
    assert done.returncode == 0, done.stderr
    return (tmp_path / "report.html").as_uri()


def opened(browser: webdriver.Chrome, page: str) -> webdriver.Chrome:
    browser.get_log("browser")  # of what was opened before
    browser.get(page)
    WebDriverWait(browser, 60).until(lambda driver: 0 not in driver.execute_script(DRAWN))
    return browser


def test_every_chart_is_drawn_without_a_complaint(browser: webdriver.Chrome, page: str) -> None:
    assert opened(browser, page).execute_script(DRAWN) == [1] * 7
    assert browser.get_log("browser") == []


def test_every_number_is_that_of_the_file(
    browser: webdriver.Chrome, page: str, bench_file: Path
) -> None:
    rows = {row["name"]: row for row in json.loads(bench_file.read_text("utf-8"))["runtimes"]}
    compared = set()
    for titles, *lines in opened(browser, page).execute_script(TABLES):
        for name, *cells in (line for line in lines if line[0] in rows):
            for title, cell in zip(titles[1:], cells, strict=True):
                if not cell or title in WORDS:
                    continue
                if title == "interval":
                    ratio = rows[name]["ratio"]
                    low, high = map(float, cell.removesuffix("x").split(" to "))
                    bounds = pytest.approx((ratio["low"], ratio["high"]), rel=0.005, abs=TWO_PLACES)
                    assert (low, high) == bounds
                    continue
                # Three digits of each, two of errors, and two behind the point of some.
                digits = 0.05 if "err" in title or title == "mse" else 0.005
                least = TWO_PLACES if title in ("busy cores", "vs best*") else None
                expected = pytest.approx(SHOWN[title](rows[name]), rel=digits, abs=least)
                assert float(cell.removesuffix("x").replace(",", "")) == expected, (name, title)
                compared.add((name, title))
    known = {(name, title) for name, row in rows.items() for title in SHOWN if is_known(row, title)}
    assert compared == known


def is_known(row: Any, title: str) -> bool:
    """Whether the file says it; of a runtime that did not run it says nothing."""
    try:
        return SHOWN[title](row) is not None and row["latency"] is not None
    except TypeError:
        return False


@pytest.mark.parametrize("size", [PHONE, SCREEN])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_and_is_read_by_day_and_night(
    browser: webdriver.Chrome, page: str, size: tuple[int, int], scheme: str
) -> None:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
    root = "document.documentElement"
    overhang = f"return {root}.scrollWidth - {root}.clientWidth"
    assert opened(browser, page).execute_script(overhang) == 0
    back, text = (
        browser.execute_script(f"return getComputedStyle(document.body).{which}")
        for which in ("backgroundColor", "color")
    )
    assert (brightness(back) > brightness(text)) == (scheme == "light")


def brightness(colour: str) -> int:
    """Of `rgb(1, 2, 3)`: the sum."""
    return sum(int(number) for number in re.findall(r"\d+", colour)[:3])
