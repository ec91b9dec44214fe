"""The whole model: what its canvas is, and that a sentence's logits are its own affair."""

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.modules.canvas import Canvas, Revealed
from bnb_fairseq.modules.lazy_logits import LazyLogits
from bnb_fairseq.network.length_control import Ctc
from bnb_fairseq.network.nar_network import NarOutput

from ...facts import names

MakeModel = Callable[..., BnbTransformer]
CTC: dict[str, object] = {"length_control": "ctc"}
LENGTH: dict[str, object] = {"length_control": "length", "length_range": 6}
KINDS: dict[str, dict[str, object]] = {
    "ctc mask": {**CTC, "ctc_canvas": "mask"},
    "ctc repeat": {**CTC, "ctc_canvas": "repeat", "ctc_upsample": 1.5},
    "ctc extra": {**CTC, "ctc_upsample": 0.8, "ctc_extra": 5},
    "ctc fixed canvas": {**CTC, "ctc_canvas_length": 12, "ctc_blank": "pad"},
    "ctc vae": {**CTC, "ctc_canvas": "repeat", "latent": "vae"},
    "ctc canvas tokens": {**CTC, "canvas_tokens": True, "ctc_upsample": 1.5},
    "ctc no latent": {**CTC, "latent_size": 0, "ctc_blank": "pad", "ctc_upsample": 2.5},
    "ctc short canvas": {**CTC, "ctc_upsample": 0.6},
    "ctc shorter canvas, tokens": {**CTC, "ctc_upsample": 0.4, "canvas_tokens": True, "latent_size": 0},
    "length": LENGTH,
    "length vae": {**LENGTH, "latent": "vae"},
    "length no latent": {**LENGTH, "latent_size": 0},
    "length canvas tokens": {**LENGTH, "canvas_tokens": True},
    "length canvas tokens no latent": {**LENGTH, "canvas_tokens": True, "latent_size": 0},
}
SENTENCES = ([0, 5, 7, 13, 4, 4, 2], [0, 2], [0, 9, 6, 2], [0, 8, 8, 8, 11, 2])
TARGET_LENGTHS = (5, 3, 8, 2)
PAD = 1


def ctc_of(model: BnbTransformer) -> Ctc:
    assert isinstance(model.control, Ctc)
    return model.control


def source(sentences: tuple[list[int], ...], extra: int = 0) -> tuple[Tensor, Tensor]:
    """Right-padded ids, with ``extra`` more columns of padding than needed."""
    tokens = torch.full((len(sentences), max(map(len, sentences)) + extra), PAD)
    for row, sentence in zip(tokens, sentences, strict=True):
        row[: len(sentence)] = torch.tensor(sentence)
    return tokens, torch.tensor([len(sentence) for sentence in sentences])


def run(model: BnbTransformer, chosen: list[int], extra: int = 0, gold: bool = True) -> NarOutput:
    tokens, lengths = source(tuple(SENTENCES[i] for i in chosen), extra)
    targets = None if model.control.has_alignments or not gold else torch.tensor([TARGET_LENGTHS[i] for i in chosen])
    canvas_tokens = None
    if model.options.canvas_tokens and targets is not None:
        canvas_tokens = (torch.arange(int(targets.max())).expand(len(chosen), -1) * 3 + targets.unsqueeze(1)) % 16
    with torch.no_grad():
        return shown(model, tokens, lengths, targets, canvas_tokens)


def shown(
    model: BnbTransformer, tokens: Tensor, lengths: Tensor, targets: Tensor | None, canvas_tokens: Tensor | None
) -> NarOutput:
    """Logits for the whole canvas, A x B x V, of a decoder that is shown some tokens."""
    if canvas_tokens is None:
        return model(tokens, lengths, targets)
    everywhere = torch.ones(canvas_tokens.shape, dtype=torch.bool)
    output = model(tokens, lengths, targets, reveal=lambda canvas, guess: Revealed(canvas_tokens, everywhere))
    return output._replace(prediction=LazyLogits(output.logits.view(*everywhere.shape, -1).transpose(0, 1)))


