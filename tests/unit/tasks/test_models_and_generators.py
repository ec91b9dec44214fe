"""Which criterion and generator go with which architecture, and the generator of a validation."""

import math
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils, tasks
from fairseq.models.transformer import TransformerModel
from fairseq.scoring.bleu import BleuConfig, Scorer
from fairseq.sequence_generator import SequenceGenerator
from omegaconf import DictConfig
from torch import Tensor

from bnb_fairseq.criterions.bnb_loss import BnbLoss
from bnb_fairseq.generation.generator import NarGenerator
from bnb_fairseq.generation.options import RESCORING, GeneratorOptions
from bnb_fairseq.generation.rescoring import RescoringGenerator
from bnb_fairseq.models.bert2bert import Bert2Bert
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.tasks.config import TranslationBnbConfig, eval_bleu_options
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from ...facts import naming
from ..checkpoint_files import save_checkpoint
from .conftest import AUTOREGRESSIVE, BERT2BERT, NON_AUTOREGRESSIVE, TARGETS, Echo

Config = Callable[..., DictConfig]
ARCHITECTURES = {"bnb_transformer": NON_AUTOREGRESSIVE, "transformer": AUTOREGRESSIVE, "bert2bert": BERT2BERT}
KINDS = {"bnb_transformer": BnbTransformer, "transformer": TransformerModel, "bert2bert": Bert2Bert}


def build(config: Config, arguments: list[str], *more: str) -> tuple[TranslationBnbTask, DictConfig, Any]:
    cfg = config(*arguments, *more)
    torch.manual_seed(1)
    task = TranslationBnbTask.setup_task(cfg.task)
    return task, cfg, task.build_model(cfg.model).eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_criterion_that_fits(architecture: str, config: Config) -> None:
    task, cfg, model = build(config, ARCHITECTURES[architecture])
    assert type(model) is KINDS[architecture]
    assert (task.is_parallel) == (architecture == "bnb_transformer")
    assert isinstance(task.build_criterion(cfg.criterion), BnbLoss) == (architecture == "bnb_transformer")


@pytest.mark.parametrize(
    ("architecture", "other", "message"),
    [
        ("bnb_transformer", AUTOREGRESSIVE, "bnb_loss ... label_smoothed_cross_entropy"),
        ("transformer", NON_AUTOREGRESSIVE, "autoregressive ... but is bnb_loss"),
        ("bert2bert", NON_AUTOREGRESSIVE, "autoregressive ... but is bnb_loss"),
    ],
)
def test_criterion_of_the_other_kind(architecture: str, other: list[str], message: str, config: Config) -> None:
    task, _, _ = build(config, ARCHITECTURES[architecture])
    with pytest.raises(ValueError, match=naming(f"--criterion ... {message}")):
        task.build_criterion(config(*other).criterion)


@pytest.mark.parametrize(
    ("architecture", "usual"),
    [
        ("bnb_transformer", "translation_bnb"),
        ("bert2bert", "translation_bnb"),
        ("bnb_classifier", "sentence_prediction_bnb"),
    ],
)
def test_fairseqs_own_task(architecture: str, usual: str, config: Config) -> None:
    """The one that fairseq-train takes where ``--task`` was forgotten; sizes show that nothing was begun."""
    cfg = config(*AUTOREGRESSIVE, "--arch", architecture, "--task", "translation")
    cfg.model.encoder_layers = None
    task = tasks.setup_task(cfg.task)
    with pytest.raises(
        ValueError,
        match=naming(f"--task ... {usual} ... --arch {architecture} ... translation"),
    ):
        task.build_model(cfg.model)
    assert cfg.model.encoder_layers is None


