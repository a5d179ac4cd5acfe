"""Associative retrieval (Ba et al. 2016, Section 4.1): which value came with this key?

    c 9 k 8 j 3 f 1 ? ? c  →  9

Keys are distinct letters, values digits; after two question marks one of the keys is asked for. With
`order="keys_first"` (the harder mART of Schlag & Schmidhuber 2017) all keys come before all values:

    c k j f 9 8 3 1 ? ? c  →  9
"""

from __future__ import annotations

import math
import string
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import UInt8

from fastweights.errors import UsageError, unknown_name
from fastweights.tasks.base import Floor, Sequences, Task

LETTERS, DIGITS, MARK = string.ascii_lowercase, string.digits, "?"
FIRST_DIGIT = len(LETTERS)
MARK_TOKEN = len(LETTERS) + len(DIGITS)
Order = Literal["interleaved", "keys_first"]


@dataclass(frozen=True)
class AssociativeRetrieval(Task):
    """K key-value pairs, two question marks and a key; the target is that key's value.

    Args:
        num_pairs: K, 1 to 26 (to 10 without replacement). The paper's sequences have 4.
        replacement: values are drawn with replacement, so that a digit may occur twice. The paper's errors near
            61.65 %, the no-binding floor at K = 4 with replacement, show that its were.
        order: "interleaved" (k1 v1 k2 v2 …) or "keys_first" (k1 k2 … v1 v2 …).

    Raises UsageError for values outside these.
    """

    num_pairs: int = 4
    replacement: bool = True
    order: Order = "interleaved"

    vocabulary: ClassVar[str] = LETTERS + DIGITS + MARK
    class_names: ClassVar[str] = DIGITS

    def __post_init__(self) -> None:
        most = len(LETTERS) if self.replacement else len(DIGITS)
        if not 1 <= self.num_pairs <= most:
            why = "there are 26 letters" if self.replacement else "without replacement there are 10 digits"
            raise UsageError(f"num_pairs must be between 1 and {most}, got {self.num_pairs}: {why}")
        if self.order not in ("interleaved", "keys_first"):
            raise unknown_name("order", self.order, ("interleaved", "keys_first"))

    @property
    def sequence_length(self) -> int:
        """T = 2K + 3."""
        return 2 * self.num_pairs + 3

    def sample(self, count: int, generator: np.random.Generator) -> Sequences:
        pairs = self.num_pairs
        rows = np.arange(count)
        keys = _distinct(generator, count, len(LETTERS), pairs)
        if self.replacement:
            values = generator.integers(0, len(DIGITS), size=(count, pairs), dtype=np.uint8)
        else:
            values = _distinct(generator, count, len(DIGITS), pairs)
        asked = generator.integers(0, pairs, size=count)
        tokens = np.full((count, self.sequence_length), MARK_TOKEN, dtype=np.uint8)
        key_columns, value_columns = self._columns(pairs)
        tokens[:, key_columns] = keys
        tokens[:, value_columns] = values + FIRST_DIGIT
        tokens[:, -1] = keys[rows, asked]
        return Sequences(tokens, values[rows, asked])

    def solve(self, tokens: UInt8[np.ndarray, "N T"]) -> UInt8[np.ndarray, " N"]:
        key_columns, value_columns = self._columns((tokens.shape[1] - 3) // 2)
        asked = np.argmax(tokens[:, key_columns] == tokens[:, -1:], axis=1)
        answers: np.ndarray = tokens[np.arange(len(tokens)), value_columns[asked]] - np.uint8(FIRST_DIGIT)
        return answers

    def no_binding_floor(self) -> Floor:
        """Error 1 − E[max count]/K and NLL E[entropy] of the digit counts, exact: a sum over the partitions of K."""
        error, nll = Fraction(1), 0.0
        for counts in _partitions(self.num_pairs, len(DIGITS)):
            if not self.replacement and counts[0] > 1:
                continue
            probability = _partition_probability(counts) if self.replacement else Fraction(1)
            shares = [Fraction(count, self.num_pairs) for count in counts]
            error -= probability * shares[0]
            nll -= float(probability) * math.fsum(float(share) * math.log(share) for share in shares)
        return Floor(float(error), nll)

    def encode(self, text: str) -> UInt8[np.ndarray, " T"]:
        """Tokens of a string such as `c9k8j3f1??c`, of any number of pairs, in this task's order.

        Raises UsageError that says what is wrong, at which character, and what a right one looks like.
        """
        pairs = (len(text) - 3) // 2
        example = "c9k8??c" if self.order == "interleaved" else "ck98??c"
        if len(text) % 2 == 0 or not 1 <= pairs <= len(LETTERS):
            raise UsageError(
                f"{text!r} has {len(text)} characters; K pairs, '??' and a key make 2K + 3, as in {example!r} (K = 2)"
            )
        key_columns, value_columns = self._columns(pairs)
        wanted = dict.fromkeys(key_columns, ("a letter a–z", LETTERS)) | dict.fromkeys(
            value_columns, ("a digit", DIGITS)
        )
        wanted |= {len(text) - 3: ("'?'", MARK), len(text) - 2: ("'?'", MARK), len(text) - 1: ("a letter a–z", LETTERS)}
        for position, character in enumerate(text):
            what, allowed = wanted[position]
            if character not in allowed:
                raise UsageError(
                    f"character {position + 1} of {text!r} must be {what}, got {character!r}; an example is {example!r}"
                )
        keys = [text[column] for column in key_columns]
        repeated = [key for key, count in Counter(keys).items() if count > 1]
        if repeated:
            raise UsageError(f"key {repeated[0]!r} occurs twice in {text!r}; keys must be distinct")
        if text[-1] not in keys:
            raise UsageError(f"{text!r} asks for {text[-1]!r}, which is not among its keys {', '.join(keys)}")
        return np.array([self.vocabulary.index(character) for character in text], dtype=np.uint8)

    def _columns(self, pairs: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the keys and of their values in a sequence of `pairs` pairs."""
        if self.order == "interleaved":
            return np.arange(0, 2 * pairs, 2), np.arange(1, 2 * pairs, 2)
        return np.arange(pairs), np.arange(pairs, 2 * pairs)


def _distinct(generator: np.random.Generator, count: int, symbols: int, pick: int) -> UInt8[np.ndarray, "N K"]:
    """For each of `count` rows, `pick` distinct symbols in random order."""
    return generator.random((count, symbols)).argsort(axis=1)[:, :pick].astype(np.uint8)


def _partitions(total: int, parts: int, largest: int | None = None) -> Iterator[tuple[int, ...]]:
    """The ways to write `total` as a sum of at most `parts` positive integers, largest first."""
    if total == 0:
        yield ()
    elif parts > 0:
        for first in range(min(total, largest or total), 0, -1):
            for rest in _partitions(total - first, parts - 1, first):
                yield (first, *rest)


def _partition_probability(counts: tuple[int, ...]) -> Fraction:
    """Probability that K uniform digits occur with exactly these counts, whichever digits they are."""
    total = sum(counts)
    arrangements = math.factorial(total) // math.prod(math.factorial(count) for count in counts)
    same = math.prod(math.factorial(multiplicity) for multiplicity in Counter(counts).values())
    which = math.perm(len(DIGITS), len(counts)) // same
    return Fraction(arrangements * which, len(DIGITS) ** total)
