"""The generator with a prefix beam search, against all alignments of each sentence's own probabilities."""

import itertools
import math
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.generation.build import build_nar_generator
from bnb_fairseq.generation.generator import NarGenerator
from bnb_fairseq.generation.options import GeneratorOptions
from bnb_fairseq.generation.prediction import with_blank_penalty
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.network.length_control import Ctc

from ...facts import names

MakeModel = Callable[..., BnbTransformer]
SENTENCES = ([0, 5, 2], [0, 2], [0, 9, 6, 2])  # canvases of 3, 2 and 4 positions at a ratio of 1
SYMBOLS = 3  # and the blank: at most 4 ** 4 alignments
Texts = dict[tuple[int, ...], float]


def ctc_of(model: BnbTransformer) -> Ctc:
    assert isinstance(model.control, Ctc)
    return model.control


def batch() -> dict[str, Any]:
    tokens = torch.full((3, 4), 1)
    for row, sentence in zip(tokens, SENTENCES, strict=True):
        row[: len(sentence)] = torch.tensor(sentence)
    return {"net_input": {"src_tokens": tokens, "src_lengths": torch.tensor([len(s) for s in SENTENCES])}}


@pytest.fixture
def model(make_model: MakeModel) -> BnbTransformer:
    found = make_model(seed=5, length_control="ctc", ctc_upsample=1.0)
    with torch.no_grad():
        found.decoder.embeddings.positions.weight.mul_(3)
        found.decoder.head.bias.sub_(found(**batch()["net_input"]).logits.mean(dim=(0, 1)))
        found.decoder.head.bias[found.control.blank] += 1.0
        found.decoder.head.bias[:3] -= 1000.0  # special symbols are not printed
    return found


@torch.no_grad()
def all_texts(model: BnbTransformer, sentence: list[int], penalty: float = 0.0) -> Texts:
    """Log-probability of every text, summed over all alignments of the best symbols of each position."""
    logits = model(torch.tensor([sentence]), torch.tensor([len(sentence)])).logits[:, 0].double()
    logits[:, model.control.blank] -= penalty
    log_probs = logits.log_softmax(dim=-1)
    choices = []
    for row in log_probs:
        words = [token for token in row.argsort(descending=True).tolist() if token != model.control.blank][:SYMBOLS]
        choices.append([(token, float(row[token])) for token in [*words, model.control.blank]])
    found: dict[tuple[int, ...], list[float]] = defaultdict(list)
    for path in itertools.product(*choices):
        runs = [token for token, _ in itertools.groupby(token for token, _ in path)]
        found[tuple(token for token in runs if token != model.control.blank)].append(sum(score for _, score in path))
    return {text: math.log(sum(map(math.exp, scores))) for text, scores in found.items()}


def check(hypotheses: list[dict[str, Any]], texts: Texts, bonus: float) -> None:
    judged = {text: (score + bonus * len(text)) / max(len(text), 1) for text, score in texts.items()}
    expected = sorted(judged, key=lambda text: -judged[text])[: len(hypotheses)]
    assert [tuple(one["tokens"].tolist()) for one in hypotheses] == expected
    for one, text in zip(hypotheses, expected, strict=True):
        assert one["score"] == pytest.approx(judged[text], abs=1e-5)
        assert len(one["positional_scores"]) == len(text) and bool((one["positional_scores"] < 0).all())
        assert one["steps"] == 1


@pytest.mark.parametrize("bonus", [0.0, 1.5])
def test_against_all_alignments(bonus: float, model: BnbTransformer) -> None:
    task = Namespace(ctc_beam=256, ctc_beam_symbols=SYMBOLS, ctc_token_bonus=bonus)
    found = build_nar_generator([model], BnbDictionary(), Namespace(nbest=9), task).generate([model], batch())
    for sentence, hypotheses in zip(SENTENCES, found, strict=True):
        texts = all_texts(model, sentence)
        assert len(hypotheses) == min(9, len(texts))
        check(hypotheses, texts, bonus)


@pytest.mark.parametrize("penalty", [0.7, -1.5])
def test_a_blank_penalty_against_all_alignments(penalty: float, model: BnbTransformer) -> None:
    task = Namespace(ctc_beam=256, ctc_beam_symbols=SYMBOLS, ctc_blank_penalty=penalty)
    found = build_nar_generator([model], BnbDictionary(), Namespace(nbest=9), task).generate([model], batch())
    for sentence, hypotheses in zip(SENTENCES, found, strict=True):
        texts = all_texts(model, sentence, penalty)
        check(hypotheses, texts, 0.0)
        assert texts != all_texts(model, sentence)


@torch.no_grad()
def check_one_pass(model: BnbTransformer, penalty: float) -> int:
    """Compare texts and scores with a softmax of the lowered logits, and count the tokens."""
    options, blank = GeneratorOptions(ctc_blank_penalty=penalty), model.control.blank
    found = NarGenerator([model], BnbDictionary(), options).generate([model], batch())
    written = 0
    for sentence, (one, *_) in zip(SENTENCES, found, strict=True):
        logits = model(torch.tensor([sentence]), torch.tensor([len(sentence)])).logits[:, 0].double()
        logits[:, blank] -= penalty
        scores, tokens = logits.log_softmax(dim=-1).max(dim=-1)
        kept = [i for i, token in enumerate(tokens) if token != blank and (i == 0 or token != tokens[i - 1])]
        if kept:
            assert one["tokens"].tolist() == tokens[kept].tolist()
            assert one["positional_scores"].tolist() == pytest.approx(scores[kept].tolist(), abs=1e-5)
            assert one["score"] == pytest.approx(float(scores[kept].mean()), abs=1e-5)
        written += len(kept)
    return written


