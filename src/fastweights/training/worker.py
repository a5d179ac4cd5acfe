"""One run in a process of its own: `python -m fastweights.training.worker DIRECTORY`.

Standard output carries one JSON object a line: metrics, steps, and at the end `{"over": ...}` or `{"failed": message}`.
SIGTERM, SIGINT or the death of the process that started it stop the run with a checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from fastweights.training.loop import train
from fastweights.training.records import RunDirectory


def main(path: str) -> None:
    """Train the run in `path`."""
    parent = os.getppid()
    stopped = False

    def stop(signum: int, frame: Any) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    run = RunDirectory(Path(path))
    try:
        over = train(run, stop=lambda: stopped or os.getppid() != parent, notify=_say)
    except Exception as error:
        _say({"failed": f"{type(error).__name__}: {error}"})
        run.error_path.write_text(traceback.format_exc(), encoding="utf-8")
        sys.exit(1)
    _say({"over": over})


def _say(message: dict[str, Any]) -> None:
    try:
        print(json.dumps(message), flush=True)
    except BrokenPipeError:  # whoever listened is gone; the run stops at the next look at its parent
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


if __name__ == "__main__":
    main(sys.argv[1])
