"""Runs on the workers of a Dask cluster, whose hosts see the run directories at the same path (extra `cluster`)."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from fastweights.errors import RunError, UsageError
from fastweights.training.processes import Say, Worker, start
from fastweights.training.records import RunDirectory

_LOOK_SECONDS = 1.0
_CONNECT_SECONDS = 10.0


class DaskCluster:
    """The cluster of a running Dask scheduler; it queues what its workers have no room for.

    Each run, or population of runs, is a process of its own beside the Dask worker that attends to it, as it would be
    on one machine. A run whose Dask worker dies is given to another one and goes on from its newest checkpoint. If this
    process dies, the runs that have begun go on to their end.

    Args:
        address: of the scheduler, as in "tcp://10.0.0.1:8786".
        silence: seconds after which a process that says nothing is killed.

    Raises:
        UsageError: the extra is not installed, the address is none, or no scheduler answers there.
    """

    slots = sys.maxsize

    def __init__(self, address: str, silence: float = 600.0) -> None:
        try:
            from distributed import Client
            from distributed.comm.addressing import get_address_host_port
        except ImportError as error:
            raise UsageError("scheduler needs Dask: pip install 'fastweights[cluster]'") from error
        try:
            get_address_host_port(address)  # the client would be long in letting go of one that it cannot read
        except ValueError as error:
            raise UsageError(f"scheduler must be an address, as tcp://10.0.0.1:8786; {error}") from error
        try:
            connect: Any = Client
            self._client = connect(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except OSError as error:
            raise UsageError(f"scheduler: nobody answers at {address!r} ({error}); start `dask scheduler`") from error
        self._address = address
        self._silence = silence
        self._topic = f"fastweights-{uuid.uuid4().hex}"
        self._attempts: dict[str, _Attempt] = {}
        self._client.subscribe_topic(self._topic, self._hear)
        threading.Thread(target=self._watch, daemon=True).start()

    def start(self, runs: Sequence[RunDirectory], say: Say) -> _Attempt:
        """See `Place`. Raises RunError if the scheduler is gone."""
        if self._client.status != "running":
            raise RunError(self._gone())
        key = f"{runs[0].path.name}-{uuid.uuid4().hex}"
        paths = [str(run.path.resolve()) for run in runs]
        future = self._client.submit(_attend, paths, key, self._topic, self._silence, key=key, pure=False)
        attempt = self._attempts[key] = _Attempt(self._client, future, say)
        future.add_done_callback(lambda _: self._end(key))
        return attempt

    def rest(self) -> None:
        """See `Place`; nothing is kept."""

    def close(self) -> None:
        """Let go of the scheduler."""
        self._client.close()

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        message = dict(event[1])
        attempt = self._attempts.get(message.pop("key"))
        if attempt is not None:
            attempt.say(message)

    def _end(self, key: str) -> None:
        attempt = self._attempts.pop(key, None)
        if attempt is not None:
            # Not in the client's own thread, which has to fetch what the worker returned.
            threading.Thread(target=attempt.end, args=[self._gone()], daemon=True).start()

    def _watch(self) -> None:
        """A scheduler that dies takes the news of every run's end with it."""
        while self._client.status in ("running", "connecting"):
            time.sleep(_LOOK_SECONDS)
        for key in list(self._attempts):
            self._end(key)

    def _gone(self) -> str:
        return f"the scheduler at {self._address} is gone; once it is back, the same command goes on"


class _Attempt:
    def __init__(self, client: Any, future: Any, say: Say) -> None:
        self._client = client
        self._future = future
        self._ended = threading.Event()
        self.say = say

    def stop(self) -> None:
        """See `Attempt`."""
        if self._client.status == "running":
            self._client.run(_stop, self._future.key)
            if self._future.status == "pending":
                self._client.cancel([self._future], force=True)

    def wait(self) -> None:
        """See `Attempt`."""
        self._ended.wait(timeout=60)

    def end(self, gone: str) -> None:
        """Pass on the last messages of the worker, or what became of it instead."""
        try:
            last = self._future.result(timeout=_CONNECT_SECONDS) if self._future.done() else [{"ended": gone}]
        except CancelledError:
            last = [{"ended": gone}]
        except Exception as error:  # whatever the cluster did not survive, as KilledWorker
            last = [{"ended": f"{type(error).__name__}: {error}"}]
        for message in last:
            self.say(message)
        self._ended.set()


# On the Dask worker: what it attends to, by the task's key.
_attended: dict[str, Worker] = {}


def _stop(key: str) -> None:
    if key in _attended:
        _attended[key].stop()


def _attend(paths: list[str], key: str, topic: str, silence: float) -> list[dict[str, Any]]:
    """Train runs beside this Dask worker. Progress goes out as events, which may be late; what counts is returned."""
    from distributed import get_worker

    missing = [path for path in paths if not (Path(path) / "config.json").is_file()]
    if missing:
        where = "the runs must lie on a file system that all hosts share"
        return [{"ended": f"{missing[0]} is not there on this host; {where}"}]
    dask_worker = get_worker()
    last: list[dict[str, Any]] = []

    def say(message: dict[str, Any]) -> None:
        if message.keys() & {"failed", "in use", "ended"}:
            last.append(message)
        else:
            dask_worker.log_event(topic, {**message, "key": key})

    worker = _attended[key] = start([RunDirectory(Path(path)) for path in paths], say, silence=silence)
    try:
        worker.dismiss()
        worker.join()
    finally:
        del _attended[key]
    return last
