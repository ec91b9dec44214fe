"""Scores of one system: BLEU, chrF, length ratio and repetition."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a


class Scores(NamedTuple):
    """BLEU, chrF, and tokens (13a) of the output over those of the reference."""

    bleu: float
    chrf: float
    length_ratio: float


def score(translations: Sequence[str], references: Sequence[str]) -> tuple[Scores, str]:
    """Score a system's output against raw references; return the scores and the signatures of both metrics."""
    bleu, chrf = BLEU(), CHRF()
    bleu_score = bleu.corpus_score(list(translations), [list(references)])
    chrf_score = chrf.corpus_score(list(translations), [list(references)])
    scores = Scores(bleu_score.score, chrf_score.score, bleu_score.sys_len / bleu_score.ref_len)
    return scores, f"BLEU {bleu.get_signature()}, chrF {chrf.get_signature()}"


def repetition(lines: Sequence[str]) -> float:
    """Return the percentage of tokens (13a, case-sensitive) that equal their left neighbour in the same sentence.

    It is high where positions are decided independently of each other; 0 without tokens.
    """
    tokenize = Tokenizer13a()
    sentences = [tokenize(line).split() for line in lines]
    repeated = sum(left == right for tokens in sentences for left, right in pairwise(tokens))
    return 100 * repeated / max(1, sum(map(len, sentences)))
