"""What a run leaves on disk. The run directory is the truth: whoever wants to know how a run stands reads it here.

runs/<experiment>/<run-id>/
  config.json          the complete configuration
  metrics.jsonl        one line for every evaluation
  checkpoint-<step>/   everything needed to go on from there (see checkpoint.py)
  result.json          written last, by rename; its presence means that the run is over
  elsewhere.json       scores of the trained weights on other tasks, once something has asked for them
  error.txt            what went wrong, if anything did: a traceback for each failure
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastweights.errors import RunError, UsageError
from fastweights.training.config import RunConfig

# What a result must hold to be one.
_RESULT_KEYS = {"status", "reason", "config", "updates", "seconds", "test_errors", "test_count", "test_nll", "backend"}


class RunInUse(RunError):
    """Another process is training the run."""


def passes(error: Exception) -> bool:
    """Whether a failure to read says nothing about the file: too many open, no memory, a file server that is off."""
    short_of = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in short_of)


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that, whatever happens, it is seen either whole or not at all."""
    # Two processes may write the same file at once.
    scratch = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        with open(scratch, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


class RunDirectory:
    """One run's directory. Reading a damaged file raises a RunError that names it and says what to do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, root: Path, config: RunConfig) -> RunDirectory:
        """The directory of `config` under `root`, made if it is not there; equal configurations share one."""
        run = cls(root / config.run_id)
        text = json.dumps(config.to_dict(), indent=2) + "\n"
        try:
            known = run._config_path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            known = ""
            run.path.mkdir(parents=True, exist_ok=True)
        # One that differs is damaged or of an older form: the directory's name is a hash of what must stand in it.
        if known != text:
            write_atomically(run._config_path, text)
        return run

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """An existing run. Raises UsageError if `path` is none."""
        run = cls(path)
        if not run._config_path.is_file():
            raise UsageError(f"{path} is not a run directory: it has no config.json")
        return run

    @classmethod
    def all_in(cls, folder: Path) -> list[RunDirectory]:
        """Every run in a folder, by name; none if there is no such folder."""
        return [cls(path.parent) for path in sorted(folder.glob("*/config.json"))]

    @property
    def _config_path(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics_path(self) -> Path:
        """Where the evaluations are."""
        return self.path / "metrics.jsonl"

    @property
    def result_path(self) -> Path:
        """Where the result is, once there is one."""
        return self.path / "result.json"

    @property
    def _elsewhere_path(self) -> Path:
        return self.path / "elsewhere.json"

    @property
    def error_path(self) -> Path:
        """Where failures are kept."""
        return self.path / "error.txt"

    def config(self) -> RunConfig:
        """The run's configuration."""
        values = self._read_json(self._config_path)
        try:
            return RunConfig.from_dict(values)
        except (UsageError, TypeError) as error:
            raise RunError(f"{self._config_path} is damaged ({error}); delete {self.path} and run again") from error

    def result(self) -> dict[str, Any] | None:
        """What came out, or None while the run is not over."""
        if not self.result_path.exists():
            return None
        values = self._read_json(self.result_path)
        if not isinstance(values, dict) or not values.keys() >= _RESULT_KEYS:
            raise RunError(f"{self.result_path} is damaged: it is incomplete; delete that file and run again")
        return values

    def write_result(self, result: dict[str, Any]) -> None:
        """Declare the run over."""
        # Other weights had these scores.
        self._elsewhere_path.unlink(missing_ok=True)
        write_atomically(self.result_path, json.dumps(result, indent=2) + "\n")

    def elsewhere(self) -> list[dict[str, Any]]:
        """The scores on other tasks. Those that cannot be read do not count: whoever wants them computes them again."""
        try:
            values = json.loads(self._elsewhere_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return []
        return values if isinstance(values, list) else []

    def write_elsewhere(self, scores: list[dict[str, Any]]) -> None:
        """Keep scores on other tasks, all that there are."""
        write_atomically(self._elsewhere_path, json.dumps(scores) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The evaluations so far, in order; a last line that was cut off while being written does not count."""
        if not self.metrics_path.exists():
            return []
        entries = []
        lines = self.metrics_path.read_bytes().splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
                if not isinstance(entry, dict) or "step" not in entry:
                    raise ValueError("no evaluation")
                entries.append(entry)
            except ValueError as error:  # no JSON, not even text, or JSON of something else
                if number == len(lines):
                    break
                raise RunError(f"{self.metrics_path} is damaged at line {number}; delete {self.path}") from error
        return entries

    def append_metrics(self, entry: dict[str, Any]) -> None:
        """Add one evaluation; a value that is not finite is written as null, for JSON has no other word for it.

        It is on the disk before this returns: the checkpoint that follows counts on it.
        """
        plain = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in entry.items()}
        with open(self.metrics_path, "a", encoding="utf-8") as file:
            file.write(json.dumps(plain) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def rewind_metrics(self, step: int) -> None:
        """Drop what lies after `step`: a run that goes on from a checkpoint writes it again."""
        kept = [entry for entry in self.metrics() if entry["step"] <= step]
        write_atomically(self.metrics_path, "".join(json.dumps(entry) + "\n" for entry in kept))

    def is_over(self) -> bool:
        """Whether there is a whole result; what is left of a damaged one does not count."""
        try:
            return self.result() is not None
        except RunError:
            return False

    def in_use(self) -> bool:
        """Whether some process holds the run."""
        try:
            with self.locked():
                return False
        except RunInUse:
            return True

    def record_failure(self, text: str) -> None:
        """Keep what went wrong, below what went wrong before, if the disk is not what failed."""
        with contextlib.suppress(OSError), open(self.error_path, "a", encoding="utf-8") as file:
            file.write(text.rstrip() + "\n\n")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process alone; the lock goes with the process, however it ends.

        Raises RunInUse if another process holds it.
        """
        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunInUse(f"{self.path} is being trained by another process; wait for it or stop it") from error
            yield

    def _read_json(self, path: Path) -> Any:
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            if passes(error):
                raise
            whole = path if path == self.result_path else self.path
            raise RunError(f"{path} is damaged ({error}); delete {whole} and run again") from error
