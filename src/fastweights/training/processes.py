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
    """A process that trains runs, one company after the other (see worker.py).

    Args:
        silence: seconds without a word after which it is killed as hanging; a working one speaks twice a second.
    """

    def __init__(self, *, silence: float) -> None:
        self._silence = silence
        self._heard = time.monotonic()
        self._lock = threading.Lock()
        self._dismissed = False
        self._say: Say | None = None
        """Who is told of the runs in work, if there are any."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fastweights.training.worker", str(os.getpid())],
            stdin=subprocess.PIPE,
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

    def train(self, runs: Sequence[RunDirectory], say: Say) -> bool:
        """Begin to train `runs`, several of them together; returns False if the process works on others or has ended.

        `say` is told what the worker says, from a thread, and last of all `{"ended": <what its end was>}`.
        """
        with self._lock:
            if self._dismissed or self._say is not None or self._process.poll() is not None:
                return False
            self._heard = time.monotonic()
            self._say = say  # before the process can answer
            try:
                print(json.dumps([str(run.path) for run in runs]), file=self._process.stdin, flush=True)
            except BrokenPipeError:
                self._say = None
                return False
        return True

    @property
    def idle(self) -> bool:
        """Whether no runs are in work."""
        return self._say is None

    def dismiss(self) -> None:
        """Let the process end once the runs in work are over."""
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._heard = time.monotonic()
            self._dismissed = True
            self._process.stdin.close()

    def stop(self) -> None:
        """Ask for a checkpoint and the end."""
        self._process.terminate()

    def join(self) -> None:
        """Wait for the process's end, however long it takes."""
        self._watching.join()

    def wait(self) -> None:
        """Wait for its end; a process that was asked to stop and does not is killed after a minute."""
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
                    self._hear(json.loads(line))

    def _hear(self, message: Any) -> None:
        if isinstance(message, dict) and "idle" in message:
            self._end("its process is idle")
        elif isinstance(message, dict) and self._say is not None:
            self._say(message)

    def _end(self, how: str) -> None:
        """The runs in work, if there are any, no longer are."""
        with self._lock:
            say, self._say = self._say, None
        if say is not None:
            say({"ended": how})

    def _watch(self) -> None:
        hung = False
        while True:
            left = self._silence
            if self._say is not None or self._dismissed:
                left += self._heard - time.monotonic()
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
        self.dismiss()
        self._end(f"its process said nothing for {self._silence:g} s" if hung else ending_in_words(code))


def start(runs: Sequence[RunDirectory], say: Say, *, silence: float) -> Worker:
    """A new process that trains `runs`; see `Worker`."""
    worker = Worker(silence=silence)
    if not worker.train(runs, say):
        say({"ended": "its process ended before it began"})
    return worker


def ending_in_words(code: int) -> str:
    """What a process's exit code says; below zero it is minus the number of the signal that ended it."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    # Most of the real-time signals have no name.
    named = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
    return f"its process was ended by {named}"
