"""BERT's tokenizer as the tokenizer of a fairseq dictionary."""

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers.processors import TemplateProcessing

from ..checkpoints.files import require_file
from .spaces import Spaces, general_spaces
from .subword import BERT_SPECIALS, SubwordTokenizer, Surface

INSIDE = "##"  # mark of a symbol that continues a word
BEHAVIOUR = ("normalizer", "pre_tokenizer")  # parts of a tokenizer, other than its vocabulary, that affect splitting
MODEL_BEHAVIOUR = ("type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word")


def read_tokenizer(path: Path) -> Any:
    """Read a ``tokenizer.json`` with the library ``tokenizers``, which runs no code; a ValueError if it is none."""
    try:
        return tokenizers.Tokenizer.from_file(str(require_file(path)))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises nothing narrower, and a panic is not even an Exception
        raise ValueError(f"{path}: not a tokenizer's file ({error})") from error


class WordPiece(SubwordTokenizer):
    """BERT's tokenizer, run by the fast ``tokenizers`` library; ids are BERT's.

    Args:
        tokenizer: a fast tokenizer with BERT's five special symbols.
        origin: its file or name, for messages.

    Attributes:
        spaces: where spaces stand between words.
        has_own_spaces: whether they were counted in this vocabulary's training text; else they are the package's.

    Raises:
        ValueError: if special symbols are missing or ids have gaps, so that it is not a BERT vocabulary.
    """

    suffix = ".wordpiece.json"
    spaces_suffix = ".spaces.tsv"

    def __init__(self, tokenizer: Any, origin: str) -> None:
        vocabulary: dict[str, int] = tokenizer.get_vocab()
        own = tokenizer.get_vocab(with_added_tokens=False)
        missing = [symbol for symbol in BERT_SPECIALS if symbol not in own]
        if missing:
            raise ValueError(f"{origin}: not a BERT vocabulary, it has no {', '.join(missing)}")
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise ValueError(f"{origin}: the ids of its {len(vocabulary)} symbols are not 0..{len(vocabulary) - 1}")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.symbols = sorted(vocabulary, key=vocabulary.__getitem__)
        self._tokenizer = tokenizer
        self._ready()
        self.spaces = general_spaces(lower_case=self.normalize("A") == "a")
        self.has_own_spaces = False

    def _ready(self) -> None:
        # "[SEP]" in a user's text is five characters, not the end of the sentence; the library loses this setting
        # when a tokenizer is pickled or saved.
        self._tokenizer.encode_special_tokens = True

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._ready()

    @classmethod
    def load(cls, path: Path) -> "WordPiece":
        """Read the files of ``save``; a ValueError if one is damaged."""
        try:
            loaded = cls(read_tokenizer(path), str(path))
        except ValueError as error:
            raise ValueError(f"{error}; preprocess the data again") from error
        spaces = cls._spaces_beside(path)
        if spaces.is_file():
            loaded.spaces, loaded.has_own_spaces = Spaces.load(spaces), True
        return loaded

    def save(self, path: Path, lines: Iterable[str] | None = None) -> None:  # noqa: D102
        path.write_text(self._tokenizer.to_str(pretty=True), encoding="utf-8")
        counted = self.spaces if self.has_own_spaces or lines is None else Spaces.count(map(self.split, lines))
        counted.save(self._spaces_beside(path))

    def export(self, folder: Path, positions: int | None = None) -> None:
        """Write the files of a BERT's folder, which AutoTokenizer and ``--srcdict`` load.

        Args:
            folder: where to.
            positions: longest input of the BERT, in symbols; None: the files do not say.
        """
        tokenizer = tokenizers.Tokenizer.from_str(self.json())
        bos, eos = BERT_SPECIALS.bos, BERT_SPECIALS.eos
        tokenizer.post_processor = TemplateProcessing(
            single=f"{bos} $A {eos}",
            pair=f"{bos} $A {eos} $B:1 {eos}:1",
            special_tokens=[(symbol, self.symbols.index(symbol)) for symbol in (bos, eos)],
        )
        (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
        (folder / "vocab.txt").write_text("".join(f"{symbol}\n" for symbol in self.symbols), encoding="utf-8")
        options = {
            "tokenizer_class": "PreTrainedTokenizerFast",  # takes tokenizer.json as it is
            **({} if positions is None else {"model_max_length": positions}),
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
            "cls_token": bos,
            "pad_token": BERT_SPECIALS.pad,
            "sep_token": eos,
            "unk_token": BERT_SPECIALS.unk,
            "mask_token": BERT_SPECIALS.mask,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(options, indent=2) + "\n", encoding="utf-8")

    def trimmed(self, lines: Iterable[str]) -> "WordPiece":
        """Return the tokenizer with only the symbols that a text uses, the special ones, and all single characters.

        It splits that text as before, and words of other texts into shorter symbols where theirs are gone.
        """
        used = {number for line in lines for number in self.encode(line)}
        kept = [
            symbol
            for number, symbol in enumerate(self.symbols)
            if number in used or symbol in BERT_SPECIALS or len(self.surface(symbol).text) == 1
        ]
        numbers = {symbol: number for number, symbol in enumerate(kept)}
        state = json.loads(self.json())
        state["model"]["vocab"] = {symbol: numbers[symbol] for symbol in state["model"]["vocab"] if symbol in numbers}
        added = [token for token in state["added_tokens"] if token["content"] in numbers]
        state["added_tokens"] = [{**token, "id": numbers[token["content"]]} for token in added]
        state["post_processor"] = None  # names ids
        return WordPiece(tokenizers.Tokenizer.from_str(json.dumps(state)), "the trimmed vocabulary")

    @classmethod
    def _spaces_beside(cls, path: Path) -> Path:
        return path.with_name(path.name.removesuffix(cls.suffix) + cls.spaces_suffix)

    def encode(self, text: str) -> list[int]:  # noqa: D102
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def word_numbers(self, text: str) -> list[int]:  # noqa: D102
        starts = [match.start() for match in re.finditer(r"\S+", text)]
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return [max(bisect_right(starts, begin) - 1, 0) for begin, _ in offsets]

    def decode(self, symbols: Sequence[str]) -> str:  # noqa: D102
        words: list[str] = []
        for text, word_initial in map(self.surface, symbols):
            if word_initial or not words:
                words.append(text)
            else:
                words[-1] += text
        return self.spaces.join(words)

    def surface(self, symbol: str) -> Surface:  # noqa: D102
        continues = symbol.startswith(INSIDE) and len(symbol) > len(INSIDE)
        return Surface(symbol.removeprefix(INSIDE), False) if continues else Surface(symbol, True)

    def normalize(self, text: str) -> str:
        """A text as the vocabulary reads it, in small letters for an uncased BERT."""
        return str(self._tokenizer.normalizer.normalize_str(text)) if self._tokenizer.normalizer else text

    def split(self, line: str) -> tuple[list[str], list[bool]]:
        """The N words of a line, and whether white space stands behind each of the first N - 1."""
        text = tokenizers.PreTokenizedString(line)
        if self._tokenizer.normalizer:
            text.normalize(self._tokenizer.normalizer.normalize)
        self._tokenizer.pre_tokenizer.pre_tokenize(text)
        splits = text.get_splits("original", "char")
        between = [line[left[1] : right[0]] for (_, left, _), (_, right, _) in pairwise(splits)]
        return [word for word, _, _ in splits], [any(map(str.isspace, gap)) for gap in between]

    def json(self) -> str:
        """Content of a ``tokenizer.json``."""
        return str(self._tokenizer.to_str())

    def digest(self) -> str:  # noqa: D102
        settings = json.loads(self.json())
        model = {name: settings["model"].get(name) for name in MODEL_BEHAVIOUR}
        behaviour = json.dumps([{name: settings.get(name) for name in BEHAVIOUR}, model], sort_keys=True)
        return hashlib.sha256(behaviour.encode()).hexdigest()

    def spaces_digest(self) -> str:  # noqa: D102
        return self.spaces.digest()
