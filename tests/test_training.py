"""One run: configuration, loop, record, checkpoint, and what happens when it is killed, stopped or goes wrong."""

import dataclasses
import errno
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fastweights import kernels
from fastweights.errors import RunError, UsageError
from fastweights.tasks.associative_retrieval import AssociativeRetrieval
from fastweights.training import checkpoint, environment
from fastweights.training.config import RunConfig
from fastweights.training.evaluation import sums_over
from fastweights.training.loop import Score, Trainer, build_model, complete, evaluate, learning_rate_at, train
from fastweights.training.recall import recall
from fastweights.training.records import RunDirectory, write_atomically
from fastweights.training.repair import set_damage_aside
from fastweights.training.together import train_together
from small_runs import SMALL, is_running, small, wait_until

DIE_MID_CHECKPOINT = """
import os, signal, sys
from pathlib import Path
from fastweights.training import checkpoint
from fastweights.training.loop import train
from fastweights.training.records import RunDirectory

def write(folder, content, whole=checkpoint._write):
    whole(folder, content)
    if folder.name == "partial-30":
        (folder / "trainer.pt").write_bytes(b"PK")
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint._write = write
train(RunDirectory.open(Path(sys.argv[1])), stop=lambda: False, notify=lambda message: None)
"""


def train_to_the_end(run):
    assert train(run, stop=lambda: False, notify=lambda message: None)
    return run.result()


def train_until(run, evaluations):
    assert not train(run, stop=lambda: len(run.metrics()) == evaluations, notify=lambda message: None)


def trained_bits(run):
    """Everything a run computes: weights, best weights, optimiser state, random state, metrics without times."""
    saved = checkpoint.load(run.path)
    optimizer = saved.trainer["optimizer"]["state"]
    tensors = {f"model.{k}": v for k, v in saved.model.items()} | {f"best.{k}": v for k, v in saved.best.items()}
    tensors |= {f"{index}.{k}": v for index, state in optimizer.items() for k, v in state.items()}
    tensors["rng"] = saved.trainer["rng"]
    metrics = [{k: v for k, v in entry.items() if k != "seconds"} for entry in run.metrics()]
    result = {k: v for k, v in run.result().items() if k not in ("seconds", "environment")}
    return {k: v.numpy().tobytes() for k, v in tensors.items()}, metrics, result


