"""What is said of a sweep, finished or not: its table, its best on validation, its files, its progress."""

import csv
import io
import json
import math
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from fastweights import cli
from fastweights.experiments._pictures import HeatMap
from fastweights.experiments._sweep import pictures, summarise
from fastweights.report.names import label
from fastweights.report.progress import follow
from fastweights.report.sweeps import csv_text, markdown, save, summary, terminal_table, values
from fastweights.training.config import RunConfig
from fastweights.training.loop import build_task, train
from fastweights.training.manifest import grid, settings, varied
from fastweights.training.records import RunDirectory
from finished_runs import finish
from small_runs import SMALL, small


@pytest.fixture
def end(tmp_path):
    """Writes the record of a run that ended as told; percentages, for they are easier to read."""

    def write(config, validation, test=50, *, nll=1.0, status="finished"):
        run = RunDirectory.create(tmp_path / "runs", config)
        for step in (10, 20):
            run.append_metrics({"step": step, "seconds": 0.1, "validation_error": 0.9, "validation_nll": nll})
        run.write_result(
            {
                "status": status, "reason": "the loss was nan" if status == "diverged" else "budget used up",
                "config": config.to_dict(), "updates": 20, "seconds": 1.0, "validation_error": validation / 100,
                "validation_nll": nll, "test_errors": test, "test_count": 100, "test_nll": 1.0, "backend": "cpu",
                "environment": {"commit": "abc"},
            }
        )  # fmt: skip
        return run

    return write


def combinations(seeds=(1, 2, 3), **fields):
    """Groups of configurations that differ in nothing but the seed."""
    configs = grid(SMALL, fields, seeds)
    return [configs[start : start + len(seeds)] for start in range(0, len(configs), len(seeds))]


def test_names_are_words_and_mathematics_stays():
    assert label("fast_weights, layer norm on h_0, inner_steps 2") == "Fast weights, layer norm on h_0, inner steps 2"


class TestSettings:
    def test_a_grid_over_them_gives_the_run_back(self):
        (config,) = grid(SMALL, {"decay": [0.7], "num_pairs": [2], "updates": [30]}, [5])
        chosen = {name: [value] for name, value in settings(config).items() if name != "seed" and value is not None}
        assert grid(RunConfig(), chosen, [5]) == [config]

    def test_what_varies_is_named_but_for_the_seed(self):
        configs = grid(SMALL, {"decay": [0.7, 0.8], "batch_size": [8, 16]}, [1, 2])
        assert varied(configs) == ("batch_size", "decay")
        assert varied(configs[:2]) == ()

    def test_an_option_that_one_cell_has_varies_if_it_differs_among_its_runs(self):
        both = grid(SMALL, {"cell": ["fast_weights", "irnn"]}, [1])
        assert "decay" not in varied(both)
        assert {"cell", "decay"} <= set(varied([*both, *grid(SMALL, {"decay": [0.3]}, [1])]))


