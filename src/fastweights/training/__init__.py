"""One run: its complete configuration, its loop, its checkpoints and its record on disk; and many runs side by side."""
