"""The command line. Torch is imported by the command that needs it, so that `--help` answers at once."""

from __future__ import annotations

import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, arg

from fastweights import cells, experiments, tasks
from fastweights.errors import RunError, UsageError, unknown_name
from fastweights.training.config import Device, RunConfig

if TYPE_CHECKING:
    from fastweights.training.records import RunDirectory
    from fastweights.training.sweep import Place

# Progress and messages go to standard error; standard output carries the result alone.
_messages = Console(stderr=True)
_output = Console()
_SECONDS_TO_SPEAK = 10.0
_BENCHES = Path("runs/bench")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _under_torchrun() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def _place(workers: int, scheduler: str | None, silence: float = 600.0) -> Iterator[Place]:
    """Where runs are trained: worker processes here, or the cluster of a Dask scheduler."""
    if workers < 1:
        raise UsageError(f"workers must be at least 1, got {workers}")
    if not silence > 0:
        raise UsageError(f"silence must be above 0 seconds, got {silence}")
    if scheduler is None:
        from fastweights.training.sweep import LocalProcesses

        yield LocalProcesses(workers, silence)
        return
    from fastweights.training.cluster import DaskCluster

    with closing(DaskCluster(scheduler, silence)) as cluster:
        yield cluster


@dataclass(frozen=True)
class Reproduce:
    """Reproduce a published result and print it beside the published numbers.

    The same command resumes where an earlier one stopped and runs nothing twice.
    """

    experiment: Annotated[Positional[str], arg(help=f"What to reproduce: {', '.join(experiments.names())}.")]
    preset: str = "quick"
    """How much of it: quick (minutes), standard (a day), long (hours: fairness, layer-norm), paper (days: Table 1)."""
    workers: int = field(default_factory=_cores)
    """Runs trained at the same time, one thread each."""
    scheduler: str | None = None
    """Address of a Dask scheduler, whose cluster trains the runs instead."""
    device: Device = "cpu"
    """Where the runs are trained; on cuda, --workers 1 --population 5 trains the seeds of a row at once."""
    population: int = 1
    """Most runs of one shape (seeds, learning rates) that a process trains at once; gains on GPUs only."""
    runs: Path = Path("runs")
    """Folder of the run directories."""
    output: Path | None = None
    """Folder for the table, the figures and the record of every run [default: beside the runs]."""
    so_far: bool = False
    """Train nothing; show what the runs that are over show, also while another process trains the rest."""
    json: bool = False
    """Print the table as JSON."""

    def run(self) -> None:
        experiment = experiments.load(self.experiment)
        experiment.check_preset(self.preset)
        from fastweights.experiments._reproduce import reproduce, so_far
        from fastweights.report.files import left_over, save
        from fastweights.report.progress import follow
        from fastweights.report.tables import table_values, terminal_table

        root = self.runs / experiment.runs_folder
        if self.so_far:
            found = so_far(experiment, self.preset, root=root, device=self.device)
            over = f"so far: {len(found.runs)} runs to report are over"
            _messages.print(f"{over}, and {found.left} that are known to be wanted are not")
        else:
            with _place(self.workers, self.scheduler) as place:
                found = reproduce(
                    experiment,
                    self.preset,
                    root=root,
                    place=place,
                    follow=follow(_messages),
                    device=self.device,
                    population=self.population,
                )
        name = f"{self.experiment}-{self.preset}" + (f"-{self.device}" if self.device != "cpu" else "")
        outcome, output = found.outcome, self.output or root / name
        saved = save(outcome, found.runs, output, found.screened)
        # So far, a record may be of a run that is wanted and that is over elsewhere.
        if not self.so_far and (others := left_over(found.runs, found.screened, output)):
            which = f"{others[0]}{' and more' if len(others) > 1 else ''}"
            said = f"{output} also holds {len(others)} records of other runs, left as they are: {which}"
            _messages.print(said, soft_wrap=True, markup=False, highlight=False)
        if self.json:
            print(json.dumps(table_values(outcome) | {"saved": [str(path) for path in saved]}, indent=2))
            return
        if outcome.rows:
            _output.print(terminal_table(outcome, _output.width))
        _print_saved(saved)


