"""The complete configuration of one run. Nothing here imports torch, so that the command line can read it at once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

from tyro.constructors import PrimitiveConstructorSpec

from fastweights.errors import UsageError, unknown_name
from fastweights.training.options import Option, checked, parse

SCHEMA = 1
"""Raised whenever equal configurations would no longer give equal runs."""

# Fields and options that the first runs did not have. At these values they do not count for the hash: those runs keep
# their names.
_ADDED = {"device": "cpu", "weight_decay": 0.0, "early_updates": 0, "early_train_size": None}
_ADDED_CELL_OPTIONS = {"lagged": False, "boundary_norm": False}

_MOST_THREADS = 1024
# tyro's own reading of a dictionary would keep the last of two values of one name, silently.
_PAIRS: PrimitiveConstructorSpec[dict[str, Option]] = PrimitiveConstructorSpec(
    nargs="*",
    metavar="NAME VALUE …",
    instance_from_str=parse,
    is_instance=lambda value: isinstance(value, dict),
    str_from_instance=lambda pairs: [str(word) for pair in pairs.items() for word in pair],
)

Schedule = Literal["constant", "linear", "cosine"]
Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class RunConfig:
    """One training run. Equal configurations, each trained by itself, give bit-identical runs on one machine."""

    cell: str = "fast_weights"
    """Recurrent layer: the name of a file in fastweights/cells."""
    hidden_size: int = 50
    """Hidden units of the layer (the paper's R)."""
    cell_options: Annotated[dict[str, Option], _PAIRS] = field(default_factory=dict)
    """Settings of the layer, as its constructor names them: decay 0.9 inner_steps 2."""
    task: str = "associative_retrieval"
    """What is learned: the name of a file in fastweights/tasks."""
    task_options: Annotated[dict[str, Option], _PAIRS] = field(default_factory=dict)
    """Settings of the task, as its constructor names them: num_pairs 4 order keys_first."""
    train_size: int = 100_000
    """Training sequences."""
    validation_size: int = 10_000
    """Validation sequences."""
    test_size: int = 20_000
    """Test sequences."""
    data_seed: int = 0
    """Seed of the three data sets."""
    embedding_size: int = 50
    """Width of the token embedding."""
    input_size: int = 100
    """Width to which the embedding is expanded before the layer."""
    head_size: int = 100
    """Width of the ReLU layer between the last hidden vector and the logits."""
    updates: int = 20_000
    """Training budget, in updates."""
    batch_size: int = 128
    """Sequences in a mini-batch."""
    learning_rate: float = 1e-3
    """Adam's learning rate at the start."""
    schedule: Schedule = "constant"
    """How the learning rate goes on from there: stays, or falls to zero over the budget, linearly or as a cosine."""
    weight_decay: float = 0.0
    """Each update shrinks every matrix by this share of the learning rate (AdamW); biases and gains are left."""
    early_updates: int = 0
    """Updates at the start that see only the first early_train_size of the training sequences, over and over."""
    early_train_size: int | None = None
    """Training sequences of the early updates; given with them or not at all."""
    clip_norm: float | None = None
    """Largest norm of the gradient over all parameters; larger ones are scaled down to it. None leaves them."""
    evaluate_every: int = 1_000
    """Updates from one evaluation and checkpoint to the next."""
    zero_evaluations: int = 5
    """Stop early once the validation error has been zero this many evaluations in a row."""
    seed: int = 0
    """Seed of the initial weights and of the order of the data."""
    threads: int = 1
    """CPU threads; part of the configuration, for sums in another order round differently."""
    device: Device = "cpu"
    """Where the model is trained: cpu or cuda."""

    def checked(self) -> RunConfig:
        """Itself, each value of its field's very type: 1 and 1.0 would be hashed differently.

        Raises UsageError, naming the field, for a value that is not of that type or outside its range.
        """
        values: dict[str, Any] = {}
        for name, hint in field_types().items():
            value = getattr(self, name)
            if name not in ("cell_options", "task_options"):
                values[name] = checked(name, value, hint)
            elif isinstance(value, Mapping):
                values[name] = {option: checked(option, setting, Option) for option, setting in value.items()}
            else:
                raise UsageError(f"{name} must be a mapping of names to values, got {value!r}")
        config = RunConfig(**values)
        config._check_ranges()
        return config

    def _check_ranges(self) -> None:
        for name in _POSITIVE:
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        for name in ("seed", "data_seed"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must be at least 0, got {getattr(self, name)!r}")
        if self.threads > _MOST_THREADS:
            raise UsageError(f"threads must be at most {_MOST_THREADS}, got {self.threads!r}")
        if self.batch_size > self.train_size:
            raise UsageError(f"batch_size must be at most train_size = {self.train_size}, got {self.batch_size}")
        self._check_early()
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UsageError(f"learning_rate must be finite and above 0, got {self.learning_rate!r}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise UsageError(f"weight_decay must be finite and at least 0, got {self.weight_decay!r}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise UsageError(f"clip_norm must be above 0, or None for no clipping, got {self.clip_norm!r}")

    def _check_early(self) -> None:
        updates, size = self.early_updates, self.early_train_size
        if not 0 <= updates < self.updates:
            raise UsageError(f"early_updates must be at least 0 and below updates = {self.updates}, got {updates}")
        if size is None and updates > 0:
            raise UsageError(f"early_updates = {updates} needs an early_train_size")
        if size is not None and updates == 0:
            raise UsageError(f"early_train_size = {size} needs early_updates above 0")
        if size is not None and not self.batch_size <= size <= self.train_size:
            bounds = f"batch_size = {self.batch_size} and train_size = {self.train_size}"
            raise UsageError(f"early_train_size must be between {bounds}, got {size}")

    @property
    def run_id(self) -> str:
        """Name of the run's directory: what it trains, and a hash of the whole configuration and the schema."""
        values = self.to_dict()
        for present, added in ((values, _ADDED), (values["cell_options"], _ADDED_CELL_OPTIONS)):
            for name, default in added.items():
                if present.get(name) == default:
                    del present[name]
        canonical = json.dumps({"schema": SCHEMA, **values}, sort_keys=True)
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:12]
        return f"{self.cell}-{self.hidden_size}-seed{self.seed}-{digest}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        # Copies of what a caller could change.
        return {**values, "cell_options": dict(self.cell_options), "task_options": dict(self.task_options)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunConfig:
        """The inverse of `to_dict`. Raises UsageError for a key that is not a field."""
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise unknown_name("configuration key", name, known)
        return cls(**values)


@cache  # a sweep has many configurations
def field_types() -> dict[str, Any]:
    """The annotation of every field."""
    return get_type_hints(RunConfig)


_POSITIVE = (
    "hidden_size",
    "train_size",
    "validation_size",
    "test_size",
    "embedding_size",
    "input_size",
    "head_size",
    "updates",
    "batch_size",
    "evaluate_every",
    "zero_evaluations",
    "threads",
)
