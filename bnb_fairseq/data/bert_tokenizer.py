"""Loading a BERT's tokenizer, and deciding whether it lower-cases text and strips accents.

Settings in its files decide: ``tokenizer.json``, then ``do_lower_case`` and ``strip_accents`` of
``tokenizer_config.json``. Without them the vocabulary decides: one with capitals is cased, and its accents stay.
"""

import json
import logging
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers.normalizers import BertNormalizer

from .bert_files import fetch, find, read_json
from .subword import BERT_SPECIALS
from .wordpiece import INSIDE, WordPiece, read_tokenizer

logger = logging.getLogger(__name__)

# A larger share of a cased vocabulary's words has capitals; an uncased one may have placeholders like HTTPURL.
CASED_SHARE = 0.01
# Tokenizers that vocab.txt describes completely; others first split text with their own code.
WORDPIECE_CLASSES = re.compile(
    r"(?:|(?:Bert|DistilBert|Electra|MobileBert|Lxmert|Funnel|PreTrained)Tokenizer(?:Fast)?|TokenizersBackend)"
)


def _has_accent(word: str) -> bool:
    return any(unicodedata.category(character) == "Mn" for character in unicodedata.normalize("NFD", word))


class Change(NamedTuple):
    """A change that a tokenizer may make to text.

    Attributes:
        name: name for users.
        config_key: its key in ``tokenizer_config.json``.
        normalizer_key: its key in the BertNormalizer of ``tokenizer.json``.
        example: a letter before and after.
        loses: feature of words that it removes.
        affects: whether it changes a word.
    """

    name: str
    config_key: str
    normalizer_key: str
    example: tuple[str, str]
    loses: str
    affects: Callable[[str], bool]


LOWER_CASE = Change(
    "lower_case", "do_lower_case", "lowercase", ("A", "a"), "capitals", lambda word: word != word.lower()
)
STRIP_ACCENTS = Change("strip_accents", "strip_accents", "strip_accents", ("\u00e9", "e"), "accents", _has_accent)
CHANGES = (LOWER_CASE, STRIP_ACCENTS)
INSISTED = re.compile(rf"(?P<origin>.+?):(?P<settings>(?:{'|'.join(change.name for change in CHANGES)})=[^:/\\]*)")


class Files(NamedTuple):
    """Settings of a tokenizer, from a BERT's files.

    Attributes:
        tokenizer: read from ``tokenizer.json``, else from ``vocab.txt``.
        described: name of the file that was read.
        config: ``tokenizer_config.json``; empty without one.
    """

    tokenizer: Any
    described: str
    config: dict[str, Any]

    def words(self) -> list[str]:
        """The vocabulary without special symbols and unused places, which are in brackets."""
        return [word for word in self.tokenizer.get_vocab() if not (word.startswith("[") and word.endswith("]"))]


class Setting(NamedTuple):
    """Whether text is changed in one way, and the reason."""

    value: bool
    reason: str


def load_wordpiece(origin: str, strict: bool = True) -> WordPiece:
    """Load the tokenizer of a BERT; none of its own code is run.

    Args:
        origin: a HuggingFace model name, a local BERT directory, or the ``vocab.txt`` in one. To overrule files and
            vocabulary, append ``:lower_case=true`` or ``false``, ``strip_accents=true`` or ``false``, or both with a
            comma.
        strict: refuse settings that contradict each other or the vocabulary; False: the files' settings apply.

    Returns:
        The tokenizer.

    Raises:
        ValueError: if there is no such model, it has no BERT vocabulary, or settings contradict each other.
    """
    origin, insisted = _insisted(origin)
    path = Path(origin)
    files = _read(str(path.parent) if path.name == "vocab.txt" else origin)
    lower_case = _decide(LOWER_CASE, files, insisted)
    strip_accents = _decide(STRIP_ACCENTS, files, insisted)
    if strict:
        _refuse_contradictions(origin, files, insisted)
    _apply(files, origin, {LOWER_CASE: lower_case, STRIP_ACCENTS: strip_accents})
    logger.info(
        "%s: %s (%s), accents %s (%s)",
        *(origin, "lower-cased" if lower_case.value else "cased", lower_case.reason),
        *("are stripped" if strip_accents.value else "stay", strip_accents.reason),
    )
    return WordPiece(files.tokenizer, origin)


def _insisted(origin: str) -> tuple[str, dict[str, bool]]:
    """Split an origin into the name and the settings after it."""
    match = INSISTED.fullmatch(origin)
    if match is None:
        return origin, {}
    settings = {}
    for setting in match["settings"].split(","):
        name, _, value = setting.partition("=")
        if name not in {change.name for change in CHANGES} or value not in ("true", "false"):
            raise ValueError(
                f"{origin}: settings after the name must be lower_case or strip_accents with true or false, but one is "
                f"{setting!r}"
            )
        settings[name] = value == "true"
    return match["origin"], settings


