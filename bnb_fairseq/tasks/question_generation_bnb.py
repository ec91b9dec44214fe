"""The ``question_generation_bnb`` task: an answer and the context that it stands in to a question."""

from collections.abc import Callable, Sequence

from fairseq.tasks import register_task
from torch import Tensor

from ..data.answer_context import check_segments, check_typed_lines, find_source_fault
from ..data.pair_dataset import SentencePairDataset, SentencePairs
from ..data.parts import taken_apart
from ..data.preflight import check_question_command
from .config import TranslationBnbConfig
from .text_to_text import INPUT_OPTION
from .translation_bnb import TranslationBnbTask


@register_task("question_generation_bnb", dataclass=TranslationBnbConfig)
class QuestionGenerationBnbTask(TranslationBnbTask):
    """Text to text from two segments: ``answer<TAB>context`` in raw text, ``[CLS] answer [SEP] context [SEP]`` as ids.

    A BERT encoder gives the two its token types 0 and 1. Beside that, the task is ``translation_bnb``.

    Args:
        cfg: the options.
        src_dict: the source dictionary.
        tgt_dict: the target dictionary.
    """

    reads_segments = True

    @classmethod
    def check_preprocessing(cls) -> None:
        """Check the text files of ``fairseq-preprocess``."""
        check_question_command()

    def find_fault(self, line: str) -> str | None:
        """Tell why a source line cannot be translated; None if it can."""
        return find_source_fault(line)

    def get_interactive_tokens_and_lengths(
        self, lines: Sequence[str], encode_fn: Callable[[str], str]
    ) -> tuple[list[Tensor], list[int]]:
        """Encode lines of raw text.

        Args:
            lines: answers and contexts, a tab between them.
            encode_fn: fairseq's tokenizer and BPE, none by default.

        Returns:
            Ids ending in [SEP], and their lengths.
        """
        check_typed_lines(lines, INPUT_OPTION, self.typed)
        return super().get_interactive_tokens_and_lengths(lines, encode_fn)

    def _pairs(self, name: str, pairs: SentencePairs, shuffle: bool) -> SentencePairDataset:
        dataset = super()._pairs(name, pairs, shuffle)
        for part, sources in taken_apart(name, pairs.source).items():
            check_segments(part, sources, self.src_dict.eos(), dataset.longest_source)
        return dataset