class TestSummary:
    def test_the_best_median_on_validation_wins_whatever_the_test_says(self, end):
        steady, lucky = combinations(decay=[0.7, 0.8])
        runs = [end(config, validation, test=90) for config, validation in zip(steady, (4, 5, 6), strict=True)]
        runs += [end(config, validation, test=0) for config, validation in zip(lucky, (0, 7, 8), strict=True)]
        sweep = summarise(runs)
        assert sweep.best.settings == {"decay": 0.7}
        assert sweep.best.median_error == 0.05
        assert sweep.best_test_errors() == [0.9, 0.9, 0.9]
        assert [each.settings["decay"] for each in sweep.combinations] == [0.7, 0.8]

    def test_equal_errors_are_decided_by_the_nll(self, end):
        first, second = combinations(decay=[0.7, 0.8], seeds=(1,))
        sweep = summarise([end(first[0], 0, nll=0.02), end(second[0], 0, nll=0.01)])
        assert sweep.best.settings == {"decay": 0.8}

    def test_a_diverged_run_counts_as_worse_than_all_and_stays_in_the_table(self, end):
        (group,) = combinations(seeds=(1, 2, 3, 4))
        runs = [end(config, v) for config, v in zip(group[:2], (1, 2), strict=True)]
        runs += [end(config, 0, status="diverged") for config in group[2:]]
        (only,) = summarise(runs).combinations
        assert only.validation_errors == [0.01, 0.02, math.inf, math.inf]
        assert only.median_error == 0.02
        (gone,) = summarise(runs[1:]).combinations
        assert gone.median_error == math.inf
        assert summarise(runs[1:]).best is None
        assert "1 finished, 2 diverged" in summary(summarise(runs[1:]))
        assert "the loss was nan" in summary(summarise(runs))
        json.loads(json.dumps(values(summarise(runs[1:])), allow_nan=False))

    def test_a_diverged_run_has_no_test_error_and_is_counted_in_the_picture(self, tmp_path):
        ends = [(200, "finished"), (100, "diverged"), (400, "finished")]
        runs = [finish(tmp_path, small(seed=s), errors=e, status=status) for s, (e, status) in enumerate(ends)]
        assert summarise(runs).best_test_errors() == [0.01, 0.02]
        strips = pictures(summarise(runs))["seeds"]
        assert (strips.groups, strips.without) == ({"all runs": (10.0, 10.0)}, {"all runs": 1})

    def test_what_is_not_over_is_counted_and_comes_last(self, end, tmp_path):
        done, failed, waiting = combinations(seeds=(1,), decay=[0.7, 0.8, 0.9])
        others = [RunDirectory.create(tmp_path / "runs", group[0]) for group in (failed, waiting)]
        others[0].record_failure("Traceback: out of memory")
        sweep = summarise([*others, end(done[0], 30)])
        assert sweep.combinations[0].settings["decay"] == 0.7
        said = summary(sweep)
        assert "3 runs: 1 finished, 1 failed, 1 unfinished" in said
        assert f"{others[0].path.name}: see {others[0].error_path}" in said
        assert not pictures(summarise(others))

    def test_a_run_that_failed_and_is_tried_again_has_not_failed(self, tmp_path):
        run = RunDirectory.create(tmp_path, small())
        run.record_failure("Traceback: out of memory")
        with run.locked():
            assert summarise([run]).entries[0].status == "unfinished"
        assert summarise([run]).entries[0].status == "failed"

    def test_a_damaged_result_is_a_run_that_is_not_over(self, end):
        (group,) = combinations(seeds=(1,))
        run = end(group[0], 10)
        run.result_path.write_text('{"status": "fin')
        assert summarise([run]).entries[0].status == "unfinished"

    def test_of_many_that_diverged_some_are_named(self, end):
        (group,) = combinations(seeds=range(9))
        said = summary(summarise([end(config, 0, status="diverged") for config in group]))
        assert said.count("diverged: fast_weights") == 5
        assert "and 4 more" in said

    def test_what_failed_is_named_before_what_diverged(self, end, tmp_path):
        (group,) = combinations(seeds=(1, 2))
        failed = RunDirectory.create(tmp_path / "runs", group[1])
        failed.record_failure("Traceback: out of memory")
        said = summary(summarise([end(group[0], 0, status="diverged"), failed]))
        assert 0 < said.index("\nfailed: ") < said.index("\ndiverged: ")