@dataclass(frozen=True)
class Train:
    """Train one model and print what it scores on the test set. The same command resumes."""

    config: OmitArgPrefixes[RunConfig] = field(default_factory=RunConfig)
    runs: Path = Path("runs")
    """Folder of the run directories."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        from fastweights.report.progress import follow
        from fastweights.report.runs import summary
        from fastweights.training.loop import complete
        from fastweights.training.sweep import LocalProcesses, run_all

        config = complete(self.config)
        if _under_torchrun():
            self._train_in_group(config)
            return
        with follow(_messages)("run", [config]) as observe:
            (run,) = run_all([config], self.runs / "train", place=LocalProcesses(1), observe=observe)
        result = run.result()
        print(json.dumps(result, indent=2) if self.json else summary(run))

    def _train_in_group(self, config: RunConfig) -> None:
        """In this process and the others that torchrun has started; the first one speaks."""
        from fastweights.report.progress import follow
        from fastweights.report.runs import summary
        from fastweights.training.distributed import launched_group
        from fastweights.training.loop import train
        from fastweights.training.records import RunDirectory

        with launched_group(config) as (group, stop):
            run = RunDirectory.create(self.runs / "train", config)
            with follow(_messages)("run", [config]) as observe:
                over = train(run, stop=stop, notify=lambda message: observe(run, message), group=group)
        if not over:
            raise KeyboardInterrupt
        if group.is_first:
            print(json.dumps(run.result(), indent=2) if self.json else summary(run))


@dataclass(frozen=True)
class Sweep:
    """Train every combination of some values of some settings, over several seeds, and print a summary.

    The same command resumes, as often as it is stopped or killed, and runs nothing twice. As in
    `fastweights sweep --cell lstm --grid learning_rate 1e-3 3e-3 --grid hidden_size 20 50 --seeds 1 2 3`.
    """

    config: OmitArgPrefixes[RunConfig] = field(default_factory=RunConfig)
    grid: UseAppendAction[tuple[Annotated[tuple[str, ...], arg(metavar="NAME VALUE …")], ...]] = ()
    """A field of the configuration, or an option of the cell or the task, and its values; once for each field."""
    range: UseAppendAction[tuple[Annotated[tuple[str, float, float], arg(metavar="NAME LOW HIGH")], ...]] = ()
    """A field to be searched between two bounds, by Optuna in --trials runs; the --grid fields become its choices."""
    trials: int | None = None
    """How many combinations Optuna proposes, instead of all there are."""
    batch: int = 4
    """How many it proposes before it learns what became of them."""
    seeds: tuple[int, ...] = ()
    """Seeds of every combination [default: the one of --seed]."""
    name: str = "sweep"
    """Name of the sweep: its folder under the runs."""
    workers: int = field(default_factory=_cores)
    """Runs trained at the same time, one process each."""
    scheduler: str | None = None
    """Address of a Dask scheduler, whose cluster trains the runs instead."""
    population: int = 1
    """Most runs of one shape (seeds, learning rates) that a process trains at once; gains on GPUs only."""
    retries: int = 2
    """How often a run is tried again after its process failed."""
    silence: float = 600.0
    """Seconds without a sign of life after which a process is killed and its run tried again."""
    runs: Path = Path("runs")
    """Folder of the run directories."""
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> None:
        if self.retries < 0:
            raise UsageError(f"retries must be at least 0, got {self.retries}")
        if self.range and self.trials is None:
            raise UsageError("range needs trials: how many combinations to try, as in --trials 20")
        from fastweights.report.progress import follow
        from fastweights.training.manifest import grid, parse_fields, parse_ranges
        from fastweights.training.records import RunDirectory
        from fastweights.training.search import Search, search
        from fastweights.training.sweep import run_all

        fields, seeds = parse_fields(self.grid), self.seeds or (self.config.seed,)
        for name in fields.keys() & {*self.config.cell_options, *self.config.task_options}:
            raise UsageError(f"{name} is given twice, as an option and as a field of the grid; leave one of them out")
        root, begun = self.runs / self.name, dict[str, RunDirectory]()
        with _place(self.workers, self.scheduler, self.silence) as place:

            def bring_to_their_end(configs: Sequence[RunConfig]) -> Sequence[RunDirectory]:
                begun.update({config.run_id: RunDirectory.create(root, config) for config in configs})
                with follow(_messages)("runs", list(configs)) as observe:
                    return run_all(
                        configs, root, place=place, observe=observe, retries=self.retries, population=self.population
                    )

            try:
                if self.trials is None:
                    bring_to_their_end(grid(self.config, fields, seeds))
                else:
                    what = Search(self.config, parse_ranges(self.range), fields, seeds, self.trials, self.batch)
                    for _ in search(what, bring_to_their_end):
                        pass
            except (RunError, KeyboardInterrupt):
                if begun:
                    _print_sweep(list(begun.values()), root / "summary", self.json)
                raise
        _print_sweep(list(begun.values()), root / "summary", self.json)


@dataclass(frozen=True)
class Report:
    """Summarise the runs in a folder, as far as they have come: a table, a CSV file and pictures.

    A row holds the runs that differ in nothing but their seeds, the best on validation first.
    """

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """Folder of run directories, as runs/sweep."""
    output: Path | None = None
    """Folder for the table, the CSV file and the pictures [default: summary, in the folder]."""
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> None:
        from fastweights.training.records import RunDirectory

        runs = RunDirectory.all_in(self.folder)
        if not runs:
            raise UsageError(f"folder must hold run directories, each with a config.json; {self.folder} holds none")
        _print_sweep(runs, self.output or self.folder / "summary", self.json)


def _print_saved(paths: Sequence[Path]) -> None:
    for path in paths:
        _output.print(f"saved {path}", highlight=False, markup=False, soft_wrap=True)


def _print_sweep(runs: Sequence[RunDirectory], folder: Path, as_json: bool) -> None:
    """Print the summary and save it in `folder`."""
    from fastweights.experiments._sweep import summarise
    from fastweights.report.sweeps import save, summary, terminal_table, values

    sweep = summarise(runs)
    if as_json:
        print(json.dumps(values(sweep) | {"saved": [str(path) for path in save(sweep, folder)]}, indent=2))
        return
    try:  # first, for the pictures take longer than all the rest
        _output.print(terminal_table(sweep, _output.width))
        _output.print(summary(sweep), highlight=False, markup=False, soft_wrap=True)
    finally:  # also where nobody reads the table to its end
        saved = save(sweep, folder)
    _print_saved(saved)


@dataclass(frozen=True)
class Recall:
    """Ask a trained run for the value that belongs to a key, as in `fastweights recall RUN c9k8j3f1??c`."""

    run_directory: Annotated[Positional[Path], arg(metavar="RUN")]
    """Directory of the run."""
    text: Positional[str]
    """Key-value pairs, '??' and the key that is asked for."""
    json: bool = False
    """Print the answer as JSON."""

    def run(self) -> None:
        from fastweights.report.runs import answer_text
        from fastweights.training.recall import recall
        from fastweights.training.records import RunDirectory

        answer = recall(RunDirectory.open(self.run_directory), self.text)
        print(json.dumps(answer._asdict(), indent=2) if self.json else answer_text(answer))


@dataclass(frozen=True)
class Verify:
    """Run the check of every mathematical claim of the seed report and print the ledger of verdicts.

    The exit code is 1 if a verdict is not the one on record.
    """

    only: str | None = None
    """Check only claims whose id contains this."""
    list: bool = False
    """List the claims' ids instead, with the verdicts on record."""
    markdown: Path | None = None
    """File to write the ledger to, as Markdown."""
    figures: Path | None = None
    """Folder for a picture of every visual claim, SVG and PNG."""
    json: bool = False
    """Print the ledger as JSON."""

    def run(self) -> None:
        from fastweights import claims

        sections = claims.sections(self.only)
        chosen = [claim for group in sections.values() for claim in group]
        if self.list:
            for claim in chosen:
                print(f"{claim.id}  {claim.verdict.value}")
            return
        if self.figures is not None:
            _make_folder("figures", self.figures)
        if self.markdown is not None:
            if self.markdown.is_dir():
                raise UsageError(f"markdown must be a file to write, got the folder {str(self.markdown)!r}")
            _make_folder("markdown", self.markdown.parent)
        from fastweights.report import ledger as report
        from fastweights.report.progress import follow_checks
        from fastweights.training.records import write_atomically

        visual = [claim for claim in chosen if claim.figure is not None and self.figures is not None]
        with follow_checks(_messages, len(chosen) + len(visual)) as begin:
            ledger = claims.check(sections, begin)
            pictures, failures = report.save_pictures(visual, self.figures or Path(), begin)
        if self.markdown is not None:
            write_atomically(self.markdown, report.markdown_ledger(ledger, report.links(pictures, self.markdown)))
        if self.json:
            print(json.dumps(report.values(ledger), indent=2))
        else:
            _output.print(report.terminal_ledger(ledger))
            print(report.summary(ledger))
        failures += [report.difference(each) for group in ledger.values() for each in group if not each.agrees]
        if failures:
            raise RunError("not as recorded:\n" + "\n".join(f"  {each}" for each in failures))


