"""Whether a BERT reads capitals and accents: its files decide, else its vocabulary, and nothing is guessed silently."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import normalizers
from tokenizers.implementations import BertWordPieceTokenizer

from bnb_fairseq.data.bert_tokenizer import load_wordpiece

from ...facts import names

SPECIAL = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [*"abcdefghijklmnopqrstuvwxyz", *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")]
CAPITALS = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
UMLAUTS = ["\u00e4", "\u00f6", "\u00fc", "##\u00e4", "##\u00f6", "##\u00fc"]
LOWER = [*SPECIAL, *LETTERS, "."]
UMLAUT = [*LOWER, *UMLAUTS]
CASED = [*UMLAUT, *CAPITALS, "\u00c4"]
TEXT = "\u00c4pfel Und B\u00e4r."

Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    def make(
        vocabulary: list[str], config: dict[str, Any] | None = None, normalizer: Any = None, only_json: bool = False
    ) -> Path:
        if normalizer is not None or only_json:
            bert = BertWordPieceTokenizer({word: i for i, word in enumerate(vocabulary)})
            bert._tokenizer.normalizer = normalizer
            bert._tokenizer.save(str(tmp_path / "tokenizer.json"))
        if not only_json:
            (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in vocabulary), encoding="utf-8")
        if config is not None:
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        return tmp_path

    return make


def reads(origin: Path | str, text: str = TEXT) -> str:
    tokenizer = load_wordpiece(str(origin))
    return "".join(tokenizer.symbols[i] for i in tokenizer.encode(text)).replace("##", "")


def bert(**options: Any) -> normalizers.BertNormalizer:
    return normalizers.BertNormalizer(**options)


SEQUENCE = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()])
KEPT, SMALL, BARE = "\u00c4pfelUndB\u00e4r.", "\u00e4pfelundb\u00e4r.", "apfelundbar."


@pytest.mark.parametrize(
    ("vocabulary", "config", "normalizer", "expected"),
    [
        (CASED, None, None, KEPT),
        (CASED, {"tokenizer_class": "BertTokenizer"}, None, KEPT),
        (CASED, {"do_lower_case": False}, None, KEPT),
        (CASED, None, bert(lowercase=False), KEPT),
        (CASED, {"model_max_length": 512}, bert(lowercase=False, strip_accents=None), KEPT),
        (UMLAUT, None, None, SMALL),
        (UMLAUT, {"do_lower_case": True}, None, SMALL),
        (UMLAUT, {"do_lower_case": True, "strip_accents": None}, bert(lowercase=True), SMALL),
        (UMLAUT, {"do_lower_case": True, "strip_accents": False}, None, SMALL),
        (UMLAUT, None, bert(lowercase=True, strip_accents=False), SMALL),
        (LOWER, None, None, BARE),
        (LOWER, {"do_lower_case": True}, bert(lowercase=True), BARE),
        (
            LOWER,
            None,
            normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]),
            BARE,
        ),
    ],
)
def test_text_comes_out_as_the_vocabulary_has_it(
    vocabulary: list[str], config: dict[str, Any] | None, normalizer: Any, expected: str, folder: Folder
) -> None:
    origin = folder(vocabulary, config, normalizer)
    assert reads(origin) == reads(origin / "vocab.txt") == expected


def test_tokenizer_json_alone(folder: Folder) -> None:
    assert reads(folder(CASED, normalizer=bert(lowercase=False), only_json=True)) == KEPT


def test_no_normalizer_changes_nothing(folder: Folder) -> None:
    assert reads(folder(CASED, only_json=True)) == KEPT


@pytest.mark.parametrize(
    ("vocabulary", "config", "normalizer", "named"),
    [
        (
            CASED,
            {"do_lower_case": True},
            None,
            ["do_lower_case of", "says true", "27 of", "capitals"],
        ),
        (CASED, None, bert(lowercase=True), ["lowercase of tokenizer.json says true", "capitals"]),
        (
            UMLAUT,
            {"strip_accents": True},
            None,
            ["strip_accents", "true", "6 of", "accents"],
        ),
        (
            LOWER,
            {"do_lower_case": False},
            bert(lowercase=True),
            ["lowercase of tokenizer.json", "true", "do_lower_case of tokenizer_config.json", "false"],
        ),
    ],
)
def test_contradictions_are_refused_unless_the_user_insists(
    vocabulary: list[str], config: dict[str, Any] | None, normalizer: Any, named: list[str], folder: Folder
) -> None:
    origin = folder(vocabulary, config, normalizer)
    with pytest.raises(ValueError, match=names(f"{origin}:")) as caught:
        load_wordpiece(str(origin))
    assert all(words in str(caught.value) for words in named)
    assert load_wordpiece(str(origin), strict=False).symbols == vocabulary  # a BERT's rows do not depend on it


def test_insisting(folder: Folder) -> None:
    origin = folder(CASED, {"do_lower_case": True})
    assert reads(f"{origin}:lower_case=false") == KEPT
    assert reads(f"{origin}:lower_case=true") == SMALL
    assert reads(f"{origin}:lower_case=true,strip_accents=true") == BARE
    assert reads(f"{origin}/vocab.txt:lower_case=false") == KEPT


@pytest.mark.parametrize("settings", ["lower_case=yes", "lower_case=true,case=false", "strip_accents="])
def test_unknown_settings_behind_a_name(settings: str, folder: Folder) -> None:
    with pytest.raises(ValueError, match=names("lower_case", "strip_accents", "true", "false")):
        load_wordpiece(f"{folder(CASED)}:{settings}")


def test_settings_need_berts_normalizer(folder: Folder) -> None:
    origin = folder(CASED, only_json=True)
    with pytest.raises(ValueError, match=names("lower_case", "true", "BertNormalizer")):
        load_wordpiece(f"{origin}:lower_case=true")


def test_a_placeholder_in_capitals_makes_no_cased_vocabulary(folder: Folder) -> None:
    words = [f"{a}{b}" for a in LETTERS[:26] for b in LETTERS[:26]]
    assert reads(folder([*LOWER, *words, "HTTPURL"])) == BARE


def test_the_decision_is_logged(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    origin = folder(UMLAUT, {"do_lower_case": True})
    with caplog.at_level(logging.INFO):
        load_wordpiece(str(origin))
    (line,) = [record.getMessage() for record in caplog.records if str(origin) in record.getMessage()]
    assert "lower-cased (do_lower_case of tokenizer_config.json)" in line
    assert "accents stay (6 of the vocabulary's 58 words have accents)" in line


def test_chinese_characters_are_split_unless_the_folder_says_otherwise(folder: Folder) -> None:
    words = ["\u65e5", "\u672c", "\u65e5\u672c"]
    tokenizer = load_wordpiece(str(folder([*LOWER, *words])))
    assert [tokenizer.symbols[i] for i in tokenizer.encode("\u65e5\u672c")] == words[:2]
    tokenizer = load_wordpiece(str(folder([*LOWER, *words], {"tokenize_chinese_chars": False})))
    assert [tokenizer.symbols[i] for i in tokenizer.encode("\u65e5\u672c")] == words[2:]


@pytest.mark.parametrize("file", ["added_tokens.json", "tokenizer_config.json"])
def test_added_tokens_follow_the_vocabulary(file: str, folder: Folder) -> None:
    origin = folder(LOWER)
    ids = {"[X]": len(LOWER), "[Y]": len(LOWER) + 1, "[PAD]": 0}
    decoder = {str(number): {"content": token} for token, number in ids.items()}
    (origin / file).write_text(json.dumps(ids if file == "added_tokens.json" else {"added_tokens_decoder": decoder}))
    assert load_wordpiece(str(origin)).symbols == [*LOWER, "[X]", "[Y]"]


def test_a_tokenizer_with_a_program_of_its_own_is_refused(folder: Folder) -> None:
    origin = folder(LOWER, {"tokenizer_class": "BertJapaneseTokenizer", "auto_map": {"AutoTokenizer": ["x.py", None]}})
    (origin / "x.py").write_text("raise SystemExit('run')")
    with pytest.raises(ValueError, match=names("BertJapaneseTokenizer")):
        load_wordpiece(str(origin))


@pytest.mark.parametrize("content", ["[]", "{", "\x00"])
@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_damaged_files_are_named(file: str, content: str, folder: Folder) -> None:
    origin = folder(LOWER)
    (origin / file).write_text(content)
    with pytest.raises(ValueError, match=names(f"{origin}/{file}")):
        load_wordpiece(str(origin))


def test_the_digest_tells_how_text_is_split(folder: Folder) -> None:
    origin = folder(CASED, {"do_lower_case": True})
    digests = [
        load_wordpiece(f"{origin}:{settings}").digest()
        for settings in (
            "lower_case=false",
            "lower_case=true",
            "lower_case=true,strip_accents=true",
            "lower_case=false",
        )
    ]
    assert len(set(digests)) == 3
    assert digests[0] == digests[3]


def test_the_digest_survives_saving(folder: Folder, tmp_path: Path) -> None:
    tokenizer = load_wordpiece(str(folder(CASED)))
    tokenizer.save(tmp_path / "saved.wordpiece.json")
    assert type(tokenizer).load(tmp_path / "saved.wordpiece.json").digest() == tokenizer.digest()
    assert tokenizers.Tokenizer.from_file(str(tmp_path / "saved.wordpiece.json")).normalizer.lowercase is False