class TestFiles:
    def test_csv_leaves_out_nothing_that_a_result_holds(self, tmp_path):
        run = RunDirectory.create(tmp_path, small())
        assert train(run, stop=lambda: False, notify=lambda message: None)
        head = set(next(csv.reader(io.StringIO(csv_text(summarise([run]))))))
        named_otherwise = {"run_id", "config", "environment"}
        assert run.result().keys() - head == named_otherwise
        assert set(settings(run.config())) <= head

    def test_csv_has_a_line_for_each_run_and_a_column_for_each_thing(self, end):
        groups = combinations(seeds=(1, 2), decay=[0.7, 0.8])
        runs = [end(config, 10 * config.seed) for group in groups for config in group]
        lines = list(csv.reader(io.StringIO(csv_text(summarise(runs)))))
        assert len(set(lines[0])) == len(lines[0])
        rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
        assert {(row["decay"], row["seed"], row["validation_error"]) for row in rows} == {
            ("0.7", "1", "0.1"), ("0.7", "2", "0.2"), ("0.8", "1", "0.1"), ("0.8", "2", "0.2"),
        }  # fmt: skip
        assert {(row["updates"], row["updates_done"], row["commit"]) for row in rows} == {("40", "20", "abc")}

    def test_a_heat_map_shows_the_best_over_the_other_settings(self, end):
        groups = combinations(seeds=(1,), decay=[0.9, 0.7], fast_learning_rate=[0.5, 1.0], batch_size=[8, 16])
        errors = iter(range(10, 90, 10))
        runs = [end(group[0], next(errors)) for group in groups[:-1]]  # the last combination has not been run
        runs.append(RunDirectory.create(runs[0].path.parent, groups[-1][0]))
        drawn = pictures(summarise(runs))
        assert set(drawn) == {
            "seeds", "learning-curves", "batch-size-decay", "batch-size-fast-learning-rate", "decay-fast-learning-rate",
        }  # fmt: skip
        heat = drawn["decay-fast-learning-rate"]
        assert isinstance(heat, HeatMap)
        assert (heat.y_name, heat.y) == ("decay", ("0.7", "0.9"))
        assert (heat.x_name, heat.x) == ("fast_learning_rate", ("0.5", "1"))
        assert heat.values == ((50.0, 70.0), (10.0, 30.0))
        assert heat.title == "Best over batch size"

    def test_a_damaged_curve_is_left_out(self, end, tmp_path):
        (group,) = combinations(seeds=(1, 2))
        damaged, whole = [end(config, 10) for config in group]
        damaged.metrics_path.write_text("{\n" + damaged.metrics_path.read_text())
        drawn = pictures(summarise([damaged, whole]))
        assert [curve.seed for curve in drawn["learning-curves"].curves["all runs"]] == [2]
        assert drawn["seeds"].groups == {"all runs": (10.0, 10.0)}
        save(summarise([damaged]), tmp_path / "out")

    def test_the_floor_is_drawn_where_it_is_that_of_all(self, end, tmp_path):
        one, two = combinations(seeds=(1,), num_pairs=[1, 2])
        runs = [end(one[0], 10), end(two[0], 10)]
        (alone,) = (picture for name, picture in pictures(summarise(runs[1:])).items() if name == "learning-curves")
        assert alone.floor == build_task(two[0]).no_binding_floor().nll
        assert pictures(summarise(runs))["learning-curves"].floor is None
        save(summarise(runs), tmp_path / "out")
        drawn = [(tmp_path / name / "learning-curves.svg") for name in ("out", "alone")]
        save(summarise(runs[1:]), tmp_path / "alone")
        assert ["no binding" in path.read_text() for path in drawn] == [False, True]

    def test_everything_is_saved_and_a_wide_table_is_not_cut(self, end, tmp_path):
        groups = combinations(seeds=(1, 2), decay=[0.7, 0.8], fast_learning_rate=[0.25, 1.0])
        runs = [end(config, 10 * config.seed) for group in groups for config in group]
        sweep = summarise(runs)
        saved = {path.name for path in save(sweep, tmp_path / "out")}
        assert saved >= {"summary.md", "summary.json", "runs.csv", "seeds.svg", "decay-fast-learning-rate.png"}
        assert {path.name for path in (tmp_path / "out").iterdir()} == saved
        assert "| 0.7 | 0.25 | 10.00 | 10.00–20.00 | 2 finished |" in markdown(sweep)
        for width, head in ((80, "learning"), (50, "settings")):
            console = Console(width=width, record=True, file=io.StringIO())
            console.print(terminal_table(sweep, width))
            text = console.export_text()
            assert head in text
            assert text.count("10.00–20.00") == 4
            assert "…" not in text


