"""Searches of this project's models: refinement under CTC, several canvases, prefix beam search.

The time hardly depends on the scores: all passes are made, and a beam keeps as many texts and reads as many symbols
under flat distributions as under peaked ones. Random weights differ in two ways: refinement under CTC fills nearly the
whole canvas, and the number of n-grams looked up depends on how alike the texts of a beam are.
"""

import math
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.generation.generator import NarGenerator
from bnb_fairseq.generation.kneser_ney import SPECIAL_WORDS, count, smooth, write_arpa
from bnb_fairseq.generation.ngram import NgramScorer, ngram_words
from bnb_fairseq.generation.options import GeneratorOptions

from .systems import System, decode, generate, our_system
from .workload import Workload, make_sample

REFINEMENTS, CANVASES, BEAM = 4, 5, 10
ORDER, LM_WEIGHT = 5, 0.3
TEXT_SENTENCES, TEXT_SEED = 4000, 2  # of what the n-gram model is counted on


def ctc_search(workload: Workload) -> Iterator[System]:
    """Refinement, several canvases and beam search under CTC, all with the model that refinement needs."""
    task, model = our_system(workload, "ctc", refines=True)
    refining = {"iter_decode_max_iter": REFINEMENTS, "iter_decode_force_max_iter": True}
    yield decode(f"bnb ctc, {REFINEMENTS} refinements", task, model, workload, 1 + REFINEMENTS, **refining)
    yield decode(f"bnb ctc, {CANVASES} canvases", task, model, workload, 1, iter_decode_with_beam=CANVASES)
    yield decode(f"bnb ctc, beam {BEAM}", task, model, workload, 1, ctc_beam=BEAM)
    scorer = random_ngrams(task.target_dictionary, workload.target_tokens)
    generator = NarGenerator([model], task.target_dictionary, GeneratorOptions(ctc_beam=BEAM), scorer=scorer)
    yield generate(f"bnb ctc, beam {BEAM}, {ORDER}-gram", task, model, generator, workload, 1)


def several_lengths(workload: Workload) -> Iterator[System]:
    """Several canvases under length control."""
    task, model = our_system(workload, "length")
    yield decode(f"bnb length, {CANVASES} lengths", task, model, workload, 1, iter_decode_with_beam=CANVASES)


class ForgetfulScorer(NgramScorer):
    """Looks up every n-gram anew for each batch, since the benchmark translates the same sentences again and again."""

    def start(self) -> int:
        """Return the state of the empty text; called once a batch."""
        self.forget()
        return super().start()


def random_ngrams(dictionary: BnbDictionary, tokens: int) -> ForgetfulScorer:
    """Train an n-gram model on random sentences of so many tokens, special symbols counted.

    Each token gets the bonus that a random word loses on average; otherwise the empty text would be the best. Raises a
    ModuleNotFoundError if KenLM is not installed.
    """
    import_module("kenlm")  # before anything is counted
    spelt = ngram_words(dictionary)
    words = list(dict.fromkeys([*SPECIAL_WORDS, *spelt]))
    numbers = {word: number for number, word in enumerate(words)}
    number_of = np.array([numbers[word] for word in spelt])
    sample = make_sample(dictionary, TEXT_SENTENCES, tokens, TEXT_SEED)
    sentences = number_of[sample["net_input"]["src_tokens"][:, 1:-1].numpy()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.arpa"
        write_arpa(smooth(list(count(list(sentences), ORDER, len(words)))), words, path, lambda line: None)
        return ForgetfulScorer(str(path), spelt, LM_WEIGHT, token_bonus=LM_WEIGHT * math.log(len(words)))
