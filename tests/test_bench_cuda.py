"""The GPU's benchmark, run on CPU tensors: what it measures, in which order, what it records and makes of it."""

import dataclasses
import itertools
import json
import time
import weakref
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from fastweights import cli
from fastweights.bench import gate
from fastweights.bench.cuda import contenders, machine, points, run, targets
from fastweights.bench.cuda.machine import Ceilings, Machine, Measured
from fastweights.bench.cuda.points import Point, Preset
from fastweights.bench.cuda.run import Measurement, Report
from fastweights.bench.measure import Timing, summary
from fastweights.errors import RunError, UsageError
from fastweights.report import bench_cuda

BOTH = "forward+backward"
TINY = Point(6, 3, 4), Point(6, 3, 4, 2)
SMALL = Preset(TINY, ())


def wall_clock(call):
    def sample():
        started = time.perf_counter()
        call()
        return time.perf_counter() - started

    return Measured(summary([sample() for _ in range(3)]), 1000)


CPU = Machine("cpu", "ACME Graphics (1 GiB)", 2**30, wall_clock)


@pytest.fixture
def run_on_cpu(monkeypatch):
    """The benchmark with the compiled core as ours, behind a gate that is open."""
    monkeypatch.setattr(run, "passed_checks", lambda device: [gate.Check("cpu", "R=1", 1e-7)])
    monkeypatch.setattr(run, "ceilings", lambda machine: Ceilings(100.0, 10.0))

    def measure(preset=SMALL, machine=CPU, keep=lambda report: None, **options):
        return run.run(preset, machine, lambda what: None, keep, ours="cpu", **options)

    return measure


def measurement(contender, which, seconds, size=50, steps=1024, batch=128, scope="recurrence", **others):
    return Measurement(contender, scope, which, size, steps, batch, 1, seconds, seconds, seconds, **others)


def test_the_grid_is_whole_and_begins_with_what_is_aimed_at():
    full = points.PRESETS["full"].points
    assert set(full) == {
        Point(*sizes)
        for sizes in itertools.product((20, 50, 64, 100, 128, 256, 512), (11, 128, 1024), (1, 128, 1024), (1, 64))
    }
    assert len(full) == len(set(full))
    columns = [(p.steps, p.batch, p.members) for p in full[::7]]
    assert columns[:3] == [(1024, 128, 1), (11, 128, 1), (11, 128, 64)]
    assert [p.members for p in full[21:]] == sorted(p.members for p in full[21:])


def test_every_contender_is_measured_or_says_why_not(run_on_cpu, tmp_path):
    kept = []
    report = run_on_cpu(keep=lambda report: kept.append(bench_cuda.save_values(report, tmp_path).read_text()))
    for point in TINY:
        group = [m for m in report.measurements if m.point == point]
        names = [c.name for c in contenders.contenders(point, "cpu")]
        assert [(m.contender, m.which) for m in group] == list(itertools.product(names, ("forward", BOTH)))
    skipped = {m.contender: m.skipped for m in report.measurements if m.seconds is None}
    assert skipped.keys() == {"eager explicit A, CUDA graph", "ours, CUDA graph"}
    assert all(reason.startswith("RuntimeError: ") for reason in skipped.values())
    # After every point the file holds what has been measured so far.
    written = [json.loads(text)["measurements"] for text in kept]
    assert written[0] == written[1][: len(written[0])]
    assert [Measurement(**m) for m in written[1]] == report.measurements


def test_the_page_follows_from_the_saved_numbers(run_on_cpu, tmp_path):
    report = run_on_cpu()
    saved = bench_cuda.save(report, tmp_path)
    assert [path.name for path in saved] == ["bench.json", "bench.md", "bench.svg", "bench.png"]
    values = json.loads(saved[0].read_text())
    values["gate"] = [gate.Check(**check) for check in values["gate"]]
    values["ceilings"] = Ceilings(**values["ceilings"])
    values["measurements"] = [Measurement(**m) for m in values["measurements"]]
    page = bench_cuda.markdown(Report(**values))
    assert page == saved[1].read_text()
    assert "**R = 6, T = 3, B = 4, P = 2**" in page
    assert "\nNot measured: eager explicit A, CUDA graph, ours, CUDA graph: RuntimeError: " in page
    assert "2 of 2 sizes were measured" in page