@pytest.mark.parametrize(
    ("kind", "gold"), [(kind, gold) for kind in KINDS for gold in (True, False) if gold or kind.startswith("length")]
)
def test_logits_depend_on_no_batch_mate_and_no_padding(kind: str, gold: bool, make_model: MakeModel) -> None:
    model = make_model(**KINDS[kind])
    together = run(model, [0, 1, 2, 3], gold=gold)
    for company, extra in (([1], 0), ([0], 3), ([2, 1], 5), ([3, 2, 0], 0), ([1, 0], 2)):
        other = run(model, company, extra, gold)
        for column, i in enumerate(company):
            length = int(other.canvas_lengths[column])
            assert length == int(together.canvas_lengths[i])
            difference = other.logits[:length, column] - together.logits[:length, i]
            assert difference.abs().max() <= 1e-5
            if other.length_logits is not None and together.length_logits is not None:
                assert (other.length_logits[column] - together.length_logits[i]).abs().max() <= 1e-5


def test_an_upsampling_ratio_that_floating_point_rounds_up(make_model: MakeModel) -> None:
    """85 x 2.2 = 187, but 187.00000000000003 in floating point: a 188th position would read the padding."""
    model = make_model(**CTC, ctc_upsample=2.2, encoder_positions=100, decoder_positions=220)
    short, long = [0, *([7] * 83), 2], [0, *([9] * 88), 2]
    with torch.no_grad():
        alone, together = model(*source((short,))), model(*source((short, long)))
    assert alone.canvas_lengths.tolist() == together.canvas_lengths[:1].tolist() == [187]
    assert (alone.logits[:, 0] - together.logits[:187, 0]).abs().max() <= 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_logits_depend_on_every_source_token(kind: str, make_model: MakeModel) -> None:
    model = make_model(**KINDS[kind])
    targets = None if model.control.has_alignments else torch.tensor([4])
    tokens = torch.tensor([[0, 5, 7, 2]])
    with torch.no_grad():
        before = model(tokens, torch.tensor([4]), targets).logits
        for place in range(4):
            changed = tokens.clone()
            changed[0, place] = 12
            after = model(changed, torch.tensor([4]), targets).logits
            assert (after - before).abs().amax(dim=(1, 2)).min() > 1e-4  # at every canvas position


