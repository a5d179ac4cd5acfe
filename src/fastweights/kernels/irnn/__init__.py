"""Backends of the identity RNN's recurrence, one file each."""
