"""Backends of the fast-weight recurrence, one file each; README.md beside this file derives them."""
