"""The experiments beyond the paper's: what is compared with what, what selects, and what the rows say."""

import functools
import io
import itertools
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from rich.console import Console

import finished_runs
from fastweights import cells, experiments
from fastweights.errors import RunError, UsageError
from fastweights.experiments import capacity, fairness, length_transfer
from fastweights.experiments._pictures import Strips
from fastweights.experiments._reproduce import reproduce, so_far
from fastweights.experiments._selection import SCREENING_SEED, Budget, best
from fastweights.report.figures import figure_of
from fastweights.report.files import save
from fastweights.report.tables import markdown_table, remarks, terminal_table
from fastweights.tasks.associative_retrieval import AssociativeRetrieval
from fastweights.training import loop
from fastweights.training.config import RunConfig
from fastweights.training.loop import Score, build_model, complete
from fastweights.training.records import RunDirectory

COMPARISONS = ("layer-norm", "sensitivity", "readings", "capacity", "length-transfer", "fairness")


@pytest.fixture
def finish(tmp_path):
    """Writes the record of a run that ended as told."""
    return functools.partial(finished_runs.finish, tmp_path)


def settings(config):
    """All that two runs of one comparison may not differ in."""
    return {
        name: value
        for name, value in config.to_dict().items()
        if name not in {"cell", "hidden_size", "cell_options", "task_options", "learning_rate", "seed"}
    }


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize("preset", ["quick", "standard"])
def test_all_runs_get_the_same_budget_and_data(name, preset):
    experiment = experiments.load(name)
    entries = experiment.entries(preset)
    runs = [candidate for entry in entries for candidate in entry.candidates]
    assert all(settings(run) == settings(runs[0]) for run in runs)
    assert len({(entry.updates, entry.seeds) for entry in entries}) == 1
    assert (runs[0].train_size, runs[0].test_size) == (100_000, 20_000)
    assert all(SCREENING_SEED not in entry.seeds for entry in entries)


def test_validation_selects_never_the_test_set(finish):
    entry = Budget((1e-3, 2e-3, 4e-3), updates=1_000, seeds=(1, 2)).entry(RunConfig(cell="irnn"))
    told = [
        {"validation_error": 0.3, "errors": 0},
        {"validation_error": 0.1, "errors": 9_000},
        {"validation_error": 0.0, "errors": 0, "status": "diverged"},
    ]
    screened = [finish(config, **ending) for config, ending in zip(entry.candidates, told, strict=True)]
    assert best(screened) == entry.candidates[1]
    reported = entry.reported({run.path.name: run for run in screened})
    assert [(config.learning_rate, config.seed) for config in reported] == [(2e-3, 1), (2e-3, 2)]


def test_an_error_decides_before_the_nll(finish):
    candidates = Budget((1e-3, 2e-3), updates=1_000, seeds=(1,)).entry(RunConfig(cell="irnn")).candidates
    told = [{"validation_error": 0.1, "nll": 0.5}, {"validation_error": 0.2, "nll": 0.4}]
    assert best([finish(c, **each) for c, each in zip(candidates, told, strict=True)]) == candidates[0]


def test_equal_validation_errors_are_decided_by_the_nll(finish):
    candidates = Budget((1e-3, 2e-3), updates=1_000, seeds=(1,)).entry(RunConfig(cell="irnn")).candidates
    screened = [finish(config, nll=nll) for config, nll in zip(candidates, (0.2, 0.1), strict=True)]
    assert best(screened) == candidates[1]


