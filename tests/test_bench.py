"""The benchmark: its gate, its arithmetic, and that it measures what it says. Speeds are not tested."""

import dataclasses
import json
import math
import time

import pytest
import torch

from fastweights.bench import gate, measure, population, run
from fastweights.bench.contenders import all_contenders
from fastweights.bench.points import Point, fast_weight_flops
from fastweights.errors import RunError
from fastweights.report.bench import save, summary


def test_the_gate_passes_and_a_wrong_backend_stops_everything(monkeypatch):
    assert all(check.passed for check in gate.check_backends())
    right = gate._outputs_and_gradients

    def wrong(backend, inputs, upstream):
        values = right(backend, inputs, upstream)
        return values if backend == "reference" else [value * 1.001 for value in values]

    monkeypatch.setattr(gate, "_outputs_and_gradients", wrong)
    monkeypatch.setattr(run, "_measure", lambda *arguments: pytest.fail("timed on a red gate"))
    with pytest.raises(RunError, match="not timing anything"):
        run.run((Point(4, 2, 2, 1),), lambda point: None)


def test_nan_in_a_gradient_does_not_pass_the_gate(monkeypatch):
    exact = gate._outputs_and_gradients

    def poisoned(backend, *arguments):
        values = exact(backend, *arguments)
        return values if backend == "reference" else [*values[:-1], values[-1] * math.nan]

    monkeypatch.setattr(gate, "_outputs_and_gradients", poisoned)
    with pytest.raises(RunError, match="nan"):
        gate.passed_checks()


def test_flops_follow_the_products():
    """One unit, two steps: W h twice, no past at the first step, one stored vector at the second."""
    assert fast_weight_flops(1, 2, 3, "forward") == 3 * (2 + 0 + 2 + 4)
    assert fast_weight_flops(1, 2, 3, "forward+backward") == 3 * fast_weight_flops(1, 2, 3, "forward")


def test_calls_are_timed_side_by_side():
    timings = measure.side_by_side({"short": lambda: time.sleep(0.002), "long": lambda: time.sleep(0.02)})
    assert 0.002 <= timings["short"].median < timings["long"].median
    for timing in timings.values():
        assert timing.p20 <= timing.median <= timing.p80


def test_peak_memory_sees_what_is_allocated():
    def allocate():
        torch.zeros(64 * 2**20 // 4).add_(1)

    peak = measure.peak_memory(allocate)
    assert peak is None or 60 * 2**20 < peak < 90 * 2**20


def test_a_run_measures_every_contender_or_says_why_not(monkeypatch, tmp_path):
    contenders = [c for c in all_contenders() if not getattr(c, "compiled", False)]
    monkeypatch.setattr(run, "all_contenders", lambda: contenders)
    report = run.run((Point(hidden_size=6, steps=3, batch=4, threads=1),), lambda point: None)
    assert {m.contender for m in report.measurements} == {c.name for c in contenders}
    assert all(m.seconds is not None or m.skipped for m in report.measurements)
    saved = save(report, tmp_path)
    assert [path.name for path in saved] == ["bench.json", "bench.md", "bench.svg", "bench.png"]
    assert len(json.loads(saved[0].read_text())["measurements"]) == len(report.measurements)
    assert "gate: " in summary(report)


def test_populations_are_timed_beside_their_members(tmp_path):
    report = population.run(lambda what: None, cells=("irnn",), hidden_sizes=(4,), members=(3,))
    (measured,) = report.measurements
    assert measured.speed_up == pytest.approx(3 * measured.alone / measured.together)
    saved = [path.name for path in population.save(report, tmp_path)]
    assert saved == ["population.json", "population.md"]
    (kept,) = json.loads((tmp_path / "population.json").read_text())["measurements"]
    assert kept["together_p20"] <= kept["together"] <= kept["together_p80"]
    slower = dataclasses.replace(measured, alone=1.0, together=4.0)
    told = population.summary(dataclasses.replace(report, measurements=[slower]))
    assert "0 of 1 populations are faster" in told
    assert "0.75 to 0.75" in told


def test_a_population_that_trains_something_else_is_not_timed(monkeypatch):
    monkeypatch.setattr(population.Population, "update", lambda self: [0.5] * len(self._members))
    with pytest.raises(RunError, match="nothing was timed: the losses of update 1"):
        population.run(lambda what: None, cells=("irnn",), hidden_sizes=(4,), members=(2,))
