"""Page and picture against the record."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image

from .conftest import Part
from .html_tables import Page


@pytest.mark.parametrize("kind", ["ctc", "length", "one pass", "hostile"])
def test_page_says_what_the_record_says(kind: str, recorded: Callable[..., Any], hostile: Any, part: Part) -> None:
    record = hostile if kind == "hostile" else recorded(kind)[1]
    page = Page(part("page").page([record, hostile]))
    assert [name for name, _ in page.tables] == ["canvas", "attention"] * 2
    (_, canvas), (_, attention) = page.tables[:2]
    assert len(canvas) == 2 * len(record.passes)
    for i, made in enumerate(record.passes):
        title, *cells = canvas[2 * i]
        assert title[0::2] == ("th", f"pass {i}")
        assert [cell for _, _, cell in cells] == [slot.piece for slot in made.slots]
        assert [attributes["title"] for _, attributes, _ in cells] == [f"p = {x.probability:.4f}" for x in made.slots]
        classes = [str(attributes["class"]).split() for _, attributes, _ in cells]
        assert [("again" in names, "dropped" not in names) for names in classes] == [
            (slot.again, slot.kept) for slot in made.slots
        ]
        (_, attributes, text) = canvas[2 * i + 1][1]
        assert (attributes["colspan"], text) == (str(len(made.slots)), made.text)
    head, *rows = attention
    assert [cell for _, _, cell in head[1:]] == [slot.piece for slot in record.passes[-1].slots]
    assert [row[0][2] for row in rows] == record.source
    weights = [[float(str(attributes["title"])) for _, attributes, _ in row[1:]] for row in rows]
    np.testing.assert_allclose(np.array(weights), record.attention.T.numpy(), atol=5.1e-5)
    opacity = [[float(str(cell[1]["style"]).split("/")[1].strip(" )")) for cell in row[1:]] for row in rows]
    np.testing.assert_allclose(opacity, record.attention.T.numpy() / float(record.attention.max()), atol=5.1e-4)
    assert page.seen["h2"] == [record.sentence, hostile.sentence]
    assert page.seen["p"][1:3] == [f"Source pieces: {' '.join(record.source)}", f"{record.summary}."]


def test_page_needs_nothing_else(hostile: Any, part: Part) -> None:
    text = part("page").page([hostile])
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "i", "b"} & page.seen.keys()
    assert not any(name in ("src", "href") or name.startswith("on") for _, name, _ in page.attributes)
    assert "url(" not in text and "@import" not in text
    assert "color-scheme: light dark" in text


def test_colours_can_be_read(part: Part) -> None:
    """WCAG's contrast of at least 4.5 for every probability; and red is uncertain, blue certain."""
    colours = part("colours")

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for step in range(101):
        light, dark = sorted((luminance(colours.fill(step / 100)), luminance(colours.ink(step / 100))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, step
    red, blue = colours.fill(0.0), colours.fill(1.0)
    assert int(red[1:3], 16) > int(red[5:], 16) and int(blue[1:3], 16) < int(blue[5:], 16)


def test_picture_shows_the_record(
    hostile: Any, part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    drawing = part("drawing")
    kept: list[Any] = []
    monkeypatch.setattr(drawing.plt, "close", kept.append)
    long = hostile._replace(
        passes=[made._replace(slots=made.slots * 9, text=made.text * 30) for made in hostile.passes],
        attention=hostile.attention.repeat(9, 1),
    )
    drawing.draw([hostile, long], tmp_path / "a.png")
    pixels = image.imread(tmp_path / "a.png")
    (figure,) = kept
    width, height = figure.get_size_inches() * drawing.DOTS_PER_INCH
    assert pixels.shape[:2] == (pytest.approx(height, abs=1), pytest.approx(width, abs=1))
    colours = {tuple(colour) for colour in (pixels[..., :3] * 255).round().astype(int).reshape(-1, 3).tolist()}
    wanted = {slot.probability for made in hostile.passes for slot in made.slots}
    assert {tuple(int(part("colours").fill(p)[i : i + 2], 16) for i in (1, 3, 5)) for p in wanted} <= colours
    (axes,) = figure.axes
    texts = axes.texts
    turned = [text.get_text() for text in texts if text.get_rotation() == 90]
    assert turned == [slot.piece for made in [*long.passes, long.passes[-1]] for slot in made.slots]
    shown = [text.get_text() for text in texts]
    for piece in (*hostile.source, hostile.sentence, hostile.summary, hostile.passes[1].text):
        assert piece in shown
    frames = [patch for patch in axes.patches if not patch.get_fill()]
    per_sentence = sum(slot.again for made in [*hostile.passes, hostile.passes[-1]] for slot in made.slots)
    assert len(frames) == 1 + 10 * per_sentence  # the legend's, and every one of both sentences
    drawing.draw([hostile], tmp_path / "narrow.png")
    for each in kept:
        box = [text.get_window_extent() for text in each.axes[0].texts]
        right, top = each.get_size_inches() * drawing.DOTS_PER_INCH
        assert min(b.x0 for b in box) >= 0 and max(b.x1 for b in box) <= right
        assert min(b.y0 for b in box) >= 0 and max(b.y1 for b in box) <= top
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_picture_too_large(hostile: Any, part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = part("drawing")
    assert drawing.MOST_DOTS == 65_535, "the renderer's limit"
    monkeypatch.setattr(drawing, "MOST_DOTS", 500)  # so many sentences take their time
    with pytest.raises(ValueError, match=r"^--output must be at most 500 pixels wide and high, but 3 sentences need"):
        drawing.draw([hostile] * 3, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
