"""The ``pretraining_bnb`` task: a model learns to read and write from plain text."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fairseq import utils
from fairseq.models import BaseFairseqModel
from fairseq.tasks import register_task

from ..checkpoints.commands import check_named
from ..data.blocks import DocumentBlocks
from ..data.dictionary import BnbDictionary, load_dictionary
from ..data.noise import CONTINUED, Masking, Noise, autoencoded, continued, masked, permuted
from ..data.pair_dataset import SPECIAL_SYMBOLS
from ..data.parts import joined, load_parts
from ..data.preflight import check_corpus_command
from ..data.pretraining_dataset import PretrainingDataset
from ..data.storage import open_items
from .pretraining_config import PretrainingBnbConfig, check_pretraining_options
from .text_to_text import TextToTextTask

logger = logging.getLogger(__name__)

STRATEGIES: dict[str, Callable[[PretrainingBnbConfig, BnbDictionary], Noise]] = {
    "ae": lambda cfg, dictionary: autoencoded,
    "mlm": lambda cfg, dictionary: partial(
        masked,
        masking=Masking.of(dictionary, cfg.mask_prob, cfg.leave_unmasked_prob, cfg.random_token_prob),
    ),
    "plm": lambda cfg, dictionary: partial(permuted, share=cfg.permute_prob),
    "clm": lambda cfg, dictionary: partial(continued, least=cfg.continuation_min, most=cfg.continuation_max),
}


@register_task("pretraining_bnb", dataclass=PretrainingBnbConfig)
class PretrainingBnbTask(TextToTextTask):
    """Pretraining on plain text with one of four strategies (Sohrab et al. 2024, doi 10.1109/ACCESS.2023.3346952).

    Both dictionaries are the same.

    Raises ValueError if options are out of range.
    """

    def __init__(self, cfg: PretrainingBnbConfig, src_dict: BnbDictionary, tgt_dict: BnbDictionary) -> None:
        check_pretraining_options(cfg)
        super().__init__(cfg, src_dict, tgt_dict)

    @classmethod
    def setup_task(cls, cfg: PretrainingBnbConfig, from_checkpoint: bool = False) -> "PretrainingBnbTask":
        """See fairseq; refuses a folder without a dictionary, and damaged or untrusted checkpoints (ValueError)."""
        check_named(cfg)
        folder = next(iter(utils.split_paths(cfg.data or "")), "")
        path = Path(folder) / "dict.txt"
        if not path.is_file():
            raise ValueError(
                f"data must be a folder made by fairseq-preprocess --task pretraining_bnb --only-source, but "
                f"{folder!r} has no dict.txt"
            )
        dictionary = load_dictionary(str(path))
        logger.info("dictionary: %d types", len(dictionary))
        return cls(cfg, dictionary, dictionary)

    @classmethod
    def check_preprocessing(cls) -> None:
        """Check the text files of ``fairseq-preprocess``."""
        check_corpus_command()

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> BaseFairseqModel:
        """See fairseq; refuses a ``--tokens-per-sample`` that exceeds the model's positions (ValueError)."""
        model = super().build_model(cfg, from_checkpoint)
        longest = min(utils.resolve_max_positions(self.max_positions(), model.max_positions()))
        if self.cfg.tokens_per_sample > longest:
            raise ValueError(
                f"--tokens-per-sample must be at most {longest}, as --max-source-positions, --max-target-positions and "
                f"the model (under CTC, its canvas) allow, but is {self.cfg.tokens_per_sample}"
            )
        return model

    def load_dataset(
        self,
        split: str,
        epoch: int = 1,
        combine: bool = False,
        task_cfg: PretrainingBnbConfig | None = None,
        data_selector: str | None = None,
        tpu: bool = False,
    ) -> None:
        """See fairseq; cuts a part of the corpus into blocks.

        Raises FileNotFoundError if the part does not exist. Raises ValueError if a document is empty, or too short for
        ``clm``; or, before a training, if most targets are longer than the model can write.
        """
        folder = self.data_folder(split, epoch)
        self.datasets[split] = dataset = self._load(folder, split, combine)
        self._check_lengths(split, lambda other: dataset if other == folder else self._load(other, split, combine))

    def _load(self, folder: Path, split: str, combine: bool) -> PretrainingDataset:
        parts = load_parts(lambda name: self._blocks(folder / name), split, combine)
        noise = STRATEGIES[str(self.cfg.strategy)](self.cfg, self.src_dict)
        return PretrainingDataset(
            joined(list(parts.values())),
            self.src_dict,
            noise,
            self.cfg.seed,
            self.is_parallel,
            shuffle=split != "test",
        )

    def _blocks(self, path: Path) -> DocumentBlocks:
        """Cut the corpus at a path, without suffix; no document continues in the next part."""
        lines = open_items(str(path), self.src_dict, self.cfg.dataset_impl)
        if lines is None:
            raise FileNotFoundError(f"no {path.name}.bin and {path.name}.idx in {path.parent}")
        by_line = str(self.cfg.sample_break_mode) == "eos"
        try:
            blocks = DocumentBlocks(lines, self.cfg.tokens_per_sample - SPECIAL_SYMBOLS, by_line)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        self._check_blocks(path, blocks)
        documents = len(np.unique(blocks.first_lines))
        logger.info("%s: %d blocks of %d documents", path, len(blocks), documents)
        if documents == 1 and len(lines) > 1:
            logger.warning(
                "%s: %d lines without an empty one are one document; see --sample-break-mode", path, len(lines)
            )
        return blocks

    def _check_blocks(self, path: Path, blocks: DocumentBlocks) -> None:
        short = blocks.sizes <= CONTINUED
        if str(self.cfg.strategy) == "clm" and short.any():
            first = int(short.argmax())
            raise ValueError(
                f"{path}: --strategy clm needs blocks of at least {CONTINUED} tokens, but {int(short.sum()):,} of "
                f"{len(blocks):,} are shorter; the first, of {int(blocks.sizes[first]) - 1}, is in the document that "
                f"begins in line {int(blocks.first_lines[first])}"
            )
