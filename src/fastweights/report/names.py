"""How a reader knows the models and the settings."""

from __future__ import annotations

_LABELS = {"irnn": "IRNN", "lstm": "LSTM", "associative_lstm": "Associative LSTM", "fast_weights": "Fast weights"}


def label(name: str) -> str:
    """The name of a setting, of a cell or of one in some variant ("lstm, no layer norm"), in tables and figures."""
    first, comma, variant = name.partition(", ")
    return _LABELS.get(first, first.replace("_", " ")) + comma + variant
