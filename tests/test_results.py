"""The committed evidence: what the README shows is what was measured."""

import json
from pathlib import Path

import pytest

from fastweights import experiments
from fastweights.report.tables import markdown_table, table_values
from fastweights.training.config import RunConfig
from fastweights.training.records import RunDirectory

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "results" / "table-1" / "quick"


@pytest.fixture
def outcome(tmp_path):
    """Table 1, reduced anew from the committed records of its runs."""
    runs = []
    for path in sorted((TABLE / "runs").glob("*.json")):
        record = json.loads(path.read_text())
        run = RunDirectory.create(tmp_path, RunConfig.from_dict(record["result"]["config"]))
        for entry in record["metrics"]:
            run.append_metrics(entry)
        run.write_result(record["result"])
        assert run.path.name == path.stem == record["result"]["run_id"]
        runs.append(run)
    return experiments.load("table-1").reduce("quick", runs)


def test_the_committed_table_follows_from_the_committed_runs(outcome):
    assert (TABLE / "table.md").read_text() == markdown_table(outcome)
    assert json.loads((TABLE / "table.json").read_text()) == json.loads(json.dumps(table_values(outcome)))


def test_the_readme_shows_the_committed_table():
    assert (TABLE / "table.md").read_text() in (ROOT / "README.md").read_text()


def test_fast_weights_end_under_five_percent(outcome):
    assert all(row.error < 0.05 for row in outcome.rows if row.cell == "fast_weights" and row.hidden_size == 50)


def test_every_record_says_what_it_was_measured_with():
    for path in (ROOT / "results").glob("**/runs/*.json"):
        result = json.loads(path.read_text())["result"]
        assert {"commit", "torch", "fastweights", "machine", "processor"} <= set(result["environment"])
        assert result["backend"] in {"reference", "attention", "cpu", "triton"}
        assert not result["environment"]["commit"].endswith("+"), "measured with uncommitted changes"
