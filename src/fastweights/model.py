"""The classifier of Ba et al. (2016), Section 4.1: embedding → recurrent layer → its last hidden vector → head."""

from __future__ import annotations

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.nn.functional import embedding

from fastweights.cells.base import RecurrentLayer


class SequenceClassifier(nn.Module):
    """Reads tokens and classifies the sequence from its last hidden vector.

    A token's learned embedding is expanded by a ReLU layer and fed to `cell`; the hidden vector after the last step
    passes another ReLU layer and a linear one that gives the logits.

    Args:
        num_tokens: size of the vocabulary.
        num_classes: number of logits.
        cell: the recurrent layer; its input size is the width of the expanded embedding (100 in the paper).
        embedding_size: width of the embedding (50 in the paper).
        head_size: width of the ReLU layer before the logits (100 in the paper).
    """

    def __init__(
        self, num_tokens: int, num_classes: int, cell: RecurrentLayer, *, embedding_size: int = 50, head_size: int = 100
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, embedding_size)
        self.expand = nn.Linear(embedding_size, cell.input_size)
        self.cell = cell
        self.head = nn.Linear(cell.hidden_size, head_size)
        self.logits = nn.Linear(head_size, num_classes)

    def forward(self, tokens: Integer[Tensor, "B T"]) -> Float[Tensor, "B classes"]:
        # A step's input product depends on its token alone, so it is computed once a token, not once a step.
        projected = self.cell.project(self.token_inputs())
        last = self.cell.last_hidden(embedding(tokens, projected))
        logits: Tensor = self.logits(torch.relu(self.head(last)))
        return logits

    def token_inputs(self) -> Float[Tensor, "tokens I"]:
        """What the cell is fed for each token of the vocabulary."""
        return torch.relu(self.expand(self.embedding.weight))