def test_one_pass_under_a_blank_penalty(model: BnbTransformer) -> None:
    written = [check_one_pass(model, penalty) for penalty in (-2.0, 0.0, 1.0, 2.0)]
    assert written == sorted(written)
    assert len(set(written)) > 2


def test_no_penalty_changes_no_bit(model: BnbTransformer) -> None:
    layer = model.decoder.output_layer
    assert with_blank_penalty(layer, 3, 0.0) == layer


def test_an_n_best_list_needs_no_further_option(model: BnbTransformer) -> None:
    found = build_nar_generator([model], BnbDictionary(), Namespace(nbest=4)).generate([model], batch())
    for hypotheses in found:
        assert len({tuple(one["tokens"].tolist()) for one in hypotheses}) == 4
        scores = [one["score"] for one in hypotheses]
        assert scores == sorted(scores, reverse=True)


def test_the_texts_of_several_canvases_compete(model: BnbTransformer) -> None:
    options = GeneratorOptions(canvases=3, ctc_beam=4, nbest=12)
    found = NarGenerator([model], BnbDictionary(), options).generate([model], batch())
    for sentence, hypotheses in zip(SENTENCES, found, strict=True):
        single: dict[tuple[int, ...], float] = {}
        for length in (len(sentence), len(sentence) + 1):  # a canvas cannot be shorter than the source
            ctc_of(model).upsample = length / len(sentence)
            alone = NarGenerator([model], BnbDictionary(), GeneratorOptions(ctc_beam=4, nbest=4))
            tokens = {"src_tokens": torch.tensor([sentence]), "src_lengths": torch.tensor([len(sentence)])}
            for one in alone.generate([model], {"net_input": tokens})[0]:
                text = tuple(one["tokens"].tolist())
                single[text] = max(single.get(text, -math.inf), one["score"])
        ctc_of(model).upsample = 1.0
        expected = sorted(single, key=lambda text: -single[text])
        assert [tuple(one["tokens"].tolist()) for one in hypotheses] == expected
        assert [one["score"] for one in hypotheses] == pytest.approx([single[t] for t in expected], abs=1e-5)


def test_a_language_model_decides(model: BnbTransformer, tmp_path: Any, make_dictionary: Any) -> None:
    """A model that likes one word, and no empty text."""
    pytest.importorskip("kenlm")
    dictionary = make_dictionary(12)
    texts = all_texts(model, SENTENCES[2])
    liked = next(text[0] for text in sorted(texts, key=lambda text: texts[text]) if len(text) == 1)
    words = [symbol for symbol in dictionary.symbols if not symbol.startswith("[")]
    rows = [f"{-0.1 if word == dictionary.symbols[liked] else -4}\t{word}" for word in words]
    unigrams = "\n".join(["-9\t<unk>", "-99\t<s>\t0", "-0.1\t</s>", *rows])
    counts = f"ngram 1={len(rows) + 3}\nngram 2=1"
    arpa = tmp_path / "lm.arpa"
    arpa.write_text(f"\\data\\\n{counts}\n\n\\1-grams:\n{unigrams}\n\n\\2-grams:\n-9\t<s> </s>\n\n\\end\\\n", "utf-8")
    task = Namespace(ctc_beam=64, ctc_beam_symbols=12, ctc_token_bonus=8.0, ctc_lm_path=str(arpa), ctc_lm_weight=3.0)
    found = build_nar_generator([model], dictionary, Namespace(), task).generate([model], batch())
    assert set(found[2][0]["tokens"].tolist()) == {liked}


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({"nbest": 3, "max_iter": 1}, ["--nbest", "3", "1"]),
        ({"rerank": True}, ["--nbest", "1", "reranker", "1"]),
        ({"nbest": 7, "canvases": 2, "ctc_beam": 3}, ["--nbest", "7", "6"]),
    ],
)
def test_too_few_candidates(options: dict[str, Any], facts: list[str], make_model: MakeModel) -> None:
    refining = make_model(length_control="ctc", canvas_tokens=True)
    with pytest.raises(ValueError, match=names(*facts)):
        NarGenerator([refining], BnbDictionary(), GeneratorOptions(**options))


def test_length_control_has_no_blank(make_model: MakeModel) -> None:
    with pytest.raises(ValueError, match=names("--ctc-blank-penalty", "0", "length", "0.5")):
        NarGenerator([make_model(length_control="length")], BnbDictionary(), GeneratorOptions(ctc_blank_penalty=0.5))


def test_length_control_has_no_alignments_to_search(make_model: MakeModel) -> None:
    with pytest.raises(ValueError, match=names("--ctc-beam", "0", "length", "4")):
        NarGenerator([make_model(length_control="length")], BnbDictionary(), GeneratorOptions(ctc_beam=4))
