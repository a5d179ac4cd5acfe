"""One run in a process of its own: `python -m fastweights.training.worker DIRECTORY PARENT`, PARENT its parent's id.

Standard output carries one JSON object a line: metrics, steps, and at the end `{"over": ...}` or `{"failed": message}`.
SIGTERM, SIGINT or the death of the process that started it stop the run with a checkpoint.
"""

from __future__ import annotations

import contextlib
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
from fastweights.training.records import RunDirectory


def main(path: str, parent: int) -> None:
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
    try:
        over = train(run, stop=lambda: stopped or os.getppid() != parent, notify=_say)
    except Exception as error:
        _say({"failed": str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"})
        with contextlib.suppress(OSError):  # the disk may be what failed
            run.error_path.write_text(traceback.format_exc(), encoding="utf-8")
        sys.exit(1)
    _say({"over": over})


def _say(message: dict[str, Any]) -> None:
    try:
        print(json.dumps(message), flush=True)
    except BrokenPipeError:  # whoever listened is gone; the run stops at the next look at its parent
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
