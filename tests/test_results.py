"""The committed evidence: what the README shows is what was measured."""

import json
import re
from pathlib import Path

import pytest

from fastweights import experiments
from fastweights.bench import population
from fastweights.bench.cuda import run as gpu
from fastweights.bench.cuda.machine import Ceilings
from fastweights.bench.cuda.targets import outcomes
from fastweights.bench.gate import Check
from fastweights.bench.run import Measurement, Report
from fastweights.report import bench_cuda, screening
from fastweights.report.bench import markdown_table as bench_table
from fastweights.report.tables import markdown_table, table_values
from fastweights.training.config import RunConfig
from fastweights.training.records import RunDirectory

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "results" / "table-1" / "quick"
BENCH = ROOT / "results" / "bench" / "cpu"
GPU = "nvidia-h100-80gb-hbm3"
# Every committed table, and the page that shows it whole.
REPRODUCED = {
    "table-1/quick": "docs/reproduction.md",
    "table-1/standard": "docs/reproduction.md",
    "fairness/standard": "docs/reproduction.md",
    "fairness/long": "docs/reproduction.md",
    "fairness/long-state": "docs/reproduction.md",
    "layer-norm/standard": "docs/reproduction.md",
    "layer-norm/long": "docs/reproduction.md",
    "sensitivity/standard": None,
    "readings/standard": "docs/reproduction.md",
    "capacity/standard": None,
    "length-transfer/standard": None,
    "training-data/standard": "docs/reproduction.md",
}


def restored(folder, tmp_path):
    """Run directories made of the records in a folder."""
    runs = []
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        run = RunDirectory.create(tmp_path, RunConfig.from_dict(record["result"]["config"]))
        for entry in record["metrics"]:
            run.append_metrics(entry)
        run.write_result(record["result"])
        # Records written before there were any do not name them.
        if elsewhere := record.get("elsewhere"):
            run.write_elsewhere(elsewhere)
        assert run.path.name == path.stem == record["result"]["run_id"]
        runs.append(run)
    return runs


def reduced(folder, tmp_path):
    """The outcome, anew from the committed records of its runs, in the order in which the experiment gives them."""
    return experiments.load(folder.parent.name).reduce(folder.name, restored(folder / "runs", tmp_path))


def without_order(outcome):
    values = table_values(outcome)
    return {**values, "rows": sorted(json.dumps(row, sort_keys=True) for row in values["rows"])}


@pytest.mark.parametrize("name", REPRODUCED)
def test_the_committed_table_follows_from_the_committed_runs(name, tmp_path):
    folder = ROOT / "results" / name
    outcome = reduced(folder, tmp_path)
    committed = json.loads((folder / "table.json").read_text())
    committed["rows"] = sorted(json.dumps(row, sort_keys=True) for row in committed["rows"])
    assert committed == json.loads(json.dumps(without_order(outcome)))
    assert sorted((folder / "table.md").read_text().splitlines()) == sorted(markdown_table(outcome).splitlines())


@pytest.mark.parametrize(("name", "page"), [(name, page) for name, page in REPRODUCED.items() if page])
def test_the_committed_table_is_shown(name, page):
    assert (ROOT / "results" / name / "table.md").read_text() in (ROOT / page).read_text()


def test_every_committed_table_is_held_to_its_runs():
    found = {path.parent.relative_to(ROOT / "results").as_posix() for path in ROOT.glob("results/*/*/table.json")}
    assert found == set(REPRODUCED)


def test_fast_weights_end_under_five_percent(tmp_path):
    rows = reduced(TABLE, tmp_path).rows
    assert all(row.error < 0.05 for row in rows if row.cell == "fast_weights" and row.hidden_size == 50)


@pytest.fixture
def bench():
    """The committed benchmark."""
    values = json.loads((BENCH / "bench.json").read_text())
    return Report(
        [Check(**check) for check in values["gate"]],
        {int(threads): peak for threads, peak in values["fma_gflops"].items()},
        [Measurement(**measurement) for measurement in values["measurements"]],
        values["environment"],
    )


def test_the_committed_speeds_follow_from_the_committed_times(bench):
    assert (BENCH / "bench.md").read_text() == bench_table(bench)


