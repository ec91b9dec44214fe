"""What a network is built from: its options, without those of its training, and its vocabularies' special symbols."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from ..modules.layers import LayerSizes


class SymbolTable(Protocol):
    """A vocabulary as the network sees it: fairseq's dictionary, or the one of a model folder."""

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
        """Return plain values, as ``from_json`` reads them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "NetworkOptions":
        """Read plain values.

        Args:
            values: what ``to_json`` returned.

        Returns:
            The options.

        Raises:
            ValueError: naming the fields that are missing, unknown or of another type.
        """
        return cls(**with_sizes(cls, values))


@dataclass(frozen=True)
class AutoregressiveOptions:
    """Options of a ``bert2bert``; the names are those of ``NetworkOptions``."""

    encoder: LayerSizes
    decoder: LayerSizes
    encoder_positions: int
    decoder_positions: int
    untie_output: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as ``from_json`` reads them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "AutoregressiveOptions":
        """Read plain values; a ValueError names the fields that are missing, unknown or of another type."""
        return cls(**with_sizes(cls, values))


def with_sizes(kind: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """Check the values of a dataclass whose ``encoder`` and ``decoder`` are ``LayerSizes``; see ``checked``."""
    found = dict(values)
    for side in ("encoder", "decoder"):
        found[side] = LayerSizes(**checked(LayerSizes, found.get(side), f"{side}."))
    return checked(kind, found, "")


def checked(kind: type[Any], values: Any, prefix: str) -> dict[str, Any]:
    """Check the names and types of a dataclass's values.

    Args:
        kind: the dataclass, with fields of plain types.
        values: what was read.
        prefix: put before a field's name in messages.

    Returns:
        The values.

    Raises:
        ValueError: naming the fields that are missing, unknown or of another type.
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
    if problems:
        raise ValueError("; ".join(problems))
    return values
