"""Adam (Kingma & Ba 2015), or with a weight decay AdamW (Loshchilov & Hutter 2019), of one model.

The updates are torch's own fused ones. Its classes are left aside because the first of them to be made imports torch's
compiler, for which every process that trains would pay with as much time as for most of torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam:
    """What Adam holds of each parameter of a model, by torch's names: `step`, `exp_avg` and `exp_avg_sq`.

    Args:
        model: whose parameters it moves.
        weight_decay: each update shrinks every matrix by this share of the learning rate; biases and gains are left.
    """

    def __init__(self, model: nn.Module, weight_decay: float = 0.0) -> None:
        parameters = list(model.parameters())
        self._groups = [(parameters, 0.0)]
        if weight_decay:
            self._groups = [
                ([p for p in parameters if p.ndim > 1], weight_decay),
                ([p for p in parameters if p.ndim <= 1], 0.0),
            ]
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        """Of the parameters that have been moved, or are to be as members of a population."""
        self.weight_decays = {parameter: decay for group, decay in self._groups for parameter in group}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update with this learning rate, of the parameters that have a gradient."""
        for group, decay in self._groups:
            moved = [(parameter, parameter.grad) for parameter in group if parameter.grad is not None]
            states = [self._of(parameter) for parameter, _ in moved]
            adamw(
                [parameter for parameter, _ in moved],
                [gradient for _, gradient in moved],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                fused=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=rate,
                weight_decay=decay,
                eps=EPSILON,
                maximize=False,
            )

    def _of(self, parameter: Tensor) -> dict[str, Tensor]:
        found = self.state.get(parameter)
        if found is None:
            found = self.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return found

    def state_dict(self) -> dict[str, Any]:
        """Copies of what is held, numbered as torch's optimisers number it."""
        # Copies: what is a view, in a population, would be written with all that it is a view of.
        return {
            "state": {
                number: {name: value.clone() for name, value in self.state[parameter].items()}
                for number, parameter in enumerate(self.weight_decays)
                if parameter in self.state
            }
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Hold what was saved, also by torch's class, and nothing else."""
        self.state.clear()
        for number, parameter in enumerate(self.weight_decays):
            if number in saved["state"]:
                for name, value in self._of(parameter).items():
                    value.copy_(saved["state"][number][name])
