"""Backends of the LSTM's recurrence, one file each."""
