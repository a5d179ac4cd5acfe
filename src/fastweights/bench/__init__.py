"""How fast the recurrences are, beside what else could be used. Nothing is timed before its results are checked."""
