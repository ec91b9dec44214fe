"""Options of a network, without those of its training, and the special symbols of its vocabularies."""

from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any, Protocol

from torch import nn

from ..modules.layers import LayerSizes
from ..problems import Problems

LARGEST = 1 << 24  # number in a file: torch must be able to count the bytes of a matrix with two such sides
ADDED = {"ctc_extra": 0}  # fields that older folders lack
CHOICES = {"length_control": ("ctc", "length"), "ctc_canvas": ("mask", "repeat"), "ctc_blank": ("new", "pad", "mask")}


class BuildLayers(Protocol):
    """Builds the layers of an encoder or decoder after its embeddings, which keeps the order of random numbers."""

    def __call__(self, sizes: LayerSizes) -> nn.ModuleList:
        """The layers, with the interface of fairseq's; none in a network for inference."""


def no_layers(sizes: LayerSizes) -> nn.ModuleList:
    """No layers, for a network for inference."""
    return nn.ModuleList()


class SymbolTable(Protocol):
    """A vocabulary as the network sees it: fairseq's dictionary, or that of a model folder."""

    def __len__(self) -> int:
        """V."""

    def bos(self) -> int:
        """Id of [CLS]."""

    def pad(self) -> int:
        """Id of [PAD]."""

    def eos(self) -> int:
        """Id of [SEP]."""

    def unk(self) -> int:
        """Id of [UNK]."""

    def mask(self) -> int:
        """Id of [MASK]."""


@dataclass(frozen=True)
class NetworkOptions:
    """Options of the network, by their names on the command line; every size is set.

    Attributes:
        encoder: sizes of the encoder's layers.
        decoder: sizes of the decoder's layers.
        encoder_positions: largest source length.
        decoder_positions: largest canvas length.
        vae: the latent is variational.
    """

    encoder: LayerSizes
    decoder: LayerSizes
    encoder_positions: int
    decoder_positions: int
    length_control: str = "ctc"
    ctc_upsample: float = 2.0
    ctc_extra: int = 0
    ctc_canvas: str = "mask"
    ctc_canvas_length: int = 0
    ctc_blank: str = "new"
    length_range: int = 128
    latent_size: int = 0
    vae: bool = False
    latent_dropout: float = 0.0
    canvas_tokens: bool = False
    untie_output: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values, which ``from_json`` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "NetworkOptions":
        """The inverse of ``to_json``; a ValueError names the fields that are missing, unknown or do not fit."""
        options = cls(**with_sizes(cls, {**ADDED, **values}))
        problems = Problems("bnb_transformer")
        require_network(options, problems)
        problems.raise_if_any()
        return options


@dataclass(frozen=True)
class AutoregressiveOptions:
    """Options of a ``bert2bert``; the names are those of ``NetworkOptions``."""

    encoder: LayerSizes
    decoder: LayerSizes
    encoder_positions: int
    decoder_positions: int
    untie_output: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values, which ``from_json`` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "AutoregressiveOptions":
        """The inverse of ``to_json``; a ValueError names the fields that are missing, unknown or do not fit."""
        options = cls(**with_sizes(cls, values))
        problems = Problems("bert2bert")
        require_sizes(options, problems)
        problems.raise_if_any()
        return options


def require_sizes(options: NetworkOptions | AutoregressiveOptions, problems: Problems) -> None:
    """Note sizes and dropout probabilities out of range, of any network."""
    positions = {"encoder": options.encoder_positions, "decoder": options.decoder_positions}
    sides = {"encoder": options.encoder, "decoder": options.decoder}
    for side, sizes in sides.items():
        for name in ("layers", "embed_dim", "ffn_embed_dim", "attention_heads"):
            value = getattr(sizes, name)
            problems.require(value >= 1, f"{side}-{name.replace('_', '-')}", "must be at least 1", value)
        problems.require(positions[side] >= 1, f"{side}-positions", "must be at least 1", positions[side])
        width, heads = sizes.embed_dim, sizes.attention_heads
        divides = heads >= 1 and width % heads == 0
        problems.require(divides, f"{side}-attention-heads", f"must divide the width {width}", heads)
    for name in ("dropout", "attention_dropout"):  # the same on both sides
        value = getattr(options.encoder, name)
        problems.require(0 <= value < 1, name.replace("_", "-"), "must lie in [0, 1)", value)


