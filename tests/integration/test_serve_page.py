"""The page in headless Chromium, as a person uses it: by keyboard and pointer, wide and narrow, light and dark."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bnb_fairseq.cli.refinement import show
from bnb_fairseq.serving.page import saved_page
from bnb_fairseq.translator import Translator

from ..unit.conftest import random_parameters  # noqa: F401  # a fixture
from ..unit.export.conftest import trained  # noqa: F401  # a fixture
from ..unit.folder.conftest import exported, reseal  # noqa: F401  # fixtures
from .served import Served, served

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright drives the browser")
CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; apt-get install chromium brings one")

TEXT = "the cell opens"
MARKUP = "<img src=x onerror='document.title=1'><script>document.title=1</script>"
SIZES = {"phone": (360, 740), "desktop": (1440, 900)}
# The contrast of each visible text to what lies behind it, by WCAG's formula; the lowest one, and its text.
CONTRAST = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((x) => x / 255)
    .map((x) => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4)
    .reduce((sum, x, i) => sum + x * [.2126, .7152, .0722][i], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const found = parts(getComputedStyle(one).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  let lowest = [99, ""];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || element.closest("#behind, script, noscript, [hidden]")) continue;
    const [a, b] = [light(parts(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    const contrast = (a + .05) / (b + .05);
    if (contrast < lowest[0]) lowest = [contrast, walk.currentNode.data];
  }
  return lowest;
}"""


@pytest.fixture(scope="module")
def server(
    exported: dict[str, Path],  # noqa: F811
    reseal: Callable[..., Path],  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """Models of three kinds, for three languages."""
    place = tmp_path_factory.mktemp("server")
    kinds = {"en": "ctc", "fr": "refining", "es": "autoregressive"}
    folders = [
        reseal(Path(shutil.copytree(exported[kind], place / language)), {}, source_lang=language, target_lang="de")
        for language, kind in kinds.items()
    ]
    with served(place, *folders, "--max-characters", 3000) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Any, server: Served) -> Iterator[Callable[..., Any]]:
    """Open the page; errors of its script, and what it wants from elsewhere, fail the test."""
    faults: list[str] = []
    contexts = []

    def open_one(size: str = "desktop", scheme: str = "light", path: str = "", url: str | None = None) -> Any:
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request",
            lambda request: faults.extend([request.url] * (not request.url.startswith((server.url, "data:", "file:")))),
        )
        page.goto(url or server.url + path)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert faults == []


def shown(page: Any) -> str:
    """Wait for a translation, and return it."""
    page.wait_for_selector("#output:not(.old) .word")
    return str(page.locator("#output .text").inner_text())


def test_typing(open_page: Callable[..., Any], server: Served) -> None:
    """Words that are typed are translated in one go; the arrow keys move between the words of the translation."""
    page = open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type(TEXT, delay=10)
    found = shown(page)
    assert len([url for url in asked if url.endswith("v1/translate")]) == 1
    (expected,) = Translator.load(server.log.parent / "en").translate([TEXT], nbest=3, alignment=True)
    assert found.split() == expected.text.split()
    assert page.locator("#results li").count() == len(expected.alternatives) == 2
    assert re.fullmatch(r"Translated in \d+ ms, \d+ ms of them on the server", page.inner_text("#status"))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy")
    page.wait_for_selector("#status:has-text('Copied')")
    assert page.evaluate("navigator.clipboard.readText()") == expected.text
    page.locator("#output .word").first.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    place = len(found.split()) - 2
    detail = page.inner_text(".detail")
    word = min(value for value, of in zip(expected.confidence, expected.words, strict=True) if of == place)
    sources = [TEXT.split()[i] for i in expected.alignment[place]]
    assert detail.startswith(f"{found.split()[place]}: confidence {round(word * 100)}%. ")
    assert detail.endswith(f"Source: {' '.join(sources)}" if sources else "No single source word.")
    assert page.locator("#behind .lit").all_inner_texts() == sources
    page.locator("#output .word").first.hover()
    assert page.inner_text(".detail").startswith(found.split()[0])