class TestCommand:
    def report(self, monkeypatch, capsys, *arguments):
        monkeypatch.setattr("sys.argv", ["fastweights", "report", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as exit:
            return exit.code, capsys.readouterr()
        return 0, capsys.readouterr()

    def test_it_summarises_a_folder(self, end, tmp_path, monkeypatch, capsys):
        for group in combinations(seeds=(1, 2), decay=[0.7, 0.8]):
            for config in group:
                end(config, 100 * config.cell_options["decay"])
        code, said = self.report(monkeypatch, capsys, tmp_path / "runs", "--json")
        assert code == 0
        assert json.loads(said.out)["best"]["settings"] == {"decay": 0.7}
        code, said = self.report(monkeypatch, capsys, tmp_path / "runs", "--output", tmp_path / "there")
        assert "best on validation: decay 0.7" in said.out
        assert (tmp_path / "there" / "runs.csv").exists()
        # The summary's own folder is no run.
        assert self.report(monkeypatch, capsys, tmp_path / "runs")[0] == 0

    def test_what_it_finds_is_saved_also_where_nobody_reads_the_table(self, end, tmp_path, monkeypatch, capsys):
        def closed(*_, **__):
            raise BrokenPipeError

        (group,) = combinations(seeds=(1, 2))
        for config in group:
            end(config, 10)
        monkeypatch.setattr(cli._output, "print", closed)
        assert self.report(monkeypatch, capsys, tmp_path / "runs")[0] == 1
        assert (tmp_path / "runs" / "summary" / "seeds.png").exists()

    def test_a_folder_without_runs_is_refused(self, tmp_path, monkeypatch, capsys):
        code, said = self.report(monkeypatch, capsys, tmp_path)
        assert code == 2
        assert "folder must hold run directories" in " ".join(said.err.split())

    def test_a_thousand_runs_take_less_than_five_seconds(self, end):
        (group,) = combinations(seeds=range(1000))
        runs = [end(config, 10) for config in group]
        begun = time.process_time()
        assert summarise(RunDirectory.all_in(runs[0].path.parent)).combinations[0].count("finished") == 1000
        assert time.process_time() - begun < 5


class TestProgress:
    def follow(self, configs, messages, tmp_path, monkeypatch):
        """What a log says of it."""
        monkeypatch.setattr("fastweights.report.progress._LOG_SECONDS", 0.0)
        console = Console(file=io.StringIO(), width=200)
        runs = [RunDirectory.create(tmp_path, config) for config in configs]
        with follow(console)("runs", configs) as observe:
            for index, message in messages:
                observe(runs[index], message)
        return console.file.getvalue()

    def test_it_counts_and_names_the_best(self, tmp_path, monkeypatch):
        configs = grid(SMALL, {"decay": [0.7, 0.8]}, [1, 2])
        said = self.follow(
            configs,
            [
                (0, {"step": 10, "validation_error": 0.5}),
                (1, {"step": 10, "validation_error": 0.25}),
                (1, {"retry": "killed"}),
                (2, {"failed": "out of memory"}),
                (0, {"over": True}),
                (1, {"step": 20}),
            ],
            tmp_path,
            monkeypatch,
        )
        name = "decay 0.7, seed 2"
        assert f"trying again {name}: killed" in said
        assert "failed decay 0.8, seed 1: out of memory" in said
        assert f"1 of 4 done, 1 running, 1 failed; best 25.00 % ({name})" in said

    def test_a_run_that_diverged_is_not_the_best(self, tmp_path, monkeypatch):
        """Neither by what it had learned before, nor if it was over when this began."""
        configs = grid(SMALL, {"decay": [0.7, 0.8, 0.9]}, [1])
        for config in configs[:2]:
            finish(tmp_path, config, validation_error=0.1, status="diverged", reason="the loss was nan")
        steps = [(i, {"step": 10, "validation_error": error}) for i, error in ((1, 0.125), (2, 0.25))]
        messages = [(0, {"over": True}), *steps, (1, {"over": True}), (2, {"step": 20})]
        said = self.follow(configs, messages, tmp_path, monkeypatch)
        assert "diverged decay 0.8, seed 1: the loss was nan" in said
        assert "best 12.50 % (decay 0.8, seed 1)" in said
        assert "2 of 3 done, 1 running; best 25.00 % (decay 0.9, seed 1)" in said.splitlines()[-1]

    def test_the_pace_is_that_of_the_updates_done_since_the_beginning(self, tmp_path, monkeypatch):
        """A run goes on from its 30th update of 40, another was over: of 80 updates, 5 in 60 s make 5 more a minute."""
        clock = iter([0.0, 30.0, 60.0])
        monkeypatch.setattr("fastweights.report.progress.time", SimpleNamespace(monotonic=lambda: next(clock)))
        configs = grid(SMALL, {"decay": [0.7, 0.8]}, [1])
        finish(tmp_path, configs[0])
        said = self.follow(configs, [(0, {"over": True}), (1, {"step": 30}), (1, {"step": 35})], tmp_path, monkeypatch)
        assert said.splitlines()[-1].endswith("all runs 94 %, 1.0 min left")

    def test_a_single_run_is_called_by_what_it_trains(self, tmp_path, monkeypatch):
        said = self.follow(grid(SMALL, {}, [1]), [(0, {"step": 10})], tmp_path, monkeypatch)
        assert "Fast weights, R = 6, seed 1: 10 updates" in said

    def test_what_is_damaged_and_what_is_in_use_is_told(self, tmp_path, monkeypatch):
        messages = [(0, {"set aside": "damaged-1-result.json"}), (0, {"in use": True})]
        said = self.follow(grid(SMALL, {}, [1]), messages, tmp_path, monkeypatch)
        assert "set aside as damaged damaged-1-result.json" in said
        assert "waiting for it" in said
