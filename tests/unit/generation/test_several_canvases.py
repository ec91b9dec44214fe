"""Several canvases a sentence: each as if it were the only one, the best distinct texts first, and the reranker."""

import re
from argparse import Namespace
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.generation.build import build_nar_generator
from bnb_fairseq.generation.ctc_beam import Array
from bnb_fairseq.generation.generator import NarGenerator
from bnb_fairseq.generation.hypotheses import best_distinct
from bnb_fairseq.generation.options import GeneratorOptions
from bnb_fairseq.generation.reranker import Reranker
from bnb_fairseq.models.bert2bert import Bert2Bert, Bert2BertConfig
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.models.config import complete_sizes
from bnb_fairseq.network.length_control import Ctc

from ...facts import names

MakeModel = Callable[..., BnbTransformer]
MakeDictionary = Callable[[int], BnbDictionary]
KINDS: dict[str, dict[str, Any]] = {
    "ctc": {"length_control": "ctc"},
    "ctc, refining": {"length_control": "ctc", "canvas_tokens": True},
    "ctc, repeat": {"length_control": "ctc", "ctc_canvas": "repeat", "ctc_upsample": 2.5},
    "ctc, short": {"length_control": "ctc", "ctc_upsample": 0.8},
    "ctc, extra": {"length_control": "ctc", "ctc_upsample": 1.2, "ctc_extra": 3},
    "length": {"length_control": "length", "length_range": 6, "latent": "vae"},
    "length, refining": {"length_control": "length", "length_range": 6, "canvas_tokens": True},
}
SENTENCES = ([0, 5, 7, 13, 4, 4, 2], [0, 2], [0, 9, 6, 2], [0, 8, 8, 8, 11, 2], [0, 4, 9, 12, 3, 5, 6, 10, 11, 2])
PAD = 1


def ctc_of(model: BnbTransformer) -> Ctc:
    assert isinstance(model.control, Ctc)
    return model.control


def batch(sentences: tuple[list[int], ...] = SENTENCES) -> dict[str, Any]:
    tokens = torch.full((len(sentences), max(map(len, sentences))), PAD)
    for row, sentence in zip(tokens, sentences, strict=True):
        row[: len(sentence)] = torch.tensor(sentence)
    lengths = torch.tensor([len(sentence) for sentence in sentences])
    return {"net_input": {"src_tokens": tokens, "src_lengths": lengths}}


@torch.no_grad()
def lively(model: BnbTransformer) -> BnbTransformer:
    """Let all tokens be chosen about equally often: a random model has a favourite."""
    model.decoder.embeddings.positions.weight.mul_(3)
    gold = None if model.control.has_alignments else torch.full((len(SENTENCES),), 9)
    model.decoder.head.bias.sub_(model(**batch()["net_input"], target_lengths=gold).logits.mean(dim=(0, 1)))
    return model


@pytest.fixture
def bert2bert(make_dictionary: MakeDictionary) -> Bert2Bert:
    torch.manual_seed(3)
    sizes = {"layers": 2, "embed_dim": 16, "ffn_embed_dim": 24, "attention_heads": 2, "positions": 40}
    cfg = Bert2BertConfig()
    for side in ("encoder", "decoder"):
        complete_sizes(cfg, side, sizes)
    task = SimpleNamespace(source_dictionary=make_dictionary(12), target_dictionary=make_dictionary(12))
    model = Bert2Bert.build_model(cfg, task).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # far from a uniform distribution
    return model