class TestLayerNorm:
    def test_every_model_is_tried_with_and_without_at_the_same_rates(self):
        tried = {}
        for config in experiments.load("layer-norm").screening("standard"):
            options = config.cell_options
            key = config.cell, options.get("activation"), options.get("fast_learning_rate"), options["layer_norm"]
            tried.setdefault(key, set()).add(config.learning_rate)
        models = [("irnn", None, None), ("lstm", None, None)]
        models += [("fast_weights", f, eta) for f in ("relu", "tanh") for eta in (0.1, 0.5)]
        assert set(tried) == {(*model, norm) for model in models for norm in (False, True)}
        assert len(set(map(frozenset, tried.values()))) == 1

    def test_a_relu_without_layer_norm_overflows_in_the_first_sequences(self):
        """A(t) h ~ η |h|² h: with η |h|² above 1 the cube of h grows from step to step; tanh bounds |h|² by R."""
        tokens = torch.from_numpy(AssociativeRetrieval().split("train", 128, 0).tokens).int()
        for activation, finite in (("relu", False), ("tanh", True)):
            options = {"layer_norm": False, "activation": activation, "fast_learning_rate": 0.5}
            model = build_model(RunConfig(hidden_size=50, cell_options=options))
            assert bool(model(tokens).isfinite().all()) is finite

    def test_only_the_norms_own_gains_and_biases_are_added(self):
        sizes = {
            (config.cell, config.cell_options["layer_norm"]): sum(
                weight.numel() for weight in cells.load(config.cell)(100, 50, **config.cell_options).parameters()
            )
            for config in experiments.load("layer-norm").final("quick", [])
            if config.cell_options.get("activation") != "tanh"
        }
        added = {cell: sizes[cell, True] - sizes[cell, False] for cell, _ in sizes}
        # A gain and a bias for R sums; for the LSTM, for 4R of W h, 4R of C x and R cells.
        assert added == {"irnn": 2 * 50, "fast_weights": 2 * 50, "lstm": 2 * 9 * 50}

    def test_rows_and_figures_tell_the_variants_apart(self, finish, tmp_path):
        runs = [
            finish(config, errors=200 if config.cell_options["layer_norm"] else 12_330)
            for config in experiments.load("layer-norm").final("quick", [])
        ]
        outcome = experiments.load("layer-norm").reduce("quick", runs)
        assert [(row.cell, row.variant, row.error) for row in outcome.rows] == [
            (cell, f + variant, error)
            for cell, f in (("irnn", ""), ("lstm", ""), ("fast_weights", ""), ("fast_weights", "tanh, "))
            for variant, error in (("without layer norm", 0.6165), ("with layer norm", 0.01))
        ]
        assert outcome.figures["test-error"].groups["lstm, with layer norm"] == (1.0,)
        assert set(outcome.figures["without-layer-norm"].curves) == {
            "irnn",
            "lstm",
            "fast_weights",
            "fast_weights, tanh",
        }
        assert "| IRNN | 50 | without layer norm | 61.65 |" in markdown_table(outcome)
        assert "paper %" not in markdown_table(outcome)
        assert remarks(outcome)[0].startswith("IRNN, R = 50, without layer norm: within 2 points of the no-binding")
        assert "LSTM, with layer norm" in save(outcome, runs, tmp_path / "out")[2].read_text()


def test_a_diverged_run_has_no_number_and_is_counted(finish):
    runs = [
        finish(config, status="diverged", reason="NaN at update 7", test_errors=None)
        if config.cell_options.get("activation") == "relu" and not config.cell_options["layer_norm"]
        else finish(config)
        for config in experiments.load("layer-norm").final("quick", [])
    ]
    strips = experiments.load("layer-norm").reduce("quick", runs).figures["test-error"]
    assert strips.groups["fast_weights, without layer norm"] == ()
    assert {name for name, count in strips.without.items() if count} == {"fast_weights, without layer norm"}


@pytest.mark.parametrize(("without", "bars"), [(0, {0.2}), (1, {0.2}), (2, {0.3}), (3, {0.3}), (4, set())])
def test_the_bar_of_a_strip_is_a_median_in_which_runs_without_a_number_count(without, bars):
    (axes,) = figure_of(Strips("Title", "error", {"lstm": (0.1, 0.2, 0.3)}, {"lstm": without})).axes
    assert {line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 2} == bars


def test_a_narrow_terminal_keeps_the_variant(finish):
    runs = [finish(config) for config in experiments.load("layer-norm").final("quick", [])]
    outcome = experiments.load("layer-norm").reduce("quick", runs)
    for width in (80, 130, 140, 200):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(terminal_table(outcome, width))
        text = console.export_text()
        assert "without layer norm" in text
        assert "…" not in text


