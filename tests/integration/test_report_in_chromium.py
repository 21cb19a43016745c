"""The report's page in a real browser: it asks for nothing, runs only its own script, and everyone can read it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.integration.studies import PLANNER

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOSTILE = "<script>document.title = 'run'</script><img src=http://127.0.0.1:9/x onerror=\"document.title = 'run'\">"
STUDY = f"""\
name: seen-in-a-browser
description: {json.dumps(HOSTILE)}
models:
  small: {{path: Qwen/Qwen3-8B}}
hardware: {{gpu: RTX 2080 Ti 22GB, num_gpus: 2, host_memory: 64GiB}}
engine: {{version: 0.8.5, settings: {{dtype: half, max_model_len: 4096}}}}
container: {{image: "vllm/vllm-openai:v0.8.5"}}
search_space:
  search:
    layout: [2xtp1, 1xtp2]
    max_num_seqs: [2, 8, 32]
    max_num_batched_tokens: [2048, 8192]
    enable_prefix_caching: [true, false]
    gpu_memory_utilization: [0.8, 0.9]
    block_size: [16, 32]
    swap_space: [0, 4]
workload: {{concurrency: 8, num_requests: 24, input_tokens: 256, output_tokens: 32}}
"""
FOCUSED = "document.activeElement.tagName + ' ' + document.activeElement.textContent.trim()"
CONTRAST = """() => {
  const parsed = text => text.match(/[\\d.]+/g).map(Number)
  const light = colour => {
    const [r, g, b] = parsed(colour).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor, parts = parsed(colour)
      if (parts.length === 3 || parts[3] === 1) return colour
    }
  }
  const words = [...document.querySelectorAll('h1, h2, p, li, a, td, th, caption, figcaption, summary, svg text')]
  return words.map(element => {
    const style = getComputedStyle(element)
    const two = [light(element.closest('svg') ? style.fill : style.color), light(behind(element))].sort((a, b) => b - a)
    return [(two[0] + 0.05) / (two[1] + 0.05), element.outerHTML.slice(0, 80)]
  }).sort((a, b) => a[0] - b[0])[0]
}"""
"""The least contrast of any text with what is behind it (WCAG 2.2: relative luminance), and whose it is."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written by the commands that a person uses."""
    study = tmp_path_factory.mktemp("study") / "study.yaml"
    study.write_text(STUDY, "utf-8")
    for words in (
        ["tune", str(study), "--trials", "8", "--backend", "simulated"],
        ["report", str(study), "--simulated", "--html"],
    ):
        ended = subprocess.run([*PLANNER, *words], capture_output=True, text=True, check=False, timeout=850)
        assert ended.returncode == 0, ended.stderr
    path = study.parent / "simulated" / "report.html"
    assert ended.stdout == f"wrote {path}\n"
    words = ["report", str(study), "--simulated", "--html", "--no-script", "-o", str(study.parent / "plain.html")]
    subprocess.run([*PLANNER, *words], check=True, timeout=850, capture_output=True)
    return path


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """The page, opened from disk; what it complained of or asked for fails the test."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page, complaints, asked = context.new_page(), [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        yield page
        assert complaints == []
        assert asked == [report.as_uri()]


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(page: Page, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    drawings = page.evaluate("[...document.querySelectorAll('svg')].map(one => one.getBoundingClientRect().width)")
    assert drawings
    assert all(250 < drawn < width for drawn in drawings)
    least, whose = page.evaluate(CONTRAST)
    assert least >= 4.5, whose


def test_dark_is_dark_and_paper_is_white(page: Page) -> None:
    paper, ink = "getComputedStyle(document.documentElement).backgroundColor", "getComputedStyle(document.body).color"
    seen = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        seen[scheme] = (page.evaluate(paper), page.evaluate(ink))
    assert len({colour for pair in seen.values() for colour in pair}) == 4
    page.emulate_media(media="print", color_scheme="dark")
    assert (page.evaluate(paper), page.evaluate(ink)) == ("rgb(255, 255, 255)", "rgb(0, 0, 0)")
    marks = "[...document.querySelectorAll('.series .dot')].map(one => getComputedStyle(one).fill)"
    assert "none" not in page.evaluate(marks)


def test_it_prints_on_a_sheet_without_what_is_for_the_screen(page: Page) -> None:
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 at 96 dots an inch, less Chromium's margins
    assert not page.locator("nav").is_visible()
    assert page.locator(".lead").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 718
    assert page.pdf(format="A4").startswith(b"%PDF-")


def test_landmarks_headings_and_pictures_have_names(page: Page) -> None:
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1  # type: ignore[arg-type]
    assert page.get_by_role("heading", level=1).inner_text() == "seen-in-a-browser"
    titles = page.get_by_role("heading", level=2).all_inner_texts()
    assert len(titles) == 12
    for title in titles:
        assert page.get_by_role("region", name=title, exact=True).count() == 1
        assert page.get_by_role("link", name=title, exact=True).count() == 1
    for drawing in page.locator("svg").all():
        name = drawing.get_attribute("aria-label")
        assert page.get_by_role("img", name=name, exact=True).count() == 1
    assert page.get_by_role("note").inner_text().startswith("SIMULATED")


def test_the_keyboard_reaches_links_tables_and_details(page: Page) -> None:
    reached = []
    for _ in range(400):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.tagName + ' ' + document.activeElement.textContent.trim()")
        )
        if reached[-1].startswith("BODY"):
            break
    assert reached[0] == "A To the verdict"
    assert [words[2:] for words in reached[1:13]] == page.get_by_role("heading", level=2).all_inner_texts()
    assert sum(words.startswith("SUMMARY") for words in reached) == page.locator("summary").count()
    assert sum(words.startswith("DIV") for words in reached) == page.locator("section > .scroll").count()
    assert sum(words.startswith("BUTTON") for words in reached) == page.locator("th button:visible").count()
    closed = page.locator("details:has(table)").first
    closed.locator("summary").focus()
    page.keyboard.press("Enter")
    assert closed.evaluate("one => one.open")
    assert closed.get_by_role("table").is_visible()
    page.get_by_role("link", name="Ruled out").press("Enter")
    assert page.evaluate("location.hash") == "#ruled-out"


def test_hostile_words_are_shown_and_do_nothing(page: Page) -> None:
    assert page.title().startswith("seen-in-a-browser")
    assert page.get_by_role("banner").locator("p").first.inner_text() == HOSTILE
    assert (page.locator("script").count(), page.locator("img").count()) == (1, 0)


def test_tables_are_sorted_by_their_numbers(page: Page) -> None:
    head = page.locator("#trials thead th").nth(1)
    values = page.locator("#trials tbody tr td:nth-child(2)")
    for order in ("ascending", "descending"):
        head.get_by_role("button").press("Enter")
        assert head.get_attribute("aria-sort") == order
        shown = [float(text.strip("~").split()[0]) for text in values.all_inner_texts() if text]
        assert shown == sorted(shown, reverse=order == "descending")
    worths = page.evaluate("['1 234 tok/s', '-7.4%', '2.5 s', '184 ms', '1 h 20 min', '3 min 04 s', 'none'].map(worth)")
    assert worths == pytest.approx([1234, -0.074, 2.5, 0.184, 4800, 184, None])


def test_the_pointer_is_told_what_is_under_it_and_sees_one_trial_everywhere(page: Page) -> None:
    line = page.locator("#settings polyline.best")
    line.dispatch_event("pointerenter", {"clientX": 100, "clientY": 100})
    words = page.locator(".tip").inner_text()
    assert words.startswith("trial ")
    number = words.split()[1].strip(":")
    rows = page.locator("#trials tr.lit th").all_inner_texts()
    assert [row.split()[0] for row in rows] == [number]
    assert page.locator(".dot.lit").count() >= 1
    line.dispatch_event("pointerleave")
    assert not page.locator(".tip").is_visible()
    assert page.locator(".lit").count() == 0


def test_the_script_that_runs_the_winner_is_copied(page: Page, report: Path) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#run summary").press("Enter")
    page.get_by_role("button", name="Copy").press("Enter")
    page.wait_for_function("document.querySelector('#run [role=status]').textContent")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == (report.parent / "run.sh").read_text("utf-8").strip()


def test_without_a_script_the_page_is_whole(browser: Browser, report: Path) -> None:
    plain = report.parent.parent / "plain.html"
    with browser.new_context(java_script_enabled=True) as context:
        page, complaints = context.new_page(), list[str]()
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(plain.as_uri())
        assert page.locator("script, button").count() == 0
        assert page.locator("svg title").count() > 10
        assert page.locator("#settings polyline title").count() >= 3
        assert complaints == []


def test_the_policy_would_stop_what_slipped_through(browser: Browser, report: Path) -> None:
    with browser.new_context() as context:
        page, refused = context.new_page(), []
        page.goto(report.as_uri())
        page.on("requestfailed", lambda request: refused.append((request.url, request.failure)))
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title = 1\">')")
        page.evaluate("""() => {
            const script = document.createElement('script')
            script.textContent = "document.title = 'run'"
            document.head.append(script)
        }""")
        page.wait_for_timeout(300)
        assert page.title().startswith("seen-in-a-browser")
        assert refused == [((report.parent / "x").as_uri(), "csp")]
