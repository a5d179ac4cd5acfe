"""`python -m fastweights` is the `fastweights` command."""

from fastweights.cli import main

main()
