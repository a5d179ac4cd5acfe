"""How a reader knows the models."""

from __future__ import annotations

_LABELS = {"irnn": "IRNN", "lstm": "LSTM", "associative_lstm": "Associative LSTM", "fast_weights": "Fast weights"}


def label(cell: str) -> str:
    """The name of a cell in tables and figures."""
    return _LABELS.get(cell, cell.replace("_", " "))