def _read(place: str) -> Files:
    """Read ``tokenizer.json``, or without it ``vocab.txt``; and ``tokenizer_config.json``."""
    found = {name: find(place, name) for name in ("tokenizer.json", "tokenizer_config.json")}
    config = {} if found["tokenizer_config.json"] is None else read_json(found["tokenizer_config.json"])
    described = found["tokenizer.json"]
    if described is not None:
        return Files(read_tokenizer(described), described.name, config)
    vocabulary = find(place, "vocab.txt")
    if vocabulary is None and Path(place).is_dir():
        raise ValueError(f"{place}: the directory holds neither tokenizer.json nor vocab.txt")
    vocabulary = vocabulary or fetch(place, "vocab.txt")  # raises an error that says why there is none
    if not WORDPIECE_CLASSES.fullmatch(str(config.get("tokenizer_class") or "")):
        raise ValueError(
            f"{place}: vocab.txt alone does not describe a {config['tokenizer_class']}; save the model with a "
            f"tokenizer.json"
        )
    try:
        symbols = vocabulary.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{vocabulary}: must be text in UTF-8, but is not: {error}") from error
    ids = {symbol: number for number, symbol in enumerate(symbols)}
    chinese = config.get("tokenize_chinese_chars") is not False
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token=BERT_SPECIALS.unk))
    tokenizer.normalizer = BertNormalizer(handle_chinese_chars=chinese)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    tokenizer.add_special_tokens([symbol for symbol in BERT_SPECIALS if symbol in ids])
    _add_tokens(place, tokenizer, len(symbols), config)
    return Files(tokenizer, vocabulary.name, config)


def _add_tokens(place: str, tokenizer: Any, size: int, config: dict[str, Any]) -> None:
    """Add tokens beyond ``vocab.txt`` that other files of the model list."""
    path = find(place, "added_tokens.json")
    try:
        added = {} if path is None else {int(number): str(token) for token, number in read_json(path).items()}
        for number, token in (config.get("added_tokens_decoder") or {}).items():
            added[int(number)] = str(token["content"])
    except (TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"{place}: added tokens must be pairs of number and token, but are not: {error}") from error
    for number, token in sorted(added.items()):
        if number >= size:
            tokenizer.add_tokens([token])


class Evidence(NamedTuple):
    """Words of a vocabulary that a change of text would make useless.

    Attributes:
        lost: number of such words.
        total: number of words with letters.
        what: feature that the change removes.
    """

    lost: int
    total: int
    what: str

    @property
    def share(self) -> float:
        """Share of such words."""
        return self.lost / max(self.total, 1)

    def __str__(self) -> str:
        return f"{self.lost:,} of the vocabulary's {self.total:,} words have {self.what}"


def _evidence(change: Change, words: Sequence[str]) -> Evidence:
    ordinary = [word.removeprefix(INSIDE) for word in words if any(map(str.isalpha, word))]
    return Evidence(sum(map(change.affects, ordinary)), len(ordinary), change.loses)


def _settings(change: Change, files: Files) -> list[Setting]:
    """The files' settings of a change; empty if there are none."""
    found = _of_tokenizer(change, files)
    value = files.config.get(change.config_key)
    return found if value is None else [*found, Setting(bool(value), f"{change.config_key} of tokenizer_config.json")]


def _of_tokenizer(change: Change, files: Files) -> list[Setting]:
    """The setting of ``tokenizer.json``: of a BERT's normalizer, or from another normalizer's effect on a letter."""
    if files.described != "tokenizer.json":
        return []
    normalizer = _normalizer(files.tokenizer)
    if normalizer.get("type") == "BertNormalizer":
        value = normalizer[change.normalizer_key]
        return [] if value is None else [Setting(bool(value), f"{change.normalizer_key} of tokenizer.json")]
    if not normalizer:
        return [Setting(False, "tokenizer.json has no normalizer")]
    letter, changed = change.example
    does = changed in (found := files.tokenizer.normalizer.normalize_str(letter))
    return [Setting(does, f"tokenizer.json's {normalizer.get('type')} turns {letter} into {found}")]


def _normalizer(tokenizer: Any) -> dict[str, Any]:
    return json.loads(tokenizer.to_str())["normalizer"] or {}


def _decide(change: Change, files: Files, insisted: Mapping[str, bool]) -> Setting:
    """Decide by the user's setting, the files and the vocabulary, in this order."""
    if change.name in insisted:
        return Setting(insisted[change.name], "as set after the name")
    if settings := _settings(change, files):
        return settings[-1]
    found = _evidence(change, files.words())
    if change is LOWER_CASE:
        return Setting(found.share <= CASED_SHARE, str(found))
    return Setting(_decide(LOWER_CASE, files, insisted).value and found.lost == 0, str(found))


def _refuse_contradictions(origin: str, files: Files, insisted: Mapping[str, bool]) -> None:
    """Refuse settings that contradict each other, or remove what the vocabulary has."""
    problems = []
    for change in CHANGES:
        settings = [] if change.name in insisted else _settings(change, files)
        said = ", but ".join(f"{setting.reason} says {str(setting.value).lower()}" for setting in settings)
        found = _evidence(change, files.words())
        if len({setting.value for setting in settings}) > 1:
            problems.append((change, said))
        elif settings and settings[0].value and found.share > CASED_SHARE:
            problems.append((change, f"{said}, but {found}"))
    if problems:
        way_out = ",".join(f"{change.name}=false" for change, _ in problems)
        raise ValueError(
            f"{origin}: settings contradict each other or the vocabulary: {'; '.join(said for _, said in problems)}; "
            f"correct them, or insist with {origin}:{way_out} (or true)"
        )


def _apply(files: Files, origin: str, settings: Mapping[Change, Setting]) -> None:
    """Set the tokenizer to the decisions; a normalizer other than BERT's must agree with them already."""
    normalizer = _normalizer(files.tokenizer)
    if normalizer.get("type") == "BertNormalizer":
        normalizer |= {change.normalizer_key: setting.value for change, setting in settings.items()}
        del normalizer["type"]
        files.tokenizer.normalizer = BertNormalizer(**normalizer)
        return
    for change, setting in settings.items():
        if _of_tokenizer(change, files)[0].value != setting.value:
            kind = normalizer.get("type", "no normalizer")
            raise ValueError(
                f"{origin}: {change.name} cannot be {str(setting.value).lower()} ({setting.reason}), since "
                f"tokenizer.json has {kind} in place of a BertNormalizer"
            )
