"""WordPiece symbols to text: known cases, and real sentences there and back."""

import pytest
import sacrebleu
from tokenizers import BertWordPieceTokenizer

from bnb_fairseq.data.detokenize import join_wordpieces

from .conftest import Sentences


@pytest.mark.parametrize(
    ("symbols", "text"),
    [
        ("Die Datei ##en , bitte .", "Die Dateien, bitte."),
        ("Klick ##en ( oder tippen ) !", "Klicken (oder tippen)!"),
        ("Home - Assistant", "Home-Assistant"),
        ("Ein - und Ausgabe", "Ein- und Ausgabe"),
        ("don ' t", "don't"),
        ("3 . 5 von 10 , 5", "3.5 von 10,5"),
        ("Version 3 . Danach", "Version 3. Danach"),
        ("example . com / path", "example.com/path"),
        ("https : / / example . com", "https://example.com"),
        ('Der " Name " , nicht " x "', 'Der "Name", nicht "x"'),
        ("\u201e Name \u201c und \u00bb Wert \u00ab", "\u201eName\u201c und \u00bbWert\u00ab"),
        ("{ entity _ name }", "{entity_name}"),
        ("C + + und x = = y", "C++ und x == y"),
        ("\u65e5 \u672c \u8a9e \u3002", "\u65e5\u672c\u8a9e\u3002"),
        ("", ""),
    ],
)
def test_known_cases(symbols: str, text: str) -> None:
    assert join_wordpieces(symbols.split()) == text


def round_trip(train: list[str], test: list[str]) -> tuple[float, list[str]]:
    tokenizer = BertWordPieceTokenizer(lowercase=False, strip_accents=False)
    tokenizer.train_from_iterator(train, vocab_size=2000, show_progress=False)
    known = [text for text in test if "[UNK]" not in tokenizer.encode(text).tokens]
    assert len(known) > 0.9 * len(test)
    encoded = [tokenizer.encode(text, add_special_tokens=False) for text in known]
    written = [join_wordpieces(encoding.tokens) for encoding in encoded]
    for text, encoding in zip(written, encoded, strict=True):  # only spaces that WordPiece does not see are left out
        assert tokenizer.encode(text, add_special_tokens=False).ids == encoding.ids, text
    return sacrebleu.corpus_bleu(written, [known]).score, [
        text for text, raw in zip(written, known, strict=True) if text == raw
    ]


@pytest.mark.parametrize("language", ["english", "german"])
def test_real_sentences_there_and_back(language: str, training: Sentences, unseen: Sentences) -> None:
    score, exact = round_trip(getattr(training, language), getattr(unseen, language))
    assert score > 95, "BLEU of decode(encode(text)) against text"
    assert len(exact) > 0.85 * len(unseen.german)