def test_the_rates_are_arithmetic_and_traffic_over_time(run_on_cpu):
    """R = 1, T = 2, six sequences: 8 operations each, and z, out, their gradients of 8 bytes each; 1 µs."""
    fixed = CPU._replace(measure=lambda call: Measured(Timing(1e-6, 1e-6, 1e-6, 3), 5))
    report = run_on_cpu(Preset((Point(1, 2, 3, 2),), ()), fixed)
    ours = {m.which: m for m in report.measurements if m.contender == "ours"}
    assert ours["forward"].gflops == pytest.approx(6 * 8 / 1000)
    assert ours[BOTH].gflops == pytest.approx(3 * 6 * 8 / 1000)
    assert ours[BOTH].float32_fraction == pytest.approx(ours[BOTH].gflops / 100)
    assert ours["forward"].copy_fraction == pytest.approx(2 * 6 * 8 / 1000 / 10)
    assert ours[BOTH].copy_fraction == pytest.approx(6 * 6 * 8 / 1000 / 10)
    assert ours[BOTH].memory == 5


def test_a_contender_that_fails_is_recorded_and_the_rest_goes_on(run_on_cpu):
    def measure(call):
        if call.__qualname__.startswith("make_calls.<locals>.forward_backward"):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nand more")
        return wall_clock(call)

    report = run_on_cpu(Preset(TINY[1:], ()), CPU._replace(measure=measure))
    found = {(m.contender, m.which): m for m in report.measurements}
    assert found["ours", "forward"].seconds > 0
    assert found["ours", BOTH].skipped == "OutOfMemoryError: CUDA out of memory. Tried to allocate 9 GiB"


def test_what_the_budget_does_not_reach_is_recorded_as_skipped(run_on_cpu, tmp_path):
    report = run_on_cpu(budget=1e-9)
    assert "0 of 2 sizes were measured" in bench_cuda.save(report, tmp_path)[1].read_text()
    assert {m.skipped for m in report.measurements} == {"not measured: the time budget of 1e-09 s was used up"}
    assert {m.point for m in report.measurements} == set(TINY)


def test_only_contenders_named_so_may_round_to_tf32(run_on_cpu, monkeypatch):
    before = torch.backends.cudnn.allow_tf32
    seen = []

    def measure(call):
        seen.append(torch.backends.cudnn.allow_tf32)
        return wall_clock(call)

    report = run_on_cpu(Preset(TINY[:1], ()), CPU._replace(measure=measure))
    timed = [m for m in report.measurements if m.seconds]
    assert seen == [m.contender.endswith("TF32") for m in timed]
    assert any(seen)
    assert torch.backends.cudnn.allow_tf32 == before


def test_what_does_not_fit_is_not_tried():
    """128 sequences of 1,024 steps with R = 256 keep 32 GiB of A; half of 80 GiB hold them, half of 40 do not."""
    eager = contenders.Recurrence(contenders.EAGER, "reference")
    point = Point(256, 1024, 128)
    large, small = (CPU._replace(memory=gib * 2**30) for gib in (80, 40))
    assert eager.why_not(point, BOTH, large) is None
    assert eager.why_not(point, BOTH, small) == "would hold 32 GiB for the backward pass"
    assert eager.why_not(point, "forward", small) is None
    ours = contenders.Recurrence(contenders.OURS, "cpu")
    assert ours.why_not(point, BOTH, small) is None
    # 65,536 sequences: 704 GiB of A in 11 steps of 512 units, none with 128, for those stay on the chip.
    assert ours.why_not(Point(512, 11, 1024, 64), "forward", large).startswith("streams 704 GiB")
    assert ours.why_not(Point(128, 1024, 1024, 64), "forward", large) is None


def test_graphs_replay_calls_on_their_own_inputs(run_on_cpu, monkeypatch):
    """With the capture replaced by the call itself, the captured contenders are timed and claim no memory."""
    monkeypatch.setattr(contenders, "Captured", lambda call: call)
    report = run_on_cpu()
    graphs = [m for m in report.measurements if m.contender.endswith("CUDA graph")]
    assert len(graphs) == 6
    assert all(m.seconds and m.memory is None for m in graphs)


