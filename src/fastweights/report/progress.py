"""Following runs while they train and checks while they run: bars in a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fastweights.report.names import label
from fastweights.training.config import RunConfig
from fastweights.training.manifest import settings, varied
from fastweights.training.options import Option
from fastweights.training.records import RunDirectory
from fastweights.training.sweep import Follow, Observe

_LOG_SECONDS = 15.0


def follow(console: Console) -> Follow:
    """What follows each stage of runs on `console`, while its context is open."""

    @contextmanager
    def stage(name: str, configs: list[RunConfig]) -> Iterator[Observe]:
        with _bars(console) as bars:
            yield _Stage(console, bars, name, configs).observe

    return stage


@contextmanager
def follow_checks(console: Console, count: int) -> Iterator[Callable[[str, str], None]]:
    """What is told the section and the id of each of `count` checks as it begins; in a log, a line for each section."""
    bars = Progress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with bars:
        task = bars.add_task("", total=count)
        begun: dict[str, int] = {}

        def begin(section: str, id: str) -> None:
            if section not in begun and not console.is_terminal:
                console.print(section, highlight=False, markup=False, soft_wrap=True)
            bars.update(task, completed=sum(begun.values()), description=id)
            begun[section] = begun.get(section, 0) + 1

        yield begin


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=console,
        disable=not console.is_terminal,
        speed_estimate_period=60,
    )


class _Stage:
    """Where each active run and all of them together stand."""

    def __init__(self, console: Console, bars: Progress, name: str, configs: list[RunConfig]) -> None:
        self._console = console
        self._bars = bars
        self._configs = {config.run_id: config for config in configs}
        self._names = _names(configs)
        self._all = bars.add_task(f"all {name}", total=sum(config.updates for config in configs), note="")
        self._tasks: dict[str, TaskID] = {}
        self._steps = dict.fromkeys(self._configs, 0)
        self._notes = dict.fromkeys(self._configs, "")
        self._began = self._logged = time.monotonic()
        self._seen: set[str] = set()
        self._resumed = 0  # updates that were done before
        self._over: set[str] = set()
        self._failed: set[str] = set()
        self._errors: dict[str, float] = {}  # the lowest on validation of each run that has not diverged

    def observe(self, run: RunDirectory, message: dict[str, Any]) -> None:
        """Take in what is said of a run (see `fastweights.training.worker` and `fastweights.training.sweep`)."""
        run_id, name = run.path.name, self._names[run.path.name]
        if "set aside" in message:
            self._say("yellow", "set aside as damaged", message["set aside"])
        if "in use" in message:
            self._say("yellow", "another process trains", f"{name}; waiting for it")
        if "retry" in message:
            self._say("yellow", "trying again", f"{name}: {message['retry']}")
            self._rest(run_id)
        if "failed" in message:
            self._say("red", "failed", f"{name}: {message['failed']}")
            self._failed.add(run_id)
            self._rest(run_id)
        if message.get("over"):
            self._end(run)
        if "step" in message:
            self._advance(run_id, message)
        note = "; ".join(filter(None, (self._counts(), self._best())))
        self._bars.update(self._all, completed=sum(self._steps.values()), note=note)

    def _advance(self, run_id: str, message: dict[str, Any]) -> None:
        name = self._names[run_id]
        if run_id not in self._seen:
            self._resumed += message["step"]
        self._seen.add(run_id)
        self._steps[run_id] = message["step"]
        if "validation_error" in message:
            self._notes[run_id] = f"validation error {100 * message['validation_error']:.2f} %"
            self._learned(run_id, message["validation_error"])
        if run_id not in self._tasks:
            self._tasks[run_id] = self._bars.add_task(name, total=self._configs[run_id].updates, note="")
        self._bars.update(self._tasks[run_id], completed=message["step"], note=self._notes[run_id])
        self._log(", ".join(filter(None, (f"{name}: {message['step']:,} updates", self._notes[run_id]))))

    def _end(self, run: RunDirectory) -> None:
        run_id = run.path.name
        was_over = run_id not in self._seen  # before this stage began
        if was_over:
            self._resumed += self._configs[run_id].updates
        self._seen.add(run_id)
        self._steps[run_id] = self._configs[run_id].updates
        self._over.add(run_id)
        self._failed.discard(run_id)
        self._rest(run_id)
        result = run.result() or {}
        if result.get("status") == "diverged":
            self._errors.pop(run_id, None)
            if not was_over:
                self._say("yellow", "diverged", f"{self._names[run_id]}: {result['reason']}")
        elif result.get("validation_error") is not None:
            self._learned(run_id, result["validation_error"])

    def _learned(self, run_id: str, error: float) -> None:
        self._errors[run_id] = min(error, self._errors.get(run_id, error))

    def _rest(self, run_id: str) -> None:
        """It is not being trained, for now."""
        if run_id in self._tasks:
            self._bars.remove_task(self._tasks.pop(run_id))

    def _counts(self) -> str:
        """How many runs are done, running, failed."""
        failed = f", {len(self._failed)} failed" if self._failed else ""
        return f"{len(self._over)} of {len(self._configs)} done, {len(self._tasks)} running{failed}"

    def _best(self) -> str:
        return f"best {100 * min(self._errors.values()):.2f} %" if self._errors else ""

    def _say(self, colour: str, what: str, of: str) -> None:
        self._console.print(f"[{colour}]{what}[/{colour}] {escape(of)}", highlight=False, soft_wrap=True)

    def _log(self, line: str) -> None:
        """Where there are no bars: a line now and then, with the time left at the pace since the beginning."""
        now, done, total = time.monotonic(), sum(self._steps.values()), sum(c.updates for c in self._configs.values())
        if self._console.is_terminal or now - self._logged < _LOG_SECONDS:
            return
        self._logged = now
        pace = (done - self._resumed) / (now - self._began)
        left = f"all runs {100 * done / total:.0f} %, {(total - done) / pace / 60:.1f} min left" if pace > 0 else ""
        best = self._best()
        if best:
            best += f" ({self._names[min(self._errors, key=self._errors.__getitem__)]})"
        parts = (line, self._counts() if len(self._configs) > 1 else "", best, left)
        self._console.print("; ".join(filter(None, parts)), highlight=False, soft_wrap=True)


def _names(configs: list[RunConfig]) -> dict[str, str]:
    """What tells each run from the others; of runs that differ in their seed alone, also what they train."""
    names = (*(varied(configs) or ("cell", "hidden_size")), "seed")

    def name_of(config: RunConfig) -> str:
        own = settings(config)
        return ", ".join(_in_words(name, own[name]) for name in names if name in own)

    return {config.run_id: name_of(config) for config in configs}


def _in_words(name: str, value: Option | None) -> str:
    if name == "cell":
        return label(str(value))
    if name == "hidden_size":
        return f"R = {value}"
    return f"{label(name)} {value:g}" if isinstance(value, float) else f"{label(name)} {value}"