class TestConfig:
    def test_round_trip(self):
        config = small(learning_rate=3e-4)
        assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config

    def test_run_id_depends_on_every_field(self):
        changes = {
            "cell": "irnn", "cell_options": {"a": 1}, "task": "other", "task_options": {}, "schedule": "linear",
            "clip_norm": 1.0, "learning_rate": 0.5, "device": "cuda", "early_train_size": 100,
        }  # fmt: skip
        for field in dataclasses.fields(RunConfig):
            value = changes.get(field.name, getattr(SMALL, field.name))
            if field.name not in changes:
                value += 1
            assert dataclasses.replace(SMALL, **{field.name: value}).run_id != SMALL.run_id, field.name

    def test_completion_leaves_nothing_open(self):
        config = complete(RunConfig())
        assert config.cell_options["decay"] == 0.95
        assert config.cell_options["backend"] != "auto"
        assert config.task_options == {"num_pairs": 4, "replacement": True, "order": "interleaved"}
        assert complete(config) == config

    @pytest.mark.usefixtures("as_installed")
    def test_equal_numbers_of_other_types_are_the_same_run(self):
        plain = small(seed=3, learning_rate=0.5, weight_decay=1.0, clip_norm=2.0)
        others = {"seed": np.int64(3), "learning_rate": np.float32(0.5), "weight_decay": 1, "clip_norm": np.uint8(2)}
        for name, value in others.items():
            assert dataclasses.replace(plain, **{name: value}).checked().run_id == plain.run_id
        options = {
            **{"decay": np.float32(0.5), "inner_steps": np.int64(2), "activation": np.str_("tanh")},
            **{"layer_norm": np.bool_(True), "fast_learning_rate": torch.tensor(0.25)},
        }
        same = {"decay": 0.5, "inner_steps": 2, "activation": "tanh", "layer_norm": True, "fast_learning_rate": 0.25}
        assert small(cell_options=options).run_id == small(cell_options=same).run_id

    @pytest.mark.parametrize(
        ("changes", "complaint"),
        [
            ({"hidden_size": -3}, "hidden_size must be at least 1, got -3"),
            ({"seed": -1}, "seed must be at least 0, got -1"),
            ({"seed": 2**64}, "seed must be below 2\\*\\*63"),
            ({"threads": 100_000}, "threads must be at most 1024"),
            ({"hidden_size": 10_000_000}, "cannot build this model"),
            ({"updates": 0}, "updates must be at least 1"),
            ({"updates": 1e3}, "updates must be int, got 1000.0"),
            ({"train_size": 10**30}, "train_size must be below 2\\*\\*63"),
            ({"learning_rate": 10**400}, "learning_rate must be below 2\\*\\*63"),
            ({"learning_rate": -(10**400)}, "not below its negative"),
            ({"learning_rate": 0.0}, "learning_rate must be finite and above 0, got 0.0"),
            ({"data_seed": -1}, "data_seed must be at least 0, got -1"),
            ({"evaluate_every": 0}, "evaluate_every must be at least 1, got 0"),
            ({"cell": 3}, "cell must be str, got 3"),
            ({"cell_options": {"decay": 10**400}}, "decay must be below 2\\*\\*63"),
            ({"cell_options": {"inner_steps": 10**30}}, "inner_steps must be below 2\\*\\*63"),
            ({"cell_options": None}, "cell_options must be a mapping of names to values, got None"),
            ({"task_options": [1]}, "task_options must be a mapping of names to values, got \\[1\\]"),
            ({"schedule": np.ones(2)}, "unknown schedule"),
            ({"updates": np.array([3])}, "updates must be int, got array"),
            ({"cell_options": {"decay": None}}, "decay must be bool | int | float | str, got None".replace("|", "\\|")),
            ({"seed": True}, "seed must be int, got True"),
            ({"learning_rate": "1e-3"}, "learning_rate must be float, got '1e-3'"),
            ({"clip_norm": False}, "clip_norm must be float | None, got False".replace("|", "\\|")),
            ({"learning_rate": math.nan}, "learning_rate must be finite"),
            ({"clip_norm": 0.0}, "clip_norm must be above 0"),
            ({"weight_decay": -0.1}, "weight_decay must be finite and at least 0, got -0.1"),
            ({"weight_decay": math.nan}, "weight_decay must be finite and at least 0, got nan"),
            ({"batch_size": 601}, "at most train_size = 600"),
            ({"early_updates": -1}, "early_updates must be at least 0 and below updates = 40, got -1"),
            ({"early_updates": 40, "early_train_size": 99}, "below updates = 40, got 40"),
            ({"early_updates": 9}, "early_updates = 9 needs an early_train_size"),
            ({"early_train_size": 99}, "early_train_size = 99 needs early_updates above 0"),
            ({"early_updates": 9, "early_train_size": 15}, "between batch_size = 16 and train_size = 600, got 15"),
            ({"early_updates": 9, "early_train_size": 601}, "between batch_size = 16 and train_size = 600, got 601"),
            ({"device": "gpu"}, "unknown device 'gpu'"),
            ({"schedule": "cosin"}, "did you mean 'cosine'"),
            ({"cell": "fast_weight"}, "did you mean 'fast_weights'"),
            ({"task": "assoc"}, "unknown task 'assoc'"),
            ({"cell_options": {"dekay": 1.0}}, "did you mean 'decay'"),
            ({"cell_options": {"decay": "much"}}, "decay must be float, got 'much'"),
            ({"cell_options": {"layer_norm": 1}}, "layer_norm must be bool, got 1"),
            ({"cell_options": {"inner_steps": 0}}, "inner_steps must be an integer of at least 1"),
            ({"cell_options": {"activation": "relo"}}, "did you mean 'relu'"),
            ({"cell_options": {"dtype": "float64"}}, "unknown FastWeightRNN option 'dtype'"),
            ({"task_options": {"num_pairs": 27}}, "between 1 and 26, got 27"),
        ],
    )
    @pytest.mark.usefixtures("as_installed")
    def test_impossible_values_are_refused(self, changes, complaint):
        with pytest.raises(UsageError, match=complaint):
            small(**changes)

    def test_the_ends_of_ranges_are_taken(self):
        assert small(batch_size=600).batch_size == 600
        for size in (16, 600):
            assert small(early_updates=9, early_train_size=size).early_train_size == size

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_a_gpu_that_is_not_there_is_refused(self):
        with pytest.raises(UsageError, match='use device="cpu"'):
            small(device="cuda")

    def test_runs_keep_their_names_when_a_field_or_an_option_is_added(self):
        """The committed evidence is found by name."""
        assert RunConfig().run_id == "fast_weights-50-seed0-3037996cc734"
        eager = RunConfig(cell_options={"backend": "reference"})
        assert complete(eager).run_id == "fast_weights-50-seed0-5851a780b000"
        for option in ("lagged", "boundary_norm"):
            config = dataclasses.replace(eager, cell_options={**eager.cell_options, option: True})
            assert complete(config).run_id != complete(eager).run_id

    def test_unknown_keys_are_refused(self):
        with pytest.raises(UsageError, match="did you mean 'learning_rate'"):
            RunConfig.from_dict({"learning_rates": 1})