class TestSensitivity:
    def test_every_combination_is_run_with_the_same_seeds_and_rate(self):
        configs = experiments.load("sensitivity").final("standard", [])
        assert {config.learning_rate for config in configs} == {2e-3}
        points = [
            tuple(config.cell_options[name] for name in ("decay", "fast_learning_rate", "inner_steps"))
            for config in configs
        ]
        assert len(set(points)) == 4 * 5 * 3
        assert all(points.count(point) == 3 for point in points)
        assert {0.9, 0.95} <= {decay for decay, *_ in points}, "the paper's two values"

    def test_the_map_shows_each_median_where_its_settings_are(self, finish):
        """Errors of 1000 λ + 100 η, and one setting that diverged."""
        runs = []
        for config in experiments.load("sensitivity").final("quick", []):
            decay, eta = config.cell_options["decay"], config.cell_options["fast_learning_rate"]
            gone = {"status": "diverged", "test_errors": None} if (decay, eta) == (1.0, 0.25) else {}
            runs.append(finish(config, errors=round(1_000 * decay + 100 * eta), **gone))
        outcome = experiments.load("sensitivity").reduce("quick", runs)
        assert outcome.rows[0].variant == "λ = 0.9, η = 0.25, S = 1"
        picture = outcome.figures["inner-steps-1"]
        assert (picture.x, picture.y) == (("0.9", "0.95", "1"), ("0.25", "0.5", "1"))
        for y, eta in enumerate((0.25, 0.5, 1.0)):
            for x, decay in enumerate((0.9, 0.95, 1.0)):
                expected = None if (decay, eta) == (1.0, 0.25) else pytest.approx((10 * decay + eta) / 2)
                assert picture.values[y][x] == expected


class TestReadings:
    def test_the_printed_reading_runs_in_the_backend_of_table_1_and_the_others_in_the_reference(self):
        configs = experiments.load("readings").final("quick", [])
        readings = {(c.cell_options["lagged"], c.cell_options["boundary_norm"]): c for c in configs}
        assert set(readings) == {(False, False), (False, True), (True, False), (True, True)}
        printed = readings.pop((False, False))
        plain = complete(RunConfig(hidden_size=20, learning_rate=2e-3, updates=3_000, schedule="cosine"))
        assert printed.cell_options == plain.cell_options
        assert {config.cell_options["backend"] for config in readings.values()} == {"reference"}

    def test_rows(self, finish):
        experiment = experiments.load("readings")
        outcome = experiment.reduce("quick", [finish(config) for config in experiment.final("quick", [])])
        assert [row.variant for row in outcome.rows] == [
            "reads A(t)", "reads A(t), layer norm on h_0", "reads A(t−1)", "reads A(t−1), layer norm on h_0"
        ]  # fmt: skip


def climb(frontier):
    """The rungs tried, and the largest passed, if all K up to `frontier` are passed."""
    passed = {}
    pairs = capacity.FIRST_RUNG
    while pairs is not None:
        assert pairs not in passed, "tried twice"
        passed[pairs] = pairs <= frontier
        pairs = capacity.next_rung(passed)
    return len(passed), max((pairs for pairs, well in passed.items() if well), default=0)


class Pretending:
    """A place whose runs are over at once, with the error that a function of their configuration says."""

    slots = 2

    def __init__(self, error):
        self.error = error
        self.started = []

    def start(self, runs, say):
        (run,) = runs
        self.started.append(run.path.name)
        error = self.error(run.config())
        finished_runs.finish(run.path.parent, run.config(), errors=round(20_000 * error), validation_error=error)
        say({"ended": "as told"})
        return self

    def stop(self):
        pass

    def wait(self):
        pass

    def rest(self):
        pass


@contextmanager
def unobserved(name, configs):
    yield lambda run, message: None


