"""The page of the report in a real browser: it opens from disk, links and figures resolve, claims filter and sort."""

import shutil
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from playwright.sync_api import sync_playwright

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def opened(browser):
    """The committed page, opened from disk; ``errors`` collects errors and network requests."""

    def make(width: int):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.errors = []
        page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("requestfailed", lambda request: page.errors.append(f"failed: {request.url}"))
        page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else page.errors.append(
            f"network request: {request.url}"))  # fmt: skip
        page.goto((ROOT / "results" / "index.html").as_uri())
        return page

    return make


def test_the_page_opens_without_an_error_and_every_link_and_figure_resolves(opened):
    page = opened(1280)
    links = page.eval_on_selector_all(
        "a[href], img[src]", "all => all.map(one => one.href || one.src).filter(link => link)"
    )
    assert sum(".png" in link for link in links) > 20
    for link in links:
        parts = urlparse(link)
        assert parts.scheme == "file" and Path(unquote(parts.path)).exists(), link
        if parts.fragment:
            assert page.locator(f"[id='{parts.fragment}']").count() == 1, link
    assert page.errors == []


def test_claims_are_filtered_by_text_data_and_verdict(opened):
    page = opened(1280)
    shown = page.locator("#claims tbody tr:visible")
    whole = shown.count()
    assert whole > 50
    page.select_option("#verdict", "not reproduced")
    assert 0 < shown.count() < whole
    assert {text.removesuffix(" (not counted)") for text in shown.locator(".verdict").all_text_contents()} == {
        "not reproduced"
    }
    page.select_option("#verdict", "")
    page.select_option("#data", "mnist")
    page.fill("#text", "TEACHER_errors")
    assert shown.count() == 1 and "mnist.teacher_errors" in shown.first.inner_text()
    assert page.inner_text("#count") == f"1 of {whole} claims"


def test_tables_are_sorted_by_number_up_and_down(opened):
    page = opened(1280)
    column = page.locator("#claims thead th").all_text_contents().index("n")
    head = page.locator("#claims thead th").nth(column)
    for direction in ("ascending", "descending"):
        head.locator("button").click()
        cells = page.locator(f"#claims tbody td:nth-child({column + 1})").all_text_contents()
        values = [float(text) for text in cells]
        assert values == sorted(values, reverse=direction == "descending") and len(set(values)) > 2
        assert head.get_attribute("aria-sort") == direction


def test_the_page_is_readable_on_a_phone(opened):
    page = opened(390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    first = page.locator("#claims tbody tr").first
    assert first.bounding_box()["width"] <= 390 and "teacher_errors" in first.inner_text()
    assert page.errors == []


def test_every_column_of_the_claims_is_seen_on_a_laptop(opened):
    page = opened(1280)
    right_end = page.eval_on_selector("#claims", "table => table.getBoundingClientRect().right")
    assert right_end <= 1280 and page.errors == []


def test_a_figure_enlarges_on_click_and_closes_on_escape(opened):
    page = opened(1280)
    page.locator(".gallery a").first.click()
    assert page.locator("#zoom").is_visible() and page.locator("#zoom img").get_attribute("src").endswith(".png")
    page.keyboard.press("Escape")
    assert not page.locator("#zoom").is_visible() and page.errors == []


def test_pages_stay_small():
    assert (ROOT / "results" / "index.html").stat().st_size <= 300_000
    assert (ROOT / "REPRODUCE.md").stat().st_size <= 30_000
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130