def flushes():
    """Whether a number below float32's least normal one, 2^-126, becomes zero here."""
    return (torch.tensor(2e-38, dtype=torch.float32) / 4).item() == 0


@pytest.mark.parametrize("members", [1, 2])
def test_the_weights_of_a_dead_unit_end_at_zero_not_at_denormals(tmp_path, members):
    """Each update halves them; float32's least number is 2^-149."""
    fading = small(updates=140, evaluate_every=140, learning_rate=0.005, weight_decay=100.0)
    runs = [RunDirectory.create(tmp_path, dataclasses.replace(fading, seed=seed)) for seed in range(members)]
    for run in runs:
        trainer = Trainer(run)
        trainer.model.expand.bias.data[0] = -1e3
        trainer.save()
    if members == 1:
        train_to_the_end(*runs)
    else:
        for _, over in train_together(runs, stop=lambda: False, notify=lambda *said: None):
            assert over is True
            assert not flushes()  # the caller's own arithmetic is left alone
    for run in runs:
        left = checkpoint.load(run.path).model["expand.weight"]
        assert left[0].tolist() == [0.0] * 4
        assert torch.any(left != 0)
    assert not flushes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_denormals_are_zero_while_one_thread_trains_and_then_as_before(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with environment.of_training(1):
            with pytest.raises(KeyError), environment.of_training(1):
                raise KeyError
            assert flushes()
        assert not flushes()
        with environment.of_training(2):
            assert not flushes()  # torch's other threads would not
    finally:
        torch.set_default_dtype(before)


class TestLoop:
    def test_equal_configurations_give_equal_bits(self, tmp_path):
        runs = [RunDirectory.create(tmp_path / name, small()) for name in ("a", "b")]
        for run in runs:
            train_to_the_end(run)
        assert trained_bits(runs[0]) == trained_bits(runs[1])

    def test_another_seed_gives_other_weights_and_another_order(self, tmp_path):
        runs = [RunDirectory.create(tmp_path, small(seed=seed)) for seed in (0, 1)]
        first, second = (Trainer(run) for run in runs)
        assert not torch.equal(first.model.head.weight, second.model.head.weight)
        assert not torch.equal(first._mini_batch(0), second._mini_batch(0))

    def test_a_validation_nll_that_is_not_finite_is_divergence(self, tmp_path, monkeypatch):
        """Though the training loss before it was finite."""
        monkeypatch.setattr("fastweights.training.loop.evaluate", lambda *arguments: Score(50, 100, math.inf))
        result = train_to_the_end(RunDirectory.create(tmp_path, small()))
        assert (result["status"], result["updates"], result["test_errors"]) == ("diverged", 10, None)
        assert result["reason"] == "the validation NLL was inf at update 10"

    def test_seconds_count_on_over_a_stop(self, tmp_path):
        run = RunDirectory.create(tmp_path, small())
        trainer = Trainer(run)
        trainer.update()
        trainer.progress.seconds = 1_000.0
        trainer.save()
        assert train_to_the_end(run)["seconds"] > 1_000
        assert all(entry["seconds"] > 1_000 for entry in run.metrics())

    @pytest.mark.parametrize("schedule", ["linear", "cosine"])
    def test_a_schedule_begins_with_the_first_update(self, tmp_path, schedule):
        trainer = Trainer(RunDirectory.create(tmp_path, small(learning_rate=0.1, schedule=schedule)))
        _, rates = trainer.plan(SMALL.updates)
        assert rates[0] == 0.1
        assert rates[SMALL.updates // 2] == pytest.approx(0.05)
        assert rates[-1] > 0

    def test_a_result_says_how_large_the_layer_is(self, tmp_path):
        result = train_to_the_end(RunDirectory.create(tmp_path, small()))
        # W, C, bias, gain and bias of layer norm; h and A.
        assert result["cell_parameters"] == 6 * 6 + 6 * 6 + 3 * 6 < result["parameters"]
        assert result["state_size"] == 6 + 6 * 6

    @pytest.mark.parametrize(("early", "size"), [(15, 100), (3, 100), (15, 600)])
    def test_early_updates_repeat_the_first_sequences(self, tmp_path, early, size):
        """In epochs of their own, cut off where the others begin, however many updates are asked for at once."""
        config = small(early_updates=early, early_train_size=size, updates=100)
        trainer = Trainer(RunDirectory.create(tmp_path, config))
        rows, _ = trainer.plan(60)
        per_epoch = size // SMALL.batch_size
        epochs = [rows[start : min(start + per_epoch, early)] for start in range(0, early, per_epoch)]
        for epoch in epochs:
            assert len(np.unique(epoch)) == epoch.size
            assert epoch.max() < size
        plain, _ = Trainer(RunDirectory.create(tmp_path, small(updates=100))).plan(60)
        np.testing.assert_array_equal(rows[early:], plain[: 60 - early])
        shown = [tuple(epoch[:3].ravel()) for epoch in (*epochs, plain)]
        assert len(set(shown)) == len(shown)  # each shuffled anew
        one_by_one = np.stack([trainer._mini_batch(step).numpy() for step in range(60)])
        np.testing.assert_array_equal(rows, one_by_one)

    def test_an_epoch_visits_every_sequence_at_most_once_and_the_next_is_shuffled_anew(self, tmp_path):
        trainer = Trainer(RunDirectory.create(tmp_path, small()))
        per_epoch = SMALL.train_size // SMALL.batch_size
        first = torch.cat([trainer._mini_batch(step) for step in range(per_epoch)])
        second = torch.cat([trainer._mini_batch(step) for step in range(per_epoch, 2 * per_epoch)])
        assert len(first.unique()) == len(first) == per_epoch * SMALL.batch_size
        assert not torch.equal(first, second)

    def test_torchs_global_generator_is_left_alone(self):
        before = torch.get_rng_state()
        build_model(small())
        assert torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
    def test_schedules(self, schedule):
        rates = [learning_rate_at(step, start=0.1, updates=100, schedule=schedule) for step in (0, 50, 100)]
        expected = {"constant": [0.1, 0.1, 0.1], "linear": [0.1, 0.05, 0.0], "cosine": [0.1, 0.05, 0.0]}[schedule]
        assert rates == pytest.approx(expected, abs=1e-12)

    def test_an_update_is_adams(self, tmp_path):
        """After one step from zero moments Adam moves every weight by lr · g / (|g| + ε)."""
        trainer = Trainer(RunDirectory.create(tmp_path, small(learning_rate=0.01)))
        before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
        trainer.update()
        for name, p in trainer.model.named_parameters():
            expected = before[name] - 0.01 * p.grad / (p.grad.abs() + 1e-8)
            torch.testing.assert_close(p.detach(), expected, rtol=1e-5, atol=1e-7)

    def test_weight_decay_shrinks_matrices_alone_and_by_itself(self, tmp_path):
        """An update of AdamW is Adam's, to which every matrix adds −lr · weight_decay times itself."""
        trainer = Trainer(RunDirectory.create(tmp_path, small(learning_rate=0.01, weight_decay=5.0)))
        before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
        trainer.update()
        for name, p in trainer.model.named_parameters():
            shrunk = before[name] * (0.95 if p.ndim == 2 else 1.0)
            expected = shrunk - 0.01 * p.grad / (p.grad.abs() + 1e-8)
            torch.testing.assert_close(p.detach(), expected, rtol=1e-5, atol=1e-7)

    def test_clipping_bounds_the_norm_of_the_gradient(self, tmp_path):
        trainer = Trainer(RunDirectory.create(tmp_path, small(clip_norm=1e-3)))
        trainer.update()
        norm = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in trainer.model.parameters()]))
        assert float(norm) == pytest.approx(1e-3, rel=1e-3)

    def test_early_stop_after_repeated_zero_validation_error(self, tmp_path):
        config = small(hidden_size=20, updates=3_000, learning_rate=1e-2, zero_evaluations=3)
        run = RunDirectory.create(tmp_path, config)
        result = train_to_the_end(run)
        assert "zero 3 times in a row" in result["reason"]
        assert result["updates"] < 3_000
        errors = [entry["validation_error"] for entry in run.metrics()]
        assert errors[-3:] == [0, 0, 0]
        assert errors[-4] > 0

    def test_the_best_weights_on_validation_are_tested(self, tmp_path):
        run = RunDirectory.create(tmp_path, small(updates=200, learning_rate=0.05))
        result = train_to_the_end(run)
        metrics = run.metrics()
        best = min(metrics, key=lambda entry: (entry["validation_error"], entry["validation_nll"]))
        assert result["best_update"] == best["step"]
        assert result["validation_error"] == best["validation_error"]
        model = build_model(run.config())
        model.load_state_dict(checkpoint.load(run.path).best)
        trainer = Trainer(run)
        score = evaluate(model, *trainer.data["test"])
        assert (score.errors, score.total) == (result["test_errors"], 100)
        assert result["test_errors"] / 100 == best["test_error"]

    def test_the_result_is_of_the_best_weights_even_if_the_last_are_others(self, tmp_path):
        run = RunDirectory.create(tmp_path, small())
        train_until(run, evaluations=2)
        saved = checkpoint.load(run.path)
        # Pretend that some other weights had been perfect on validation: they must be what is tested.
        best = {name: torch.randn_like(value) for name, value in saved.model.items()}
        saved.trainer["progress"] |= {"best_error": 0.0, "best_nll": 0.0, "best_step": 10}
        (path,) = run.path.glob("checkpoint-*")
        path.rename(path.with_name("gone"))
        checkpoint.save(run.path, 20, saved._replace(best=best))
        result = train_to_the_end(run)
        trainer = Trainer(run)
        trainer.model.load_state_dict(best)
        score = evaluate(trainer.model, *trainer.data["test"])
        assert result["best_update"] == 10
        assert (result["test_errors"], result["test_nll"]) == (score.errors, score.nll)

    def test_the_streak_that_stops_early_is_unbroken_and_of_validation(self, tmp_path, monkeypatch):
        trainer = Trainer(RunDirectory.create(tmp_path, small()))
        streak = []
        for errors in (0, 0, 1, 0, 0, 0):
            scores = iter((Score(errors, 100, 0.1), Score(1 - errors, 100, 0.1)))  # validation, then test
            monkeypatch.setattr("fastweights.training.loop.evaluate", lambda *arguments, scores=scores: next(scores))
            trainer.evaluate()
            streak.append(trainer.progress.zeros_in_a_row)
        assert streak == [1, 2, 0, 1, 2, 3]

    def test_each_split_is_its_own(self, tmp_path):
        trainer = Trainer(RunDirectory.create(tmp_path, small()))
        sizes = {"train": 600, "validation": 100, "test": 100}
        for name, size in sizes.items():
            wanted = AssociativeRetrieval(1).split(name, size, seed=0)
            assert torch.equal(trainer.data[name][0], torch.from_numpy(wanted.tokens))
            assert torch.equal(trainer.data[name][1], torch.from_numpy(wanted.targets))

    def test_nan_logits_are_errors(self, tmp_path):
        trainer = Trainer(RunDirectory.create(tmp_path, small()))
        torch.nn.init.constant_(trainer.model.logits.bias, math.nan)
        assert evaluate(trainer.model, *trainer.data["test"]).error == 1

    def test_divergence_is_recorded_with_the_step(self, tmp_path):
        run = RunDirectory.create(tmp_path, small(learning_rate=1e30))
        result = train_to_the_end(run)
        assert result["status"] == "diverged"
        assert f"at update {result['updates']}" in result["reason"]
        assert result["updates"] < SMALL.updates
        assert train(run, stop=lambda: False, notify=lambda message: pytest.fail("a diverged run is over"))

    def test_divergence_keeps_the_best_weights_before_it(self, tmp_path):
        run = RunDirectory.create(tmp_path, small())
        train_until(run, evaluations=2)
        saved = checkpoint.load(run.path)
        (path,) = run.path.glob("checkpoint-*")
        path.rename(path.with_name("gone"))
        poisoned = {name: torch.full_like(value, math.nan) for name, value in saved.model.items()}
        checkpoint.save(run.path, 20, saved._replace(model=poisoned))
        result = train_to_the_end(run)
        assert result["status"] == "diverged"
        assert result["updates"] == 21
        assert result["best_update"] in (10, 20)
        assert result["test_errors"] is not None

    def test_two_pairs_are_learned(self, tmp_path):
        """K = 2 cannot be answered without binding; fast weights get under 5 % in seconds."""
        config = RunConfig(
            task_options={"num_pairs": 2},
            train_size=100_000,
            validation_size=1_000,
            test_size=2_000,
            updates=1_000,
            learning_rate=2e-3,
            schedule="linear",
            evaluate_every=250,
        )
        result = train_to_the_end(RunDirectory.create(tmp_path, complete(config)))
        assert result["test_errors"] / result["test_count"] < 0.05