def test_runs_on_a_gpu_are_selected_and_reported_as_on_a_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(loop, "build_model", lambda config: build_model(replace(config, device="cpu")))
    found = {}
    for device in ("cpu", "cuda"):
        place = Pretending(lambda config: config.learning_rate)
        done = reproduce(
            experiments.load("readings"), "standard", root=tmp_path, place=place, follow=unobserved, device=device
        )
        configs = [RunDirectory(tmp_path / name).config() for name in place.started]
        assert {config.device for config in configs} == {device}
        assert len(configs) == len(set(place.started)) == len(done.screened) + len(done.runs)
        so_far_there = so_far(experiments.load("readings"), "standard", root=tmp_path, device=device)
        assert (so_far_there.outcome, so_far_there.left) == (done.outcome, 0)
        found[device] = [(row.error, row.settings) for row in done.outcome.rows]
    assert found["cuda"] == found["cpu"]
    assert len(list(tmp_path.iterdir())) == 2 * len(configs)


# Hundreds of runs; the other tests here reduce and save some with the annotations checked.
@pytest.mark.usefixtures("as_installed")
class TestSoFar:
    @pytest.mark.parametrize(
        ("name", "step"), [("table-1", 53), ("layer-norm", 23), ("readings", 5), ("capacity", 61), ("fairness", 61)]
    )
    def test_it_shows_what_is_over_and_in_the_end_all(self, name, step, tmp_path):
        """Interrupted ever later: rows come as their runs end, and looking starts nothing."""
        experiment, preset = experiments.load(name), "standard"
        place = Pretending(lambda c: c.learning_rate if c.task_options["num_pairs"] <= 4 else 0.5)
        begin, limit = place.start, 1

        def start(*arguments):
            if len(place.started) >= limit:
                raise KeyboardInterrupt
            return begin(*arguments)

        place.start = start
        with pytest.raises(RunError, match="no run to report is over"):
            so_far(experiment, preset, root=tmp_path)
        rows, whole = [], None
        while whole is None:
            try:
                whole = reproduce(experiment, preset, root=tmp_path, place=place, follow=unobserved)
            except KeyboardInterrupt:
                limit += step
            started = len(place.started)
            try:
                found = so_far(experiment, preset, root=tmp_path)
            except RunError:
                continue
            assert (found.left == 0) == (whole is not None)
            assert all(run.is_over() for run in found.runs + found.screened)
            assert sum(row.runs for row in found.outcome.rows) >= len(found.runs)
            rows.append(len(found.outcome.rows))
            assert len(place.started) == started
        assert rows == sorted(rows)
        assert len(set(rows)) > 1
        assert found.outcome == whole.outcome
        for part in ("runs", "screened"):
            assert {run.path for run in getattr(found, part)} == {run.path for run in getattr(whole, part)}
        save(whole.outcome, whole.runs, tmp_path / "out", whole.screened)
        screening = {path.stem for path in tmp_path.glob("out/screening/*.json")}
        assert screening == {complete(config).run_id for config in experiment.screening(preset)}


