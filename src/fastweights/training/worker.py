"""Runs in a process of its own: `python -m fastweights.training.worker PARENT DIRECTORY …`, PARENT its parent's id.

Standard output carries one JSON object a line, each with the "run" that it is about: metrics, steps, what was set aside
as damaged, and at the end "over", "in use" (by another process) or "failed" with the message.
SIGTERM, SIGINT or the death of the process that started it stop the run with a checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

from fastweights.errors import RunError
from fastweights.training.loop import train
from fastweights.training.records import RunDirectory, RunInUse


def main(parent: int, path: str) -> None:
    """Train the run in `path` for as long as the process `parent` lives.

    The parent says its own id: it may be gone before this process has imported torch and could ask.
    """
    stopped = False
    warnings.simplefilter("ignore")  # whoever started the run has built the same model and shown them

    def stop(signum: int, frame: Any) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    run = RunDirectory(Path(path))

    def say(message: dict[str, Any]) -> None:
        _print(message | {"run": run.path.name})

    try:
        over = train(run, stop=lambda: stopped or os.getppid() != parent, notify=say)
    except RunInUse:
        say({"in use": True})
    except Exception as error:
        say({"failed": str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"})
        run.record_failure(traceback.format_exc())
        sys.exit(1)
    else:
        say({"over": over})


def _print(message: dict[str, Any]) -> None:
    try:
        print(json.dumps(message), flush=True)
    except BrokenPipeError:  # whoever listened is gone; the run stops at the next look at its parent
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