def test_the_readme_shows_the_committed_speeds(bench):
    readme = (ROOT / "README.md").read_text()
    sizes = (BENCH / "bench.md").read_text().split("\n\n**")
    assert any(f"{size.strip()}\n" in readme for size in sizes if size.startswith("R = 50, T = 11, B = 128"))
    time = {(m.contender, m.hidden_size, m.steps, m.which): m for m in bench.measurements}
    both, eager, ours = "forward+backward", "fast weights, reference", "fast weights, cpu"

    def times(other, own, size=50, steps=11):
        return time[other, size, steps, both].seconds / time[own, size, steps, both].seconds

    compiled = [f"fast weights, {form}, torch.compile" for form in ("reference", "attention")]
    aims = [
        f"recurrence | 40× | {times(eager, ours):.3g}×",
        f"recurrence | 10× | {times('fast weights, attention', ours):.3g}×",
        f"recurrence | 8× | {min(times(form, ours) for form in compiled):.3g}×",
        f"`FastWeightRNN` | 4× | {times('torch.nn.LSTM', 'FastWeightRNN'):.3g}×",
        f"training step | 12× | {times('training step, reference', 'training step, cpu'):.3g}×",
        f"peak | 50 % | {100 * time[ours, 100, 11, 'forward'].peak_fraction:.0f} %",
        f"peak | 35 % | {100 * time[ours, 100, 11, both].peak_fraction:.0f} %",
        f"B = 32 | 5× | {times(eager, ours, 128, 1024):.3g}×",
        f"ours | 20 | {time[eager, 128, 1024, both].memory / time[ours, 128, 1024, both].memory:.0f}",
    ]
    assert [aim for aim in aims if aim not in readme] == []


def readme_in_one_line():
    return " ".join((ROOT / "README.md").read_text().split())


class TestGPU:
    """The benchmark of the GPU, its page and what the README says of it."""

    FOLDER = ROOT / "results" / "bench" / GPU

    @pytest.fixture
    def report(self):
        values = json.loads((self.FOLDER / "bench.json").read_text())
        values["gate"] = [Check(**check) for check in values["gate"]]
        values["ceilings"] = Ceilings(**values["ceilings"])
        values["measurements"] = [gpu.Measurement(**each) for each in values["measurements"]]
        return gpu.Report(**values)

    def test_the_committed_page_follows_from_the_committed_times(self, report):
        assert (self.FOLDER / "bench.md").read_text() == bench_cuda.markdown(report)

    def test_the_readme_shows_the_committed_targets(self):
        table = (self.FOLDER / "bench.md").read_text().split("\n\n")[1]
        assert table.startswith("| target | aim |")
        assert f"<!-- results/bench/{GPU}/bench.md -->\n{table}\n<!-- end -->" in (ROOT / "README.md").read_text()

    def test_what_the_readme_says_of_them_is_what_was_measured(self, report):
        time = {
            (m.contender, m.hidden_size, m.steps, m.which): 1e6 * m.seconds / m.steps
            for m in report.measurements
            if m.seconds and (m.members, m.batch) == (1, 128)
        }
        found = [each.reached(size) for each in outcomes(report.measurements) for size in each.measured]
        points = {m.point: 0 for m in report.measurements}
        for m in report.measurements:
            points[m.point] += m.seconds is not None

        def both(contender, size, steps=1024):
            return time[contender, size, steps, "forward+backward"]

        def lstm(size, steps=1024, name="cuDNN LSTM"):
            return f"{both(name, size, steps) / both('our layer', size, steps):.3g}"

        called, graphed = (
            [f"{time[contender, size, 1024, 'forward']:.2f}" for size in (100, 128)]
            for contender in ("ours", "ours, CUDA graph")
        )
        said = [
            f"Two of {len(found)} aims are missed",
            f"takes {called[0]} and {called[1]} µs a step with 100 and 128 units",
            f"the same take {graphed[0]} and {graphed[1]}.",
            f"{lstm(50)} times as fast as cuDNN's LSTM with 50 units ({lstm(50, name='cuDNN LSTM, TF32')} with TF32)",
            f"and {lstm(100)} times with 100",
            f"ours is {both('eager explicit A', 256) / both('ours', 256):.3g} times as fast as eager explicit A",
            f"at R = 512 cuDNN's LSTM takes {lstm(512)} of our layer's time",
            f"with 50 units {both('ours', 50, 11):.3g} µs a step, and {both('ours, CUDA graph', 50, 11):.3g} as a CUDA",
            f"cuDNN's LSTM takes {lstm(50, 11)} of our layer's time there",
            f"{list(points.values()).count(0)} of the grid's {len(points)} sizes",
        ]
        assert found.count(False) == 2
        assert {
            p.hidden_size for p, count in points.items() if not count and p.steps < 1024 and p.members == 1
        } == set()
        readme = readme_in_one_line()
        assert [each for each in said if each not in readme] == []


@pytest.mark.parametrize("name", ["cpu", GPU])
def test_the_committed_populations_follow_from_their_times(name, tmp_path):
    folder = ROOT / "results" / "population" / name
    for path in population.save(population_report(folder), tmp_path):
        assert path.read_text() == (folder / path.name).read_text()