class TestCapacity:
    @pytest.mark.parametrize("frontier", [0, *capacity.RUNGS])
    def test_bisection_finds_the_largest_rung_passed(self, frontier):
        tries, found = climb(frontier)
        assert found == frontier
        # After the first rung at most 7 are left open, which takes log2(7 + 1) more.
        assert tries <= 1 + 3

    def test_the_ladder_ends_where_the_letters_do(self):
        AssociativeRetrieval(num_pairs=capacity.RUNGS[-1])
        with pytest.raises(UsageError, match="there are 26 letters"):
            AssociativeRetrieval(num_pairs=capacity.RUNGS[-1] + 1)

    def test_validation_moves_up_the_ladder_and_the_test_set_is_reported(self, finish, tmp_path):
        """Fast weights recall K = 8 on validation but not on the test set; LSTMs recall nothing."""
        experiment = experiments.load("capacity")

        def ending(config):
            pairs, well = config.task_options["num_pairs"], config.cell == "fast_weights"
            right = well and pairs <= 8
            return {
                "validation_error": 0.005 if right else 0.3,
                "errors": 100 if right and pairs < 8 else 300 if right else 6_000,
            }

        configs = experiment.final("quick", [])
        runs = [finish(config, **ending(config)) for config in configs]
        while further := experiment.further("quick", runs):
            assert not {run.path.name for run in runs} & {config.run_id for config in further}
            runs += [finish(config, **ending(config)) for config in further]
        outcome = experiment.reduce("quick", runs)
        tried = {cell: [row.variant for row in outcome.rows if row.cell == cell] for cell in ("fast_weights", "lstm")}
        assert tried["fast_weights"] == ["K = 4", "K = 8", "K = 10", "K = 12"]
        assert tried["lstm"] == ["K = 1", "K = 2", "K = 4"]
        picture = outcome.figures["largest-k-interleaved"]
        assert (picture.x, picture.y, picture.values) == (("50",), ("fast_weights", "lstm"), ((4,), (0,)))
        (largest,) = (row for row in outcome.rows if row.remark)
        assert (largest.cell, largest.variant) == ("fast_weights", "K = 4")
        # Each row is held to the floor of its own K: for K = 1 there is none to hold it to.
        remarked = {row.variant for row in outcome.rows if row.floor_remark}
        assert remarked <= {"K = 2", "K = 4"}
        svg = save(outcome, runs, tmp_path / "out")[2].read_text()
        assert "Fast weights" in svg

    def test_the_search_goes_on_until_the_frontier_is_found_and_the_same_command_runs_nothing_twice(self, tmp_path):
        """Fast weights pass at all K, so that their ladder is climbed to its end; the LSTM stops at K = 1."""
        place, stages = (
            Pretending(lambda c: 0.0 if c.cell == "fast_weights" or c.task_options["num_pairs"] == 1 else 0.5),
            [],
        )

        @contextmanager
        def follow(name, configs):
            stages.append((name, len(configs)))
            yield lambda run, message: None

        for again in (False, True):
            found = reproduce(experiments.load("capacity"), "quick", root=tmp_path, place=place, follow=follow)
            assert len(place.started) == len(set(place.started)) == 4 + 3
            tried = {(row.cell, row.variant) for row in found.outcome.rows}
            assert {variant for cell, variant in tried if cell == "fast_weights"} == {
                "K = 4",
                "K = 12",
                "K = 20",
                "K = 26",
            }
            assert {variant for cell, variant in tried if cell == "lstm"} == {"K = 4", "K = 2", "K = 1"}
            assert stages == (1 + again) * [("runs", 2), *2 * [("further runs", 2)], ("further runs", 1)]

    def test_a_median_of_seeds_passes(self, finish):
        experiment = experiments.load("capacity")
        config = experiment.final("quick", [])[0]
        for errors, rung in (((0.0, 0.3, 0.01), 12), ((0.0, 0.3, 0.011), 2)):
            runs = [
                finish(replace(config, seed=seed, updates=config.updates + rung), validation_error=error)
                for seed, error in enumerate(errors)
            ]
            assert {run.task_options["num_pairs"] for run in experiment.further("quick", runs)} == {rung}

    def test_a_run_that_diverged_has_not_passed(self, finish):
        experiment = experiments.load("capacity")
        run = finish(experiment.final("quick", [])[0], validation_error=0.0, status="diverged")
        assert [c.task_options["num_pairs"] for c in experiment.further("quick", [run])] == [2]

    def test_exactly_one_percent_is_recalled(self, finish):
        experiment = experiments.load("capacity")
        (row,) = experiment.reduce("quick", [finish(experiment.final("quick", [])[0], errors=200)]).rows  # of 20,000
        assert row.remark == "the largest K recalled"

    def test_every_seed_climbs(self, finish):
        experiment = experiments.load("capacity")
        config = experiment.final("quick", [])[0]
        found = experiment.further("quick", [finish(replace(config, seed=seed)) for seed in (1, 2, 3)])
        assert [(c.seed, c.task_options["num_pairs"]) for c in found] == [(1, 2), (2, 2), (3, 2)]

    def test_each_order_has_a_ladder_of_its_own_and_keeps_to_it(self, finish):
        experiment = experiments.load("capacity")
        config = experiment.final("quick", [])[0]
        runs = [
            finish(replace(config, task_options={**config.task_options, "order": order}), validation_error=error)
            for order, error in (("interleaved", 0.0), ("keys_first", 0.5))
        ]
        found = {c.task_options["order"]: c.task_options["num_pairs"] for c in experiment.further("quick", runs)}
        assert found == {"interleaved": 12, "keys_first": 2}

    def test_what_is_left_waits_for_all_seeds_of_a_rung(self, finish, tmp_path):
        """One seed that passes does not say that the next rung is wanted."""
        experiment = experiments.load("capacity")
        screened = [finish(config) for config in experiment.screening("standard")]
        configs = experiment.final("standard", screened)
        finish(configs[0], validation_error=0.0)
        assert so_far(experiment, "standard", root=tmp_path).left == len(configs) - 1

    def test_keys_first_is_searched_on_its_own(self):
        configs = experiments.load("capacity").screening("standard")
        tried = {(c.cell, c.hidden_size, c.task_options["order"]) for c in configs}
        assert {(cell, size) for cell, size, order in tried if order == "keys_first"} == {
            (cell, 50) for cell in ("irnn", "lstm", "associative_lstm", "fast_weights")
        }
        assert {config.task_options["num_pairs"] for config in configs} == {4}


