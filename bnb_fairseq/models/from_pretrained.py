"""Trained models for use from Python: raw text in, detokenised text out."""

from typing import Any

from fairseq import hub_utils
from fairseq.models import BaseFairseqModel


class BnbHubInterface(hub_utils.GeneratorHubInterface):
    """fairseq's hub interface, whose text goes through the tokenizers of the data-bin folder.

    Args:
        cfg: fairseq's configuration of the checkpoint.
        task: the task.
        models: the models.
    """

    def __init__(self, cfg: Any, task: Any, models: Any) -> None:
        super().__init__(cfg, task, models)
        self.tokenizer = task.build_tokenizer(cfg.tokenizer)
        self.bpe = task.build_bpe(cfg.bpe)


class FromPretrained(BaseFairseqModel):
    """A model that is loaded with its task by one call."""

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str,
        checkpoint_file: str = "model.pt",
        data_name_or_path: str = ".",
        **kwargs: Any,
    ) -> BnbHubInterface:
        """Load a checkpoint for translation.

        Args:
            model_name_or_path: folder of the checkpoint.
            checkpoint_file: its name; several, with ``:`` between, make an ensemble or a model and its reranker.
            data_name_or_path: data-bin folder; a name that begins with a dot is taken from the checkpoint's folder.
            **kwargs: options of the checkpoint's configuration to override, by their field names.

        Returns:
            What translates: ``translate(sentences, **options)``, ``generate`` and the rest of fairseq's hub interface.
        """
        loaded = hub_utils.from_pretrained(
            model_name_or_path, checkpoint_file, data_name_or_path, archive_map=cls.hub_models(), **kwargs
        )
        return BnbHubInterface(loaded["args"], loaded["task"], loaded["models"])
