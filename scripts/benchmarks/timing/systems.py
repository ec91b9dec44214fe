"""The compared systems, each a function from a batch to outputs."""

from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from fairseq import utils
from fairseq.iterative_refinement_generator import IterativeRefinementGenerator
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY, BaseFairseqModel
from omegaconf import OmegaConf

import bnb_fairseq.plugin  # noqa: F401 (registers the models)
from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.models.bert2bert import Bert2BertConfig
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.models.config import SIZE_FIELDS, BertSeq2SeqConfig, BnbTransformerConfig
from bnb_fairseq.tasks.config import TranslationBnbConfig
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from .fixed_length import balance_blank, fix_embedded_length, fix_length_classes
from .workload import Sample, Workload, make_sample, plain_dictionary

REFERENCE = "bert2bert, beam 5"
BALANCING = 8  # sentences that lengths are set with


class Outcome(NamedTuple):
    """Mean output tokens and mean decoder passes (or steps) of a sentence."""

    tokens: float
    passes: float


class System(NamedTuple):
    """A way of translating.

    Attributes:
        name: for the report.
        dictionary: of the sources.
        translate: takes a batch on the CPU, and returns when all outputs are lists of ids on the CPU (``floor``: when
            the device has computed them).
        size: MB of the model's file; None: it was not written.
    """

    name: str
    dictionary: BnbDictionary
    translate: Callable[[Sample], Outcome]
    size: float | None = None


def make_task(dictionary: BnbDictionary, workload: Workload) -> TranslationBnbTask:
    """Set up a task without data, the same dictionary on both sides."""
    precision = "medium" if workload.precision == "medium" else "highest"
    torch.set_float32_matmul_precision(precision)
    return TranslationBnbTask(TranslationBnbConfig(float32_matmul_precision=precision), dictionary, dictionary)


def _on_device(sample: Sample, workload: Workload) -> Sample:
    return utils.move_to_cuda(sample) if workload.device == "cuda" else sample


def ready(model: BaseFairseqModel, workload: Workload, fast: bool = True) -> BaseFairseqModel:
    """Move a model to its device; ``fast``: replace its layers by those for inference, as fairseq-generate does."""
    model = model.eval().to(workload.device, workload.dtype)
    if fast:
        model.make_generation_fast_(beamable_mm_beam_size=None, need_attn=False)
    return model


def generate(
    name: str,
    task: TranslationBnbTask,
    model: BaseFairseqModel,
    generator: Any,
    workload: Workload,
    passes: float | None = None,
) -> System:
    """Make a system of a ready model and a generator; ``passes`` of the decoder are None where each token takes one."""

    def translate(sample: Sample) -> Outcome:
        moved = _on_device(sample, workload)
        if isinstance(generator, IterativeRefinementGenerator):
            hypotheses = generator.generate([model], moved)
        else:
            hypotheses = task.inference_step(generator, [model], moved)
        outputs = [best[0]["tokens"].tolist() for best in hypotheses]
        tokens = sum(map(len, outputs)) / len(outputs)
        return Outcome(tokens, tokens if passes is None else passes)

    return System(name, task.source_dictionary, translate)


def _our_model(config: BertSeq2SeqConfig, task: TranslationBnbTask, workload: Workload) -> BaseFairseqModel:
    """Build a model of this project on the CPU, from the BERT if there is one."""
    for side in ("encoder", "decoder"):
        for field in SIZE_FIELDS:
            if workload.bert is None and getattr(config, f"{side}_{field}") is None:
                setattr(config, f"{side}_{field}", workload.sizes[field])
    config.bert_encoder = None if workload.bert is None else str(workload.bert)
    torch.manual_seed(1)
    return task.build_model(OmegaConf.structured(config)).eval()


def bnb_model(
    workload: Workload,
    task: TranslationBnbTask,
    length_control: str,
    refines: bool,
    decoder_layers: int | None = None,
) -> BnbTransformer:
    """Build a non-autoregressive model that writes about the wanted number of tokens.

    Args:
        workload: the setting.
        task: has the dictionaries.
        length_control: ``ctc`` or ``length``.
        refines: True: the decoder reads the tokens on its canvas.
        decoder_layers: None: as many as the encoder has.

    Returns:
        The model, on the CPU.
    """
    config = BnbTransformerConfig(
        _name="bnb_transformer",
        length_control=length_control,
        canvas_tokens=refines,
        latent_size=8,
        decoder_layers=decoder_layers,
        ctc_upsample=workload.upsample if length_control == "ctc" else 2.0,
    )
    model: BnbTransformer = _our_model(config, task, workload)
    if length_control == "ctc":
        sample = make_sample(task.source_dictionary, BALANCING, workload.source_tokens)
        balance_blank(model, sample, workload.target_tokens)
    else:
        fix_length_classes(model, workload.target_tokens - workload.source_tokens)
    return model


def floor(name: str, task: TranslationBnbTask, model: BnbTransformer, workload: Workload) -> System:
    """The bare forward pass: encoder, decoder and head on a prepared canvas, and the argmax, left on the device."""
    canvases: dict[int, Any] = {}

    @torch.no_grad()
    def translate(sample: Sample) -> Outcome:
        moved = _on_device(sample, workload)["net_input"]
        encoded = model.encode(**moved)
        size = len(moved["src_tokens"])
        if size not in canvases:
            canvases.clear()
            canvases[size] = model.canvas(encoded)
        tokens = model.decoder.output_layer(model.decode(encoded, canvases[size])).argmax(dim=-1)
        return Outcome(float(len(tokens)), 1.0)

    return System(name, task.source_dictionary, translate)


