"""Labels of a data-bin folder in fairseq's layout for GLUE: classes in ``label/``, or numbers in ``label/*.label``."""

import re
from pathlib import Path

import torch
from torch import Tensor

from ..data.dictionary import BnbDictionary, SubwordDictionary, load_dictionary
from ..data.storage import open_items

FILLER = re.compile(r"madeupword\d{4}")  # fairseq-preprocess fills a dictionary up to a multiple of 8 symbols


def load_label_dictionary(path: Path) -> BnbDictionary:
    """Load ``label/dict.txt`` with fairseq's ids: class 0 is the first symbol after the special ones.

    Raises ValueError if there is no such file, or it is a dictionary of subwords.
    """
    if not path.is_file():
        raise ValueError(f"classification needs a label dictionary, but there is no file {path}")
    dictionary = load_dictionary(str(path))
    if isinstance(dictionary, SubwordDictionary):
        raise ValueError(f"{path} must list labels, but has a subword tokenizer beside it: omit --srcdict")
    return dictionary


def label_names(dictionary: BnbDictionary) -> list[str]:
    """Text of the labels, class 0 first, without special symbols and fairseq's fillers."""
    symbols = dictionary.symbols[dictionary.nspecial :]
    return [symbol for symbol in symbols if symbol != dictionary.mask_word and not FILLER.fullmatch(symbol)]


def load_classes(prefix: str, dictionary: BnbDictionary, dataset_impl: str | None = None) -> Tensor | None:
    """Read the classes of a part.

    Args:
        prefix: path of the binarized labels, without suffix.
        dictionary: from ``load_label_dictionary``.
        dataset_impl: fairseq's storage format; None: detect it.

    Returns:
        N classes, int64; None if the part has no labels.

    Raises:
        ValueError: naming the first item whose label is not one symbol of the dictionary.
    """
    items = open_items(prefix, dictionary, dataset_impl)
    if items is None:
        return None
    number = len(label_names(dictionary))
    classes = torch.empty(len(items), dtype=torch.long)
    for i, item in enumerate(items):
        label = item[item != dictionary.eos()]
        if len(label) != 1:
            raise ValueError(f"{prefix}: the label of item {i} must be one symbol, but is {len(label)}")
        classes[i] = label[0] - dictionary.nspecial
        if not 0 <= classes[i] < number:
            raise ValueError(f"{prefix}: the label of item {i} must be one of the {number} in the labels' dict.txt")
    return classes


def load_numbers(path: Path, count: int) -> Tensor | None:
    """Regression targets in ``label/PART.label``, N lines of C = ``count`` numbers: N x C float32; None if no file.

    Raises ValueError, naming file and line that do not hold C finite numbers.
    """
    if not path.is_file():
        return None
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            values = [float(word) for word in line.split()]
        except ValueError:
            values = []
        if len(values) != count or not all(map(_is_finite, values)):
            raise ValueError(f"{path}, line {number}: must hold {count} number(s) (--num-classes), but is {line!r}")
        rows.append(values)
    return torch.tensor(rows, dtype=torch.float32).view(-1, count)


def _is_finite(value: float) -> bool:
    return abs(value) < float("inf")  # false for nan, too
