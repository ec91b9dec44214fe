"""The work of every system: sources of one length, outputs of one length, vocabularies of one size."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq.data import Dictionary

from bnb_fairseq.data.dictionary import BnbDictionary, load_dictionary
from bnb_fairseq.models.config import BERT_BASE, Sizes
from bnb_fairseq.start.bert_checkpoint import open_bert

BERT_BASE_SYMBOLS = 30_522
Sample = dict[str, Any]
# Type of weights and states; "medium" is float32 whose products may be computed in bfloat16.
PRECISIONS = {"float32": torch.float32, "medium": torch.float32, "bfloat16": torch.bfloat16}


class Workload(NamedTuple):
    """One setting of the benchmark.

    Attributes:
        name: of the size, for the report.
        sizes: layers, widths, heads and positions of encoder and decoder.
        bert: directory of the BERT to start from; None: random weights.
        symbols: vocabulary size.
        source_tokens: tokens of a source, two special symbols counted.
        target_tokens: tokens of an output, likewise.
        device: ``cpu`` or ``cuda``.
        precision: key of ``PRECISIONS``.
        threads: of the CPU.
        upsample: positions of CTC's canvas for each source token.
    """

    name: str
    sizes: Sizes
    bert: Path | None
    symbols: int
    source_tokens: int
    target_tokens: int
    device: str
    precision: str
    threads: int
    upsample: float = 2.0

    @property
    def dtype(self) -> torch.dtype:
        """The type of weights and states."""
        return PRECISIONS[self.precision]

    def dictionary(self) -> BnbDictionary:
        """Load the BERT's vocabulary, or make one as large."""
        return plain_dictionary(self.symbols) if self.bert is None else load_dictionary(str(self.bert))


def make_workload(
    size: str, lengths: tuple[int, int], device: str, precision: str, threads: int, upsample: float = 2.0
) -> Workload:
    """Make the setting of a size, ``bert-base`` or a directory of a BERT; a ValueError if it is neither.

    ``lengths`` are source and target tokens.
    """
    if size == "bert-base":
        return Workload(size, BERT_BASE, None, BERT_BASE_SYMBOLS, *lengths, device, precision, threads, upsample)
    if not (Path(size) / "config.json").is_file():
        raise ValueError(f"--sizes must be bert-base or directories that hold a BERT, but has {size!r}")
    bert = open_bert(size, "--sizes")
    symbols = len(load_dictionary(size))
    return Workload(size, bert.sizes, Path(size), symbols, *lengths, device, precision, threads, upsample)


def plain_dictionary(symbols: int) -> BnbDictionary:
    """Make a dictionary of so many symbols: special symbols, numbered words, and the mask symbol last."""
    dictionary = BnbDictionary()
    for i in range(symbols - len(dictionary) - 1):
        dictionary.add_symbol(f"w{i}")
    dictionary.add_mask()
    return dictionary


def make_sample(dictionary: Dictionary, sentences: int, tokens: int, seed: int = 1) -> Sample:
    """Draw a batch of B random sentences of S tokens, first and last symbol counted: a fairseq sample on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(len(dictionary) // 10, len(dictionary) - 1, (sentences, tokens), generator=generator)
    words[:, 0], words[:, -1] = dictionary.bos(), dictionary.eos()
    return {
        "id": torch.arange(sentences),
        "nsentences": sentences,
        "ntokens": words.numel(),
        "net_input": {"src_tokens": words, "src_lengths": torch.full((sentences,), tokens)},
    }
