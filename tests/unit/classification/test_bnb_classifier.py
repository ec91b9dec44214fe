"""The classifier: HuggingFace's logits, batch mates, what is trained, options."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from bnb_fairseq.classification.bnb_classifier import BnbClassifier
from bnb_fairseq.classification.classifier_bodies import DecoderBody
from bnb_fairseq.classification.classifier_config import BnbClassifierConfig
from bnb_fairseq.classification.classifier_start import resolve_start, start_classifier
from bnb_fairseq.data.dictionary import load_dictionary

HEAD = "sentence_classification_head"
# Ids of unit/conftest's WORDS: [CLS] 3, [SEP] 4, [PAD] 0.
TOKENS = torch.tensor([[3, 6, 7, 4, 8, 10, 4], [3, 6, 4, 0, 0, 0, 0], [3, 9, 9, 4, 6, 4, 0]])
LENGTHS = torch.tensor([7, 3, 6])
MODES = ["encoder", "decoder"]
DECODERS: list[dict[str, Any]] = [
    {},
    {"ctc_canvas": "repeat"},
    {"canvas_tokens": True, "latent_size": 4},
    {"length_control": "length"},
    {"ctc_canvas_length": 12, "ctc_blank": "pad"},
    {"latent": "vae", "latent_size": 4, "untie_output": True},
]


def build(bert: Path | None = None, classes: int = 3, dictionary: Path | None = None, **options: Any) -> BnbClassifier:
    """Build a model as the task does."""
    cfg = BnbClassifierConfig(bert_encoder=None if bert is None else str(bert))
    for name, value in options.items():
        assert hasattr(cfg, name), name
        setattr(cfg, name, value)
    start = resolve_start(cfg)
    task = SimpleNamespace(source_dictionary=load_dictionary(str(dictionary or bert)))
    model = BnbClassifier.build_model(cfg, task)
    model.register_classification_head(HEAD, classes)
    start_classifier(model, start, HEAD, cfg)
    model.body.freeze_unused()
    return model


def logits_of(model: BnbClassifier, tokens: Tensor = TOKENS, lengths: Tensor = LENGTHS) -> Tensor:
    return model(tokens, lengths, features_only=True, classification_head_name=HEAD)[0]


@pytest.fixture(scope="module")
def bert(write_bert: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert"), "BertForPreTraining")  # with pooler and masked-word head


def test_logits_are_those_of_huggingface(bert: Path, random_parameters: Callable[[nn.Module, int], None]) -> None:
    theirs = transformers.BertForSequenceClassification.from_pretrained(bert, num_labels=3).eval()
    random_parameters(theirs.classifier, 4)
    ours = build(bert).eval()
    with torch.no_grad():
        ours.classification_heads[HEAD].out_proj.load_state_dict(theirs.classifier.state_dict())
        types = torch.tensor([[0, 0, 0, 0, 1, 1, 1], [0] * 7, [0, 0, 0, 0, 1, 1, 0]])
        mask = (TOKENS != 0).long()
        expected = theirs(TOKENS, attention_mask=mask, token_type_ids=types).logits
        found = logits_of(ours)
    assert (found - expected).abs().max() < 1e-5
    assert expected.std() > 0.1  # what is compared differs from item to item


def test_a_bert_without_pooler_gets_a_new_dense_layer(write_bert: Callable[..., Path], tmp_path: Path) -> None:
    with_pooler = build(write_bert(tmp_path / "a", "BertModel"))
    without = build(write_bert(tmp_path / "b", "BertForMaskedLM"))
    dense = [model.classification_heads[HEAD].get_parameter("dense.weight") for model in (with_pooler, without)]
    assert float(dense[0].detach().std()) == pytest.approx(0.3, rel=0.1)  # unit/conftest's random parameters
    assert float(dense[1].detach().std()) == pytest.approx(0.02, rel=0.1)  # BERT's initialisation


@pytest.mark.parametrize("mode", MODES)
def test_batch_mates_do_not_matter(mode: str, bert: Path, random_parameters: Callable[[nn.Module, int], None]) -> None:
    model = build(bert, classify_with=mode)
    random_parameters(model, 2)
    model.eval()
    together = logits_of(model)
    assert together.shape == (3, 3)
    for i, length in enumerate(LENGTHS.tolist()):
        alone = logits_of(model, TOKENS[i : i + 1, :length], LENGTHS[i : i + 1])
        assert torch.allclose(together[i], alone[0], rtol=0, atol=1e-5)


def test_decoder_mode_averages_what_the_decoder_writes(bert: Path) -> None:
    model = build(bert, classify_with="decoder").eval()
    assert isinstance(model.body, DecoderBody)
    network = model.body.network
    features, _ = model(TOKENS, LENGTHS)
    for i, length in enumerate(LENGTHS.tolist()):
        encoded = network.encode(TOKENS[i : i + 1, :length], LENGTHS[i : i + 1])
        states = network.decode(encoded, network.canvas(encoded))
        assert len(states) == 2 * length
        assert torch.allclose(features[i], states[:, 0].mean(dim=0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_inference_layers_give_the_same(mode: str, bert: Path) -> None:
    model = build(bert, classify_with=mode).eval()
    with torch.no_grad():
        before = logits_of(model)
        model.make_generation_fast_()
        assert torch.allclose(logits_of(model), before, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"classify_with": "encoder"}, *({"classify_with": "decoder", **d} for d in DECODERS)]
)
def test_everything_that_is_trained_has_a_gradient(options: dict[str, Any], bert: Path) -> None:
    model = build(bert, **options)
    loss = logits_of(model).square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    unused = (".decoder.head.", ".length_head.", ".decoder.embeddings.tokens.")
    assert all(any(part in name for part in unused) for name in frozen)
    assert (options["classify_with"] == "decoder") == bool(frozen)


def test_what_bert_gave_is_marked_for_the_optimizer(bert: Path) -> None:
    model = build(bert)
    above = {
        name: (getattr(parameter, "optim_overrides", None) or {}).get("layers_above")
        for name, parameter in model.named_parameters()
    }
    assert above["body.encoder.embeddings.tokens.weight"] == 4
    assert above["body.encoder.layers.3.fc1.weight"] == 0
    assert above[f"classification_heads.{HEAD}.out_proj.weight"] is None


def test_frozen_encoder(bert: Path) -> None:
    trained = [name for name, p in build(bert, freeze="encoder").named_parameters() if p.requires_grad]
    assert trained == [
        f"classification_heads.{HEAD}.{layer}.{p}" for layer in ("dense", "out_proj") for p in ("weight", "bias")
    ]


def test_positions(bert: Path) -> None:
    assert build(bert).max_positions() == 24
    assert build(bert, classify_with="decoder").max_positions() == 12  # its canvas has 24


def test_dropout_is_in_the_head_alone_if_wanted(bert: Path) -> None:
    model = build(bert, dropout=0.0, attention_dropout=0.0, pooler_dropout=0.5).train()
    features = [model(TOKENS, LENGTHS)[0] for _ in range(2)]
    assert torch.equal(*features)
    assert not torch.equal(logits_of(model), logits_of(model))
    exact = build(bert, dropout=0.0, attention_dropout=0.0, pooler_dropout=0.0).train()
    assert torch.equal(logits_of(exact), logits_of(exact))


@pytest.mark.parametrize("mode", MODES)
def test_half_precision(mode: str, bert: Path) -> None:
    model = build(bert, classify_with=mode).eval()
    exact = logits_of(model)
    half = logits_of(model.to(torch.bfloat16))
    assert half.dtype == torch.bfloat16
    assert torch.allclose(half.float(), exact, rtol=0, atol=0.3)


def test_heads(bert: Path) -> None:
    model = build(bert)
    with pytest.raises(ValueError, match=f"--classification-head-name .* {HEAD}"):
        model.register_classification_head(HEAD, 2)
    with pytest.raises(ValueError, match=f"must be one of {HEAD}, but is other"):
        model(TOKENS, LENGTHS, classification_head_name="other")


def test_labels(bert: Path) -> None:
    model = build(bert)
    assert model.get_targets({"target": torch.tensor([1, 2])}, None).tolist() == [1, 2]
    with pytest.raises(ValueError, match="need labels"):
        model.get_targets({"id": torch.tensor([1])}, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooler_dropout": 1.0}, r"--pooler-dropout must lie in \[0, 1\), but is 1.0"),
        ({"dropout": -0.1}, r"--dropout must lie in \[0, 1\), but is -0.1"),
        (
            {"freeze": "head"},
            "--freeze .* encoder-embeddings, encoder .*--classify-with encoder.*head",
        ),
        ({"freeze": "decoder-embeddings", "pooler_dropout": 2}, "--pooler-dropout .*; --freeze .*decoder-embeddings"),
        ({"bert_decoder": "BERT"}, "--bert-decoder needs --classify-with decoder"),
        ({"classify_with": "decoder", "latent_size": -1}, "--latent-size must not be negative"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str, bert: Path) -> None:
    options = {name: str(bert) if value == "BERT" else value for name, value in options.items()}
    with pytest.raises(ValueError, match=message):
        build(bert, **options)


def test_random_parameters_are_not_frozen(bert: Path) -> None:
    with pytest.raises(ValueError, match="--freeze needs --bert-encoder or --pretrained-checkpoint"):
        build(dictionary=bert, freeze="encoder", encoder_layers=1, encoder_embed_dim=8, encoder_attention_heads=2)