def our_system(
    workload: Workload, length_control: str, refines: bool = False, fast: bool = True
) -> tuple[TranslationBnbTask, BnbTransformer]:
    """Build a task and a non-autoregressive model, ready to translate; see ``bnb_model`` and ``ready``."""
    task = make_task(workload.dictionary(), workload)
    return task, ready(bnb_model(workload, task, length_control, refines), workload, fast)


def decode(
    name: str, task: TranslationBnbTask, model: BaseFairseqModel, workload: Workload, passes: int | None, **options: Any
) -> System:
    """Make a system that decodes with these options; ``passes`` as in ``generate``."""
    return generate(name, task, model, task.build_generator([model], Namespace(**options)), workload, passes)


def one_pass(workload: Workload, length_control: str) -> Iterator[System]:
    """One pass under a length control, ``ctc`` or ``length``, and its floor."""
    task, model = our_system(workload, length_control)
    yield decode(f"bnb {length_control}, one pass", task, model, workload, 1)
    yield floor(f"floor of bnb {length_control}", task, model, workload)


def one_pass_on_fairseq_layers(workload: Workload) -> Iterator[System]:
    """One pass with the layers that training uses."""
    yield decode("bnb ctc, fairseq's layers", *our_system(workload, "ctc", fast=False), workload, 1)


def refinement(workload: Workload) -> Iterator[System]:
    """One and four refinement passes under length control."""
    task, model = our_system(workload, "length", refines=True)
    for passes in (1, 4):
        name = f"bnb length, {passes} refinement{'s'[: passes > 1]}"
        options = {"iter_decode_max_iter": passes, "iter_decode_force_max_iter": True}
        yield decode(name, task, model, workload, 1 + passes, **options)


def _both_beams(name: str, task: TranslationBnbTask, model: BaseFairseqModel, workload: Workload) -> Iterator[System]:
    """Greedy decoding and beam 5 of an autoregressive model, all outputs of one length."""
    steps = workload.target_tokens - 1  # without the end symbol
    for search, beam in (("greedy", 1), ("beam 5", 5)):
        options = {"beam": beam, "min_len": steps, "max_len_a": 0.0, "max_len_b": steps}
        yield decode(f"{name}, {search}", task, model, workload, None, **options)


def bert2bert(workload: Workload, name: str, decoder_layers: int | None = None, fast: bool = True) -> Iterator[System]:
    """The autoregressive baseline, greedy and with a beam; ``decoder_layers`` None: as many as the encoder has."""
    task = make_task(workload.dictionary(), workload)
    config = Bert2BertConfig(_name="bert2bert", decoder_layers=decoder_layers)
    model = ready(_our_model(config, task, workload), workload, fast)
    yield from _both_beams(name, task, model, workload)


def fairseq_arguments(architecture: str, workload: Workload, decoder_layers: int | None = None) -> Namespace:
    """Return the options of one of fairseq's architectures with the sizes of the setting, all others by default.

    ``decoder_layers`` None: as many as the encoder has.
    """
    args = Namespace(
        arch=architecture,
        activation_fn="gelu",
        share_all_embeddings=True,
        apply_bert_init=True,
        max_source_positions=workload.sizes["positions"],
        max_target_positions=workload.sizes["positions"],
    )
    for side in ("encoder", "decoder"):
        for field in ("layers", "embed_dim", "ffn_embed_dim", "attention_heads"):
            setattr(args, f"{side}_{field}", workload.sizes[field])
    args.decoder_layers = decoder_layers or args.decoder_layers
    ARCH_CONFIG_REGISTRY[architecture](args)
    return args


def fairseq_model(args: Namespace, task: TranslationBnbTask) -> BaseFairseqModel:
    """Build one of fairseq's own models with random weights on the CPU; ``args`` come from ``fairseq_arguments``."""
    torch.manual_seed(1)
    return ARCH_MODEL_REGISTRY[args.arch].build_model(args, task).eval()


def transformer(workload: Workload) -> Iterator[System]:
    """Build fairseq's autoregressive Transformer, greedy and with a beam."""
    task = make_task(plain_dictionary(workload.symbols), workload)
    model = ready(fairseq_model(fairseq_arguments("transformer", workload), task), workload)
    yield from _both_beams("transformer", task, model, workload)


def fairseq_nat(workload: Workload, architecture: str, refinements: int) -> Iterator[System]:
    """One of fairseq's own non-autoregressive models, with so many passes after the first."""
    task = make_task(plain_dictionary(workload.symbols), workload)
    model = fairseq_model(fairseq_arguments(architecture, workload), task)
    sample = make_sample(task.source_dictionary, BALANCING, workload.source_tokens)
    fix_embedded_length(model, sample, workload.target_tokens)
    generator = IterativeRefinementGenerator(task.target_dictionary, max_iter=refinements, adaptive=False)
    name = f"{architecture}, {f'{refinements} refinements' if refinements else 'one pass'}"
    yield generate(name, task, ready(model, workload), generator, workload, 1 + refinements)
