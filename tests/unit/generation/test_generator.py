"""The generator against slow loops that treat one sentence at a time."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.generation.generator import NarGenerator
from bnb_fairseq.generation.options import GeneratorOptions
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.modules.canvas import Revealed
from bnb_fairseq.network.nar_network import Reveal

from ...facts import names

MakeModel = Callable[..., BnbTransformer]
MakeDictionary = Callable[[int], BnbDictionary]
CTC: dict[str, dict[str, Any]] = {
    "new": {"length_control": "ctc"},
    "pad": {"length_control": "ctc", "ctc_blank": "pad", "ctc_canvas": "repeat", "ctc_upsample": 3.0},
    "mask": {"length_control": "ctc", "ctc_blank": "mask", "ctc_upsample": 1.5},
    "short": {"length_control": "ctc", "ctc_upsample": 0.8},
}
LENGTH: dict[str, Any] = {"length_control": "length", "length_range": 6}
REFINING: dict[str, Any] = {**LENGTH, "canvas_tokens": True}
SENTENCES = ([0, 5, 7, 13, 4, 4, 2], [0, 2], [0, 9, 6, 2], [0, 8, 8, 8, 11, 2], [0, 4, 9, 12, 3, 5, 6, 10, 11, 2])
PAD, MASK = 1, 16


class Slow(NamedTuple):
    """A sentence's text and scores after each pass."""

    texts: list[list[int]]
    scores: list[list[float]]


def sample(sentences: tuple[list[int], ...] = SENTENCES, extra: int = 0) -> dict[str, Any]:
    tokens = torch.full((len(sentences), max(map(len, sentences)) + extra), PAD)
    for row, sentence in zip(tokens, sentences, strict=True):
        row[: len(sentence)] = torch.tensor(sentence)
    lengths = torch.tensor([len(sentence) for sentence in sentences])
    return {"net_input": {"src_tokens": tokens, "src_lengths": lengths}}


@torch.no_grad()
def lively(model: BnbTransformer, blank: float = 0.5) -> BnbTransformer:
    """Let all tokens be chosen about equally often, the blank more: a random model has a favourite."""
    model.decoder.embeddings.positions.weight.mul_(3)
    gold = None if model.control.has_alignments else torch.full((len(SENTENCES),), 9)
    logits = model(**sample()["net_input"], target_lengths=gold).logits
    model.decoder.head.bias.sub_(logits.mean(dim=(0, 1)))
    if model.control.has_alignments:
        model.decoder.head.bias[model.control.blank] += blank
    return model


def generate(model: BnbTransformer, batch: dict[str, Any], *options: Any) -> list[dict[str, Any]]:
    dictionary = BnbDictionary()
    hypotheses = NarGenerator([model], dictionary, GeneratorOptions(*options)).generate([model], batch)
    assert all(len(best) == 1 for best in hypotheses)
    return [best[0] for best in hypotheses]


def choose(logits: Tensor) -> tuple[list[int], list[float]]:
    """Argmax and log-softmax of every position, A x V."""
    log_probs = logits.double().log_softmax(dim=-1)
    chosen = [int(row.argmax()) for row in log_probs.exp()]
    return chosen, [float(row[token]) for row, token in zip(log_probs, chosen, strict=True)]


@torch.no_grad()
def slow_ctc(model: BnbTransformer, sentence: list[int]) -> tuple[Slow, list[int]]:
    canvas, scores = choose(model(torch.tensor([sentence]), torch.tensor([len(sentence)])).logits[:, 0])
    return written(Slow([canvas], [scores]), model), canvas


