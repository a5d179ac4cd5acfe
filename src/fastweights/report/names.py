"""How a reader knows the models."""

from __future__ import annotations

_LABELS = {"irnn": "IRNN", "lstm": "LSTM", "associative_lstm": "Associative LSTM", "fast_weights": "Fast weights"}


def label(name: str) -> str:
    """The name of a cell, or of one in some variant ("lstm, no layer norm"), in tables and figures."""
    cell, comma, variant = name.partition(", ")
    return _LABELS.get(cell, cell.replace("_", " ")) + comma + variant
