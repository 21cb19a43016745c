"""`planner watch` in a real browser while a study runs: it refreshes itself, everyone can read it, a kill shows."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.integration.studies import PLANNER
from tests.integration.test_report_in_chromium import ARGUMENTS, CONTRAST, STUDY

CEILING_S = 120.0
"""Seconds that only a hang reaches."""


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + CEILING_S
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("watched") / "study.yaml"
    text = STUDY
    for short, long in (
        ("max_num_seqs: [2, 8, 32]", f"max_num_seqs: {list(range(2, 64))}"),
        ("concurrency: 8, num_requests: 24", "concurrency: 64, num_requests: 2000"),
    ):
        assert short in text
        text = text.replace(short, long)
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(scope="module")
def tuning(study: Path) -> Iterator[subprocess.Popen[str]]:
    """A study under way, with more launches to make than the tests take time for."""
    words = ["--trials", "400", "--keep-going", "--no-finals", "--backend", "simulated", "--quiet"]
    command = [*PLANNER, "tune", str(study), *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True) as running:
        session = study.parent / "simulated" / "session.json"
        until(session.exists)
        assert running.poll() is None
        yield running
        running.kill()


@pytest.fixture(scope="module")
def url(study: Path, tuning: subprocess.Popen[str]) -> Iterator[str]:
    assert tuning.poll() is None
    command = [*PLANNER, "watch", str(study), "--simulated", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/", watching.stdout.readline())
        assert found is not None
        yield found[0]
        watching.terminate()
        assert watching.wait(CEILING_S) == 0


@pytest.fixture(scope="module")
def page(chromium: str, url: str) -> Iterator[Page]:
    """The page; what it complained of, or asked of anybody but planner, fails the tests."""
    with sync_playwright() as playwright:
        browser: Browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        context: BrowserContext = browser.new_context(viewport={"width": 1280, "height": 900})
        page, complaints, asked = context.new_page(), list[str](), set[str]()
        page.set_default_timeout(CEILING_S * 1000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.add(request.url))
        page.goto(url)
        yield page
        assert complaints == []
        assert asked == {url, f"{url}parts"}
        browser.close()


def test_it_refreshes_itself_and_keeps_the_keyboards_place(page: Page) -> None:
    assert page.get_by_role("status").inner_text().startswith("running")
    page.wait_for_selector("#part-trials tbody tr")
    page.locator("#part-trials .scroll").focus()
    before = page.locator("#part-trials tbody tr").count()
    page.wait_for_function("before => document.querySelectorAll('#part-trials tbody tr').length > before", arg=before)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Trials, the latest first"
    tiles = page.locator(".tiles").inner_text()
    assert re.search(r"search \d+ of 400 launches, no finals", tiles)
    assert re.search(r"\d launches at most: ", tiles)
    assert "noise of one launch" in tiles
    assert "cannot say" in page.locator("#part-cards").inner_text().lower()
    assert "the embedded simulated engine writes no log" in page.locator("#part-log").inner_text()


def test_landmarks_and_pictures_have_names(page: Page) -> None:
    for landmark in ("banner", "main", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1  # type: ignore[arg-type]
    assert page.get_by_role("heading", level=1).inner_text() == "seen-in-a-browser"
    for title in page.get_by_role("heading", level=2).all_inner_texts():
        assert page.get_by_role("region", name=title, exact=True).count() >= 1
    drawing = page.locator("svg").first.get_attribute("aria-label")
    assert page.get_by_role("img", name=drawing, exact=True).count() == 1


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(page: Page, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    least, whose = page.evaluate(CONTRAST)
    assert least >= 4.5, whose


def test_a_study_that_is_killed_shows_so(page: Page, tuning: subprocess.Popen[str]) -> None:
    assert tuning.poll() is None, "it still runs"
    tuning.kill()
    tuning.wait()
    page.wait_for_selector(".state.killed")
    assert re.search(r"killed planner \(pid \d+ on \S+\) is gone", page.get_by_role("status").inner_text())
    assert "Time left" not in page.locator(".tiles").inner_text()
