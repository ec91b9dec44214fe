"""The ``question_generation_bnb`` task: an answer and its context to a question."""

from collections.abc import Callable, Sequence

from fairseq.tasks import register_task
from torch import Tensor

from ..data.answer_context import check_segments, check_typed_lines
from ..data.pair_dataset import SentencePairDataset, SentencePairs
from ..data.parts import taken_apart
from ..data.preflight import check_question_command
from .config import TranslationBnbConfig
from .text_to_text import INPUT_OPTION
from .translation_bnb import TranslationBnbTask


@register_task("question_generation_bnb", dataclass=TranslationBnbConfig)
class QuestionGenerationBnbTask(TranslationBnbTask):
    """``translation_bnb`` from two segments: raw text ``answer<TAB>context``, ids ``[CLS] answer [SEP] context [SEP]``.

    A BERT encoder gives the two its token types 0 and 1.
    """

    reads_segments = True

    @classmethod
    def check_preprocessing(cls) -> None:
        """Check the text files of ``fairseq-preprocess``."""
        check_question_command()

    def get_interactive_tokens_and_lengths(
        self, lines: Sequence[str], encode_fn: Callable[[str], str]
    ) -> tuple[list[Tensor], list[int]]:
        """See fairseq; refuses lines without exactly one tab (ValueError)."""
        check_typed_lines(lines, INPUT_OPTION, self.typed)
        return super().get_interactive_tokens_and_lengths(lines, encode_fn)

    def _pairs(self, name: str, pairs: SentencePairs, shuffle: bool) -> SentencePairDataset:
        dataset = super()._pairs(name, pairs, shuffle)
        for part, sources in taken_apart(name, pairs.source).items():
            check_segments(part, sources, self.src_dict.eos(), dataset.longest_source)
        return dataset
