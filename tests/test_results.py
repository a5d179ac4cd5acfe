"""The committed evidence: what the README shows is what was measured."""

import json
from pathlib import Path

import pytest

from fastweights import experiments
from fastweights.bench.gate import Check
from fastweights.bench.run import Measurement, Report
from fastweights.report.bench import markdown_table as bench_table
from fastweights.report.tables import markdown_table, table_values
from fastweights.training.config import RunConfig
from fastweights.training.records import RunDirectory

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "results" / "table-1" / "quick"
BENCH = ROOT / "results" / "bench" / "cpu"
# Every committed table, and the page that shows it whole.
REPRODUCED = {
    "table-1/quick": "README.md",
    "table-1/standard": "docs/reproduction.md",
    "fairness/standard": "docs/reproduction.md",
    "layer-norm/standard": "docs/reproduction.md",
    "sensitivity/standard": None,
    "readings/standard": "docs/reproduction.md",
    "capacity/standard": None,
    "length-transfer/standard": None,
}


def reduced(folder, tmp_path):
    """The outcome, anew from the committed records of its runs, in the order in which the experiment gives them."""
    runs = []
    for path in sorted((folder / "runs").glob("*.json")):
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
    return experiments.load(folder.parent.name).reduce(folder.name, runs)


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


def test_every_record_says_what_it_was_measured_with():
    for path in (ROOT / "results").glob("**/runs/*.json"):
        result = json.loads(path.read_text())["result"]
        assert {"commit", "torch", "fastweights", "machine", "processor"} <= set(result["environment"])
        assert result["backend"] in {"reference", "attention", "cpu", "triton"}
        assert not result["environment"]["commit"].endswith("+"), "measured with uncommitted changes"
