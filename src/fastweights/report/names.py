"""How a reader knows the models and the settings."""

from __future__ import annotations

import re

_LABELS = {"irnn": "IRNN", "lstm": "LSTM", "associative_lstm": "Associative LSTM", "fast_weights": "Fast weights"}


def label(name: str) -> str:
    """The name of a cell, of a setting, or of several joined by commas, in tables and figures."""
    # Between letters it joins words; elsewhere, as in h_0, it is mathematics.
    return ", ".join(_LABELS.get(part, re.sub("(?<=[a-z])_(?=[a-z])", " ", part)) for part in name.split(", "))