@pytest.mark.parametrize("architecture", ["bnb_transformer", "bert2bert"])
def test_fairseqs_own_task_for_a_checkpoint(architecture: str, config: Config, tmp_path: Path) -> None:
    """As ``fairseq-generate --task translation`` loads it."""
    task, cfg, model = build(config, ARCHITECTURES[architecture])
    path = str(save_checkpoint(tmp_path / "model.pt", cfg, task, model))
    own = tasks.setup_task(config(*AUTOREGRESSIVE, "--task", "translation").task)
    with pytest.raises(ValueError, match=f"^--task must be translation_bnb or .* {architecture}, but is translation$"):
        checkpoint_utils.load_model_ensemble([path], task=own)


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [("bnb_transformer", NarGenerator), ("transformer", SequenceGenerator), ("bert2bert", SequenceGenerator)],
)
def test_generator(architecture: str, kind: type, config: Config) -> None:
    task, cfg, model = build(config, ARCHITECTURES[architecture])
    cfg.generation.iter_decode_max_iter = 0
    assert type(task.build_generator([model], cfg.generation)) is kind


@pytest.mark.parametrize("name", ["seq_gen_cls", "prefix_allowed_tokens_fn"])
def test_what_a_parallel_pass_has_no_use_for(name: str, config: Config) -> None:
    task, cfg, model = build(config, ARCHITECTURES["bnb_transformer"])
    cfg.generation.iter_decode_max_iter = 0
    with pytest.raises(ValueError, match=naming(f"{name} ... None ... len")):
        task.build_generator([model], cfg.generation, **{name: len})  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_data_suits_the_architecture(architecture: str, config: Config) -> None:
    """Only autoregressive models get ``prev_output_tokens``; [CLS] counts where the model writes it."""
    task, _, _ = build(config, ARCHITECTURES[architecture])
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    batch = dataset.collater([dataset[1]])
    parallel = architecture == "bnb_transformer"
    assert batch["target"].tolist() == [TARGETS[1]]
    assert ("prev_output_tokens" in batch["net_input"]) == (not parallel)


def test_bert2bert_has_no_attention_weights_to_print(config: Config) -> None:
    task, cfg, model = build(config, ["--arch", "bert2bert_tiny", "--criterion", "cross_entropy"])
    cfg.generation.print_alignment = "hard"
    with pytest.raises(ValueError, match=r"^bert2bert .*--print-alignment hard$"):
        task.build_generator([model], cfg.generation)


CHANGED_OPTIONS = {
    "ctc_beam": 4,
    "ctc_beam_symbols": 5,
    "ctc_lm_path": "lm.arpa",
    "ctc_lm_weight": 0.5,
    "ctc_token_bonus": -1.5,
    "ctc_blank_penalty": 0.5,
}


@pytest.mark.parametrize("architecture", ["transformer", "bert2bert"])
def test_options_of_the_ctc_search_without_ctc(architecture: str, config: Config) -> None:
    task, cfg, model = build(config, ARCHITECTURES[architecture])
    named = [name for name in TranslationBnbConfig.__dataclass_fields__ if name.startswith("ctc_")]
    assert set(named) == set(CHANGED_OPTIONS)
    useless = [name for name in named if name not in RESCORING]
    words = [f"--{name.replace('_', '-')} {CHANGED_OPTIONS[name]}" for name in useless]
    for name, word in zip(useless, words, strict=True):
        before, task.cfg[name] = task.cfg[name], CHANGED_OPTIONS[name]
        with pytest.raises(ValueError, match=naming(word)):
            task.build_generator([model], cfg.generation)
        task.cfg[name] = before
    task.build_generator([model], cfg.generation)
    task.cfg.update(CHANGED_OPTIONS)
    cfg.generation.iter_decode_with_external_reranker = True
    words.append("--iter-decode-with-external-reranker True")
    with pytest.raises(ValueError, match=naming(", ".join(words))):
        task.build_generator([model, model], cfg.generation)


