"""Translating a part of a data-bin folder by the CTC search, with and without a glossary."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq.dataclass.configs import GenerationConfig
from torch import Tensor

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.evaluation.loading import load_non_autoregressive
from bnb_fairseq.generation.best_symbols import AskedSymbols, best_symbols
from bnb_fairseq.generation.ctc_beam import Array, CanvasSymbols, PrefixScorer, ctc_beam_search
from bnb_fairseq.generation.glossary import Glossary, SpeltVocabulary
from bnb_fairseq.generation.glossary_scorer import Combined, GlossaryScorer
from bnb_fairseq.generation.ngram import NgramScorer, ngram_words
from bnb_fairseq.generation.scorer import TokenBonus
from bnb_fairseq.generation.token_scores import token_scores
from bnb_fairseq.models.bnb_transformer import BnbTransformer

UNKNOWN = "UNKNOWNTOKENINHYP"


class Search(NamedTuple):
    """Options of the search.

    Attributes:
        beam: texts kept.
        symbols: symbols read at each position.
        scorer: n-gram model or token bonus; None: neither.
        floor: log-probability below which a symbol of a glossary's term is not read.
        added: such symbols read at each position, at most.
    """

    beam: int
    symbols: int
    scorer: PrefixScorer | None
    floor: float
    added: int


class Part(NamedTuple):
    """A part of the data.

    Attributes:
        batches: of fairseq's, with ``id``.
        sources: raw texts.
        references: raw texts.
    """

    batches: list[dict[str, Any]]
    sources: list[str]
    references: list[str]


class Scored(NamedTuple):
    """Canvases of a batch: the symbols that the search reads, canvas lengths, and the numbers of the sentences."""

    symbols: CanvasSymbols
    lengths: Array
    numbers: list[int]


class Translated(NamedTuple):
    """A translation.

    Attributes:
        text: as a reader sees it.
        tokens: ids, without special symbols.
        scores: log-probability of each.
        share: the text's log-probability divided by the number of all its tokens.
    """

    text: str
    tokens: list[int]
    scores: list[float]
    share: float


class Translator:
    """A checkpoint with its data.

    Args:
        path: the checkpoint.
        data: data-bin folder.
        text: folder of raw text, ``PART.LANG``, from which the data-bin folder was made.

    Attributes:
        model: the model, on the CPU.
        target: the target dictionary.
    """

    def __init__(self, path: Path, data: Path, text: Path) -> None:
        self.model, self._task = load_non_autoregressive(path, data)
        self.model.eval()
        self.target: BnbDictionary = self._task.target_dictionary
        self._text = text

    def lines(self, part: str) -> tuple[list[str], list[str]]:
        """Read the raw texts of a part, source and target."""
        languages = (self._task.cfg.source_lang, self._task.cfg.target_lang)
        source, target = (
            (self._text / f"{part}.{language}").read_text(encoding="utf-8").splitlines() for language in languages
        )
        return source, target

    def symbols(self, line: str) -> list[int]:
        """Split a line of the target language into ids, without an end symbol."""
        ids: list[int] = self.target.encode_line(line, add_if_not_exist=False, append_eos=False).tolist()
        return ids

    def part(self, name: str, batch_size: int) -> Part:
        """Load a part of the data.

        Args:
            name: ``valid`` or ``test``.
            batch_size: sentences in a batch.

        Returns:
            The part.

        Raises:
            ValueError: if the raw text has another number of lines.
        """
        self._task.load_dataset(name)
        dataset = self._task.dataset(name)
        sources, references = self.lines(name)
        if not len(dataset) == len(sources) == len(references):
            raise ValueError(
                f"--text must be what DATA_BIN was made from, {len(dataset)} pairs in {name}, but has {len(sources)} "
                f"and {len(references)} lines"
            )
        indices = dataset.ordered_indices()
        batches = dataset.batch_by_size(indices, max_sentences=batch_size)
        return Part([dataset.collater([dataset[i] for i in batch]) for batch in batches], sources, references)

    def glossary(self, terms: Mapping[str, str]) -> Glossary:
        """Make a glossary for the target dictionary."""
        vocabulary = SpeltVocabulary(self.target.symbols, self.target.specials(), self.target.surface)
        return Glossary(terms, self.symbols, vocabulary)

    @torch.no_grad()
    def scored(self, part: Part, search: Search, glossary: Glossary | None) -> list[Scored]:
        """Run the model, one pass, and choose the symbols that the search reads.

        Args:
            part: the data.
            search: the options.
            glossary: whose symbols are read, too; None: none.

        Returns:
            Canvases of every batch.
        """
        return [self._score(self.model, batch, part.sources, search, glossary) for batch in part.batches]

    def _score(
        self,
        model: BnbTransformer,
        batch: Mapping[str, Any],
        sources: Sequence[str],
        search: Search,
        glossary: Glossary | None,
    ) -> Scored:
        numbers = batch["id"].tolist()
        encoded = model.encode(batch["net_input"]["src_tokens"], batch["net_input"]["src_lengths"])
        canvas = model.canvas(encoded)
        positions = ~canvas.padding
        states = model.decode(encoded, canvas).transpose(0, 1)[positions]  # A x B x D -> N x D
        asked = None
        if glossary is not None:
            terms = GlossaryScorer(glossary, [glossary.find(sources[i]) for i in numbers])
            asked = AskedSymbols(torch.from_numpy(terms.symbols), search.added, search.floor).on_positions(positions)
        symbols = int(model.decoder.embeddings.tokens.num_embeddings)
        best = best_symbols(model.decoder.output_layer, states, symbols, model.control.blank, search.symbols, asked)
        return Scored(best.on_canvas(positions), canvas.lengths.cpu().numpy(), numbers)

    def best_alignments(self, part: Part) -> list[Translated]:
        """Translate without a search, as ``fairseq-generate`` does, in the order of the part."""
        generator = self._task.build_generator([self.model], GenerationConfig(iter_decode_max_iter=0))
        found: dict[int, Translated] = {}
        for batch in part.batches:
            hypotheses = self._task.inference_step(generator, [self.model], batch)
            for number, (best, *_) in zip(batch["id"].tolist(), hypotheses, strict=True):
                found[number] = self._written(best["tokens"], best["positional_scores"], None)
        return [found[i] for i in range(len(part.sources))]

    def _written(self, tokens: Tensor, scores: Tensor, share: float | None) -> Translated:
        """Leave out special symbols, which a model writes around its text; no share: the scores' mean."""
        special = {self.target.index(symbol) for symbol in self.target.specials()} - {self.target.unk()}
        pairs = zip(tokens.tolist(), scores.tolist(), strict=True)
        written = [pair for pair in pairs if pair[0] not in special]
        mean = sum(score for _, score in written) / max(1, len(written))
        text = self.target.text(tokens, UNKNOWN)
        return Translated(text, [i for i, _ in written], [x for _, x in written], mean if share is None else share)

    def translate(
        self, batches: Sequence[Scored], part: Part, search: Search, glossary: Glossary | None, bonus: float
    ) -> tuple[list[Translated], float]:
        """Search.

        Args:
            batches: canvases.
            part: the data.
            search: the options.
            glossary: its terms are preferred; None: none.
            bonus: for each symbol of a term.

        Returns:
            The best translation of every sentence, in the order of the part, and seconds.
        """
        found: dict[int, Translated] = {}
        begun = time.perf_counter()
        for symbols, lengths, numbers in batches:
            scorer = search.scorer
            if glossary is not None:
                terms = GlossaryScorer(glossary, [glossary.find(part.sources[i]) for i in numbers], bonus)
                scorer = terms if scorer is None else Combined(scorer, terms, terms.states)
            texts = ctc_beam_search(symbols, lengths, search.beam, self.target.pad(), scorer)
            counts = texts.lengths[:, 0]
            scores = torch.from_numpy(token_scores(symbols, lengths, texts.tokens[:, 0], counts))
            tokens = torch.from_numpy(texts.tokens[:, 0])
            shares = texts.ctc_scores[:, 0] / np.maximum(counts, 1)
            for i, number in enumerate(numbers):
                own = slice(int(counts[i]))
                found[number] = self._written(tokens[i, own], scores[i, own], float(shares[i]))
        seconds = time.perf_counter() - begun
        return [found[i] for i in range(len(part.sources))], seconds


def make_scorer(dictionary: BnbDictionary, path: str | None, weight: float, bonus: float) -> PrefixScorer | None:
    """Make what the search judges texts by beside the model.

    Args:
        dictionary: the target dictionary.
        path: n-gram model; None: none.
        weight: its weight.
        bonus: what each token adds.

    Returns:
        The scorer; None if there is nothing to add.
    """
    if path is not None:
        return NgramScorer(path, ngram_words(dictionary), weight, bonus)
    return TokenBonus(bonus) if bonus else None
