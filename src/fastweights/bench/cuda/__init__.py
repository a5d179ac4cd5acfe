"""How fast the recurrences are on a GPU, beside what else could be used there."""
