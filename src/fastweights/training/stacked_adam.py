"""Adam for many models at once, whose weights are the rows of one tensor: as many kernels for sixty-four as for one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from fastweights.training.adam import BETAS, EPSILON, Adam


class Layout(NamedTuple):
    """Where in a row of P numbers each parameter of a model lies; `shapes` by name."""

    shapes: dict[str, torch.Size]

    @classmethod
    def of(cls, model: nn.Module) -> Layout:
        """That of a model's parameters, in their order."""
        return cls({name: parameter.shape for name, parameter in model.named_parameters()})

    def cut(self, rows: Float[Tensor, "*lead P"]) -> dict[str, Tensor]:
        """Views of the rows in the parameters' shapes, each (*lead, *shape)."""
        lead, shapes = rows.shape[:-1], self.shapes.values()
        pieces = torch.split(rows, [shape.numel() for shape in shapes], dim=-1)
        views = (piece.view(*lead, *shape) for piece, shape in zip(pieces, shapes, strict=True))
        return dict(zip(self.shapes, views, strict=True))


class StackedAdam:
    """The optimisers of n models as one.

    What they hold is taken over, and from then on lies in rows of this one's state, so that each can be saved, or go on
    by itself, at any time.

    Args:
        weights: (n, P), updated in place.
        layout: of a row.
        models: n, whose parameters have the layout.
        optimizers: those of the models.
        clip_norms: largest norm of each one's gradient; None leaves it. As `torch.nn.utils.clip_grad_norm_`.
    """

    def __init__(
        self,
        weights: Float[Tensor, "n P"],
        layout: Layout,
        models: Sequence[nn.Module],
        optimizers: Sequence[Adam],
        clip_norms: Sequence[float | None],
    ) -> None:
        self._weights = weights
        self._means, self._squares = torch.zeros_like(weights), torch.zeros_like(weights)
        # One for every parameter, for each one's steps are counted by themselves.
        self._steps = weights.new_zeros(len(models), len(layout.shapes), dtype=torch.float32)
        decay = torch.zeros_like(weights)
        for index, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            rows = (self._means[index], self._squares[index], decay[index])
            pieces = zip(*(layout.cut(row).values() for row in rows), strict=True)
            for parameter, steps, (mean, square, decayed) in zip(
                model.parameters(), self._steps[index], pieces, strict=True
            ):
                state = {"step": steps, "exp_avg": mean, "exp_avg_sq": square}
                for name, value in optimizer.state.get(parameter, {}).items():
                    state[name].copy_(value)
                optimizer.state[parameter] = state
                decayed.fill_(optimizer.weight_decays[parameter])
        self._decay = decay if bool(decay.any()) else None
        self._clip_norms = None
        if any(norm is not None for norm in clip_norms):
            norms = [math.inf if norm is None else norm for norm in clip_norms]
            self._clip_norms = torch.tensor(norms, dtype=weights.dtype, device=weights.device).unsqueeze(1)

    @property
    def state(self) -> list[Tensor]:
        """All that `step` changes besides the weights."""
        return [self._means, self._squares, self._steps]

    @torch.no_grad()
    def step(self, gradients: Float[Tensor, "n P"], rates: Float64[Tensor, " n"]) -> None:
        """One update, with a learning rate for each model (Kingma & Ba 2015; Loshchilov & Hutter 2019)."""
        dtype = self._weights.dtype
        first, second = BETAS
        rates = rates.unsqueeze(1)
        if self._clip_norms is not None:
            gradients = gradients * _clipping(gradients, self._clip_norms)
        if self._decay is not None:
            self._weights.mul_(1 - rates.to(dtype) * self._decay)
        self._steps += 1
        steps = self._steps[:, :1].double()
        self._means.lerp_(gradients, 1 - first)
        self._squares.mul_(second).addcmul_(gradients, gradients, value=1 - second)
        sizes = (rates / (1 - first**steps)).to(dtype)
        roots = (1 - second**steps).sqrt().to(dtype)
        self._weights.addcdiv_(self._means * sizes, (self._squares.sqrt() / roots).add_(EPSILON), value=-1)


def _clipping(gradients: Float[Tensor, "n P"], most: Float[Tensor, "n 1"]) -> Float[Tensor, "n 1"]:
    """What each row is multiplied with so that its norm is `most` at the most; 1 where that is infinite."""
    norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    factors: Tensor = (most / (norms + 1e-6)).clamp(max=1.0)
    # Where nothing is clipped it may have been infinity over infinity, which is no number.
    return factors.masked_fill(most.isinf(), 1.0)
