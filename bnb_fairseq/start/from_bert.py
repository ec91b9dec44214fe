"""Starting a model from BERT checkpoints: sizes first, weights once it is built."""

from typing import NamedTuple

from fairseq.models import BaseFairseqModel

from ..models.config import SIZE_FIELDS, BertSeq2SeqConfig, complete_sizes
from .bert_checkpoint import BertCheckpoint, open_bert
from .bert_groups import finish_start
from .bert_import import ImportReport, import_bert, start_cross_attention_from_self_attention
from .row_matching import SymbolTable, match_rows

OUTPUT_MATRIX = "head.weight"  # a copy of the token embeddings, where it exists


class BertPair(NamedTuple):
    """The BERTs of encoder and decoder."""

    encoder: BertCheckpoint
    decoder: BertCheckpoint


def resolve_berts(cfg: BertSeq2SeqConfig) -> BertPair | None:
    """Open the BERTs that the options name and complete the options with their sizes.

    A later checkpoint then needs no BERT.

    Args:
        cfg: the options; sizes left open are filled in.

    Returns:
        The BERTs, or None if the model starts random.

    Raises:
        ValueError: if a BERT cannot be used, or listing every size that contradicts the options.
    """
    if cfg.bert_encoder is None:
        if cfg.bert_decoder is not None:
            raise ValueError(f"--bert-decoder {cfg.bert_decoder} needs --bert-encoder, which is not set")
        return None
    encoder = open_bert(cfg.bert_encoder, "--bert-encoder")
    decoder = encoder if cfg.bert_decoder is None else open_bert(cfg.bert_decoder, "--bert-decoder")
    berts = BertPair(encoder, decoder)
    problems = [problem for side, bert in berts._asdict().items() for problem in _contradictions(cfg, side, bert)]
    if encoder.layer_norm_eps != decoder.layer_norm_eps:
        problems.append(
            f"layer_norm_eps of encoder ({encoder.layer_norm_eps}) and decoder ({decoder.layer_norm_eps}) must be equal"
        )
    if str(cfg.cross_attention_init) == "self" and encoder.sizes["embed_dim"] != decoder.sizes["embed_dim"]:
        widths = f"{encoder.sizes['embed_dim']} and {decoder.sizes['embed_dim']}"
        problems.append(f"--cross-attention-init must be random for BERTs of different widths ({widths}), but is self")
    if problems:
        raise ValueError("sizes contradict each other: " + "; ".join(problems))
    for side, bert in berts._asdict().items():
        bert.check_size()
        complete_sizes(cfg, side, bert.sizes)
    cfg.layer_norm_eps = encoder.layer_norm_eps
    return berts


def _contradictions(cfg: BertSeq2SeqConfig, side: str, bert: BertCheckpoint) -> list[str]:
    problems = []
    for name in SIZE_FIELDS:
        wanted, has = getattr(cfg, f"{side}_{name}"), bert.sizes[name]
        if wanted is None:
            continue
        option = f"--{side}-{name.replace('_', '-')} {wanted}"
        if name == "layers" and not 1 <= wanted <= has:
            problems.append(f"{option} must lie between 1 and the {has} layers of {bert.origin}")
        elif name != "layers" and wanted != has:
            problems.append(f"{option} must be {has}, as in {bert.origin}")
    return problems


def load_berts(model: BaseFairseqModel, berts: BertPair, cross_attention_init: str) -> list[ImportReport]:
    """Copy the BERTs' weights into a new model, log the origin of every parameter, and mark them for the optimizer.

    Args:
        model: ``BnbTransformer`` or ``Bert2Bert``, built with the sizes that ``resolve_berts`` set.
        berts: the BERTs.
        cross_attention_init: ``random``, or ``self`` to copy the self-attention.

    Returns:
        The reports for encoder and decoder.

    Raises:
        ValueError: if ``--freeze`` names parameters that their BERT lacks.
    """
    reports = []
    for side, bert in berts._asdict().items():
        module = getattr(model, side)
        rows = match_rows(module.dictionary, SymbolTable.of_wordpiece(bert.tokenizer))
        reports.append(import_bert(module, bert, module.sizes.layers, rows, side))
        reports[-1].log(side)
    model.decoder.start_output_layer()
    if cross_attention_init == "self":
        start_cross_attention_from_self_attention(model.decoder.layers)
    for side, report in zip(berts._fields, reports, strict=True):
        module = getattr(model, side)
        started = [
            name for name, _ in module.named_parameters() if _starts_from_bert(name, report, cross_attention_init)
        ]
        finish_start(module, side, started, report.symbols - report.matched)
    return reports


def _starts_from_bert(name: str, report: ImportReport, cross_attention_init: str) -> bool:
    """Whether a parameter holds a BERT's weights, or a copy of them."""
    if ".encoder_attn" in name:
        return cross_attention_init == "self"
    return name == OUTPUT_MATRIX or name not in report.new
