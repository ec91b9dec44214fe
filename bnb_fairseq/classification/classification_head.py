"""The head that classifies or scores a text."""

import torch
from torch import Tensor, nn

from ..modules.layers import init_bert_weights


class ClassificationHead(nn.Module):
    """logits = U dropout(tanh(W dropout(x) + b)) + c: BERT's pooler and classifier (Devlin et al. 2019, section 4.1).

    Args:
        embed_dim: width D of x.
        num_classes: C, classes or numbers to predict.
        dropout: before each of the two linear layers.
    """

    def __init__(self, embed_dim: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(embed_dim, embed_dim)
        self.out_proj = nn.Linear(embed_dim, num_classes)
        self.apply(init_bert_weights)

    def forward(self, features: Tensor) -> Tensor:
        """Score the classes.

        Args:
            features: B x D.

        Returns:
            Logits, B x C.
        """
        pooled = self.dropout(torch.tanh(self.dense(self.dropout(features))))
        logits: Tensor = self.out_proj(pooled)
        return logits
