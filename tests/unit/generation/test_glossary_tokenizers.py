"""Terms in sentences that real tokenizers split: at the beginning, in the middle, in brackets, inflected."""

from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from bnb_fairseq.data.bert_tokenizer import load_wordpiece
from bnb_fairseq.data.subword import BERT_SPECIALS, SentencePiece, SubwordTokenizer
from bnb_fairseq.generation.glossary import Glossary, SpeltVocabulary
from bnb_fairseq.generation.glossary_scorer import GlossaryScorer

TEXT = ["Datei öffnen", "Alle Dateien (Datei) im Dateinamen", "Die Eindatei, ein Plug-in, Plug-ins", "Zwischenablage"]
PIECES = ["Datei", "Dateien", "##namen", "Ein", "##datei", "Zwischen", "##ablage", "Plug", "in", "ins", "-", ","]
PIECES += ["(", ")", "öffnen", "Alle", "im", "Die", "ein"]
TERMS = {
    "file*": "Datei*",
    "record": "Datei",
    "clipboard": "Zwischenablage",
    "plug-in": "Plug-in",
    "all": "Alle Datei*",
}


@pytest.fixture(scope="module", params=["WordPiece", "uncased WordPiece", "SentencePiece"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SubwordTokenizer:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    if request.param == "SentencePiece":
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(TEXT * 5),
            model_prefix=str(folder / "sp"),
            vocab_size=60,
            hard_vocab_limit=False,
            minloglevel=2,
        )
        return SentencePiece(folder / "sp.model")
    pieces = [piece.lower() for piece in PIECES] if request.param.startswith("uncased") else PIECES
    (folder / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *dict.fromkeys(pieces)]), encoding="utf-8")
    return load_wordpiece(f"{folder}:lower_case={str(pieces is not PIECES).lower()},strip_accents=false")


def spell(tokenizer: SubwordTokenizer) -> SpeltVocabulary:
    return SpeltVocabulary(tokenizer.symbols, BERT_SPECIALS, tokenizer.surface)


@pytest.mark.parametrize(
    ("source", "target", "found"),
    [
        ("record", "Datei öffnen", ["Datei"]),
        ("record", "Alle (Datei), Datei", ["Datei"]),
        ("record", "Alle Dateien im Dateinamen", []),
        ("record", "Die Eindatei", []),
        ("files", "Alle Dateien", ["Datei*"]),
        ("file", "Alle (Dateien)", ["Datei*"]),
        ("files", "im Dateinamen", ["Datei*"]),
        ("file", "Die Eindatei", []),
        ("file record", "Die Datei", ["Datei*", "Datei"]),
        ("clipboard", "Zwischenablage", ["Zwischenablage"]),
        ("clipboard", "Zwischenablage, ein", ["Zwischenablage"]),
        ("plug-in", "Die Plug-in", ["Plug-in"]),
        ("plug-in", "Die Plug-ins", []),
        ("all", "(Alle Dateien)", ["Alle Datei*"]),
        ("all", "Alle im Dateinamen", []),
    ],
)
def test_terms_in_sentences(tokenizer: SubwordTokenizer, source: str, target: str, found: list[str]) -> None:
    glossary = Glossary(TERMS, tokenizer.encode, spell(tokenizer))
    scorer = GlossaryScorer(glossary, [glossary.find(source)], 1.0)
    start, end = (tokenizer.symbols.index(symbol) for symbol in (BERT_SPECIALS.bos, BERT_SPECIALS.eos))
    ids = tokenizer.encode(target)
    assert tokenizer.symbols.index(BERT_SPECIALS.unk) not in ids
    for written in (ids, [start, *ids, end]):  # a model may write special symbols around its text
        states, total = np.full((1, 1), scorer.start()), 0.0
        for token in written:
            gains, behind = scorer.extend(states, np.array([[token]]), np.ones((1, 1, 1), np.bool_))
            total, states = total + float(gains[0, 0, 0]), behind[:, :, 0]
        total += float(scorer.finish(states)[0, 0])
        assert total == pytest.approx(sum(len(tokenizer.encode(term.removesuffix("*"))) for term in found))


def test_spellings(tokenizer: SubwordTokenizer) -> None:
    spelt = spell(tokenizer).spellings
    assert all(not spelt[tokenizer.symbols.index(symbol)] for symbol in BERT_SPECIALS)
    joined = "".join(spelt[i] for i in tokenizer.encode("Alle Dateien"))
    assert joined.casefold() == " alle dateien"


def test_every_symbol_that_may_write_a_longer_word_is_read(tokenizer: SubwordTokenizer) -> None:
    vocabulary = spell(tokenizer)
    spelt = vocabulary.spellings
    glossary = Glossary(TERMS, tokenizer.encode, vocabulary)
    (number,) = glossary.find("files")
    read = {spelt[i] for i in glossary.targets[number].asked}
    ids = tokenizer.encode("Dateien")
    covered = ""
    for i in ids:  # until the stem is written
        assert spelt[i] in read
        covered += spelt[i]
        if len(covered.strip()) >= len("Datei"):
            break
