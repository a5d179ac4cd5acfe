"""From finished runs to the table and the figure: statistics, selection, reduction, files."""

import dataclasses
import functools
import io
import json
import math

import pytest
from rich.console import Console

import finished_runs
from fastweights import experiments
from fastweights.errors import RunError, UsageError
from fastweights.experiments import _published
from fastweights.experiments._pictures import Curve, LearningCurves, band
from fastweights.experiments._section_4_1 import PRESETS
from fastweights.experiments._selection import SCREENING_SEED, best
from fastweights.experiments._statistics import (
    FLOOR_MARGIN,
    lower_median,
    standing,
    until_success,
    verdict,
    wilson_interval,
)
from fastweights.report.figures import figure_of
from fastweights.report.files import left_over, save
from fastweights.report.tables import markdown_table, remarks, table_values, terminal_table
from fastweights.training.config import RunConfig


@pytest.fixture
def finish(tmp_path):
    """Writes the record of a run that ended as told."""
    return functools.partial(finished_runs.finish, tmp_path)


class TestStatistics:
    @pytest.mark.parametrize(("errors", "total"), [(0, 20_000), (7, 7), (7, 10), (362, 20_000), (20_000, 20_000)])
    def test_wilson_interval_is_where_the_score_test_turns(self, errors, total):
        """The ends solve |p̂ − p| = z √(p(1 − p)/n), z = 1.959964 (Wilson 1927)."""
        share = errors / total
        for end in wilson_interval(errors, total):
            if 0 < end < 1:
                assert abs(share - end) == pytest.approx(1.9599639845 * math.sqrt(end * (1 - end) / total), rel=1e-6)
            else:
                assert end == share

    def test_published_rows_without_binding_are_at_the_floor_and_the_others_not(self):
        entry = _published.table("table_1")
        found = {error: standing(error / 100, 0.6165) for row in entry["values"] for error in row}
        assert sorted(error for error, where in found.items() if where == "at") == [60.13, 60.23, 60.81, 62.11]
        assert set(found.values()) == {"at", "below"}

    def test_verdicts_turn_at_wilsons_bounds_and_the_rounding_of_what_was_published(self):
        low, high = wilson_interval(300, 20_000)[0] - 5e-5, wilson_interval(400, 20_000)[1] + 5e-5
        for published, expected in (
            (low - 1e-9, "worse"), (low + 1e-9, "reproduced"), (high - 1e-9, "reproduced"), (high + 1e-9, "better"),
        ):  # fmt: skip
            assert verdict(published, [400, 300, 350], 20_000) == expected
        assert [verdict(0.0, [errors] * 5, 20_000) for errors in (0, 1, 4)] == ["reproduced", "reproduced", "worse"]

    def test_medians_are_measured_values_and_count_those_that_never_got_there(self):
        assert lower_median([3, 1, 2]) == 2
        assert lower_median([1.0, math.inf]) == 1.0
        assert lower_median([1.0, math.inf, math.inf]) == math.inf
        metrics = [{"step": s, "seconds": s / 10, "validation_error": e} for s, e in ((1, 0.5), (2, 0.01), (3, 0.02))]
        assert until_success(metrics, "step") == 2
        assert until_success(metrics, "seconds") == 0.2
        assert until_success(metrics[:1], "step") == math.inf

    @pytest.mark.parametrize(
        ("error", "where"), [(0.59, "below"), (0.60, "at"), (0.63, "at"), (0.64, "above"), (0.9, "above")]
    )
    def test_standing_to_the_floor_at_its_borders(self, error, where):
        assert FLOOR_MARGIN == 0.02
        assert standing(error, 0.6165) == where

    def test_a_single_pair_has_no_floor(self):
        assert standing(0.9, 0.0) == "below"