@pytest.mark.parametrize("architecture", ["transformer", "bert2bert"])
def test_the_rescoring_of_n_best_lists(architecture: str, config: Config) -> None:
    """The beam's own texts, in the order of the scores with the bonus added."""
    task, cfg, model = build(config, ARCHITECTURES[architecture])
    task.load_dataset("train")
    batch = task.dataset("train").collater([task.dataset("train")[0]])
    cfg.generation.beam, cfg.generation.max_len_b, cfg.generation.lenpen = 4, 7, 0.0
    plain = task.build_generator([model], cfg.generation)
    (before,) = task.inference_step(plain, [model], batch)
    task.cfg.ctc_token_bonus = 5.0
    generator = task.build_generator([model], cfg.generation)
    assert type(plain) is SequenceGenerator
    assert type(generator) is RescoringGenerator
    (found,) = task.inference_step(generator, [model], batch)
    expected = {tuple(one["tokens"].tolist()): float(one["score"]) + 5 * (len(one["tokens"]) - 1) for one in before}
    order = sorted(expected, key=lambda text: -expected[text])
    assert [tuple(one["tokens"].tolist()) for one in found] == order
    assert [float(one["score"]) for one in found] == pytest.approx([expected[text] for text in order], abs=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ctc_lm_weight": 0.5}, "--ctc-lm-weight ... --ctc-lm-path ... 0.5"),
        ({"ctc_token_bonus": 1.0, "beam": 1}, "--beam ... at least 2 ... --ctc-token-bonus ... 1"),
        ({"ctc_lm_path": "lm.arpa", "beam": 1}, "--beam ... at least 2 for --ctc-lm-path ... 1"),
    ],
)
def test_rescoring_options_that_do_not_fit(options: dict[str, Any], message: str, config: Config) -> None:
    task, cfg, model = build(config, BERT2BERT)
    with pytest.raises(ValueError, match=naming(message)):
        task.build_generator([model], Namespace(**{**vars(cfg.generation), **options}))


def test_options_of_the_ctc_search_in_a_validation(config: Config) -> None:
    searching = ["--eval-bleu", "--ctc-beam", "2"]
    with pytest.raises(ValueError, match=r"autoregressive .*--ctc-beam 2$"):
        build(config, BERT2BERT, *searching)
    reranking = ["--eval-bleu", "--eval-bleu-args", '{"iter_decode_with_external_reranker": true}']
    with pytest.raises(ValueError, match=r"cannot use --iter-decode-with-external-reranker True$"):
        build(config, AUTOREGRESSIVE, *reranking)
    build(config, NON_AUTOREGRESSIVE, *searching)


def test_an_autoregressive_model_reranks_what_the_ctc_search_finds(config: Config) -> None:
    task, cfg, model = build(config, NON_AUTOREGRESSIVE, "--ctc-beam", "3")
    reranker = task.build_model(config(*BERT2BERT).model)
    cfg.generation.iter_decode_max_iter, cfg.generation.iter_decode_with_external_reranker = 0, True
    generator = task.build_generator([model, reranker], cfg.generation)
    assert (generator.options.ctc_beam, generator.options.rerank) == (3, True)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("bnb_transformer", "^a non-autoregressive model .*--replace-unk @@ $"),
        ("bert2bert", "^bert2bert .*--replace-unk @@ $"),
        ("transformer", r"^--replace-unk must not .* --task translation_bnb.* '@@ '$"),
    ],
)
def test_no_words_to_replace_unknown_ones_with(architecture: str, message: str, config: Config) -> None:
    task, cfg, model = build(config, ARCHITECTURES[architecture])
    cfg.generation.iter_decode_max_iter, cfg.generation.replace_unk = 0, "@@ "
    with pytest.raises(ValueError, match=message):
        task.build_generator([model], cfg.generation)


