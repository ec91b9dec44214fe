"""From fairseq's options and models to the generator."""

from collections.abc import Sequence
from typing import Any, cast

from fairseq.models import BaseFairseqModel, FairseqEncoderDecoderModel

from ..data.dictionary import BnbDictionary
from ..models.bnb_transformer import BnbTransformer
from .generator import NarGenerator
from .options import generator_options
from .reranker import Reranker
from .scorer import build_scorer


def build_nar_generator(
    models: Sequence[BaseFairseqModel], dictionary: BnbDictionary, args: Any, task: Any = None
) -> NarGenerator:
    """Build the generator for the checkpoints of ``--path``, at least one of which is non-autoregressive.

    ``args`` is fairseq's generation config, or a namespace with some of its fields; ``task`` has the task's options.
    Raises a ValueError if options and models do not fit each other, and as ``build_scorer``.
    """
    options = generator_options(args, task)
    reranker, parallel = None, models
    autoregressive = [not isinstance(model, BnbTransformer) for model in models]
    if options.rerank and autoregressive == [False, True]:
        reranker, parallel = Reranker(cast(FairseqEncoderDecoderModel, models[1]), dictionary), models[:1]
    elif options.rerank or any(autoregressive):
        kinds = ", ".join("autoregressive" if other else "non-autoregressive" for other in autoregressive)
        raise ValueError(
            f"--iter-decode-with-external-reranker and --path must go together: a non-autoregressive checkpoint, then "
            f"the autoregressive one that reranks; but the option is {'on' if options.rerank else 'off'} and the "
            f"checkpoints are: {kinds}"
        )
    scorer = build_scorer(options, dictionary)
    return NarGenerator(cast(Sequence[BnbTransformer], parallel), dictionary, options, reranker, scorer)
