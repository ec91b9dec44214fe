"""The colours and marks that the picture and the page share."""

import matplotlib
from matplotlib.colors import to_hex

from .record import BLANK, Slot

CONFIDENCE = matplotlib.colormaps["RdYlBu"]  # red and blue are told apart by those who confuse red and green
ATTENTION = matplotlib.colormaps["Oranges"]
LUMINANCE = (0.2126, 0.7152, 0.0722)  # shares of red, green and blue, in linear light
MARKS = (  # of the legend: a slot and its meaning
    (Slot("a", 0.6, True, True), "hidden and predicted again in this pass"),
    (Slot(BLANK, 0.6, False, False), "blank"),
    (Slot("a", 0.6, False, False), "repeat, merged with its neighbour"),
)


def fill(probability: float) -> str:
    """Return the colour of a slot, as #rrggbb."""
    return to_hex(CONFIDENCE(probability))


def ink(probability: float) -> str:
    """Return black or white, whichever is easier to read on it."""
    light = sum(share * part**2.2 for share, part in zip(LUMINANCE, CONFIDENCE(probability)[:3], strict=True))
    return "#000000" if light > 0.18 else "#ffffff"  # where WCAG's contrast to both is the same