def test_bert2bert_writes_no_more_than_its_positions(config: Config) -> None:
    task, cfg, model = build(config, BERT2BERT, "--decoder-positions", "7")
    with torch.no_grad():
        model.decoder.head.bias[task.tgt_dict.eos()] = -1e4  # never ends by itself
    assert cfg.generation.max_len_b == 200
    task.load_dataset("valid")
    batch = task.dataset("valid").collater([task.dataset("valid")[i] for i in (0, 1)])
    for beams in task.inference_step(task.build_generator([model], cfg.generation), [model], batch):
        assert {len(beam["tokens"]) for beam in beams} == {7}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_empty_source_gets_an_empty_translation(architecture: str, config: Config) -> None:
    task, cfg, model = build(config, ARCHITECTURES[architecture])
    cfg.generation.iter_decode_max_iter = 0
    if architecture != "bnb_transformer":
        cfg.generation.min_len, cfg.generation.max_len_b = 4, 6
    generator = task.build_generator([model], cfg.generation)
    tokens, lengths = task.get_interactive_tokens_and_lengths(["the cell opens", "", "  ", "the"], lambda line: line)
    dataset = task.build_dataset_for_inference(tokens, lengths)
    batch = dataset.collater([dataset[i] for i in range(4)])
    hypotheses = task.inference_step(generator, [model], batch)
    assert [len(found) > 0 for found in hypotheses] == [True] * 4
    for i in (1, 2):
        (empty,) = hypotheses[i]
        assert empty["tokens"].tolist() == [task.tgt_dict.eos()]
        assert task.tgt_dict.string(empty["tokens"]) == ""
        assert (empty["score"], empty["positional_scores"].tolist(), empty["alignment"]) == (0.0, [0.0], [])
    for i in (0, 3):
        assert hypotheses[i][0]["tokens"].tolist() != [task.tgt_dict.eos()]


def test_a_text_of_blanks_alone_ends(config: Config) -> None:
    """fairseq's BLEU, the default of fairseq-generate, ends with a segmentation fault on a text without a symbol."""
    task, cfg, model = build(config, NON_AUTOREGRESSIVE)
    cfg.generation.iter_decode_max_iter = 0
    with torch.no_grad():
        model.decoder.head.bias[model.control.blank] = 1e4
    task.load_dataset("valid")
    batch = task.dataset("valid").collater([task.dataset("valid")[i] for i in (0, 1)])
    scorer = Scorer(BleuConfig(pad=task.tgt_dict.pad(), eos=task.tgt_dict.eos(), unk=task.tgt_dict.unk()))
    for (found,), target in zip(
        task.inference_step(task.build_generator([model], cfg.generation), [model], batch), batch["target"], strict=True
    ):
        assert found["tokens"].tolist() == [task.tgt_dict.eos()]
        assert found["positional_scores"].tolist() == [found["score"]]
        scorer.add(target.int(), found["tokens"].int())
    assert scorer.score() == 0