@pytest.mark.parametrize("members", [1, 64, 5000])
def test_every_sequence_is_counted_once(members):
    """In batches of a thousand or fewer, the last of which is smaller."""
    tokens, targets = torch.zeros(2503, 1, dtype=torch.uint8), torch.arange(2503).to(torch.uint8)

    def count(tokens, labels):
        return torch.stack([torch.tensor(len(labels)), labels.sum()]).double()

    assert sums_over(count, tokens, targets, members).tolist() == [2503, int(targets.sum())]


class TestBackends:
    """A run's learning does not depend on the backend that computes it."""

    LEARNING = dataclasses.replace(SMALL, hidden_size=20, train_size=6_000, learning_rate=3e-3, updates=600)

    def curve(self, tmp_path, backend, dtype, updates):
        config = complete(dataclasses.replace(self.LEARNING, cell_options={"backend": backend}))
        trainer = Trainer(RunDirectory.create(tmp_path, config))
        trainer.model.to(dtype)
        losses, errors = [], []
        for step in range(updates):
            losses.append(float(trainer.update()))
            if (step + 1) % 50 == 0:
                errors.append(trainer.evaluate()["validation_error"])
        return torch.tensor(losses), errors

    @pytest.mark.skipif("cpu" in kernels.missing_backends(), reason="the compiled core was not built")
    def test_seeded_training_gives_the_same_error_curve(self, tmp_path):
        """In float64 rounding does not get to part the trajectories within 600 updates that learn the task."""
        losses, errors = self.curve(tmp_path, "cpu", torch.float64, 600)
        expected_losses, expected_errors = self.curve(tmp_path, "attention", torch.float64, 600)
        torch.testing.assert_close(losses, expected_losses, rtol=1e-6, atol=1e-8)
        assert errors == expected_errors
        assert errors[-1] < 0.1 < errors[0]

    @pytest.mark.skipif("cpu" in kernels.missing_backends(), reason="the compiled core was not built")
    def test_seeded_training_starts_the_same_in_float32(self, tmp_path):
        losses, _ = self.curve(tmp_path, "cpu", torch.float32, 30)
        expected, _ = self.curve(tmp_path, "attention", torch.float32, 30)
        torch.testing.assert_close(losses, expected, rtol=1e-4, atol=0)


