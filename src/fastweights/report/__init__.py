"""Showing what was measured: tables, figures and progress. Nothing is computed here."""