def wanted_lengths(model: BnbTransformer, sentence: list[int], count: int) -> list[int]:
    """The canvas lengths of one sentence, worked out in a loop."""
    if model.control.has_alignments:
        usual = -int(-len(sentence) * ctc_of(model).upsample // 1) + ctc_of(model).extra
        step = max(1, round(usual / 10))
        shortest = len(sentence) if ctc_of(model).upsample >= 1 else 1
        return [max(shortest, usual + step * offset) for offset in (0, 1, -1, 2, -2)][:count]
    with torch.no_grad():
        logits = model(torch.tensor([sentence]), torch.tensor([len(sentence)]), torch.tensor([2])).length_logits
    assert logits is not None
    classes = sorted(range(13), key=lambda c: -float(logits[0, c]))
    return [length for length in (len(sentence) + c - 6 for c in classes) if length >= 2][:count]


def alone(
    model: BnbTransformer, sentence: list[int], length: int, options: GeneratorOptions
) -> tuple[dict[str, Any], Array]:
    """Fill one canvas of the given length and nothing else: the hypothesis, and the scores of its canvas."""
    kept = model.canvas
    states: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        if model.control.has_alignments:
            patch.setattr(model.control, "upsample", length / len(sentence))
            patch.setattr(model.control, "extra", 0)
        else:
            patch.setattr(model, "canvas", lambda encoded: kept(encoded, torch.tensor([length])))
        generator = NarGenerator([model], BnbDictionary(), options)
        refine = generator._refine

        def recorded(*given: Any) -> Any:
            found = refine(*given)
            states.extend(found)
            return found

        patch.setattr(generator, "_refine", recorded)
        # Blanks need scores too, which a generator of one canvas and one pass leaves out.
        patch.setattr(generator, "_predict", _scoring_all(generator))
        ((hypothesis,),) = generator.generate([model], batch((sentence,)))
    assert states[-1].lengths.tolist() == [length]
    return hypothesis, states[-1].scores[0, :length]


def _scoring_all(generator: NarGenerator) -> Any:
    predict = generator._predict

    def scoring(*given: Any) -> Any:
        before, generator.options = generator.options, generator.options._replace(canvases=2)
        try:
            return predict(*given)
        finally:
            generator.options = before

    return scoring


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [2, 5])
def test_each_canvas_is_as_if_it_were_alone(kind: str, count: int, make_model: MakeModel) -> None:
    model = lively(make_model(seed=5, **KINDS[kind]))
    single = GeneratorOptions(max_iter=2 if "refining" in kind else 0)
    generator = NarGenerator([model], BnbDictionary(), single._replace(canvases=count))
    generator.options = generator.options._replace(nbest=count)  # of the most probable alignments, not of a search
    found = generator.generate([model], batch())
    assert sum(map(len, found)) > len(SENTENCES) * count * 0.65
    for sentence, hypotheses in zip(SENTENCES, found, strict=True):
        expected: dict[tuple[int, ...], tuple[float, dict[str, Any]]] = {}
        for length in wanted_lengths(model, sentence, count):
            hypothesis, on_canvas = alone(model, sentence, length, single)
            written = max(len(hypothesis["tokens"]), 1)
            mean = float(on_canvas.sum()) / written if model.control.has_alignments else hypothesis["score"]
            text = tuple(token for token in hypothesis["tokens"].tolist() if token > 2)
            if text not in expected or expected[text][0] < mean - 1e-6:
                expected[text] = (mean, hypothesis)
        ordered = sorted(expected.values(), key=lambda pair: -pair[0])
        assert [one["score"] for one in hypotheses] == pytest.approx([score for score, _ in ordered], abs=1e-5)
        for mine, (_, other) in zip(hypotheses, ordered, strict=True):
            assert mine["tokens"].tolist() == other["tokens"].tolist()
            assert mine["positional_scores"].tolist() == pytest.approx(other["positional_scores"].tolist(), abs=1e-5)
            assert mine["steps"] == other["steps"]


def test_the_history_is_of_the_same_canvas(make_model: MakeModel) -> None:
    model = lively(make_model(seed=5, **KINDS["length, refining"]))
    model.decoder.head.bias.data[:3] = -1000.0  # symbols that are left out or not counted as text
    options = GeneratorOptions(max_iter=2, force_max_iter=True, retain_history=True, canvases=4, nbest=4)
    for hypotheses in NarGenerator([model], BnbDictionary(), options).generate([model], batch()):
        assert len({len(one["tokens"]) for one in hypotheses}) == len(hypotheses) == 4
        for one in hypotheses:
            assert [len(step["tokens"]) for step in one["history"]] == [len(one["tokens"])] * 3
            assert one["history"][-1]["tokens"].tolist() == one["tokens"].tolist()


def test_the_best_by_hand() -> None:
    texts = [[0, 5, 6, 2], [5, 6], [7], [0, 2], [8], [1, 7, 2]]
    scores = [-2.0, -1.0, -3.0, -0.5, -3.0, -2.5]
    hypotheses = [{"tokens": torch.tensor(text), "score": score} for text, score in zip(texts, scores, strict=True)]
    found = best_distinct(hypotheses, 5, (0, 1, 2))
    assert [one["tokens"].tolist() for one in found] == [[0, 2], [5, 6], [1, 7, 2], [8]]
    assert [one["score"] for one in best_distinct(hypotheses, 2, (0, 1, 2))] == [-0.5, -1.0]
    assert [one["score"] for one in best_distinct(hypotheses, 9, ())] == sorted(scores, reverse=True)