def test_how_it_was_written(open_page: Callable[..., Any], server: Served) -> None:
    """The canvas of one pass, the passes of a model that refines, a model that has none of it."""
    page = open_page()
    page.check("#show-written")
    page.select_option("#search", "none")
    page.fill("#text", TEXT)
    page.wait_for_selector("table.canvas")
    assert page.locator(".canvas tr").count() == 2
    ((written,),) = Translator.load(server.log.parent / "en").canvases([TEXT], "none")
    slots = written.passes[0].slots
    assert page.locator(".canvas .slot b").all_inner_texts() == [slot.symbol or "·" for slot in slots]
    assert page.locator(".canvas .slot small").all_inner_texts() == [f"{100 * slot.probability:.0f}%" for slot in slots]
    kept = page.locator(".canvas .slot:not(.blank, .left-out, .special) b").all_inner_texts()
    assert kept == [slot.symbol for slot in slots if slot.kept]
    assert page.locator(".canvas .of-pass").inner_text() == shown(page)
    page.select_option("#source", "fr")
    page.fill("#passes", "3")
    page.wait_for_selector(".canvas tr:nth-child(3)")
    assert page.locator(".canvas .slot.again").count() > 0
    assert page.locator(".canvas .of-pass").last.inner_text() == shown(page)
    page.select_option("#source", "es")
    page.wait_for_selector("text=This model writes word by word, without a canvas.")
    assert "This model says nothing about its source words." in page.inner_text(".detail")
    assert page.is_hidden("#passes-option")


def test_markup_is_shown_and_not_run(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.check("#show-written")
    page.fill("#text", f"{MARKUP} cell")
    shown(page)
    page.wait_for_selector("h2:has-text('How it was written')")
    assert page.title() == "Translate"
    assert page.locator("#behind").inner_text().strip() == f"{MARKUP} cell"
    assert page.locator("#live img, #results img, #behind script, #results script").count() == 0


def test_long_texts(open_page: Callable[..., Any]) -> None:
    """Are translated sentence by sentence; the limit of characters is counted, and one too many is a message."""
    page = open_page("phone")
    page.fill("#text", "The cell opens. Opens the cell. " * 20)
    assert len(shown(page).split()) > 20
    assert page.inner_text("#count") == "640 of 3,000 characters"
    page.fill("#text", "cell " * 601)
    page.wait_for_selector("#message:not([hidden])")
    assert page.inner_text("#message") == "No translation: characters must be at most 3,000, but are 3,005."
    page.fill("#text", "")
    page.wait_for_selector("#message", state="hidden")
    assert page.inner_text("#output") == ""


def test_a_server_that_is_gone(open_page: Callable[..., Any], server: Served, tmp_path: Path) -> None:
    with served(tmp_path, server.log.parent / "en") as other:
        page = open_page(url=server.url)
        page.route("**/v1/translate", lambda route: route.continue_(url=f"{other.url}v1/translate"))
        page.fill("#text", TEXT)
        shown(page)
        other.end()
        page.fill("#text", f"{TEXT} the")
        page.wait_for_selector("#message:not([hidden])")
        assert page.inner_text("#message") == "The server cannot be reached. Type on to try again."
        page.unroute("**/v1/translate")
        page.fill("#text", f"{TEXT} the cell")
        shown(page)
        assert page.is_hidden("#message")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_sizes_and_colours(size: str, scheme: str, open_page: Callable[..., Any]) -> None:
    """Nothing is wider than the window, every field has a label, and texts have a contrast of 4.5 or more."""
    page = open_page(size, scheme)
    page.check("#show-written")
    page.fill("#text", f"{TEXT} {'x' * 300}")
    page.wait_for_selector("table.canvas")
    page.locator("#output .word").first.hover()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    contrast, text = page.evaluate(CONTRAST)
    assert contrast >= 4.5, text
    unlabelled = (
        "[...document.querySelectorAll('input, select, textarea')].filter((x) => !x.labels.length).map((x) => x.id)"
    )
    assert page.evaluate(unlabelled) == []
    page = open_page(size, scheme, "docs")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    contrast, text = page.evaluate(CONTRAST)
    assert contrast >= 4.5, text


def test_a_saved_page(open_page: Callable[..., Any], server: Served, tmp_path: Path) -> None:
    """Shows the same view of its translations, as one file."""
    translator = Translator.load(server.log.parent / "fr")
    rows = show(translator, [TEXT, MARKUP], {"iter_decode_max_iter": 3, "iter_decode_force_max_iter": True})
    (tmp_path / "a.html").write_text(saved_page("Passes", rows), encoding="utf-8")
    page = open_page("phone", url=(tmp_path / "a.html").as_uri())
    assert page.title() == "Passes"
    assert page.locator("section.saved").count() == 2
    assert page.locator(".source").all_inner_texts() == [TEXT, MARKUP]
    assert page.locator(".canvas").first.locator("tr").count() == 8
    assert page.locator(".canvas .slot.again").count() > 0
    page.locator(".saved .word").first.focus()
    assert "confidence" in page.locator(".detail").first.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.is_hidden("#live")