# Long runs of what the other tests call with its annotations checked.
@pytest.mark.slow
@pytest.mark.usefixtures("as_installed")
class TestResume:
    @pytest.mark.parametrize(
        "changes", [{}, {"weight_decay": 0.1}, {"early_updates": 17, "early_train_size": 100}], ids=str
    )
    def test_stopping_and_resuming_changes_nothing(self, tmp_path, changes):
        config = small(**changes)
        whole, pieces = (RunDirectory.create(tmp_path / name, config) for name in ("whole", "pieces"))
        train_to_the_end(whole)
        for _ in range(5):
            budget = iter(range(7))
            train(pieces, stop=lambda budget=budget: next(budget, None) is None, notify=lambda message: None)
        train_to_the_end(pieces)
        assert trained_bits(whole) == trained_bits(pieces)

    def test_sigkill_at_any_moment_changes_nothing(self, tmp_path):
        config = small(updates=1_200, evaluate_every=50)
        whole, killed = (RunDirectory.create(tmp_path / name, config) for name in ("whole", "killed"))
        train_to_the_end(whole)
        kills = 0
        for delay in (0.05, 0.11, 0.23):
            worker = start_worker(killed)
            assert worker.stdout.readline()  # it has begun to train
            time.sleep(delay)
            worker.send_signal(signal.SIGKILL)
            worker.communicate()
            kills += killed.result() is None
        assert kills >= 2
        assert checkpoint.load(killed.path).trainer["progress"]["step"] < 1_200
        train_to_the_end(killed)
        assert trained_bits(whole) == trained_bits(killed)

    def test_sigkill_in_the_middle_of_a_checkpoint_changes_nothing(self, tmp_path):
        """The evaluation that belongs to it stands in the metrics already."""
        whole, killed = (RunDirectory.create(tmp_path / name, small()) for name in ("whole", "killed"))
        train_to_the_end(whole)
        assert subprocess.run([sys.executable, "-c", DIE_MID_CHECKPOINT, killed.path]).returncode == -signal.SIGKILL
        assert [entry["step"] for entry in killed.metrics()] == [10, 20, 30]
        assert checkpoint.load(killed.path).trainer["progress"]["step"] == 20
        train_to_the_end(killed)
        assert trained_bits(whole) == trained_bits(killed)

    def test_sigterm_checkpoints_the_last_step(self, tmp_path):
        run = RunDirectory.create(tmp_path, small(updates=100_000, evaluate_every=100_000))
        worker = start_worker(run)
        assert worker.stdout.readline()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait() == 0
        worker.stdout.close()
        assert checkpoint.load(run.path).trainer["progress"]["step"] > 0
        assert run.result() is None

    @pytest.mark.parametrize("begun", [True, False])
    def test_a_worker_stops_when_its_parent_dies(self, tmp_path, begun):
        run = RunDirectory.create(tmp_path, small(updates=10_000_000, evaluate_every=10_000_000))
        code = (
            "import os, subprocess, sys\n"
            f"command = [sys.executable, '-m', 'fastweights.training.worker', str(os.getpid()), {str(run.path)!r}]\n"
            "child = subprocess.Popen(command, stdout=subprocess.PIPE)\n"
            f"{'child.stdout.readline()' if begun else ''}\n"
            "print(child.pid, flush=True)\n"
            "child.wait()"
        )
        parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        worker = int(parent.stdout.readline())
        parent.kill()
        parent.communicate()
        wait_until(lambda: not is_running(worker))
        assert run.result() is None
        with run.locked():
            assert checkpoint.load(run.path) is not None

    def test_a_run_in_use_is_refused(self, tmp_path):
        run = RunDirectory.create(tmp_path, small())
        with run.locked(), pytest.raises(RunError, match="being trained by another process"):
            train(run, stop=lambda: False, notify=lambda message: None)

    def test_a_full_disk_loses_nothing(self, tmp_path):
        """The file-size limit makes the system refuse a checkpoint's write, as a full disk does."""
        run = RunDirectory.create(tmp_path, small(updates=400, evaluate_every=100))
        train_until(run, evaluations=1)
        worker = start_worker(run, limit_file_size=2_000)
        said, _ = worker.communicate()
        assert worker.returncode == 1
        assert "cannot write" in json.loads(said.splitlines()[-1])["failed"]
        assert "keeps its last checkpoint" in said
        assert not list(run.path.glob("partial-*"))
        assert checkpoint.load(run.path).trainer["progress"]["step"] == 100
        whole = RunDirectory.create(tmp_path / "whole", run.config())
        train_to_the_end(run)
        train_to_the_end(whole)
        assert trained_bits(run) == trained_bits(whole)


