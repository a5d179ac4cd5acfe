"""What every task offers to training: seeded splits of token sequences, each with one target class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

SplitName = Literal["train", "validation", "test"]
_STREAM: dict[SplitName, int] = {"train": 0, "validation": 1, "test": 2}


class Sequences(NamedTuple):
    """`tokens`, (N, T), and the class that follows each sequence, `targets`, (N,)."""

    tokens: UInt8[np.ndarray, "N T"]
    targets: UInt8[np.ndarray, " N"]


class Floor(NamedTuple):
    """What the best predictor without binding scores: `error`, a fraction, and `nll`, nats for each sequence."""

    error: float
    nll: float


class Task(ABC):
    """A distribution over token sequences, each followed by a class to predict. Concrete: frozen dataclasses."""

    vocabulary: ClassVar[str]
    class_names: ClassVar[str]

    @property
    def num_tokens(self) -> int:
        """Size of the vocabulary."""
        return len(self.vocabulary)

    @property
    def num_classes(self) -> int:
        """Number of classes to choose from."""
        return len(self.class_names)

    @property
    @abstractmethod
    def sequence_length(self) -> int:
        """T, the steps of a sampled sequence."""

    @abstractmethod
    def sample(self, count: int, generator: np.random.Generator) -> Sequences:
        """`count` independent sequences."""

    @abstractmethod
    def solve(self, tokens: UInt8[np.ndarray, "N T"]) -> UInt8[np.ndarray, " N"]:
        """The right answers, found by looking them up in the sequences."""

    @abstractmethod
    def no_binding_floor(self) -> Floor:
        """The exact score of the best predictor that knows which values occurred but not with which key."""

    @abstractmethod
    def encode(self, text: str) -> UInt8[np.ndarray, " T"]:
        """Tokens of one sequence typed as text. Raises UsageError that says what is malformed and where."""

    def decode(self, tokens: Int[np.ndarray, " T"] | UInt8[np.ndarray, " T"]) -> str:
        """The text of one sequence of tokens."""
        return "".join(self.vocabulary[token] for token in tokens)

    def split(self, name: SplitName, count: int, seed: int) -> Sequences:
        """`count` sequences of a split. A seed's splits are independent streams; equal arguments give equal data."""
        stream = np.random.SeedSequence(seed, spawn_key=(_STREAM[name],))
        return self.sample(count, np.random.default_rng(stream))