def test_what_the_readme_says_of_populations_is_what_was_measured():
    report = population_report(ROOT / "results" / "population" / GPU)
    (many,) = (m for m in report.measurements if m.members == 64)
    speed_ups = [m.speed_up for m in population_report(ROOT / "results" / "population" / "cpu").measurements]
    said = [
        f"({min(speed_ups):.1f} to {max(speed_ups):.1f} times as fast",
        f"make {many.members / many.together:,.0f} updates a second: {many.speed_up:.0f} times as many as one alone",
        f"with its CUDA graph ({1 / many.alone:,.0f}), {many.members * many.by_kernel / many.together:.0f} times",
        f"operation by operation ({1e3 * many.by_kernel:.0f} ms an update)",
        "would take {} minutes".format(population.summary(report).split(" take ")[1].split(" minutes")[0]),
    ]
    readme = readme_in_one_line()
    assert [each for each in said if each not in readme] == []


def population_report(folder):
    values = json.loads((folder / "population.json").read_text())
    return population.Report(
        values["device"],
        [population.Measurement(**without_speed_up(each)) for each in values["measurements"]],
        values["environment"],
        [point_of(text) for text in values.get("not_measured", ())],
        population.Protocol(**values["protocol"]) if "protocol" in values else None,
    )


def without_speed_up(measurement):
    """It is worked out from the rest."""
    return {name: value for name, value in measurement.items() if name != "speed_up"}


def point_of(text):
    """As `Point` is printed: irnn R=20, 5 members."""
    cell, size, members = re.fullmatch(r"(\w+) R=(\d+), (\d+) members", text).groups()
    return population.Point(cell, int(size), int(members))


@pytest.mark.parametrize(("name", "rows"), [("table-1/standard", 12), ("training-data/standard", 2)])
def test_what_is_reported_is_what_the_committed_screening_selects(name, rows, tmp_path):
    """In all rows of either."""
    folder = ROOT / "results" / name
    screened = restored(folder / "screening", tmp_path)
    of_table, selected = (
        {c.run_id for c in experiments.load(each).final("standard", screened)}
        for each in ("table-1", folder.parent.name)
    )
    models = {row_of(run_id) for run_id in of_table}
    assert len(models) == rows
    reported = {path.stem for path in folder.glob("runs/*.json") if row_of(path.stem) in models}
    assert of_table <= reported <= selected  # of the runs on more data, not all are over


@pytest.mark.parametrize(
    ("name", "runs", "unscreened"),
    [
        ("fairness/standard", 48, {"irnn-420", "lstm-210", "associative_lstm-84"}),
        ("fairness/long", 36, set()),
        ("fairness/long-state", 12, set()),
        ("layer-norm/standard", 40, set()),
        ("layer-norm/long", 40, set()),
        ("readings/standard", 20, set()),
    ],
)
def test_a_comparison_reports_what_its_screening_selects(name, runs, unscreened, tmp_path):
    folder = ROOT / "results" / name
    experiment, preset = experiments.load(folder.parent.name), folder.name
    selected = {config.run_id for config in experiment.final(preset, restored(folder / "screening", tmp_path))}
    reported = {path.stem for path in folder.glob("runs/*.json")}
    assert len(selected) == runs
    assert selected <= reported
    assert {row_of(run_id) for run_id in reported - selected} == unscreened


@pytest.mark.parametrize("folder", sorted(path.parent for path in ROOT.glob("results/*/*/screening")))
def test_the_committed_screening_is_shown(folder, tmp_path):
    screened, runs = (restored(folder / part, tmp_path / part) for part in ("screening", "runs"))
    shown = (folder / "screening.md").read_text()
    assert in_any_order(shown) == in_any_order(screening.markdown_table(screened, runs))
    assert {line.split(" | ")[1] for line in shown.splitlines() if "✓" in line} == {
        str(r.config().hidden_size) for r in screened
    }


def in_any_order(table):
    """Its lines by column: runs, and the settings that they have in the order of their own, come as they were read."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return sorted(sorted(zip(lines[0], line, strict=True)) for line in lines)


def row_of(run_id):
    """Model and size."""
    return run_id.rsplit("-", 2)[0]


def test_every_record_says_what_it_was_measured_with():
    for path in [*ROOT.glob("results/**/runs/*.json"), *ROOT.glob("results/**/screening/*.json")]:
        result = json.loads(path.read_text())["result"]
        assert {"commit", "torch", "fastweights", "machine", "processor"} <= set(result["environment"])
        assert result["backend"] in {"reference", "attention", "cpu", "triton"}
        assert not result["environment"]["commit"].endswith("+"), "measured with uncommitted changes"
