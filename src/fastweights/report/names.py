"""How a reader knows the models and the settings."""

from __future__ import annotations

_LABELS = {"irnn": "IRNN", "lstm": "LSTM", "associative_lstm": "Associative LSTM", "fast_weights": "Fast weights"}


def label(name: str) -> str:
    """The name of a cell, or of a setting, in tables and figures."""
    return _LABELS.get(name, name.replace("_", " "))
