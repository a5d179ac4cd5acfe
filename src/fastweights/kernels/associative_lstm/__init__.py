"""Backends of the associative LSTM's recurrence, one file each."""
