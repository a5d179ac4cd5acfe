"""The calling convention of torch.nn.RNN, once for all cells."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from fastweights.errors import UsageError, check_count


class RecurrentLayer(nn.Module):
    """A recurrent layer, called like a one-layer `torch.nn.RNN`: `out, state = layer(input, state)`.

    A concrete layer gives the two halves of its step: `project`, everything that depends on the input alone, and
    `scan`, the recurrence. The first is row by row, so that whoever has few distinct inputs may project only those.

    Args:
        input_size: I ≥ 1.
        hidden_size: H ≥ 1.
        batch_first: (B, T, ·) rather than (T, B, ·) for batched input and output.

    Calling it takes `input`, (T, B, I), (B, T, I) if `batch_first`, (T, I) unbatched, or a PackedSequence; and
    optionally the `state` that an earlier call returned. It returns the hidden vectors in the same layout and the state
    after the last step of every sequence. Unlike torch.nn's, a state has no leading dimension for layers.

    Raises UsageError for input or state of a wrong shape, dtype or device.
    """

    state_type: ClassVar[type[NamedTuple]]
    tensor_settings: ClassVar[tuple[str, ...]] = ()
    """Settings that may be tensors of no dimensions too; under `torch.func.vmap` each member then has its own."""

    def __init__(self, input_size: int, hidden_size: int, *, batch_first: bool) -> None:
        super().__init__()
        check_count("input_size", input_size)
        check_count("hidden_size", hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.batch_first = batch_first

    @property
    @abstractmethod
    def state_sizes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of each part of one sequence's state."""

    @abstractmethod
    def project(self, input: Tensor) -> Tensor:
        """The part of the step that depends on the input alone: (..., I) → (..., Z), row by row."""

    @abstractmethod
    def scan(self, z: Tensor, state: Any = None, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """The recurrence over projected input z, (B, T, Z) → out, (B, T, H), and the final state."""

    def last_hidden(self, z: Tensor) -> Tensor:
        """The hidden vector after the last step of projected input z, (B, T, Z) → (B, H), from a zero state."""
        state = self.scan(z)[1]
        last: Tensor = state.h
        return last

    def backend_for(self, steps: int) -> str:
        """Name of the backend that runs sequences of this many steps."""
        return "reference"

    def forward(self, input: Tensor | PackedSequence, state: Any = None) -> tuple[Any, Any]:
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, state)
        if not isinstance(input, Tensor):
            raise UsageError(f"input must be a tensor or a PackedSequence, got {type(input).__name__}")
        if input.dim() not in (2, 3) or input.shape[-1] != self.input_size or 0 in input.shape:
            layout = "(B, T, I)" if self.batch_first else "(T, B, I)"
            raise UsageError(
                f"input must be {layout} or, unbatched, (T, I), with I = {self.input_size} and no empty dimension; "
                f"got shape {tuple(input.shape)}"
            )
        if input.dim() == 2:
            state = self._checked_state(state)
            lifted = None if state is None else self.state_type(*(part.unsqueeze(0) for part in state))
            out, final = self._run(input.unsqueeze(0), lifted, None)
            return out.squeeze(0), self.state_type(*(part.squeeze(0) for part in final))
        state = self._checked_state(state, input.shape[0 if self.batch_first else 1])
        if self.batch_first:
            return self._run(input, state, None)
        out, final = self._run(input.transpose(0, 1), state, None)
        return out.transpose(0, 1), final

    def _forward_packed(self, input: PackedSequence, state: Any) -> tuple[PackedSequence, Any]:
        # Everything between the two reorderings is in the packed order, longest sequence first, as in torch.nn.RNN.
        order, back = input.sorted_indices, input.unsorted_indices
        padded, lengths = pad_packed_sequence(PackedSequence(input.data, input.batch_sizes), batch_first=True)
        if padded.shape[-1] != self.input_size:
            raise UsageError(f"packed input must have {self.input_size} features, got {padded.shape[-1]}")
        state = self._checked_state(state, len(lengths))
        if state is not None and order is not None:
            state = self.state_type(*(part.index_select(0, order) for part in state))
        out, final = self._run(padded, state, lengths.to(padded.device))
        packed = pack_padded_sequence(out, lengths, batch_first=True)
        if back is not None:
            final = self.state_type(*(part.index_select(0, back) for part in final))
        return PackedSequence(packed.data, packed.batch_sizes, order, back), final

    def _run(self, input: Tensor, state: Any, lengths: Tensor | None) -> tuple[Tensor, Any]:
        self._check_kind("input", input)
        return self.scan(self.project(input), state, lengths)

    def _checked_state(self, state: Any, *batch: int) -> Any:
        if state is None:
            return None
        names = self.state_type._fields
        if not isinstance(state, tuple) or len(state) != len(names):
            raise UsageError(
                f"state must be a {self.state_type.__name__}({', '.join(names)}), got {type(state).__name__}"
            )
        for name, part, size in zip(names, state, self.state_sizes, strict=True):
            if not isinstance(part, Tensor):
                raise UsageError(f"state.{name} must be a tensor, got {type(part).__name__}; for no state give None")
            if tuple(part.shape) != (*batch, *size):
                raise UsageError(f"state.{name} must have shape {(*batch, *size)}, got {tuple(part.shape)}")
            self._check_kind(f"state.{name}", part)
        return self.state_type(*state)

    def _check_kind(self, name: str, value: Tensor) -> None:
        weight = next(self.parameters())
        if value.device != weight.device:
            raise UsageError(f"{name} is on {value.device} but the layer is on {weight.device}; move one of them")
        if value.dtype != weight.dtype and not torch.is_autocast_enabled(value.device.type):
            raise UsageError(f"{name} has dtype {value.dtype} but the layer {weight.dtype}; convert one of them")

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, batch_first={self.batch_first}"