@pytest.mark.parametrize("fails", [False, True])
def test_a_capture_is_warm_keeps_its_inputs_and_gives_the_stream_back(monkeypatch, fails):
    """Against a torch.cuda made up here, which says what is done on which stream."""
    current, done = ["main"], []

    @contextmanager
    def stream(name):
        before, current[0] = current[0], name
        try:
            yield
        finally:
            current[0] = before

    @contextmanager
    def graph(_, stream):
        current[0] = "capture"
        yield
        if fails:
            raise RuntimeError("capture invalidated")  # as torch does, before it gives its stream back
        current[0] = stream

    side = SimpleNamespace(wait_stream=lambda other: done.append("side waits"))
    monkeypatch.setattr(contenders, "_side_stream", lambda: side)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: done.append("replay")))
    main = SimpleNamespace(wait_stream=lambda other: done.append("main waits"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: main)
    inputs = torch.zeros(1)
    alive = weakref.ref(inputs)

    def prepared(inputs):
        return lambda: done.append("warm" if current[0] is side else current[0]) or inputs

    if fails:
        with pytest.raises(RuntimeError, match="capture invalidated"):
            contenders.Captured(prepared(inputs))
    else:
        captured = contenders.Captured(prepared(inputs))
        del inputs
        captured()
        assert done == ["side waits", "warm", "capture", "main waits", "replay"]
        assert alive() is not None
    assert current == ["main"]


@pytest.mark.parametrize("tiny", TINY)
def test_all_forms_of_the_recurrence_compute_the_same(tiny):
    """The gradients that the contenders are timed at are equal: nothing that is compared does less."""
    forms = [contenders.Recurrence(name, name) for name in ("attention", "cpu")]
    first, second = (form.prepare(tiny, BOTH, CPU)() for form in forms)
    assert first[0].shape == (*((2,) if tiny.members > 1 else ()), 4, 3, 6)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_members_of_a_population_pass_the_gate_with_settings_of_their_own(monkeypatch):
    assert gate._check("cpu", 7, 5, 3, 4).passed
    right = gate.recurrence

    def mixed(backend, *, members, **options):
        call = right(backend, members=members, **options)
        return call if backend == "reference" else lambda *inputs: tuple(value.flip(0) for value in call(*inputs))

    monkeypatch.setattr(gate, "recurrence", mixed)
    assert not gate._check("cpu", 7, 5, 3, 4).passed


def test_a_red_gate_stops_everything(monkeypatch):
    monkeypatch.setattr(gate, "check_backends", lambda device: [gate.Check("triton", "R=1", 1e-3)])
    with pytest.raises(RunError, match="not timing anything"):
        run.run(Preset(TINY, ()), CPU, lambda what: None, lambda report: None)


def test_calls_are_timed_warm_and_slow_ones_less_often():
    def fake(durations):
        taken = []

        def sample():
            taken.append(next(durations))
            return taken[-1]

        return sample, taken

    sample, taken = fake(itertools.chain([9.0], itertools.repeat(0.5)))
    machine.warm_up(sample)
    assert machine.samples(sample) == [0.5] * 3
    assert taken == [9.0] + [0.5] * 3
    sample, taken = fake(itertools.repeat(1e-4))
    machine.warm_up(sample)
    assert len(taken) == 3
    assert len(machine.samples(sample)) == 30
    assert len(machine.samples(fake(itertools.repeat(0.08))[0])) == 5


def test_ceilings_are_products_and_copies_over_time():
    fixed = CPU._replace(measure=lambda call: (call(), Measured(Timing(1e-3, 1e-3, 1e-3, 3), 0))[1])
    found = machine.ceilings(fixed, size=10, copied=1000)
    assert found.float32_gflops == pytest.approx(2 * 10**3 / 1e-3 / 1e9)
    assert found.copy_gigabytes == pytest.approx(2 * 1000 / 1e-3 / 1e9)


class TestTargets:
    """Made-up times: 1.5 ms forward and 4 ms forward+backward over 1,024 steps."""

    MADE_UP = (
        measurement("ours", "forward", 1.5e-3),
        measurement("ours", BOTH, 4e-3),
        measurement("ours, CUDA graph", "forward", 1e-3),
        measurement("ours, CUDA graph", BOTH, 3.048e-3),
        measurement("eager explicit A", BOTH, 0.2),
        measurement("eager explicit A, CUDA graph", BOTH, None, skipped="no room"),
        measurement("our layer", BOTH, 5e-3, scope="layer"),
        measurement("cuDNN LSTM", BOTH, 4e-3, scope="layer"),
        measurement("ours", BOTH, 0.02, 256),
        measurement("eager explicit A", BOTH, 0.2, 256),
        # Not what is aimed at: another T, another B.
        measurement("ours", BOTH, 1.0, steps=128),
        measurement("ours", BOTH, 1.0, batch=1),
    )

    def test_they_follow_from_the_times(self):
        forward, _, backward, graph, eager, graphed, exact, tf32, large = targets.outcomes(self.MADE_UP)
        assert forward.measured[50] == pytest.approx(1500 / 1024)
        assert forward.reached(50) is True  # at most 1.5 µs
        assert backward.measured[50] == pytest.approx(2500 / 1024)
        assert backward.reached(50) is True  # at most 3 µs
        assert graph.measured[50] == pytest.approx(2)
        assert eager.measured[50] == pytest.approx(50)
        assert exact.measured[50] == pytest.approx(0.8)
        assert exact.reached(50) is False  # at least as fast
        assert large.measured == {256: pytest.approx(10)}
        assert large.reached(256) is True
        for nothing in (graphed.measured[50], tf32.measured[50], forward.measured[128], graphed.reached(50)):
            assert nothing is None

    def test_they_stand_in_the_page(self):
        there = {(m.contender, m.which, m.point) for m in self.MADE_UP}
        others = [dataclasses.replace(m, which="forward", seconds=None, skipped=None) for m in self.MADE_UP]
        whole = [*self.MADE_UP, *(m for m in others if (m.contender, m.which, m.point) not in there)]
        checks = [gate.Check("triton", "R=1", 1e-7)]
        report = Report("ACME", "triton", checks, Ceilings(1.0, 1.0), whole, {}, 9.0)
        page = bench_cuda.markdown(report)
        assert "| forward | ≤ 1.5 µs per step | – | 1.46 ✓ | – | – | – |  |\n" in page
        assert "| eager explicit A, forward+backward | ≥ 8 × ours |  |  |  |  |  | 10 ✓ |\n" in page
        assert "| cuDNN LSTM, forward+backward | ≥ 1 × our layer | – | 0.8 ✗ | – | – | – |  |\n" in page
        # The row of ours: µs per step forward and in all, each with its spread and ratio, then the difference.
        assert "| ours | 1.46 | 1.46–1.46 | 1 | 3.91 | 3.91–3.91 | 1 | 2.44 |" in page
        assert "eager explicit A, CUDA graph (forward+backward): no room" in page


class TestCommand:
    def test_without_a_gpu_it_says_so(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(UsageError, match=r'"cuda" is not there: this torch sees no GPU; use device "cpu"'):
            cli.Bench(device="cuda").run()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"budget": 5.0}, "budget is for --device cuda or --preset population, got 5.0; leave it out"),
            ({"budget": 0.0, "device": "cuda"}, "budget must be above 0 seconds, got 0.0"),
            ({"budget": -1.0, "preset": "population"}, "budget must be above 0 seconds, got -1.0"),
            ({"preset": "quick", "device": "cuda"}, "unknown preset with --device cuda 'quick'"),
            ({"preset": "compiled"}, "unknown preset 'compiled'"),
        ],
    )
    def test_what_cannot_be_asked_is_refused(self, arguments, message):
        with pytest.raises(UsageError, match=message):
            cli.Bench(**arguments).run()

    def test_it_saves_under_the_name_of_the_device(self, run_on_cpu, monkeypatch, tmp_path, capsys):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(machine, "gpu", lambda: CPU)
        monkeypatch.setitem(points.PRESETS, "targets", Preset(TINY[1:], ()))
        monkeypatch.setattr(run, "run", partial(run.run, ours="cpu"))
        cli.Bench(device="cuda", budget=60.0, json=True).run()
        printed = json.loads(capsys.readouterr().out)
        folder = tmp_path / "runs" / "bench" / "acme-graphics-1-gib"
        assert json.loads((folder / "bench.json").read_text()) == printed
        cli.Bench(device="cuda").run()
        assert "targets reached" in capsys.readouterr().out


def test_the_gpu_is_named_where_there_is_one(monkeypatch):
    from fastweights.training import environment

    plain = environment.describe()
    assert "gpu" not in plain or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "ACME")
    found = environment.describe()
    assert dict(found, **plain) == found
    assert found["gpu"] == "ACME"
    assert {"driver", "cuda", "cudnn"} <= found.keys()


def test_a_measurement_holds_its_size():
    m = measurement("ours", BOTH, 1.0)
    assert {**dataclasses.asdict(m), **dataclasses.asdict(m.point)} == dataclasses.asdict(m)