class TestLengthTransfer:
    def test_its_runs_are_those_of_the_capacity_experiments_first_rung(self):
        transfer, searched = experiments.load("length-transfer"), experiments.load("capacity")
        assert transfer.runs_folder == searched.runs_folder
        ids = {config.run_id for config in searched.screening("standard")}
        assert {config.run_id for config in transfer.screening("standard")} < ids

    def test_rows_show_the_score_at_each_k_beside_that_ks_floor(self, finish, monkeypatch):
        """A model that recalls four pairs, whichever those are: of K > 4 pairs it knows a share of 4/K."""

        def score(run, options):
            return Score(round(20_000 * max(0.0, 1 - 4 / options["num_pairs"])), 20_000, 0.0)

        monkeypatch.setattr(length_transfer, "score_elsewhere", score)
        experiment = experiments.load("length-transfer")
        outcome = experiment.reduce("quick", [finish(config) for config in experiment.final("quick", [])])
        row = next(row for row in outcome.rows if row.variant == "tested at K = 8")
        assert (row.error, row.updates_to_success, row.settings["task_options"]["num_pairs"]) == (0.5, None, 8)
        picture = outcome.figures["test-error"]
        assert picture.y == ("fast_weights, R = 50", "lstm, R = 50")
        assert picture.values[0] == tuple(
            pytest.approx(max(0.0, 100 - 400 / int(pairs)), abs=0.01) for pairs in picture.x
        )


# Closed forms for H units on an input of 100: IRNN (H, 100), (H, H), (H); fast weights, gain and bias besides; LSTM
# four times the IRNN; the associative LSTM with 3 heads 25/2 times.
PARAMETERS = {
    "fast_weights": lambda H: 100 * H + H * H + 3 * H,
    "irnn": lambda H: 100 * H + H * H + H,
    "lstm": lambda H: 4 * (100 * H + H * H + H),
    "associative_lstm": lambda H: 25 * (100 * H + H * H + H) // 2,
}
STATE = {
    "fast_weights": lambda H: H + H * H,
    "irnn": lambda H: H,
    "lstm": lambda H: 2 * H,
    "associative_lstm": lambda H: 5 * H,
}