def test_bleu_counts_words(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model writes [CLS], 2, and [SEP], 3; fairseq's BLEU would take any of them but the last [SEP] for words."""
    task, cfg, model = build(config, NON_AUTOREGRESSIVE)
    cfg.generation.iter_decode_max_iter = 0
    task.load_dataset("valid")
    batch = task.dataset("valid").collater([task.dataset("valid")[i] for i in (0, 1)])
    written = [[{"tokens": torch.tensor([2, *ids]), "positional_scores": torch.zeros(len(ids) + 1)}] for ids in TARGETS]
    written[0][0]["tokens"][1] = 3  # in place of a word
    generator = task.build_generator([model], cfg.generation)
    monkeypatch.setattr(generator, "generate", lambda *_, **__: written)
    scorer = Scorer(BleuConfig(pad=task.tgt_dict.pad(), eos=task.tgt_dict.eos(), unk=task.tgt_dict.unk()))
    for (found,), target in zip(task.inference_step(generator, [model], batch), batch["target"], strict=True):
        scorer.add(target.int(), found["tokens"].int())
    words = sum(map(len, TARGETS)) - 2
    assert scorer.result_string(1).endswith(f"syslen={words - 1}, reflen={words})")
    assert scorer.score(1) == pytest.approx(100 * math.exp(1 - words / (words - 1)))


def test_interactive_prints_the_history(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Ids of "die zellen." and "die"; batches of fairseq-generate have ids, and it prints for itself."""
    task, _, model = build(config, NON_AUTOREGRESSIVE)
    texts = [torch.tensor(ids) for ids in ([2, 5, 3], [2, 5, 6, 7, 10, 3])]
    histories: list[list[dict[str, Tensor]]] = [[{"tokens": text} for text in texts], [], []]
    echo = Echo([[2, 5, 6, 7, 10, 3]] * 3, histories)
    tokens, lengths = task.get_interactive_tokens_and_lengths(["the cell opens", "the", ""], lambda line: line)
    dataset = task.build_dataset_for_inference(tokens, lengths)
    batch = dataset.collater([dataset[i] for i in range(3)])
    task.inference_step(echo, [model], {"net_input": batch["net_input"]})
    assert capsys.readouterr().out == "E-S\tthe cell opens\nE-0\tdie\nE-1\tdie zellen.\n"
    task.inference_step(echo, [model], {"net_input": batch["net_input"], "id": torch.arange(3)})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("metric", ["--eval-bleu", "--eval-rouge"])
def test_eval_bleu_args_reach_the_generator(metric: str, config: Config) -> None:
    refining = ["--length-control", "length", "--canvas-tokens", metric]
    task, _, _ = build(config, NON_AUTOREGRESSIVE, *refining)
    assert task.sequence_generator.options == GeneratorOptions()
    chosen = '{"iter_decode_max_iter": 4, "iter_decode_force_max_iter": true}'
    task, _, _ = build(config, NON_AUTOREGRESSIVE, *refining, "--eval-bleu-args", chosen)
    assert task.sequence_generator.options == GeneratorOptions(4, True)
    task, _, _ = build(config, AUTOREGRESSIVE, metric, "--eval-bleu-args", '{"beam": 3, "lenpen": 0.5}')
    assert (task.sequence_generator.beam_size, task.sequence_generator.len_penalty) == (3, 0.5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{beam: 4}", "Expecting property name"),
        ("", "Expecting value"),
        ("[4]", "it holds a list"),
        ('"beam"', "it holds a str"),
        ('{"bema": 4}', "Key 'bema' not in 'GenerationConfig'$"),
        ('{"beam": "many"}', "Value 'many' of type 'str' could not be converted to Integer$"),
    ],
)
def test_eval_bleu_args_that_are_wrong(text: str, reason: str, config: Config) -> None:
    message = rf"^--eval-bleu-args must be a JSON object of fairseq's generation options, .* but is '.*': {reason}"
    with pytest.raises(ValueError, match=message):
        eval_bleu_options(text)
    cfg = config(*NON_AUTOREGRESSIVE, "--eval-bleu")
    cfg.task.eval_bleu_args = text
    task = TranslationBnbTask.setup_task(cfg.task)
    with pytest.raises(ValueError, match=message):
        task.build_model(cfg.model)


def test_eval_bleu_options_keep_their_types() -> None:
    found = eval_bleu_options('{"beam": 4, "lenpen": 1, "retain_iter_history": true}')
    assert vars(found) == {"beam": 4, "lenpen": 1.0, "retain_iter_history": True}
    assert vars(eval_bleu_options("{}")) == {}


def test_model_that_cannot_refine_refuses_it_before_training(config: Config) -> None:
    chosen = ["--eval-bleu", "--eval-bleu-args", '{"iter_decode_max_iter": 4}']
    with pytest.raises(ValueError, match=r"^--iter-decode-max-iter must be 0"):
        build(config, NON_AUTOREGRESSIVE, *chosen)


def test_checkpoint_needs_no_bert(config: Config, tmp_path: Path) -> None:
    """Sizes are in its options, weights follow; the BERT may be gone."""
    cfg = config(*NON_AUTOREGRESSIVE, "--bert-encoder", str(tmp_path / "gone"))
    cfg.model.encoder_positions = cfg.model.decoder_positions = 20
    task = TranslationBnbTask.setup_task(cfg.task)
    assert isinstance(task.build_model(cfg.model, from_checkpoint=True), BnbTransformer)
    with pytest.raises(ValueError, match=f"^--bert-encoder {tmp_path}/gone: neither"):
        task.build_model(cfg.model)
