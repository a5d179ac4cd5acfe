"""Adaptive search: that it finds what it looks for, and proposes the same again."""

import dataclasses
import math

import pytest

from fastweights.errors import UsageError
from fastweights.training.records import RunDirectory
from fastweights.training.search import Search, _distribution, _median_nll, search
from small_runs import SMALL, small

pytest.importorskip("optuna")


def end(run, nll, status="finished"):
    run.write_result(
        {
            "status": status, "reason": "", "config": run.config().to_dict(), "updates": 1, "seconds": 1.0,
            "validation_nll": nll, "test_errors": 0, "test_count": 1, "test_nll": 0.0, "backend": "cpu",
        }
    )  # fmt: skip


@pytest.fixture
def train(tmp_path):
    """Ends every run with an NLL that is least at a learning rate of 3e-3 and a decay of 0.9; keeps what it did."""
    done = []

    def bring_to_their_end(configs):
        runs = [RunDirectory.create(tmp_path, config) for config in configs]
        for run, config in zip(runs, configs, strict=True):
            if run.is_over():
                continue
            done.append(config)
            far = math.log10(config.learning_rate / 3e-3) ** 2 + 10 * abs(config.cell_options["decay"] - 0.9)
            status = "diverged" if config.learning_rate > 0.05 else "finished"
            end(run, far + 0.01 * config.seed, status)
        return runs

    bring_to_their_end.done = done
    return bring_to_their_end


def wanted(**changes):
    settings = {
        "base": SMALL, "ranges": {"learning_rate": (1e-5, 1e-1)}, "choices": {"decay": [0.5, 0.9, 0.99]},
        "seeds": [1, 2, 3], "trials": 40,
    }  # fmt: skip
    return Search(**(settings | changes))


def test_the_least_is_found_on_a_logarithmic_scale(train):
    runs = [run for batch in search(wanted(), train) for run in batch]
    best = min(
        (run for run in runs if run.result()["status"] == "finished"), key=lambda r: r.result()["validation_nll"]
    )
    assert 1.5e-3 < best.config().learning_rate < 6e-3
    assert best.config().cell_options["decay"] == 0.9
    assert {run.config().seed for run in runs} == {1, 2, 3}
    # A uniform draw falls within this factor of 4 in 15 % of the trials, and a third of those has the right decay.
    near = [
        run for run in runs if 1.5e-3 < run.config().learning_rate < 6e-3 and run.config().cell_options["decay"] == 0.9
    ]
    assert len(near) > 3 * 0.05 * len(runs)


def test_the_same_search_proposes_the_same_runs_and_repeats_none(train):
    first = [run.path for batch in search(wanted(trials=10), train) for run in batch]
    count = len(train.done)
    again = [run.path for batch in search(wanted(trials=10), train) for run in batch]
    assert again == first
    assert len(train.done) == count
    longer = [run.path for batch in search(wanted(trials=12), train) for run in batch]
    assert longer[: 3 * 8] == first[: 3 * 8]  # the last batch of ten was cut short


def test_no_more_is_proposed_than_asked_for(train):
    assert len([run for batch in search(wanted(trials=10), train) for run in batch]) == 10 * 3


def test_a_scale_is_logarithmic_from_a_factor_of_ten_on():
    ends = ((0.01, 0.1), (0.02, 0.1), (0.0, 0.1))
    found = [_distribution(wanted(ranges={"learning_rate": each}), "learning_rate").log for each in ends]
    assert found == [True, False, False]


def test_a_proposal_is_judged_by_the_lower_median_of_its_seeds(train):
    """The NLLs rise with the seed; the last run diverges."""
    low, middle, high = train([small(seed=seed, learning_rate=3e-3) for seed in (1, 2, 3)])
    (diverged,) = train([small(seed=4, learning_rate=0.06)])
    assert [_median_nll(runs) for runs in ([high, low, middle], [low, middle, diverged], [low, diverged])] == [
        middle.result()["validation_nll"],
        middle.result()["validation_nll"],
        low.result()["validation_nll"],
    ]
    assert _median_nll([low, diverged, diverged]) == math.inf


def test_whole_numbers_are_proposed_for_a_whole_field(train):
    what = wanted(ranges={"hidden_size": (2, 5)}, choices={"decay": [0.9]}, trials=8)
    sizes = {run.config().hidden_size for batch in search(what, train) for run in batch}
    assert sizes <= {2, 3, 4, 5}
    assert len(sizes) > 1


def test_settings_that_go_together_are_searched_together(train):
    ranges = {"early_updates": (1, 9), "early_train_size": (100, 600)}
    for given in ({"early_updates": 3}, {"early_train_size": 100}, {}):
        base = dataclasses.replace(SMALL, **given)
        what = wanted(base=base, ranges={name: ends for name, ends in ranges.items() if name not in given}, trials=4)
        configs = [run.config() for batch in search(what, train) for run in batch]
        assert all(1 <= c.early_updates <= 9 and 100 <= c.early_train_size <= 600 for c in configs)
        assert len({(c.early_updates, c.early_train_size) for c in configs}) > 1


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"trials": 0}, "trials must be at least 1"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"ranges": {}, "choices": {}}, "needs a --range or a --grid"),
        ({"ranges": {"learning_rate": (1.0, 0.1)}}, "the lower one first; got 1.0 0.1"),
        ({"ranges": {"learning_rate": (0.1, math.inf)}}, "two finite numbers"),
        ({"ranges": {"decay": (0.1, 0.9)}}, "decay has both a range and a grid"),
        ({"ranges": {"dekay": (0.1, 0.9)}}, "did you mean 'decay'"),
        ({"ranges": {"hidden_size": (2.5, 4)}}, "hidden_size must be whole numbers, got 2.5"),
        ({"ranges": {"cell": (1, 2)}}, "cell must be str"),
        ({"trials": 2.5}, "trials must be a whole number, got 2.5"),
        ({"trials": True}, "trials must be a whole number, got True"),
        ({"choices": {"cell": []}}, "cell needs at least one value"),
        ({"base": dataclasses.replace(SMALL, seed=-1)}, "seed must be at least 0, got -1"),
        # Both lows fit together and both highs do, but not all that lies between.
        ({"ranges": {"batch_size": (16, 500), "train_size": (20, 600)}}, "batch_size must be at most train_size = 20"),
    ],
)
@pytest.mark.usefixtures("as_installed")
def test_what_cannot_be_searched_is_refused(changes, complaint, train):
    with pytest.raises(UsageError, match=complaint):
        next(search(wanted(**changes), train))
    assert train.done == []


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("heads", {"ranges": {"heads": (1, 3)}, "choices": {"cell": ["associative_lstm"]}}),
        ("inner_steps", {"ranges": {"inner_steps": (1, 3)}, "base": dataclasses.replace(SMALL, seed=2**40)}),
        (
            "early_train_size",
            {
                "ranges": {"early_train_size": (100, 600), "fast_learning_rate": (0.1, 1.0)},
                "base": dataclasses.replace(SMALL, early_updates=3),
            },
        ),
    ],
)
def test_whole_settings_are_searched_in_whole_numbers(name, changes, tmp_path):
    """An option of a cell that is not the base's; a seed too large for NumPy; a base that the ranges complete."""

    def run(configs):
        assert {type((config.to_dict() | config.cell_options)[name]) for config in configs} == {int}
        runs = [RunDirectory.create(tmp_path, config) for config in configs]
        for each in runs:
            end(each, 1.0)
        return runs

    assert len(list(search(wanted(**changes, trials=8), run))) == 2
