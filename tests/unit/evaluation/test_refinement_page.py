"""The page against the record."""

from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
import pytest

from bnb_fairseq.evaluation.refinement_page import CONFIDENCE, fill, ink, page
from bnb_fairseq.evaluation.refinement_record import Refinement

from .html_tables import Page


@pytest.mark.parametrize("kind", ["ctc", "length", "one pass", "hostile"])
def test_page_says_what_the_record_says(kind: str, recorded: Callable[..., Any], hostile: Refinement) -> None:
    record = hostile if kind == "hostile" else recorded(kind)[1]
    shown = Page(page([record, hostile]))
    assert [name for name, _ in shown.tables] == ["canvas", "attention"] * 2
    (_, canvas), (_, attention) = shown.tables[:2]
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
    assert shown.seen["h2"] == [record.sentence, hostile.sentence]
    assert shown.seen["p"][1:3] == [f"Source pieces: {' '.join(record.source)}", f"{record.summary}."]


def test_page_needs_nothing_else(hostile: Refinement) -> None:
    text = page([hostile])
    shown = Page(text)
    assert not {"script", "link", "img", "iframe", "i", "b"} & shown.seen.keys()
    assert not any(name in ("src", "href") or name.startswith("on") for _, name, _ in shown.attributes)
    assert "url(" not in text and "@import" not in text
    assert "color-scheme: light dark" in text


def test_colours_can_be_read() -> None:
    """WCAG's contrast of at least 4.5 for every probability; and red is uncertain, blue certain."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for step in range(101):
        light, dark = sorted((luminance(fill(step / 100)), luminance(ink(step / 100))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, step
    red, blue = fill(0.0), fill(1.0)
    assert int(red[1:3], 16) > int(red[5:], 16) and int(blue[1:3], 16) < int(blue[5:], 16)


def test_colours_are_those_of_matplotlib() -> None:
    """Which has 256 steps: one of them changes a part by 3 at most."""
    expected = [matplotlib.colormaps["RdYlBu"](step / 1000, bytes=True)[:3] for step in range(1001)]
    found = [[int(fill(step / 1000)[i : i + 2], 16) for i in (1, 3, 5)] for step in range(1001)]
    np.testing.assert_allclose(np.array(found), np.array(expected, dtype=int), atol=3)
    assert tuple(found[100 * 7]) == CONFIDENCE[7]
