"""Many runs side by side. What is finished on disk is never run again, whoever finished it."""

from __future__ import annotations

import contextlib
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from fastweights.errors import RunError, UsageError
from fastweights.training.config import RunConfig
from fastweights.training.population import shape
from fastweights.training.processes import Say, Worker, start
from fastweights.training.records import RunDirectory

Observe = Callable[[RunDirectory, dict[str, Any]], None]
"""Told what a worker says of its run (see worker.py), as it comes."""
Follow = Callable[[str, list[RunConfig]], AbstractContextManager[Observe]]
"""Opens the observer of a stage, given the stage's name and its runs."""

_LOOK_SECONDS = 2.0


@runtime_checkable
class Attempt(Protocol):
    """Runs that are being trained somewhere."""

    def stop(self) -> None:
        """Ask for a checkpoint and the end."""

    def wait(self) -> None:
        """Wait for the end."""


@runtime_checkable
class Place(Protocol):
    """Where runs are trained. The truth about a run is in its directory; a place only gives it processor time."""

    slots: int
    """Processes at the same time."""

    def start(self, runs: Sequence[RunDirectory], say: Say) -> Attempt:
        """Begin to train, several runs as a population.

        `say` is told what the worker says and last of all `{"ended": <how>}`, from any thread.
        """

    def rest(self) -> None:
        """No run is waiting: let go of what is kept for the next one."""


class LocalProcesses:
    """Worker processes on this machine, each for one run after the other: to start one takes longer than many a run.

    Args:
        slots: at the same time, ≥ 1.
        silence: seconds after which a worker that says nothing is killed.
    """

    def __init__(self, slots: int, silence: float = 600.0) -> None:
        self.slots = slots
        self._silence = silence
        self._workers: list[Worker] = []

    def start(self, runs: Sequence[RunDirectory], say: Say) -> Worker:
        """See `Place`."""
        found = next((worker for worker in self._workers if worker.train(runs, say)), None)
        if found is None:
            found = start(runs, say, silence=self._silence)
            self._workers.append(found)
        return found

    def rest(self) -> None:
        """See `Place`."""
        idle = [worker for worker in self._workers if worker.idle]
        for worker in idle:
            worker.stop()
        for worker in idle:
            worker.wait()
        self._workers = [worker for worker in self._workers if worker not in idle]


def run_all(
    configs: Iterable[RunConfig],
    root: Path,
    *,
    place: Place,
    observe: Observe,
    retries: int = 2,
    population: int = 1,
) -> list[RunDirectory]:
    """Bring every run to its end, in the order given.

    A run that another process is training, as that of a second sweep over the same directory, is waited for, and taken
    over if that process dies.

    Args:
        configs: complete configurations; equal ones are one run.
        root: folder of the run directories.
        place: where they are trained.
        observe: told what the workers say; at once `{"over": True}` of every run that was over before; `{"retry": why}`
            and in the end `{"failed": why}` of a run whose worker failed.
        retries: how often a run is tried again after a failure, each time from its newest checkpoint, ≥ 0.
        population: most runs of one shape (see population.py) that a process trains together, ≥ 1. Those of a process
            that failed are tried again one by one, which does not count as one of the retries.

    Returns:
        The runs, in the order of `configs`, all of them over.

    Raises:
        UsageError: `population` is below 1.
        RunError: some run failed each time; the others were brought to their end first.
        KeyboardInterrupt: interrupted; every active run has written a checkpoint.
    """
    if population < 1:
        raise UsageError(f"population must be at least 1, got {population}")
    runs = [RunDirectory.create(root, config) for config in {c.run_id: c for c in configs}.values()]
    failures = _Driver(place, observe, retries, population).bring_to_their_end(runs)
    if failures:
        listed = "\n".join(f"  {run.path}: {reason}" for run, reason in failures.items())
        raise RunError(f"{len(failures)} of {len(runs)} runs failed; the same command tries them again\n{listed}")
    return runs


