"""A worker process on this machine, its messages passed on, and killed if it falls silent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from fastweights.training.records import RunDirectory

Say = Callable[[dict[str, Any]], None]
_STOPPING_SECONDS = 60.0


class Worker:
    """Trains runs in a process of their own (see worker.py).

    Args:
        runs: their directories; several are trained together.
        say: told what the worker says, from a thread, and last of all `{"ended": <what its end was>}`.
        silence: seconds without a word after which it is killed as hanging; a working one speaks twice a second.
    """

    def __init__(self, runs: Sequence[RunDirectory], say: Say, *, silence: float) -> None:
        self._say = say
        self._silence = silence
        self._heard = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fastweights.training.worker", str(os.getpid()), *(str(run.path) for run in runs)],
            stdout=subprocess.PIPE,
            text=True,
            # A Ctrl-C in the terminal reaches only this process, which then stops the workers in order.
            start_new_session=True,
            # One core for each worker: math libraries must not start threads before the run sets its own number.
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._listening.start()
        self._watching.start()

    def stop(self) -> None:
        """Ask for a checkpoint and the end."""
        self._process.terminate()

    def join(self) -> None:
        """Wait for the end, however long it takes."""
        self._watching.join()

    def wait(self) -> None:
        """Wait for the end; a process that was asked to stop and does not is killed after a minute."""
        self._watching.join(_STOPPING_SECONDS)
        if self._watching.is_alive():
            self._process.kill()
            self._watching.join()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._heard = time.monotonic()
                # A library may print too; only what the worker says is JSON.
                with contextlib.suppress(json.JSONDecodeError):
                    self._say(json.loads(line))

    def _watch(self) -> None:
        hung = False
        while True:
            left = self._heard + self._silence - time.monotonic()
            if left <= 0:
                hung = True
                self._process.kill()
                left = _STOPPING_SECONDS
            try:
                code = self._process.wait(timeout=left)
                break
            except subprocess.TimeoutExpired:
                continue
        self._listening.join()
        self._say({"ended": f"its process said nothing for {self._silence:g} s" if hung else ending_in_words(code)})


def ending_in_words(code: int) -> str:
    """What a process's exit code says; below zero it is minus the number of the signal that ended it."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    # Most of the real-time signals have no name.
    named = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
    return f"its process was ended by {named}"