@torch.no_grad()
def slow_refinement(model: BnbTransformer, sentence: list[int], refinements: int, force: bool) -> Slow:
    tokens, source = torch.tensor([sentence]), torch.tensor([len(sentence)])
    output = model(tokens, source, target_lengths=torch.tensor([2]))
    if output.length_logits is None:
        length = int(output.canvas_lengths)
    else:
        allowed = [c for c in range(13) if len(sentence) + c - 6 >= 2]
        length = len(sentence) + max(allowed, key=lambda c: float(output.length_logits[0, c])) - 6

    def predict(revealed: list[int]) -> tuple[list[int], list[float]]:
        read = torch.tensor([revealed]) if model.options.canvas_tokens else None
        reveal: Reveal = lambda canvas, guess: Revealed(read, ~canvas.padding)  # noqa: E731
        return choose(model(tokens, source, torch.tensor([length]), reveal).logits)

    text, scores = predict([MASK] * length)
    slow = Slow([text], [scores])
    for t in range(1, refinements + 1):
        hidden = sorted(range(length), key=lambda a: slow.scores[-1][a])[
            : length * (refinements + 1 - t) // (refinements + 1)
        ]
        text, scores = list(slow.texts[-1]), list(slow.scores[-1])
        new_text, new_scores = predict([MASK if a in hidden else text[a] for a in range(length)])
        for a in hidden:
            text[a], scores[a] = new_text[a], new_scores[a]
        slow.texts.append(text)
        slow.scores.append(scores)
        before, after = written(Slow(slow.texts[-2:], slow.scores[-2:]), model).texts
        if before == after and not force:
            break
    return written(slow, model)


def written(slow: Slow, model: BnbTransformer) -> Slow:
    """Collapse what CTC predicted; else drop what a model trained with AXE leaves out, [PAD]."""
    kept = []
    for text in slow.texts:
        if model.control.has_alignments:
            runs = [list(run) for _, run in itertools.groupby(range(len(text)), key=text.__getitem__)]
            kept.append([run[0] for run in runs if text[run[0]] != model.control.blank])
        else:
            kept.append([a for a, token in enumerate(text) if token != PAD])
    texts = [[text[a] for a in places] for text, places in zip(slow.texts, kept, strict=True)]
    scores = [[row[a] for a in places] for row, places in zip(slow.scores, kept, strict=True)]
    return Slow(texts, scores)


def check(hypothesis: dict[str, Any], slow: Slow, after: int = -1) -> None:
    text, scores = slow.texts[after], slow.scores[after]
    assert hypothesis["tokens"].tolist() == text
    assert hypothesis["positional_scores"].dtype == torch.float32
    assert hypothesis["positional_scores"].tolist() == pytest.approx(scores, abs=1e-5)
    assert hypothesis["score"] == pytest.approx(sum(scores) / max(len(scores), 1), abs=1e-5)
    assert (hypothesis["attention"], hypothesis["alignment"]) == (None, [])


@pytest.mark.parametrize("kind", CTC)
def test_ctc_against_a_slow_reference(kind: str, make_model: MakeModel) -> None:
    model = lively(make_model(seed=5, **CTC[kind]))
    references = [slow_ctc(model, sentence) for sentence in SENTENCES]
    canvases = [canvas for _, canvas in references]
    assert any(model.control.blank in canvas for canvas in canvases)
    pairs = [pair for canvas in canvases for pair in itertools.pairwise(canvas)]
    assert any(left == right != model.control.blank for left, right in pairs)
    assert len({len(slow.texts[0]) for slow, _ in references}) > 2
    for order, extra in (([0, 1, 2, 3, 4], 0), ([1, 2], 0), ([1, 3, 0], 4), ([2], 2)):
        hypotheses = generate(model, sample(tuple(SENTENCES[i] for i in order), extra))
        for i, hypothesis in zip(order, hypotheses, strict=True):
            check(hypothesis, references[i][0])
            assert (hypothesis["steps"], hypothesis["history"]) == (1, [])


def test_a_double_word_survives(make_model: MakeModel) -> None:
    """Somewhere the same token stands before and after blanks: it is written twice."""
    model = lively(make_model(seed=5, **CTC["new"]), blank=1.0)
    doubled = [any(a == b for a, b in itertools.pairwise(slow_ctc(model, s)[0].texts[0])) for s in SENTENCES]
    assert any(doubled)
    for sentence, hypothesis in zip(SENTENCES, generate(model, sample()), strict=True):
        check(hypothesis, slow_ctc(model, sentence)[0])


def test_blanks_only(make_model: MakeModel) -> None:
    model = lively(make_model(seed=5, **CTC["new"]), blank=1000.0)
    for hypothesis in generate(model, sample(), 0, False, True):
        check(hypothesis, Slow([[]], [[]]))
        assert [step["tokens"].tolist() for step in hypothesis["history"]] == [[]]