@dataclass(eq=False)
class _Company:
    """Runs that one process is to train, often a single one."""

    runs: list[RunDirectory]
    together: bool


def _companies(runs: Sequence[RunDirectory], size: int) -> list[_Company]:
    """The runs in companies of one shape, `size` at most, in the order of their first ones."""
    if size == 1:
        return [_Company([run], together=False) for run in runs]
    companies: list[list[RunDirectory]] = []
    open_ones: dict[str, list[RunDirectory]] = {}
    for run in runs:
        key = shape(run.config())
        if len(open_ones.get(key, ())) in (0, size):
            open_ones[key] = []
            companies.append(open_ones[key])
        open_ones[key].append(run)
    return [_Company(company, together=len(company) > 1) for company in companies]


class _Driver:
    def __init__(self, place: Place, observe: Observe, retries: int, population: int) -> None:
        self._place = place
        self._observe = observe
        self._tries_left: dict[RunDirectory, int] = {}
        self._retries = retries
        self._population = population
        self._waiting: deque[_Company] = deque()
        self._active: dict[_Company, Attempt] = {}
        self._elsewhere: set[RunDirectory] = set()
        self._looked = 0.0
        self._failures: dict[RunDirectory, str] = {}
        self._said: queue.SimpleQueue[tuple[_Company, dict[str, Any]]] = queue.SimpleQueue()

    def bring_to_their_end(self, runs: list[RunDirectory]) -> dict[RunDirectory, str]:
        """Returns why each run failed that did."""
        self._tries_left = dict.fromkeys(runs, self._retries)
        left = []
        for run in runs:
            if run.is_over():
                self._observe(run, {"over": True})
            else:
                left.append(run)
        self._waiting.extend(_companies(left, self._population))
        try:
            while self._waiting or self._active or self._elsewhere:
                while self._waiting and len(self._active) < self._place.slots:
                    self._start(self._waiting.popleft())
                with contextlib.suppress(queue.Empty):
                    self._hear(*self._said.get(timeout=_LOOK_SECONDS if self._elsewhere else None))
                self._look_elsewhere()
        finally:
            try:
                for attempt in self._active.values():
                    attempt.stop()
                for attempt in self._active.values():
                    attempt.wait()
            finally:
                self._place.rest()
        return self._failures

    def _start(self, company: _Company) -> None:
        for run in company.runs:
            self._failures.pop(run, None)
        self._active[company] = self._place.start(company.runs, lambda message: self._said.put((company, message)))

    def _hear(self, company: _Company, message: dict[str, Any]) -> None:
        if "ended" in message:
            del self._active[company]
            for run in company.runs:
                self._after(run, message["ended"], company.together)
            if not self._waiting and not self._elsewhere:
                self._place.rest()
            return
        for run in [run for run in company.runs if message.get("run", run.path.name) == run.path.name]:
            if "failed" in message:
                self._failures[run] = message["failed"]
            elif "in use" in message:
                company.runs.remove(run)
                self._elsewhere.add(run)
                self._observe(run, message)
            else:
                self._observe(run, message)

    def _after(self, run: RunDirectory, ending: str, together: bool) -> None:
        """What becomes of a run whose worker has ended."""
        if run.is_over():
            self._failures.pop(run, None)
            return
        if run not in self._failures:
            self._failures[run] = ending
            run.record_failure(ending)
        if not together:
            if self._tries_left[run] == 0:
                self._observe(run, {"failed": self._failures[run]})
                return
            self._tries_left[run] -= 1
        self._observe(run, {"retry": self._failures[run]})
        self._waiting.append(_Company([run], together=False))

    def _look_elsewhere(self) -> None:
        """Every now and then, what became of the runs that another process trains."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for run in sorted(self._elsewhere, key=lambda run: run.path):
            if run.is_over():
                self._elsewhere.remove(run)
                self._observe(run, {"over": True})
            elif not run.in_use():
                self._elsewhere.remove(run)
                self._waiting.append(_Company([run], together=False))
