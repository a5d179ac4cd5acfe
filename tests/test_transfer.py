"""Trained weights on sequences of another kind."""

import json
import shutil
from dataclasses import replace

import pytest

from fastweights.training import checkpoint
from fastweights.training.loop import build_task, train
from fastweights.training.recall import recall
from fastweights.training.records import RunDirectory
from fastweights.training.transfer import score_elsewhere, with_task
from small_runs import small


@pytest.fixture
def run(tmp_path):
    """Trained for a moment on two pairs."""
    run = RunDirectory.create(tmp_path, small(task_options={"num_pairs": 2}, updates=200, test_size=50))
    assert train(run, stop=lambda: False, notify=lambda message: None)
    return run


def test_on_its_own_task_a_run_scores_what_its_result_says(run):
    score, result = score_elsewhere(run, {}), run.result()
    assert (score.errors, score.total, score.nll) == (result["test_errors"], 50, pytest.approx(result["test_nll"]))


@pytest.mark.parametrize("pairs", [1, 5])
def test_elsewhere_it_errs_where_its_answers_are_wrong(run, pairs):
    options = {"num_pairs": pairs}
    task = build_task(with_task(run.config(), options))
    test = task.split("test", 50, run.config().data_seed)
    answers = [recall(run, task.decode(tokens)) for tokens in test.tokens]
    assert score_elsewhere(run, options).errors == sum(answer.value != answer.expected for answer in answers)


def test_a_run_from_a_gpu_answers_on_a_cpu(run):
    """By a backend that runs there."""
    expected = recall(run, "a1b2??a"), score_elsewhere(run, {"num_pairs": 1})
    config = run.config()
    there = replace(config, device="cuda", cell_options={**config.cell_options, "backend": "triton"})
    (run.path / "config.json").write_text(json.dumps(there.to_dict()))
    (run.path / "elsewhere.json").unlink()
    assert (recall(run, "a1b2??a"), score_elsewhere(run, {"num_pairs": 1})) == expected


def test_a_run_without_an_evaluation_has_no_score(run):
    saved = checkpoint.load(run.path)
    checkpoint.save(run.path, 10**6, saved._replace(best=None))
    assert score_elsewhere(run, {}) is None


def test_a_score_outlives_the_weights(run):
    score = score_elsewhere(run, {"num_pairs": 5})
    for folder in run.path.glob("checkpoint-*"):
        shutil.rmtree(folder)
    assert score_elsewhere(run, {"num_pairs": 1}) is None
    assert score_elsewhere(run, {"num_pairs": 5}) == score


@pytest.mark.parametrize("text", ["", "[{", "7"])
def test_scores_that_cannot_be_read_are_computed_again(run, text):
    score = score_elsewhere(run, {"num_pairs": 5})
    (run.path / "elsewhere.json").write_text(text)
    assert score_elsewhere(run, {"num_pairs": 5}) == score
    assert len(run.elsewhere()) == 1


def test_a_new_result_has_no_old_scores(run):
    score_elsewhere(run, {"num_pairs": 5})
    run.write_result(run.result())
    assert run.elsewhere() == []