class TestBand:
    def test_a_run_over_early_counts_on_and_a_diverged_one_is_beyond_all(self):
        early = Curve(1, (10, 20), (0.4, 0.0), diverged=False)
        whole = Curve(2, (10, 20, 30), (0.9, 0.5, 0.3), diverged=False)
        gone = Curve(3, (10, 20), (0.6, None), diverged=True)
        assert band([early, whole]) == ((10, 20, 30), (0.4, 0.0, 0.0), (0.4, 0.0, 0.0), (0.9, 0.5, 0.3))
        assert band([early, whole, gone]) == (
            (10, 20, 30), (0.4, 0.0, 0.0), (0.6, 0.5, 0.3), (0.9, math.inf, math.inf),
        )  # fmt: skip

    def test_it_begins_where_all_have_begun(self):
        late, soon = Curve(1, (20, 40), (0.4, 0.2), False), Curve(2, (10, 20, 30, 40), (0.9, 0.8, 0.7, 0.6), False)
        assert band([late, soon]) == ((20, 30, 40), (0.4, 0.4, 0.2), (0.4, 0.4, 0.2), (0.8, 0.7, 0.6))

    def test_a_run_without_an_evaluation_diverged_at_once(self):
        assert band([Curve(1, (), (), True), Curve(2, (5,), (0.5,), False)]).high == (math.inf,)


class TestPublished:
    def test_table_1(self):
        assert _published.value("table_1", "fast_weights", 20) == 1.81
        assert _published.value("table_1", "lstm", 50) == 1.85
        assert _published.value("table_1", "associative_lstm", 50) == 1.62
        assert _published.value("table_1", "irnn", 100) == 0.34

    def test_what_the_paper_does_not_have(self):
        assert _published.value("table_1", "fast_weights", 64) is None
        assert _published.value("table_1", "gru", 50) is None

    @pytest.mark.parametrize("name", ["table_1", "figure_2", "table_2", "table_3"])
    def test_every_table_is_rectangular(self, name):
        entry = _published.table(name)
        assert len(entry["values"]) == len(entry["rows"])
        assert all(len(row) == len(entry["columns"]) for row in entry["values"])


