"""Many runs side by side, each in a worker process of its own. What is finished on disk is never run again."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from fastweights.errors import RunError
from fastweights.training.config import RunConfig
from fastweights.training.records import RunDirectory

Observe = Callable[[RunDirectory, dict[str, Any]], None]
"""Told what a worker says of its run (see worker.py), as it comes."""
Follow = Callable[[str, list[RunConfig]], AbstractContextManager[Observe]]
"""Opens the observer of a stage, given the stage's name and its runs."""


def run_all(configs: Iterable[RunConfig], root: Path, *, workers: int, observe: Observe) -> list[RunDirectory]:
    """Bring every run to its end, `workers` at a time, in the order given.

    Args:
        configs: complete configurations; equal ones are one run.
        root: folder of the run directories.
        workers: worker processes, ≥ 1.
        observe: told what the workers say, and at once `{"over": True}` of every run that was over before.

    Returns:
        The runs, in the order of `configs`, all of them over.

    Raises:
        RunError: some run failed; the others were brought to their end first.
        KeyboardInterrupt: interrupted; every active run has written a checkpoint.
    """
    runs = [RunDirectory.create(root, config) for config in {c.run_id: c for c in configs}.values()]
    waiting: deque[RunDirectory] = deque()
    for run in runs:
        if run.result() is None:
            waiting.append(run)
        else:
            observe(run, {"over": True})
    active: dict[Path, subprocess.Popen[str]] = {}
    said: queue.SimpleQueue[tuple[RunDirectory, dict[str, Any] | None]] = queue.SimpleQueue()
    failures: dict[Path, str] = {}
    try:
        while waiting or active:
            while waiting and len(active) < workers:
                run = waiting.popleft()
                active[run.path] = _start(run, said)
            run, message = said.get()
            if message is not None:
                if "failed" in message:
                    failures[run.path] = message["failed"]
                observe(run, message)
                continue
            code = active.pop(run.path).wait()
            if run.result() is None and run.path not in failures:
                failures[run.path] = f"its process ended with exit code {code}"
                observe(run, {"failed": failures[run.path]})
    finally:
        for process in active.values():
            process.terminate()
        for process in active.values():
            process.wait()
    if failures:
        listed = "\n".join(f"  {path}: {reason}" for path, reason in failures.items())
        raise RunError(f"{len(failures)} of {len(runs)} runs failed; the same command tries them again\n{listed}")
    return runs


def _start(
    run: RunDirectory, said: queue.SimpleQueue[tuple[RunDirectory, dict[str, Any] | None]]
) -> subprocess.Popen[str]:
    """A worker for `run`; a thread passes on what it says, and None at its end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fastweights.training.worker", str(run.path), str(os.getpid())],
        stdout=subprocess.PIPE,
        text=True,
        # A Ctrl-C in the terminal reaches only this process, which then stops the workers in order.
        start_new_session=True,
        # One core for each worker: math libraries must not start threads before the run sets its own number.
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )

    def listen() -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                # A library may print too; only what the worker says is JSON.
                with contextlib.suppress(json.JSONDecodeError):
                    said.put((run, json.loads(line)))
        said.put((run, None))

    threading.Thread(target=listen, daemon=True).start()
    return process