class TestFairness:
    @pytest.mark.parametrize(
        "match", fairness.matches("standard"), ids=lambda match: f"{match.config.cell}, {match.target}"
    )
    def test_no_other_width_is_nearer(self, match):
        closed_forms = {"parameters": PARAMETERS, "state": STATE}[match.measure]
        target, of_cell = closed_forms["fast_weights"](match.reference), closed_forms[match.config.cell]
        step = 2 if match.config.cell == "associative_lstm" else 1
        units = match.config.hidden_size
        assert match.size == (PARAMETERS[match.config.cell](units), STATE[match.config.cell](units))
        distance = abs(of_cell(units) - target)
        assert distance <= min(abs(of_cell(other) - target) for other in range(step, 3_000, step))

    def test_the_widths_of_the_table(self):
        widths = {
            (match.measure, match.reference, match.config.cell): match.config.hidden_size
            for match in fairness.matches("standard")
        }
        assert widths["state", 50, "lstm"] == 1_275
        assert widths["state", 20, "irnn"] == 420
        assert widths["parameters", 50, "lstm"] == 16  # 7,488 of 7,650

    def test_what_is_too_large_is_said_and_not_run(self, finish):
        experiment = experiments.load("fairness")
        candidates = experiment.screening("standard")
        assert max(config.hidden_size for config in candidates) == 420
        screened = [finish(config) for config in candidates]
        outcome = experiment.reduce("standard", [finish(c) for c in experiment.final("standard", screened)])
        assert len(outcome.rows) == 6 * 4
        left_out = [row for row in outcome.rows if row.runs == 0]
        assert [(row.cell, row.hidden_size) for row in left_out] == [
            ("irnn", 2_550), ("lstm", 1_275), ("associative_lstm", 510)
        ]  # fmt: skip
        assert any(
            remark
            == "LSTM, R = 1275, state of 50 fast-weight units: not trained, for its 7,017,600 parameters are more "
            "than 500,000."
            for remark in remarks(outcome)
        )
        assert set(outcome.figures["state-50"].groups) == {"fast_weights"}
        assert set(outcome.figures["state-20"].groups) == {"fast_weights", *fairness.BASELINES}

    @pytest.mark.parametrize(("preset", "lstms"), [("long", 48_000), ("long-state", 12_000)])
    def test_the_long_presets_screen_each_model_for_as_long_as_it_takes_to_bind(self, preset, lstms):
        entries = experiments.load("fairness").entries(preset)
        assert {(entry.updates, entry.seeds) for entry in entries} == {(100_000, (1, 2, 3))}
        offered = {tuple((c.weight_decay, c.learning_rate) for c in entry.candidates) for entry in entries}
        assert offered == {tuple(itertools.product((0.0, 0.1), (5e-4, 1e-3, 2e-3, 5e-3)))}
        screened = {(c.cell, c.updates) for entry in entries for c in entry.candidates}
        others = {(cell, lstms) for cell in ("lstm", "associative_lstm")}
        assert screened == {("fast_weights", 12_000), ("irnn", 60_000), *others}

    def test_a_reference_is_trained_once_for_both_measures(self):
        configs = [entry.candidates[0] for entry in experiments.load("fairness").entries("standard")]
        assert len({config.run_id for config in configs}) == len(configs)
        assert sorted(c.hidden_size for c in configs if c.cell == "fast_weights") == [10, 20, 50, 100]


class TestTrainingData:
    def test_the_runs_are_those_of_table_1_and_the_same_on_ten_times_the_data(self, tmp_path):
        experiment, table = experiments.load("training-data"), experiments.load("table-1")
        place = Pretending(lambda c: c.learning_rate)
        found = reproduce(experiment, "standard", root=tmp_path, place=place, follow=unobserved)
        configs = [run.config() for run in found.runs]
        small, large = ([c for c in configs if c.train_size == size] for size in (100_000, 1_000_000))
        assert len(small) + len(large) == len(configs)
        as_small = {"train_size": 100_000, "early_updates": 0, "early_train_size": None}
        assert [replace(c, **as_small) for c in large] == [c for c in small if c.seed in (1, 2, 3)]
        # The IRNN begins to bind on as many sequences as Table 1 has.
        early = {(c.cell, c.early_updates, c.early_train_size) for c in large}
        assert early == {("irnn", 50_000, 100_000), ("lstm", 0, None)}
        screened = [RunDirectory(tmp_path / complete(c).run_id) for c in experiment.screening("standard")]
        of_table = {complete(c).run_id for c in table.final("standard", screened)}
        assert {complete(c).run_id for c in small} == {c for c in of_table if c.startswith(("irnn-100", "lstm-100"))}
        assert {run.config().train_size for run in found.screened} == {100_000}
        rows = [(row.cell, row.variant, row.runs) for row in found.outcome.rows]
        assert rows == [
            ("irnn", "100,000 training sequences", 5),
            ("irnn", "1,000,000 training sequences", 3),
            ("lstm", "100,000 training sequences", 5),
            ("lstm", "1,000,000 training sequences", 3),
        ]
        remark = "for the first 50,000 updates the first 100,000 of them alone"
        assert [row.remark for row in found.outcome.rows] == [None, remark, None, None]
