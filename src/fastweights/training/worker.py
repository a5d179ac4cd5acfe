"""Runs in a process of its own: `python -m fastweights.training.worker PARENT [DIRECTORY …]`, PARENT its parent's id.

It trains the runs in these directories, several as a population. Without any it reads from standard input which to
train, one JSON list of directories a line, until that is closed: starting takes longer than many a run.

Standard output carries one JSON object a line, most with the "run" that it is about: metrics, steps, what was set aside
as damaged, and at the end "over", "in use" (by another process) or "failed" with the message; and "idle" once the runs
of a line are over. A run that failed ends the process. SIGTERM, SIGINT or the death of the process that started it stop
the runs with a checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fastweights.errors import RunError
from fastweights.training.graph import NotRecorded
from fastweights.training.loop import train
from fastweights.training.records import RunDirectory, RunInUse
from fastweights.training.together import Outcome, train_together


def main(parent: int, *paths: str) -> None:
    """Train what is asked for, for as long as the process `parent` lives.

    The parent says its own id: it may be gone before this process has imported torch and could ask.
    """
    stopped = waiting = False
    warnings.simplefilter("ignore")  # whoever started the runs has built the same models and shown them
    warnings.simplefilter("once", NotRecorded)

    def stop(signum: int, frame: Any) -> None:
        nonlocal stopped
        stopped = True
        if waiting:
            sys.exit()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if paths:
        sys.exit(_train_all(paths, lambda: stopped or os.getppid() != parent))
    while True:
        waiting = True
        if stopped:
            break
        asked = sys.stdin.readline()
        waiting = False
        if not asked:
            break
        if _train_all(json.loads(asked), lambda: stopped or os.getppid() != parent):
            sys.exit(True)
        if not stopped:
            _print({"idle": True})


def _train_all(paths: Sequence[str], stop: Callable[[], bool]) -> bool:
    """Returns whether some run failed."""
    failed = False
    runs = [RunDirectory(Path(path)) for path in paths]
    for run, outcome in _train(runs, stop):
        _say(run, _last_word(outcome))
        if isinstance(outcome, Exception) and not isinstance(outcome, RunInUse):
            run.record_failure("".join(traceback.format_exception(outcome)))
            failed = True
    return failed


def _train(runs: Sequence[RunDirectory], stop: Callable[[], bool]) -> Iterator[tuple[RunDirectory, Outcome]]:
    if len(runs) > 1:
        yield from train_together(runs, stop=stop, notify=_say)
        return
    (run,) = runs
    try:
        yield run, train(run, stop=stop, notify=lambda message: _say(run, message))
    except Exception as error:
        yield run, error


def _last_word(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, RunInUse):
        return {"in use": True}
    if isinstance(outcome, Exception):
        return {"failed": str(outcome) if isinstance(outcome, RunError) else f"{type(outcome).__name__}: {outcome}"}
    return {"over": outcome}


def _say(run: RunDirectory, message: dict[str, Any]) -> None:
    _print(message | {"run": run.path.name})


def _print(message: dict[str, Any]) -> None:
    try:
        print(json.dumps(message), flush=True)
    except BrokenPipeError:  # whoever listened is gone; the run stops at the next look at its parent
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