@torch.no_grad()
def slow_scores(model: Bert2Bert, sentence: list[int], texts: list[list[int]]) -> list[float]:
    """Teacher forcing, one position at a time, of [CLS] words to words [SEP]; texts share their beginnings."""
    tokens, lengths = torch.tensor([sentence]), torch.tensor([len(sentence)])

    @cache
    def behind(words: tuple[int, ...]) -> Tensor:
        logits = model(tokens, lengths, torch.tensor([[0, *words]]))[0]
        return logits[0, -1].double().log_softmax(-1)

    def score(words: list[int]) -> float:
        gains = [float(behind(tuple(words[:place]))[target]) for place, target in enumerate([*words, 2])]
        return sum(gains) / len(gains)

    return [score(words) for words in texts]


@pytest.mark.parametrize("kind", ["ctc", "length"])
def test_the_reranker_decides(kind: str, make_model: MakeModel, bert2bert: Bert2Bert) -> None:
    """As it was trained, and prepared for inference."""
    model = lively(make_model(seed=5, **KINDS[kind]))
    count = 15 if kind == "ctc" else 5  # three texts of a search on each canvas
    options = GeneratorOptions(canvases=5, nbest=count, ctc_beam=3 if kind == "ctc" else 0)
    own = NarGenerator([model], BnbDictionary(), options).generate([model], batch())
    words = [[[token for token in one["tokens"].tolist() if token > 2] for one in candidates] for candidates in own]
    slow = [slow_scores(bert2bert, sentence, texts) for sentence, texts in zip(SENTENCES, words, strict=True)]
    orders = [sorted(range(len(scores)), key=[-score for score in scores].__getitem__) for scores in slow]
    assert sum(order != sorted(order) for order in orders) >= 2
    args = Namespace(iter_decode_with_beam=5, nbest=count, iter_decode_with_external_reranker=True)
    models, task = [model, bert2bert], Namespace(ctc_beam=options.ctc_beam)
    for prepared in (False, True):
        if prepared:
            bert2bert.make_generation_fast_(beamable_mm_beam_size=None, need_attn=False, retain_dropout=False)
        found = build_nar_generator(models, BnbDictionary(), args, task).generate(models, batch())
        for candidates, texts, scores, order in zip(found, words, slow, orders, strict=True):
            assert [one["score"] for one in candidates] == pytest.approx([scores[k] for k in order], abs=1e-4)
            for one, k in zip(candidates, order, strict=True):
                assert [token for token in one["tokens"].tolist() if token > 2] == texts[k]


def test_a_text_beyond_the_rerankers_positions(bert2bert: Bert2Bert) -> None:
    reranker = Reranker(bert2bert, BnbDictionary())
    words = torch.randint(4, 15, (1, 60), generator=torch.Generator().manual_seed(1))
    source = batch((SENTENCES[0],))["net_input"]
    (whole,) = reranker.scores(source, words.numpy(), np.array([60]))
    with torch.no_grad():
        read = torch.cat([torch.tensor([[0]]), words[:, :39]], dim=1)
        log_probs = bert2bert(**source, prev_output_tokens=read)[0].log_softmax(-1)
    assert whole == pytest.approx(float(log_probs[0, range(40), words[0, :40]].mean()), abs=1e-5)


def test_too_many_canvases_are_refused(make_model: MakeModel) -> None:
    fixed = make_model(length_control="ctc", ctc_canvas_length=12)
    for model, count in ((fixed, 1), (make_model(length_control="length", length_range=6), 13)):
        NarGenerator([model], BnbDictionary(), GeneratorOptions(canvases=count))
        with pytest.raises(ValueError, match=names("--iter-decode-with-beam", count, count + 1)):
            NarGenerator([model], BnbDictionary(), GeneratorOptions(canvases=count + 1))


@pytest.mark.parametrize(
    ("kinds", "rerank"),
    [("nar, nar", True), ("ar, nar", True), ("nar", True), ("nar, ar", False), ("nar, ar, ar", True)],
)
def test_checkpoints_and_reranking_must_fit(
    kinds: str, rerank: bool, make_model: MakeModel, bert2bert: Bert2Bert
) -> None:
    models = [bert2bert if kind == "ar" else make_model() for kind in kinds.split(", ")]
    args = Namespace(iter_decode_with_beam=5, iter_decode_with_external_reranker=rerank)
    told = re.sub(r"\bar\b", "autoregressive", kinds.replace("nar", "non-autoregressive"))
    with pytest.raises(ValueError, match=names("on" if rerank else "off", told)):
        build_nar_generator(models, BnbDictionary(), args)
