"""How well a model does on a whole data set: many sequences at a time, and one look at the sums in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Integer, UInt8
from torch import Tensor
from torch.nn.functional import cross_entropy

from fastweights.model import SequenceClassifier
from fastweights.training.distributed import ALONE, Group

# Sequences at a time, over all models: as many as stay inside a processor's caches, or as keep a GPU busy.
_BATCH = {"cpu": 1_000, "cuda": 20_000}


class Score(NamedTuple):
    """`errors` of `total` sequences were misclassified; `nll` is the mean negative log-likelihood in nats."""

    errors: int
    total: int
    nll: float

    @property
    def error(self) -> float:
        """Fraction misclassified."""
        return self.errors / self.total


@torch.no_grad()
def evaluate(
    model: SequenceClassifier, tokens: UInt8[Tensor, "N T"], targets: UInt8[Tensor, " N"], group: Group = ALONE
) -> Score:
    """Errors and NLL of the model on all of `tokens`, shared out among the group."""
    count = len(tokens)
    sums = sums_over(
        lambda tokens, labels: errors_and_nll(model(tokens), labels), group.share(tokens), group.share(targets)
    )
    group.add([sums])
    return score(sums.tolist(), count)


def sums_over(
    function: Callable[[Tensor, Tensor], Tensor],
    tokens: UInt8[Tensor, "N T"],
    targets: UInt8[Tensor, " N"],
    members: int = 1,
) -> Float64[Tensor, "*members 2"]:
    """The sum of `function(tokens, labels)` over the data, cut into batches; `members` models compute at once."""
    batch = max(1, _BATCH[tokens.device.type] // members)
    total = torch.zeros(2, dtype=torch.float64, device=tokens.device)
    for start in range(0, len(tokens), batch):
        rows = slice(start, start + batch)
        total = total + function(tokens[rows].int(), targets[rows].long())
    return total


def errors_and_nll(logits: Float[Tensor, "B classes"], labels: Integer[Tensor, " B"]) -> Float64[Tensor, " 2"]:
    """How many of the logits are wrong, and the sum of their NLLs."""
    # A NaN logit is an error whatever argmax makes of it.
    right = (logits.argmax(dim=-1) == labels) & logits.isfinite().all(dim=-1)
    return torch.stack([(~right).sum().double(), cross_entropy(logits, labels, reduction="sum").double()])


def score(sums: list[float], total: int) -> Score:
    """The score on `total` sequences, given the sums of errors and NLL."""
    errors, nll = sums
    return Score(int(errors), total, nll / total)