class TestRecords:
    def test_a_torn_last_line_does_not_count(self, tmp_path):
        run = RunDirectory.create(tmp_path, small())
        run.append_metrics({"step": 10, "validation_nll": math.nan})
        with open(run.path / "metrics.jsonl", "a") as file:
            file.write('{"step": 20, "valid')
        assert run.metrics() == [{"step": 10, "validation_nll": None}]

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("config.json", '{"cell"'),
            ("config.json", "[]"),
            ("result.json", ""),
            ("result.json", '{"status": "finished"}'),
        ],
    )
    def test_damaged_files_are_named(self, tmp_path, name, content):
        run = RunDirectory.create(tmp_path, small())
        (run.path / name).write_text(content)
        with pytest.raises(RunError, match=f"{name} is damaged"):
            run.config() if name == "config.json" else run.result()

    def test_a_damaged_checkpoint_is_named(self, tmp_path):
        run = RunDirectory.create(tmp_path, small())
        train_to_the_end(run)
        (path,) = run.path.glob("checkpoint-*")
        weights = path / "best.safetensors"
        weights.write_bytes(weights.read_bytes()[:50])
        with pytest.raises(RunError, match="checkpoint-40 is damaged"):
            checkpoint.load(run.path)

    def test_what_passes_is_not_taken_for_damage(self, tmp_path, monkeypatch):
        run = RunDirectory.create(tmp_path, small())
        train_to_the_end(run)
        run.result_path.unlink()
        before = sorted(run.path.iterdir())

        def too_many_open(path):
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(checkpoint, "load_file", too_many_open)
        with pytest.raises(OSError, match="Too many open files"):
            set_damage_aside(run)
        monkeypatch.setattr(type(run.path), "read_text", lambda path, **options: too_many_open(path))
        with pytest.raises(OSError, match="Too many open files"):
            run.config()
        assert sorted(run.path.iterdir()) == before

    @pytest.mark.parametrize("number", [errno.ENFILE, errno.ENOMEM, errno.ESTALE])
    def test_each_shortage_passes(self, tmp_path, monkeypatch, number):
        run = RunDirectory.create(tmp_path, small())
        train_until(run, evaluations=1)

        def fail(path):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(checkpoint, "load_file", fail)
        with pytest.raises(OSError, match=os.strerror(number)):
            set_damage_aside(run)

    def test_no_number_that_json_lacks_is_written(self, tmp_path):
        run = RunDirectory.create(tmp_path, small())
        run.append_metrics({"step": 10, "a": math.inf, "b": -math.inf, "c": math.nan, "d": 1.5})
        assert run.metrics() == [{"step": 10, "a": None, "b": None, "c": None, "d": 1.5}]

    @pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the names of open files")
    def test_what_is_counted_on_is_flushed_first(self, tmp_path, monkeypatch):
        """Each before what relies on it: metrics, then the checkpoint, then its name, then the result."""
        run = RunDirectory.create(tmp_path, small(updates=10))
        flushed, fsync = [], os.fsync

        def note(descriptor):
            flushed.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.split(".partial-")[0])
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", note)
        train_to_the_end(run)
        weights = ["model.safetensors", "trainer.pt", "best.safetensors"]
        # The first are the metrics rewound.
        assert flushed == ["metrics.jsonl", "metrics.jsonl", *weights, run.path.name, "result.json"]

    def test_one_whole_checkpoint_is_left(self, tmp_path):
        run = RunDirectory.create(tmp_path, small())
        train_to_the_end(run)
        assert [path.name for path in run.path.glob("checkpoint-*")] == ["checkpoint-40"]
        assert not list(run.path.glob("partial-*"))

    def test_a_line_of_metrics_that_is_no_evaluation_is_damage(self, tmp_path):
        run = RunDirectory.create(tmp_path, small())
        run.metrics_path.write_text('3\n{"step": 20}\n')
        with pytest.raises(RunError, match=r"metrics.jsonl is damaged at line 1"):
            run.metrics()

    def test_weights_are_plain_safetensors_and_nothing_is_unpickled_freely(self, tmp_path):
        run = RunDirectory.create(tmp_path, small())
        train_to_the_end(run)
        (path,) = run.path.glob("checkpoint-*")
        assert set(load_file(path / "model.safetensors")) == set(build_model(run.config()).state_dict())
        torch.save({"optimizer": os.system}, path / "trainer.pt")
        with pytest.raises(RunError, match="damaged"):
            checkpoint.load(run.path)

    def test_an_interrupted_write_leaves_the_old_file(self, tmp_path, monkeypatch):
        path = tmp_path / "result.json"
        write_atomically(path, "old")
        monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError("no space")))
        with pytest.raises(OSError, match="no space"):
            write_atomically(path, "new")
        assert path.read_text() == "old"


