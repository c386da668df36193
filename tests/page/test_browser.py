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
# Of A4 between its margins, in CSS pixels.
PAPER = 720


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
# Of the section under a heading.
TABLES = """
const [section] = [...document.querySelectorAll("section")].filter(
  section => section.querySelector("h2").innerText === arguments[0]);
return [...section.querySelectorAll("table")].map(table =>
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
    for titles, *lines in opened(browser, page).execute_script(TABLES, "Race"):
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


def test_operators_are_those_of_the_explanation(browser: webdriver.Chrome, page: str) -> None:
    [[titles, *rows]] = opened(browser, page).execute_script(TABLES, "Operators")
    [operator] = explanation().operators
    [cells] = rows
    shown = dict(zip(titles, cells, strict=True))
    assert shown == {
        "operator": operator.work,
        "calls": str(operator.calls),
        "ms": "2.50",
        "share": "50.0%",
        "GFLOP/s": "80.0",
        "GB/s": "0.400",
        "of peak": "80%",
        "bound": operator.bound,
        "gain ms": "0.500",
        "trials": "10",
        "space": operator.space,
    }


def test_kernels_are_those_of_the_session(
    browser: webdriver.Chrome, page: str, run_warm: Make
) -> None:
    told = run_warm("show", "-f", "json", "--catalogue", "catalogue.db")
    tasks = json.loads(told.stdout)["tasks"]
    [[titles, *rows]] = opened(browser, page).execute_script(TABLES, "Tuning")
    shown = [dict(zip(titles, cells, strict=True)) for cells in rows]
    assert [
        (row["kernel"], row["calls"], row["trials"], int(row["failed"] or 0)) for row in shown
    ] == [
        (
            task["operation"],
            str(task["weight"]),
            str(task["trials"]),
            sum(task["failures"].values()),
        )
        for task in tasks
    ]
    best_s = [float(row["best ms"]) / 1e3 for row in shown]
    assert best_s == pytest.approx([task["best_s"] for task in tasks], rel=0.005)


SAMPLES = Path(__file__).parents[2] / "docs/results/samples"


@pytest.mark.parametrize("name", ["models", "resnet50"])
def test_the_samples_of_the_documents_are_drawn_without_a_complaint(
    browser: webdriver.Chrome, name: str
) -> None:
    sample = (SAMPLES / f"{name}.html").as_uri()
    assert set(opened(browser, sample).execute_script(DRAWN)) == {1}
    assert browser.get_log("browser") == []


def test_on_paper_it_is_black_on_white_unfolded_and_no_wider(
    browser: webdriver.Chrome, make: Make, bench_file: Path, tmp_path: Path
) -> None:
    other = json.loads(bench_file.read_text("utf-8"))
    other["model"] |= {"name": "another", "digest": "2" * 64}
    (tmp_path / "another.json").write_text(json.dumps(other), "utf-8")
    assert make("bench.json", "another.json").returncode == 0
    metrics = {"width": PAPER, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics | {"width": 1400})
    opened(browser, (tmp_path / "report.html").as_uri())
    folded = "return document.querySelectorAll('details:not([open])').length"
    assert browser.execute_script(folded) > 0
    browser.execute_cdp_cmd("Page.printToPDF", {})
    assert browser.execute_script(folded) == 0
    # Drawn for a screen, and then laid out on a sheet.
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": dark})
    try:
        wide = "return [...document.querySelectorAll('.chart svg')].map(s => s.clientWidth)"
        assert max(browser.execute_script(wide)) <= PAPER
        body = "return getComputedStyle(document.body)"
        assert brightness(browser.execute_script(f"{body}.backgroundColor")) == 3 * 255
        assert brightness(browser.execute_script(f"{body}.color")) == 0
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen", "features": []})


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