@dataclass(frozen=True)
class Bench:
    """Time the recurrences beside each other and beside torch's own layers, after checking their results."""

    preset: str | None = None
    """Which sizes [default: quick; with --device cuda, targets]. quick is Table 1 with 50 units, targets those that
    something is aimed at, full all (hours), compiled, on a GPU, those of torch.compile; population: what training
    several runs together in a process gains."""
    device: Device = "cpu"
    """Where: cpu, or cuda, where also cuDNN's layers and CUDA graphs are compared."""
    budget: float | None = None
    """With --device cuda or --preset population, seconds after which nothing further is begun; the most important sizes
    come first."""
    output: Path | None = None
    """Folder for the table, the figure and the measurements [default: runs/bench; a GPU's by its name below that]."""
    json: bool = False
    """Print the measurements as JSON."""

    def run(self) -> None:
        if self.budget is not None and self.device != "cuda" and self.preset != "population":
            raise UsageError(f"budget is for --device cuda or --preset population, got {self.budget}; leave it out")
        if self.budget is not None and not self.budget > 0:
            raise UsageError(f"budget must be above 0 seconds, got {self.budget}")
        if self.preset == "population":
            self._time_populations()
        elif self.device == "cuda":
            self._time_gpu()
        else:
            self._time_cpu()

    def _time_cpu(self) -> None:
        from fastweights.bench.points import PRESETS
        from fastweights.bench.run import run
        from fastweights.report.bench import save, summary, terminal_tables, values

        preset, output = self.preset or "quick", self.output or _BENCHES
        if preset not in PRESETS:
            raise unknown_name("preset", preset, (*PRESETS, "population"))
        _make_folder("output", output)
        report = run(PRESETS[preset], lambda point: _messages.print(f"timing {point}", highlight=False))
        saved = save(report, output)
        if self.json:
            print(json.dumps(values(report), indent=2))
            return
        for table in terminal_tables(report):
            _output.print(table)
        print(summary(report))
        _print_saved(saved)

    def _time_gpu(self) -> None:
        from fastweights.bench.cuda.machine import gpu
        from fastweights.bench.cuda.points import PRESETS
        from fastweights.bench.cuda.run import run
        from fastweights.report.bench_cuda import save, save_values, summary, terminal_targets, values

        preset = self.preset or "targets"
        if preset not in PRESETS:
            raise unknown_name("preset with --device cuda", preset, (*PRESETS, "population"))
        machine = gpu()
        output = self.output or _BENCHES / machine.slug
        _make_folder("output", output)
        report = run(
            PRESETS[preset],
            machine,
            lambda what: _messages.print(f"timing {what}", highlight=False),
            lambda so_far: save_values(so_far, output),
            budget=self.budget,
        )
        saved = save(report, output)
        if self.json:
            print(json.dumps(values(report), indent=2))
            return
        _output.print(terminal_targets(report))
        print(summary(report))
        _print_saved(saved)

    def _time_populations(self) -> None:
        from fastweights.bench.cuda.machine import gpu
        from fastweights.bench.population import Protocol, markdown_table, run, save, summary, values
        from fastweights.experiments._section_4_1 import PRESETS

        # Looked for where the folder is given too: without a GPU this is the place to say so.
        place = _BENCHES / gpu().slug if self.device == "cuda" else _BENCHES
        output = self.output or place
        _make_folder("output", output)
        plan = PRESETS["paper"]
        report = run(
            lambda what: _messages.print(f"timing {what}", highlight=False),
            device=self.device,
            protocol=Protocol(plan.updates, plan.evaluate_every, len(plan.seeds)),
            seconds=math.inf if self.budget is None else self.budget,
        )
        saved = save(report, output)
        if self.json:
            print(json.dumps(values(report), indent=2))
            return
        print(markdown_table(report))
        print(summary(report))
        _print_saved(saved)