class TestRecall:
    def test_answers_what_the_model_answers(self, tmp_path):
        run = RunDirectory.create(tmp_path, small(updates=400, learning_rate=2e-2))
        train_to_the_end(run)
        answer = recall(run, "c9??c")
        model = build_model(run.config())
        model.load_state_dict(checkpoint.load(run.path).best)
        probabilities = model(torch.tensor([[2, 35, 36, 36, 2]])).softmax(-1)[0].detach()
        assert answer.expected == "9"
        assert answer.value == str(int(probabilities.argmax()))
        assert answer.probability == pytest.approx(float(probabilities.max()), rel=1e-5)
        assert [step.token for step in answer.attended] == list("c9??")

    def test_a_cell_without_fast_weights_attends_to_nothing(self, tmp_path):
        run = RunDirectory.create(tmp_path, small(cell="irnn", cell_options={}))
        train_to_the_end(run)
        assert recall(run, "c9??c").attended is None

    def test_a_run_without_weights_is_refused(self, tmp_path):
        with pytest.raises(RunError, match="no evaluated weights yet"):
            recall(RunDirectory.create(tmp_path, small()), "c9??c")


def start_worker(run, limit_file_size=None):
    def limit():
        if limit_file_size:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_file_size, limit_file_size))

    command = [sys.executable, "-m", "fastweights.training.worker", str(os.getpid()), str(run.path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=limit)
