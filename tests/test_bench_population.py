"""What is said of populations' speed follows from what was measured. Speeds are not tested."""

import dataclasses
import itertools
import json
from types import SimpleNamespace

import pytest

from fastweights import cli
from fastweights.bench import population
from fastweights.bench.measure import Timing
from fastweights.bench.population import Measurement, Point, Protocol, Report
from fastweights.errors import UsageError

PAPER = Protocol(updates=1_000, evaluate_every=100, seeds=5)
MEASURED = Measurement(
    "irnn", 20, 5, alone=0.05, alone_p20=0.05, alone_p80=0.05, together=0.2, together_p20=0.2, together_p80=0.2,
    by_kernel=0.5, evaluation=3.0,
)  # fmt: skip


def on_gpu(*measurements, left=()):
    return Report("cuda", list(measurements), {"gpu": "a GPU"}, list(left), PAPER)


def test_a_protocol_takes_its_updates_and_evaluations_of_every_row_with_its_seeds():
    """Two rows of 1,000 updates at 0.2 s and ten evaluations of 3 s make 460 s; the row of 64 is none of the table."""
    told = population.summary(on_gpu(MEASURED, dataclasses.replace(MEASURED, members=64), MEASURED))
    assert "2 rows of Table 1, 5 seeds each for 1,000 updates without early stop" in told
    assert "take 8 minutes, of which evaluations and checkpoints 1" in told


def test_rates_are_of_all_members():
    row = population.markdown_table(on_gpu(MEASURED)).splitlines()[-1]
    assert "| 1.25 | 20 | 25 | 500 | 3e+03 |" in row


def test_what_there_was_no_time_for_is_named():
    report = population.run(lambda what: None, cells=("irnn",), hidden_sizes=(4,), members=(2, 3), seconds=-1)
    assert report.measurements == []
    assert "not measured, for want of time: irnn R=4, 2 members; irnn R=4, 3 members" in population.summary(report)
    assert population.values(report)["not_measured"] == ["irnn R=4, 2 members", "irnn R=4, 3 members"]


def test_a_gpu_is_asked_for_64_members_and_for_the_seeds_of_every_row(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a GPU")
    monkeypatch.setattr(population, "_measure", lambda point, device: dataclasses.replace(MEASURED, **point._asdict()))
    report = population.run(lambda what: None, device="cuda", protocol=PAPER)
    rows = itertools.product(population.CELLS, population.HIDDEN_SIZES, (5,))
    asked = [Point(m.cell, m.hidden_size, m.members) for m in report.measurements]
    assert asked == [Point("fast_weights", 50, 64), *itertools.starmap(Point, rows)]
    assert report.environment["gpu"] == "a GPU"


def test_a_time_is_that_of_one_of_the_updates_made_at_once(monkeypatch):
    monkeypatch.setattr("fastweights.training.population._AT_ONCE", {"cpu": 7})
    monkeypatch.setattr(population, "side_by_side", lambda calls: dict.fromkeys(calls, Timing(0.7, 0.7, 0.7, 7)))
    (measured,) = population.run(lambda what: None, cells=("irnn",), hidden_sizes=(4,), members=(2,)).measurements
    assert measured.together == pytest.approx(0.1)


def test_the_command_begins_nothing_after_its_budget_and_says_what_it_left(tmp_path, capsys):
    cli.Bench(preset="population", budget=1e-9, output=tmp_path, json=True).run()
    printed = json.loads(capsys.readouterr().out)
    assert printed["measurements"] == []
    assert "lstm R=100, " in "; ".join(printed["not_measured"])
    assert "not measured, for want of time: fast_weights R=" in (tmp_path / "population.md").read_text()


def test_a_gpu_that_is_not_there_is_said_before_anything_is_timed(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match='"cuda" is not there'):
        cli.Bench(preset="population", device="cuda", output=tmp_path).run()


def test_the_command_times_the_device_that_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fastweights.bench.cuda.machine.gpu", lambda: SimpleNamespace(slug="some-gpu"))
    asked = []

    def run(notify, *, device, **settings):
        asked.append(device)
        return on_gpu(MEASURED)

    monkeypatch.setattr(population, "run", run)
    for device in ("cpu", "cuda"):
        cli.Bench(preset="population", device=device).run()
    assert asked == ["cpu", "cuda"]
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("population.json")}
    assert found == {"runs/bench/population.json", "runs/bench/some-gpu/population.json"}
