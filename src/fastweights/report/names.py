"""How a reader knows the models and the settings."""

from __future__ import annotations

_LABELS = {"irnn": "IRNN", "lstm": "LSTM", "associative_lstm": "Associative LSTM", "fast_weights": "Fast weights"}


def label(name: str) -> str:
    """The name of a cell, of a setting, or of several joined by commas, in tables and figures."""
    return ", ".join(_LABELS.get(part, part.replace("_", " ")) for part in name.split(", "))