class TestSection41:
    def test_unknown_names_are_refused(self):
        with pytest.raises(UsageError, match="did you mean 'table-1'"):
            experiments.load("table1")
        with pytest.raises(UsageError, match="did you mean 'quick'"):
            experiments.load("table-1").check_preset("quik")

    def test_the_paper_preset_is_the_papers_protocol(self):
        plan = PRESETS["paper"]
        assert plan.hidden_sizes == (20, 50, 100)
        assert plan.updates == _published.table("figure_2")["budget_updates"]
        assert set(plan.models) == set(_published.table("table_1")["rows"])
        assert {options["decay"] for options in plan.models["fast_weights"].options} == {0.9, 0.95}
        assert SCREENING_SEED not in plan.seeds
        for config in experiments.load("table-1").screening("paper"):
            assert (config.train_size, config.validation_size, config.test_size) == (100_000, 10_000, 20_000)
            assert (config.batch_size, config.embedding_size, config.input_size) == (128, 50, 100)

    def test_the_standard_preset_screens_weight_decay_where_a_model_learns_by_heart(self):
        screened = experiments.load("table-1").screening("standard")
        found = {(c.cell, c.hidden_size, c.updates) for c in screened if c.weight_decay > 0}
        assert found == {
            *(("lstm", 20, 48_000), ("lstm", 50, 24_000), ("lstm", 100, 48_000)),
            *(("irnn", 100, 120_000), ("fast_weights", 50, 48_000)),
            *(("associative_lstm", size, 48_000 if size == 20 else 24_000) for size in (20, 50, 100)),
        }
        entries = experiments.load("table-1").entries("standard")
        budgets = {(e.candidates[0].cell, e.candidates[0].hidden_size): e.updates for e in entries}
        assert {key: updates for key, updates in budgets.items() if updates != 100_000} == {
            ("irnn", 100): 500_000,
            **{("associative_lstm", size): 25_000 for size in (50, 100)},
            **{(cell, 20): 300_000 for cell in ("lstm", "fast_weights")},
            ("irnn", 50): 750_000,
            ("lstm", 50): 750_000,
        }
        irnns = {(c.hidden_size, c.updates) for c in screened if c.cell == "irnn"}
        assert irnns == {(20, 60_000), (50, 120_000), (100, 120_000)}

    def test_the_quick_preset_gives_every_model_the_same_updates_on_the_full_data(self):
        experiment = experiments.load("table-1")
        assert experiment.screening("quick") == []
        configs = experiment.final("quick", [])
        assert {config.cell for config in configs} >= {"irnn", "lstm", "fast_weights"}
        assert len({config.updates for config in configs}) == 1
        assert {(config.train_size, config.test_size) for config in configs} == {(100_000, 20_000)}

    def test_validation_selects_and_other_seeds_are_reported(self, finish):
        experiment = experiments.load("table-1")
        candidates = experiment.screening("paper")
        rates = sorted({c.learning_rate for c in candidates if c.cell == "irnn"})

        def ending(config):
            # The second learning rate is best on validation, the first has the best test error, the third diverged.
            position = sorted({c.learning_rate for c in candidates if c.cell == config.cell}).index(
                config.learning_rate
            )
            return {
                "validation_error": (0.3, 0.1, 0.0)[min(position, 2)],
                "errors": 0 if position == 0 else 5_000,
                "status": "finished" if position < 2 else "diverged",
            }

        screened = [finish(config, **ending(config)) for config in candidates]
        final = experiment.final("paper", screened)
        assert len(final) == 4 * 3 * 5
        assert {config.learning_rate for config in final if config.cell == "irnn"} == {rates[1]}
        assert {config.updates for config in final} == {750_000}
        assert 0 not in {config.seed for config in final}

    def test_a_run_that_diverged_after_learning_is_no_success(self, finish):
        ends = ("finished", "diverged")
        runs = [finish(RunConfig(cell="lstm", seed=seed), errors=100, status=end) for seed, end in enumerate(ends)]
        (row,) = experiments.load("table-1").reduce("quick", runs).rows
        assert (row.successes, row.runs) == (1, 2)

    def test_a_curve_that_lacks_its_end_is_noticed(self, finish):
        run = finish(RunConfig())
        run.rewind_metrics(500)
        with pytest.raises(RunError, match="incomplete"):
            experiments.load("figure-2").reduce("quick", [run])

    def test_the_curve_of_a_diverged_run_says_so(self, finish):
        runs = [finish(RunConfig(seed=seed), status=end) for seed, end in enumerate(("finished", "diverged"))]
        curves = experiments.load("figure-2").reduce("quick", runs).figures["figure-2"].curves["fast_weights"]
        assert [curve.diverged for curve in curves] == [False, True]

    def test_equal_errors_are_decided_by_nll(self, finish):
        experiment = experiments.load("figure-2")
        screened = [
            finish(config, nll=config.learning_rate, validation_error=0.0) for config in experiment.screening("paper")
        ]
        for config in experiment.final("paper", screened):
            rates = [c.learning_rate for c in experiment.screening("paper") if c.cell == config.cell]
            assert config.learning_rate == min(rates)

    def test_rows_show_the_median_run_and_keep_the_diverged_ones(self, finish):
        runs = [
            finish(RunConfig(cell="lstm", seed=seed), errors=errors, nll=errors / 1e4)
            for seed, errors in enumerate((400, 100, 300, 200))
        ]
        runs.append(finish(RunConfig(cell="lstm", seed=9), errors=9_000, status="diverged", reason="NaN at update 7"))
        runs.append(finish(RunConfig(cell="irnn"), errors=12_100))
        outcome = experiments.load("table-1").reduce("quick", runs)
        irnn, lstm = outcome.rows
        assert (irnn.cell, irnn.published) == ("irnn", 0.6023)
        assert (lstm.error, lstm.nll) == (300 / 20_000, 0.03)
        assert lstm.interval == wilson_interval(300, 20_000)
        assert lstm.errors == tuple(count / 20_000 for count in (100, 200, 300, 400, 9_000))
        assert (lstm.successes, lstm.runs) == (2, 5)
        assert (lstm.updates_to_success, lstm.seconds_to_success) == (None, None)  # three of five never got there
        assert lstm.verdict == "reproduced"
        assert lstm.diverged == ("seed 9: NaN at update 7",)
        said = remarks(outcome)
        assert "IRNN, R = 50: within 2 points of the no-binding floor (61.65 %): no binding learned" in said[0]
        assert "median of 5 seeds: 0.50, 1.00, 1.50, 2.00, 45.00 %; diverged (seed 9: NaN at update 7)" in said[1]

    def test_a_run_without_an_evaluation_is_the_worst(self, finish):
        gone = {"status": "diverged", "reason": "NaN at update 1", "test_errors": None}
        scores = [{"errors": 100}, {"errors": 300}, gone]
        runs = [finish(RunConfig(cell="lstm", seed=seed), **score) for seed, score in enumerate(scores)]
        (row,) = experiments.load("table-1").reduce("quick", runs).rows
        assert (row.error, row.errors, row.successes, row.runs) == (0.015, (0.005, 0.015), 1, 3)
        assert row.verdict is None  # the paper's 1.85 % is worse than both errors, but a seed has none
        assert experiments.load("table-1").reduce("quick", runs[:2]).rows[0].verdict == "better"
        outcome = experiments.load("table-1").reduce("quick", [*runs, finish(RunConfig(cell="lstm", seed=3), **gone)])
        assert outcome.rows[0].error == 0.015  # the lower of the two in the middle
        assert "median of 4 seeds: 0.50, 1.50 %; diverged (seed 2" in remarks(outcome)[0]
        mostly_gone = [runs[0], *(finish(RunConfig(cell="lstm", seed=seed), **gone) for seed in (4, 5))]
        assert experiments.load("table-1").reduce("quick", mostly_gone).rows[0].error is None

    def test_files_hold_the_table_the_figure_and_every_run(self, finish, tmp_path):
        runs = [finish(RunConfig(cell=cell, seed=1), errors=400) for cell in ("lstm", "fast_weights")]
        runs.append(finish(RunConfig(hidden_size=20), errors=1))
        outcome = experiments.load("table-1").reduce("quick", runs)
        saved = save(outcome, runs, tmp_path / "out")
        assert [path.name for path in saved] == ["table.md", "table.json", "figure-2.svg", "figure-2.png"]
        assert json.loads(saved[1].read_text()) == json.loads(json.dumps(table_values(outcome)))
        assert saved[0].read_text() == markdown_table(outcome)
        assert "| Fast weights | 20 | 0.01 | 0.00–0.03 | 1.81 |" in markdown_table(outcome)
        record = json.loads((tmp_path / "out" / "runs" / f"{runs[0].path.name}.json").read_text())
        assert record == {"result": runs[0].result(), "metrics": runs[0].metrics(), "elsewhere": []}
        assert saved[3].read_bytes().startswith(b"\x89PNG")
        svg = saved[2].read_text()
        for text in ("no binding learned: 1.187", "Fast weights (published", "LSTM (published", "test NLL (nats)"):
            assert text in svg
        again = save(outcome, runs, tmp_path / "again")
        assert again[2].read_bytes() == saved[2].read_bytes()

    def test_records_of_other_runs_are_named_and_kept(self, finish, tmp_path):
        runs = [finish(RunConfig(seed=seed), errors=1) for seed in (0, 1, 2)]
        screened, before, now = ([run] for run in runs)
        outcome = experiments.load("table-1").reduce("quick", now)
        save(outcome, before, tmp_path / "out", before)
        save(outcome, now, tmp_path / "out", screened)
        name = f"{before[0].path.name}.json"
        left = [tmp_path / "out" / part / name for part in ("runs", "screening")]
        assert left_over(now, screened, tmp_path / "out") == left
        assert all(path.exists() for path in left)
        assert left_over([*now, *before], [*screened, *before], tmp_path / "out") == []

    def test_what_was_screened_is_a_table_that_marks_what_validation_chose(self, finish, tmp_path):
        tried = [(3e-3, 0.02, None), (1e-3, 0.01, 0.1), (1e-3, 0.04, None)]
        screened = [
            finish(RunConfig(cell="lstm", updates=500, learning_rate=rate, clip_norm=clip), validation_error=error)
            for rate, error, clip in tried
        ]
        gone = {"status": "diverged", "validation_error": None, "validation_nll": None}
        screened.append(finish(RunConfig(cell="irnn", updates=700, hidden_size=20), **gone))
        chosen = dataclasses.replace(best(screened), updates=900)
        runs = [finish(dataclasses.replace(chosen, seed=seed), errors=400) for seed in (1, 2)]
        outcome = experiments.load("table-1").reduce("quick", runs)
        assert (saved := save(outcome, runs, tmp_path, screened))[-1].name == "screening.md"
        assert saved[-1].read_text().splitlines() == [
            "| model | R | learning rate | clip norm | updates | validation error % | NLL | reported |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
            "| LSTM | 50 | 0.001 | – | 500 | 4.00 | 0.1000 |  |",
            "| LSTM | 50 | 0.001 | 0.1 | 500 | 1.00 | 0.1000 | ✓ |",
            "| LSTM | 50 | 0.003 | – | 500 | 2.00 | 0.1000 |  |",
            "| IRNN | 20 | 0.001 | – | 700 | diverged | – |  |",
        ]

    @pytest.mark.parametrize(("name", "inside"), [("rate {}", True), ("updates 120000, weight decay {}, " * 2, False)])
    def test_many_curves_are_told_apart_and_no_legend_covers_them(self, name, inside):
        curves = {name.format(i, i): [Curve(0, (0, 10), (1.0, 1.0 / (i + 1)), diverged=False)] for i in range(9)}
        figure = figure_of(LearningCurves("Title", "NLL", None, curves))
        (axes,) = figure.axes
        lines = axes.get_lines()
        assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(lines) == 9
        figure.draw_without_rendering()
        legend = axes.get_legend() if inside else figure.legends[0]
        assert [text.get_text() for text in legend.get_texts()] == list(curves)
        assert legend.get_window_extent().overlaps(axes.get_window_extent()) == inside

    def test_a_narrow_terminal_gets_fewer_columns_and_whole_numbers(self, finish):
        outcome = experiments.load("table-1").reduce("quick", [finish(RunConfig(cell="lstm"), errors=400)])
        for width in (40, 60, 80, 130, 200):
            console = Console(width=width, record=True, file=io.StringIO())
            console.print(terminal_table(outcome, width))
            text = console.export_text()
            assert "2.00" in text
            assert "1.85" in text
            assert "…" not in text

    def test_lost_metrics_are_noticed(self, finish):
        run = finish(RunConfig())
        (run.path / "metrics.jsonl").write_text("")
        with pytest.raises(RunError, match=r"metrics\.jsonl is incomplete"):
            experiments.load("figure-2").reduce("quick", [run])

    def test_figure_2_shows_the_runs_with_50_units(self, finish):
        runs = [finish(RunConfig(hidden_size=size, seed=size)) for size in (20, 50, 100)]
        outcome = experiments.load("figure-2").reduce("quick", runs)
        (curve,) = outcome.figures["figure-2"].curves["fast_weights"]
        assert curve.seed == 50
        assert curve.updates == (500, 1_000)
        assert curve.nll == pytest.approx((0.102, 0.101))
        assert outcome.rows == []
        assert dataclasses.asdict(outcome)["floor_error"] == pytest.approx(0.6165)