@dataclass(frozen=True)
class Info:
    """Say what is installed, which backends are there, and why one is missing."""

    json: bool = False
    """Print it as JSON."""

    def run(self) -> None:
        from fastweights.report.info import describe, text

        print(json.dumps(describe(), indent=2) if self.json else text(describe()))


_COMMANDS: dict[str, Callable[..., Any]] = {
    "reproduce": Reproduce,
    "train": Train,
    "sweep": Sweep,
    "report": Report,
    "recall": Recall,
    "verify": Verify,
    "bench": Bench,
    "info": Info,
}
_RESUMING = (Reproduce, Train, Sweep)
_DESCRIPTION = f"""Fast-weight memory in recurrent networks.

Cells: {", ".join(cells.names())}. Tasks: {", ".join(tasks.names())}."""


def main() -> None:
    """Run the command line: exit code 0, 1 for a failure, 2 for what cannot be done as asked."""
    warnings.showwarning = _show_warning
    _messages.quiet = _under_torchrun() and os.environ.get("RANK") != "0"  # one process of a group speaks for all
    command = None
    try:
        command = tyro.extras.subcommand_cli_from_dict(_COMMANDS, prog="fastweights", description=_DESCRIPTION)
        if _under_torchrun() and not isinstance(command, Train):
            raise UsageError("torchrun can share one run among processes, with train; start this command without it")
        command.run()
    except UsageError as error:
        _fail(str(error), 2)
    except RunError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted" + _resumes(command, "; nothing is lost, the same command goes on from here"), 1)
    except BrokenPipeError:  # whoever read the output had enough
        sys.exit(1)
    except OSError as error:
        resumes = _resumes(command, "; the runs keep their last checkpoints, the same command goes on from there")
        _fail(f"{error}{resumes}", 1)


def _resumes(command: Any, promise: str) -> str:
    """The promise, from a command that keeps it."""
    return promise if isinstance(command, _RESUMING) else ""


def _make_folder(argument: str, folder: Path) -> None:
    """Before minutes of work whose results would have no place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{argument} must be a place that can be written: {error}") from error


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any
) -> None:
    _messages.print(f"fastweights: warning: {message}", style="yellow", highlight=False, markup=False, soft_wrap=True)


def _fail(message: str, code: int) -> None:
    if _messages.quiet:
        # torchrun ends all processes when one has failed; the one that speaks has to fail first.
        time.sleep(_SECONDS_TO_SPEAK)
    _messages.print(f"fastweights: {message}", style="red", highlight=False, markup=False, soft_wrap=True)
    sys.exit(code)