@pytest.mark.parametrize("options", [LENGTH, REFINING])
def test_one_pass_under_length_classification(options: dict[str, Any], make_model: MakeModel) -> None:
    model = lively(make_model(seed=4, **options))
    references = [slow_refinement(model, sentence, 0, False) for sentence in SENTENCES]
    assert len({len(slow.texts[0]) for slow in references}) > 2
    for hypothesis, slow in zip(generate(model, sample(extra=3)), references, strict=True):
        check(hypothesis, slow)
        assert (hypothesis["steps"], hypothesis["history"]) == (1, [])


@pytest.mark.parametrize("seed", [3, 4, 5])
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("refinements", [1, 3, 6])
@pytest.mark.parametrize("control", ["length", "ctc"])
def test_mask_predict_against_a_slow_loop(
    control: str, refinements: int, force: bool, seed: int, make_model: MakeModel
) -> None:
    options = REFINING if control == "length" else {**CTC["new"], "canvas_tokens": True}
    model = lively(make_model(seed=seed, **options))
    references = [slow_refinement(model, sentence, refinements, force) for sentence in SENTENCES]
    assert any(slow.texts[0] != slow.texts[-1] for slow in references)
    hypotheses = generate(model, sample(), refinements, force, True)
    for hypothesis, slow in zip(hypotheses, references, strict=True):
        check(hypothesis, slow)
        assert hypothesis["steps"] == len(slow.texts)
        assert len(hypothesis["history"]) == max(len(other.texts) for other in references)
        for done, step in enumerate(hypothesis["history"]):  # every state is still what it was after its pass
            check(step, slow, min(done, len(slow.texts) - 1))
    for hypothesis, slow in zip(generate(model, sample(), refinements, force), references, strict=True):
        check(hypothesis, slow)
        assert (hypothesis["steps"], hypothesis["history"]) == (len(slow.texts), [])


@torch.no_grad()
def test_padding_on_a_canvas_is_no_text(make_model: MakeModel) -> None:
    """AXE trains a model to say [PAD] where it has nothing to say."""
    model = lively(make_model(seed=4, **LENGTH))
    lengths = [len(hypothesis["tokens"]) for hypothesis in generate(model, sample())]
    model.decoder.head.bias[PAD] += 1.0
    hypotheses = generate(model, sample())
    shorter = [len(hypothesis["tokens"]) for hypothesis in hypotheses]
    assert sum(shorter) < sum(lengths) - 3
    for hypothesis, sentence in zip(hypotheses, SENTENCES, strict=True):
        check(hypothesis, slow_refinement(model, sentence, 0, False))
    model.decoder.head.bias[PAD] += 1000.0
    for hypothesis in generate(model, sample()):
        check(hypothesis, Slow([[]], [[]]))


def test_dropout_is_off_and_no_graph_is_kept(make_model: MakeModel) -> None:
    model = lively(make_model(seed=5, **CTC["new"], latent_dropout=0.5))
    expected = generate(model, sample())
    for hypothesis, other in zip(generate(model.train(), sample()), expected, strict=True):
        assert torch.equal(hypothesis["positional_scores"], other["positional_scores"])
        assert not hypothesis["positional_scores"].requires_grad


def test_several_checkpoints_are_refused(make_model: MakeModel, make_dictionary: MakeDictionary) -> None:
    model = make_model(**LENGTH)
    for models in ([model, model], [model] * 3, []):
        with pytest.raises(ValueError, match=names("--path", len(models))):
            NarGenerator(models, make_dictionary(12), GeneratorOptions())


@pytest.mark.parametrize("options", [LENGTH, CTC["new"]])
def test_a_model_that_cannot_refine_is_not_made_to(
    options: dict[str, Any], make_model: MakeModel, make_dictionary: MakeDictionary
) -> None:
    with pytest.raises(ValueError, match=names("--iter-decode-max-iter", "0", "--canvas-tokens", "2")):
        NarGenerator([make_model(**options)], make_dictionary(12), GeneratorOptions(2))


def test_prefixes_and_constraints_are_refused(make_model: MakeModel, make_dictionary: MakeDictionary) -> None:
    model = make_model(**LENGTH)
    generator = NarGenerator([model], make_dictionary(12), GeneratorOptions())
    assert (generator.pad, generator.eos) == (1, 2)
    given: list[dict[str, Any]] = [{"prefix_tokens": torch.tensor([[5]])}, {"constraints": torch.tensor([[5]])}]
    for arguments in given:
        with pytest.raises(ValueError, match=r"^--prefix-size and --constraints cannot be used"):
            generator.generate([model], sample(), **arguments)
