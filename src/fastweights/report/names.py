"""How a reader knows the models and the settings."""

from __future__ import annotations

import re
from typing import Any

_LABELS = {"irnn": "IRNN", "lstm": "LSTM", "associative_lstm": "Associative LSTM", "fast_weights": "Fast weights"}


def label(name: str) -> str:
    """The name of a cell, of a setting, or of several joined by commas, in tables and figures."""
    # Between letters it joins words; elsewhere, as in h_0, it is mathematics.
    return ", ".join(_LABELS.get(part, re.sub("(?<=[a-z])_(?=[a-z])", " ", part)) for part in name.split(", "))


def value_text(value: Any) -> str:
    """The value of a setting, in tables."""
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)
