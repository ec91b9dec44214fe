"""The record of sentences as one HTML page that needs no other file."""

from collections.abc import Sequence
from html import escape

from .refinement_record import BLANK, Pass, Refinement, Slot

# ColorBrewer's RdYlBu at 0, 0.1, ... 1: who confuses red and green can tell red and blue apart.
CONFIDENCE = (
    *((165, 0, 38), (215, 48, 39), (244, 109, 67), (253, 174, 97), (254, 224, 144), (255, 255, 191)),
    *((224, 243, 248), (171, 217, 233), (116, 173, 209), (69, 117, 180), (49, 54, 149)),
)
ATTENTION = "226 85 8"  # red, green and blue of the strongest weight
LUMINANCE = (0.2126, 0.7152, 0.0722)  # shares of red, green and blue, in linear light
MARKS = (  # of the legend: a slot and its meaning
    (Slot("a", 0.6, True, True), "hidden and predicted again in this pass"),
    (Slot(BLANK, 0.6, False, False), "blank"),
    (Slot("a", 0.6, False, False), "repeat, merged with its neighbour"),
)
STYLE = """
:root { color-scheme: light dark; font: 14px/1.4 system-ui, sans-serif; }
body { margin: 1.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: separate; border-spacing: 2px; margin: .5rem 0; }
th { font-weight: normal; text-align: right; white-space: nowrap; padding: 0 .4rem; position: sticky; left: 0;
     background: Canvas; color: CanvasText; }
td { text-align: center; white-space: nowrap; padding: .15rem .3rem; min-width: 1rem; }
td.text { text-align: left; padding-bottom: .7rem; }
.again { outline: 2px solid currentColor; outline-offset: -2px; }
.dropped { font-style: italic; }
.attention td { padding: 0; height: 1.2rem; }
.attention thead td { height: auto; }
.attention thead span { writing-mode: vertical-rl; padding: .2rem 0; }
.swatch { display: inline-block; padding: .15rem .4rem; }
.scale { display: inline-block; width: 8rem; height: 1rem; vertical-align: middle; }
"""


def fill(probability: float) -> str:
    """Return the colour of a slot, as #rrggbb."""
    return "#" + "".join(f"{part:02x}" for part in _colour(probability))


def ink(probability: float) -> str:
    """Return black or white, whichever is easier to read on it."""
    light = sum(share * (part / 255) ** 2.2 for share, part in zip(LUMINANCE, _colour(probability), strict=True))
    return "#000000" if light > 0.18 else "#ffffff"  # where WCAG's contrast to both is the same


def _colour(probability: float) -> list[int]:
    """Interpolate red, green and blue."""
    steps = len(CONFIDENCE) - 1
    below = min(int(probability * steps), steps - 1)
    share = probability * steps - below
    pairs = zip(CONFIDENCE[below], CONFIDENCE[below + 1], strict=True)
    return [round(low + share * (high - low)) for low, high in pairs]


def page(refinements: Sequence[Refinement]) -> str:
    """Return the page in HTML; the exact probability or weight of a cell is its tooltip."""
    sections = "\n".join(_section(refinement) for refinement in refinements)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>The canvas, pass by pass</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>The canvas, pass by pass</h1>\n{_legend()}\n{sections}\n</body>\n</html>\n"
    )


def _legend() -> str:
    colours = ", ".join(fill(i / 10) for i in range(11))
    scale = f'<span class="scale" style="background: linear-gradient(to right, {colours})"></span>'
    swatches = " ".join(
        f'<span class="{_classes("swatch", slot)}" style="{_style(slot)}">{slot.piece}</span> {meaning}'
        for slot, meaning in MARKS
    )
    return f'<p class="legend">Probability when last predicted: 0 {scale} 1 {swatches}</p>'


def _section(refinement: Refinement) -> str:
    rows = "\n".join(_row(i, made) for i, made in enumerate(refinement.passes))
    source = " ".join(escape(piece) for piece in refinement.source)
    return (
        f"<section>\n<h2>{escape(refinement.sentence)}</h2>\n"
        f'<p class="source">Source pieces: {source}</p>\n<p class="summary">{refinement.summary}.</p>\n'
        f'<div class="wide"><table class="canvas">\n{rows}\n</table></div>\n{_attention(refinement)}\n</section>'
    )


def _row(number: int, made: Pass) -> str:
    cells = "".join(
        f'<td class="{_classes("slot", slot)}" style="{_style(slot)}" title="p = {slot.probability:.4f}">'
        f"{escape(slot.piece)}</td>"
        for slot in made.slots
    )
    text = f'<td class="text" colspan="{len(made.slots)}">{escape(made.text)}</td>'
    return f"<tr><th>pass {number}</th>{cells}</tr>\n<tr><th></th>{text}</tr>"


def _attention(refinement: Refinement) -> str:
    weights = refinement.attention.T.tolist()
    highest = max(map(max, weights))
    slots = refinement.passes[-1].slots
    head = "".join(f"<td><span>{escape(slot.piece)}</span></td>" for slot in slots)
    rows = "\n".join(
        f"<tr><th>{escape(piece)}</th>{''.join(_weight(weight, highest) for weight in row)}</tr>"
        for piece, row in zip(refinement.source, weights, strict=True)
    )
    return (
        f"<p>Cross-attention of decoder layer {refinement.layer} in the last pass, mean over heads; the strongest "
        f'colour is {highest:.2f}.</p>\n<div class="wide"><table class="attention">\n'
        f"<thead><tr><th></th>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _weight(weight: float, highest: float) -> str:
    """Return a cell whose colour fades into a light or dark page."""
    colour = f"background: rgb({ATTENTION} / {weight / highest:.3f})"
    return f'<td style="{colour}" title="{weight:.4f}"></td>'


def _classes(name: str, slot: Slot) -> str:
    return " ".join([name, *["again"] * slot.again, *["dropped"] * (not slot.kept)])


def _style(slot: Slot) -> str:
    return f"background: {fill(slot.probability)}; color: {ink(slot.probability)}"
