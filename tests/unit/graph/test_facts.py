"""What a graph says of itself."""

import pytest

from bnb_fairseq.graph.facts import Facts

FACTS = Facts(longest=256, symbols=4003, blank=4002, has_alignments=True)


def test_read_again() -> None:
    assert Facts.read(FACTS.write(), "x.onnx", 4002) == FACTS
    of_a_word = FACTS._replace(symbols=4002, blank=1)
    assert Facts.read(of_a_word.write(), "x.onnx", 4002) == of_a_word
    assert Facts.read(FACTS._replace(has_alignments=False).write(), "x.onnx", 4002).has_alignments is False


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bnb_fairseq.format": "1"}, "x.onnx: format must be 2, but is '1'"),
        (
            {"bnb_fairseq.blank": "7"},
            "x.onnx: must be made for a target vocabulary of 4,002 symbols, but scores 4,003, with symbol 7 as",
        ),
        (
            {"bnb_fairseq.symbols": "4002"},
            "x.onnx: must be made for a target vocabulary of 4,002 symbols, but scores 4,002, with symbol 4,002 as the",
        ),
        ({"bnb_fairseq.blank": "new"}, "x.onnx: must say what it decodes, but has no number for .*'new'"),
    ],
)
def test_other_facts(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Facts.read({**FACTS.write(), **changes}, "x.onnx", 4002)


def test_a_graph_of_others() -> None:
    with pytest.raises(ValueError, match=r"x.onnx: format must be 2, but is None; bnb-export writes such graphs"):
        Facts.read({}, "x.onnx", 4002)