@pytest.mark.parametrize("kind", KINDS)
def test_canvas_positions_see_each_other_in_both_directions(kind: str, make_model: MakeModel) -> None:
    """Changing what one position carries changes the states of positions to its left and right."""
    model = make_model(**KINDS[kind])
    tokens, lengths = source((SENTENCES[3],))
    with torch.no_grad():
        encoded = model.encode(tokens, lengths)
        canvas = model.canvas(encoded, None if model.control.has_alignments else torch.tensor([6]))
        added = torch.zeros(canvas.latent.shape[:2]) if canvas.added is None else canvas.added
        inner = [a for a in range(1, added.size(1) - 1) if not added[0, a]]
        latent = canvas.latent.clone()
        latent[0, inner[len(inner) // 2]] += torch.linspace(-1, 1, latent.size(2))  # LayerNorm would undo a constant
        before, after = model.decode(encoded, canvas), model.decode(encoded, canvas._replace(latent=latent))
    assert (after - before).abs().amax(dim=2).min() > 1e-5


@pytest.mark.parametrize("upsample", [0.125, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0])
def test_ctc_canvas_lengths(upsample: float, make_model: MakeModel) -> None:
    output = run(make_model(**CTC, ctc_upsample=upsample), [0, 1, 2, 3])
    expected = [math.ceil(Fraction(upsample) * len(sentence)) for sentence in SENTENCES]
    assert output.canvas_lengths.tolist() == expected
    assert output.logits.shape == (max(expected), 4, 17 + 1)
    assert output.length_logits is None


@pytest.mark.parametrize(("upsample", "extra"), [(1.25, 3), (0.3, 6), (2.0, 1)])
def test_extra_positions_spread_the_source_evenly(upsample: float, extra: int, make_model: MakeModel) -> None:
    """A positions for S tokens: position a reads token floor(a S / A)."""
    model = make_model(**CTC, ctc_upsample=upsample, ctc_extra=extra)
    tokens, lengths = source(SENTENCES)
    with torch.no_grad():
        encoded = model.encode(tokens, lengths)
        latent = model.latent.sample(encoded.posterior)
        canvas = model.canvas(encoded)
    for i, sentence in enumerate(SENTENCES):
        count = math.ceil(Fraction(str(upsample)) * len(sentence)) + extra
        assert canvas.lengths[i] == count
        read = [a * len(sentence) // count for a in range(count)]
        assert torch.equal(canvas.latent[i, :count], latent[i, read])
        assert canvas.added is not None
        assert canvas.added[i, :count].tolist() == [False, *(a == b for a, b in pairwise(read))]


def test_a_fixed_canvas_is_the_padded_source(make_model: MakeModel) -> None:
    """Every sentence has N positions, each of which carries the latent of its source position, padding's too."""
    model = make_model(**KINDS["ctc fixed canvas"])
    assert model.max_positions() == (12, 12)
    output = run(model, [0, 1, 2, 3])
    assert output.canvas_lengths.tolist() == [12] * 4
    assert output.logits.shape == (12, 4, 17)
    tokens, lengths = source(SENTENCES)
    with torch.no_grad():
        encoded = model.encode(tokens, lengths)
        canvas = model.canvas(encoded)
        by_hand = model.encoder(torch.cat([tokens, torch.full((4, 5), PAD)], dim=1), lengths)
        latent = model.latent.projection(by_hand["encoder_out"][0].transpose(0, 1))
    assert (canvas.added, canvas.padding.any().item()) == (None, False)
    assert torch.equal(canvas.latent, latent)
    assert encoded.padding.sum(dim=1).tolist() == [12 - len(sentence) for sentence in SENTENCES]
    assert latent[0, 9:].std(dim=0).min() > 1e-4  # padding has positions: its states differ


def test_a_source_longer_than_the_fixed_canvas_is_refused(make_model: MakeModel) -> None:
    model = make_model(**CTC, ctc_canvas_length=6)
    with pytest.raises(ValueError, match=names("--ctc-canvas-length", "6", "7")):
        run(model, [0])


def test_a_variational_model_decodes_as_the_deterministic_one(make_model: MakeModel) -> None:
    for options in (CTC, LENGTH):
        variational, deterministic = make_model(**options, latent="vae"), make_model(**options)
        weights = variational.state_dict()
        new = {"latent.log_variance.weight", "latent.log_variance.bias"}
        assert weights.keys() - deterministic.state_dict().keys() == new
        deterministic.load_state_dict({name: weight for name, weight in weights.items() if name not in new})
        ours, theirs = run(variational, [0, 1, 2, 3]), run(deterministic, [0, 1, 2, 3])
        assert torch.equal(ours.logits, theirs.logits)
        assert theirs.posterior is None
        assert ours.posterior is not None and ours.posterior.log_variance is not None
        variational.latent.train()
        assert (run(variational, [0]).logits - ours.logits[: len(run(variational, [0]).logits), :1]).abs().max() > 1e-2


def test_updates_are_remembered(make_model: MakeModel) -> None:
    model = make_model()
    assert model.num_updates == 0
    model.set_num_updates(17)
    assert model.num_updates == 17


def test_canvas_lengths_under_length_classification(make_model: MakeModel) -> None:
    model = make_model(**LENGTH)
    output = run(model, [0, 1, 2, 3])
    assert output.canvas_lengths.tolist() == list(TARGET_LENGTHS)
    assert output.logits.shape == (8, 4, 17)
    assert output.length_logits is not None and output.length_logits.shape == (4, 13)
    with torch.no_grad():
        model.length_head.projection.weight.zero_()
        for difference, expected in ((0, [7, 2, 4, 6]), (3, [10, 5, 7, 9]), (-6, [2, 2, 2, 2])):
            model.length_head.projection.bias.copy_(-(torch.arange(-6.0, 7.0) - difference).abs())
            assert run(model, [0, 1, 2, 3], gold=False).canvas_lengths.tolist() == expected


def test_predicted_lengths_fit_the_decoders_positions(make_model: MakeModel) -> None:
    model = make_model(**LENGTH, decoder_positions=8)
    with torch.no_grad():
        model.length_head.projection.weight.zero_()
        model.length_head.projection.bias.copy_(torch.arange(13.0))  # 6 more than the source is the most probable
    assert run(model, [0, 1, 2, 3], gold=False).canvas_lengths.tolist() == [8, 8, 8, 8]


@pytest.mark.parametrize(("choice", "blank", "symbols"), [("new", 17, 18), ("pad", 1, 17), ("mask", 16, 17)])
def test_blank(choice: str, blank: int, symbols: int, make_model: MakeModel) -> None:
    model = make_model(**CTC, ctc_blank=choice)
    assert model.control.blank == blank
    assert run(model, [1]).logits.size(-1) == symbols
    assert (model.source_pad, model.mask) == (1, 16)


@pytest.mark.parametrize("kind", KINDS)
def test_wanted_positions_are_rows_of_the_whole(kind: str, make_model: MakeModel) -> None:
    model = make_model(**KINDS[kind])
    tokens, lengths = source(SENTENCES)
    targets = None if model.control.has_alignments else torch.tensor(TARGET_LENGTHS)
    with torch.no_grad():
        whole = model(tokens, lengths, targets).logits.transpose(0, 1)
        predict = torch.rand(whole.shape[:2], generator=torch.Generator().manual_seed(1)) < 0.5
        some = model(tokens, lengths, targets, reveal=lambda canvas, guess: Revealed(None, predict)).logits
    expected = [whole[b, a] for b in range(4) for a in range(whole.size(1)) if predict[b, a]]
    assert torch.allclose(some, torch.stack(expected), rtol=0, atol=1e-5)


def test_canvas_tokens_default_to_masks(make_model: MakeModel) -> None:
    model = make_model(**LENGTH, canvas_tokens=True)
    tokens, lengths = source(SENTENCES[:1])
    targets = torch.tensor([5])
    with torch.no_grad():
        silent = model(tokens, lengths, targets).logits
        masked = shown(model, tokens, lengths, targets, torch.full((1, 5), model.mask)).logits
        revealed = shown(model, tokens, lengths, targets, torch.tensor([[16, 16, 7, 16, 16]])).logits
    assert torch.equal(silent, masked)
    assert (revealed - masked).abs().amax(dim=2).min() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_guess_is_what_the_model_says_when_it_is_shown_nothing(kind: str, make_model: MakeModel) -> None:
    model = make_model(**KINDS[kind])
    tokens, lengths = source(SENTENCES)
    targets = None if model.control.has_alignments else torch.tensor(TARGET_LENGTHS)
    guesses = []

    def reveal(canvas: Canvas, guess: Callable[[], LazyLogits]) -> Revealed:
        guesses.append(guess())
        return Revealed(None, ~canvas.padding)

    output = model(tokens, lengths, targets, reveal=reveal)
    assert output.revealed is not None
    assert torch.allclose(guesses[0].whole(), model(tokens, lengths, targets).logits, rtol=0, atol=1e-6)
    assert not guesses[0].states.requires_grad
    assert output.logits.requires_grad


def test_a_model_without_canvas_tokens_reads_none(make_model: MakeModel) -> None:
    with_tokens, without = make_model(**LENGTH, canvas_tokens=True), make_model(**LENGTH)
    assert with_tokens.state_dict().keys() == without.state_dict().keys()
    assert (with_tokens.options.canvas_tokens, without.options.canvas_tokens) == (True, False)
    assert not torch.equal(run(with_tokens, [0]).logits, run(without, [0]).logits)


@pytest.mark.parametrize("extra", [0, 7])
@pytest.mark.parametrize("upsample", [0.1, 0.25, 0.3, 0.5, 0.9, 1.0, 1.25, 1.5, 2.0, 2.2, 2.5, 3.0, 7.0])
def test_max_positions_by_brute_force(upsample: float, extra: int, make_model: MakeModel) -> None:
    for encoder, decoder in ((40, 40), (10, 40), (37, 41), (2, 3), (40, 9)):
        sizes = {"encoder_positions": encoder, "decoder_positions": decoder}
        model = make_model(**CTC, ctc_upsample=upsample, ctc_extra=extra, **sizes)
        ratio = Fraction(str(upsample))
        fitting = [length for length in range(1, encoder + 1) if math.ceil(ratio * length) + extra <= decoder]
        assert model.max_positions() == (max(fitting, default=0), decoder)


def test_below_one_the_encoders_positions_limit_the_source(make_model: MakeModel) -> None:
    model = make_model(**CTC, ctc_upsample=0.5, encoder_positions=60, decoder_positions=30)
    assert model.max_positions() == (60, 30)
    assert run(model, [0]).canvas_lengths.tolist() == [4]
    output = model(torch.full((1, 60), 5), torch.tensor([60]))
    assert output.logits.size(0) == 30
    narrow = make_model(**CTC, ctc_upsample=0.5, encoder_positions=60, decoder_positions=20)
    assert narrow.max_positions() == (40, 20)


def test_max_positions_under_length_classification(make_model: MakeModel) -> None:
    model = make_model(**LENGTH, encoder_positions=30, decoder_positions=20)
    assert model.max_positions() == (30, 20)


def test_the_longest_source_runs(make_model: MakeModel) -> None:
    for options in (KINDS["ctc repeat"], KINDS["ctc mask"], KINDS["ctc no latent"]):
        model = make_model(**options)
        longest, _ = model.max_positions()
        output = model(torch.full((1, longest), 5), torch.tensor([longest]))
        assert output.logits.size(0) <= 40
        assert math.ceil(ctc_of(model).upsample * (longest + 1)) > 40


@pytest.mark.parametrize("kind", KINDS)
def test_eval_mode_is_deterministic_and_training_mode_is_not(kind: str, make_model: MakeModel) -> None:
    model = make_model(**KINDS[kind], latent_dropout=0.3)
    assert torch.equal(run(model, [0, 1]).logits, run(model, [0, 1]).logits)
    model.train()
    assert not torch.equal(run(model, [0, 1]).logits, run(model, [0, 1]).logits)


@pytest.mark.parametrize("kind", ["ctc repeat", "length"])
def test_latent_dropout_reaches_latent_and_cross_attention(kind: str, make_model: MakeModel) -> None:
    """With all other dropout off, training differs from evaluation only through --latent-dropout."""
    quiet = {"dropout": 0.0, "attention_dropout": 0.0}
    plain = make_model(**KINDS[kind], **quiet)
    expected = run(plain, [0]).logits
    assert torch.allclose(run(plain.train(), [0]).logits, expected, rtol=0, atol=1e-5)
    for part in ("latent", "latent_dropout"):
        model = make_model(**KINDS[kind], **quiet, latent_dropout=0.5)
        getattr(model, part).train()
        assert (run(model, [0]).logits - expected).abs().max() > 1e-3, part


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_round_trip(kind: str, make_model: MakeModel) -> None:
    model, other = make_model(seed=3, **KINDS[kind]), make_model(seed=4, **KINDS[kind])
    assert not torch.equal(run(model, [0, 1]).logits, run(other, [0, 1]).logits)
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(run(model, [0, 1]).logits, run(other, [0, 1]).logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_finite_and_near(kind: str, dtype: torch.dtype, make_model: MakeModel) -> None:
    model = make_model(**KINDS[kind])
    exact = run(model, [0, 1, 2, 3]).logits
    rough = run(model.to(dtype), [0, 1, 2, 3]).logits
    assert rough.dtype == dtype
    assert torch.isfinite(rough).all()
    error = (rough.float() - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert error < (0.1 if dtype == torch.bfloat16 else 0.02)


def test_float64_is_kept(make_model: MakeModel) -> None:
    for options in KINDS.values():
        assert run(make_model(**options).double(), [0, 1]).logits.dtype == torch.float64


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter_that_the_logits_depend_on(kind: str, make_model: MakeModel) -> None:
    model = make_model(**KINDS[kind])
    tokens, lengths = source(SENTENCES)
    output = model(tokens, lengths, None if model.control.has_alignments else torch.tensor(TARGET_LENGTHS))
    loss = output.logits.square().sum()
    if output.posterior is not None and output.posterior.log_variance is not None:
        loss = loss + output.posterior.log_variance.square().sum()
    if output.length_logits is not None:
        loss = loss + output.length_logits.square().sum()
    loss.backward()
    untouched = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert untouched == []