def require_network(options: NetworkOptions, problems: Problems) -> None:
    """Note options of a ``bnb_transformer`` that are out of range or do not fit each other."""
    require_sizes(options, problems)
    for name, choices in CHOICES.items():
        value = getattr(options, name)
        problems.require(value in choices, name.replace("_", "-"), f"must be {' or '.join(choices)}", repr(value))
    finite = 0 < options.ctc_upsample < float("inf")
    problems.require(finite, "ctc-upsample", "must be above 0 and finite", options.ctc_upsample)
    extra = options.ctc_extra
    problems.require(extra >= 0, "ctc-extra", "must not be negative", extra)
    problems.require(options.length_range >= 1, "length-range", "must be at least 1", options.length_range)
    latent, widths = options.latent_size, (options.encoder.embed_dim, options.decoder.embed_dim)
    problems.require(latent >= 0, "latent-size", "must not be negative", latent)
    problems.require(latent != 0 or not options.vae, "latent-size", "must be positive with --latent vae", latent)
    constraint = f"must be positive if encoder and decoder differ in width ({widths[0]}, {widths[1]})"
    problems.require(latent > 0 or widths[0] == widths[1], "latent-size", constraint, latent)
    dropout = options.latent_dropout
    problems.require(0 <= dropout < 1, "latent-dropout", "must lie in [0, 1)", dropout)
    if options.ctc_canvas_length != 0:
        _require_canvas_length(options, problems)


def _require_canvas_length(options: NetworkOptions, problems: Problems) -> None:
    length, longest = options.ctc_canvas_length, min(options.encoder_positions, options.decoder_positions)
    constraint = f"must lie between 0 and the {longest} positions of encoder and decoder"
    problems.require(0 <= length <= longest, "ctc-canvas-length", constraint, length)
    control = options.length_control
    problems.require(control == "ctc", "ctc-canvas-length", "needs --length-control ctc", f"set with {control}")
    for name in ("ctc_upsample", "ctc_extra", "ctc_canvas"):
        value, default = getattr(options, name), getattr(NetworkOptions, name)
        option = name.replace("_", "-")
        problems.require(value == default, option, f"must stay {default} with --ctc-canvas-length", value)


def with_sizes(kind: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """Check the values of a dataclass whose ``encoder`` and ``decoder`` are ``LayerSizes``; see ``checked``."""
    found = dict(values)
    for side in ("encoder", "decoder"):
        found[side] = LayerSizes(**checked(LayerSizes, found.get(side), f"{side}."))
    return checked(kind, found, "")


def checked(kind: type[Any], values: Any, prefix: str) -> dict[str, Any]:
    """Check the names and types of a dataclass's values, and return them.

    Args:
        kind: the dataclass, with fields of plain types.
        values: values to check.
        prefix: stands before a field's name in messages.

    Returns:
        The values.

    Raises:
        ValueError: naming the fields that are missing, unknown, of another type or out of range.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{prefix.rstrip('.') or 'the options'} must be an object, but is {values!r}")
    known = {field.name: field.type for field in fields(kind)}
    problems = [f"{prefix}{name} is missing" for name in known if name not in values]
    problems += [f"{prefix}{name} is unknown" for name in values if name not in known]
    for name, value in values.items():
        wanted = known.get(name)
        allowed = (int, float) if wanted is float else wanted
        wrong = isinstance(allowed, (type, tuple)) and not isinstance(value, allowed)
        if wrong or (isinstance(value, bool) and wanted in (int, float)):
            problems.append(f"{prefix}{name} must be a {getattr(wanted, '__name__', wanted)}, but is {value!r}")
        elif isinstance(value, int | float) and not (isfinite(value) and abs(value) <= LARGEST):
            problems.append(f"{prefix}{name} must be at most {LARGEST:,}, but is {value!r}")
    if problems:
        raise ValueError("; ".join(problems))
    return values
