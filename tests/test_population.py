"""A population trains each of its members as if it were alone, and nothing that befalls one of them touches another."""

import dataclasses
import math
import os
import signal
import subprocess
import sys

import pytest
import torch

from fastweights import kernels
from fastweights.errors import RunError, UsageError
from fastweights.training import checkpoint
from fastweights.training.evaluation import evaluate
from fastweights.training.loop import Trainer, train
from fastweights.training.population import Population, shape
from fastweights.training.records import RunDirectory, RunInUse
from fastweights.training.sweep import LocalProcesses, run_all
from fastweights.training.together import train_together
from small_runs import small, wait_until

CELLS = ("fast_weights", "irnn", "lstm", "associative_lstm")
BACKENDS = [name for name in ("reference", "cpu") if name not in kernels.missing_backends()]


def members_of(cell, **changes):
    """Three runs that differ in all that members need not share."""
    own = [{"decay": 0.9, "fast_learning_rate": 0.5}, {"decay": 0.95, "fast_learning_rate": 1.0}, {"decay": 1.0}]
    return [
        small(
            cell=cell,
            cell_options=options if cell == "fast_weights" else {},
            seed=seed,
            learning_rate=rate,
            schedule=schedule,
            clip_norm=clip_norm,
            weight_decay=weight_decay,
            early_updates=early_updates,
            early_train_size=early_train_size,
            **changes,
        )
        for seed, options, rate, schedule, clip_norm, weight_decay, early_updates, early_train_size in zip(
            (3, 1, 2),
            own,
            (1e-2, 3e-3, 1e-3),
            ("constant", "cosine", "linear"),
            (0.1, None, 0.2),
            (0.0, 0.1, 1.0),
            (0, 5, 3),
            (None, 100, 50),
            strict=True,
        )
    ]


def directories(folder, configs):
    return [RunDirectory.create(folder, config) for config in configs]


def together(runs, stop=lambda: False, notify=lambda run, message: None):
    return dict(train_together(runs, stop=stop, notify=notify))


def alone(folder, config):
    run = RunDirectory.create(folder, config)
    assert train(run, stop=lambda: False, notify=lambda message: None)
    return run


def same_but_for_rounding(run, other):
    """Runs of a few updates in float32: what they decided is equal, what they computed is close."""
    inexact = ("seconds", "environment", "members", "validation_nll", "test_nll")
    mine, others = run.result(), other.result()
    assert {k: v for k, v in mine.items() if k not in inexact} == {k: v for k, v in others.items() if k not in inexact}
    for line, expected in zip(run.metrics(), other.metrics(), strict=True):
        for name in ("step", "validation_nll", "test_nll", "train_loss"):
            assert line[name] == pytest.approx(expected[name], rel=1e-3)


def bits(run):
    """Everything computed, without times."""
    saved = checkpoint.load(run.path)
    state = saved.trainer["optimizer"]["state"]
    tensors = {**saved.model, **{f"best {k}": v for k, v in saved.best.items()}, "rng": saved.trainer["rng"]}
    tensors |= {f"{index} {name}": value for index, each in state.items() for name, value in each.items()}
    metrics = [{k: v for k, v in line.items() if k != "seconds"} for line in run.metrics()]
    result = {k: v for k, v in run.result().items() if k not in ("seconds", "environment")}
    return {name: value.numpy().tobytes() for name, value in tensors.items()}, metrics, result


def halted_in_step(pid, runs):
    """Halt a process; let it go on if it was between the checkpoints of two runs."""
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    steps = {checkpoint.load(run.path).trainer["progress"]["step"] for run in runs}
    if len(steps) > 1:
        os.kill(pid, signal.SIGCONT)
    return len(steps) == 1


class TestUpdates:
    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("cell", CELLS)
    def test_in_float64_every_parameter_is_that_of_the_run_alone(self, tmp_path, cell, backend):
        configs = members_of(cell)
        trainers = {}
        for name in ("together", "alone"):
            trainers[name] = [Trainer(run) for run in directories(tmp_path / name, configs)]
            for trainer in trainers[name]:
                trainer.model.double()
                trainer.model.cell.backend = backend
        population = Population(trainers["together"])
        for _ in range(60):
            losses = population.update()
            assert losses == pytest.approx([float(trainer.update()) for trainer in trainers["alone"]], rel=1e-10)
        for mine, other in zip(trainers["together"], trainers["alone"], strict=True):
            assert mine.evaluate() == pytest.approx(other.evaluate(), rel=1e-10)
            for name, value in other.model.state_dict().items():
                torch.testing.assert_close(mine.model.state_dict()[name], value, rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize("cell", CELLS)
    def test_in_float32_the_first_losses_are_equal_but_for_rounding(self, tmp_path, cell):
        configs = members_of(cell)
        trainers = [Trainer(run) for run in directories(tmp_path / "alone", configs)]
        population = Population([Trainer(run) for run in directories(tmp_path / "together", configs)])
        for _ in range(5):
            expected = [float(trainer.update()) for trainer in trainers]
            assert population.update() == pytest.approx(expected, rel=1e-5)

    def test_clipping_is_by_the_norm_of_each_member(self, tmp_path):
        """After one update from zero, Adam's first moment is a tenth of the gradient."""
        trainers = [Trainer(run) for run in directories(tmp_path, members_of("fast_weights"))]
        Population(trainers).update()
        norms = [
            float(
                torch.linalg.vector_norm(torch.cat([10 * s["exp_avg"].flatten() for s in t.optimizer.state.values()]))
            )
            for t in trainers
        ]
        assert norms[0] == pytest.approx(0.1, rel=1e-3)
        assert norms[1] > 0.2
        assert norms[2] == pytest.approx(0.2, rel=1e-3)

    def test_a_member_goes_on_alone_from_the_weights_and_moments_it_has(self, tmp_path):
        """Its model and its optimiser look into the stacked ones."""
        configs = members_of("fast_weights")
        together, alone = ([Trainer(run) for run in directories(tmp_path / name, configs)] for name in ("a", "b"))
        for trainer in (*together, *alone):
            trainer.model.double()
        population = Population(together)
        for _ in range(3):
            population.update()
        for mine, other in zip(together, alone, strict=True):
            for _ in range(3):
                mine.update()
            for _ in range(6):
                other.update()
            assert {int(state["step"]) for state in mine.optimizer.state.values()} == {6}
            for name, value in other.model.state_dict().items():
                torch.testing.assert_close(mine.model.state_dict()[name], value, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("cell", CELLS)
    def test_scores_are_those_of_each_member(self, tmp_path, cell):
        trainers = [Trainer(run) for run in directories(tmp_path, members_of(cell))]
        for trainer in trainers:
            trainer.model.double()
        population = Population(trainers)
        for split in ("validation", "test"):
            expected = [evaluate(trainers[index].model, *trainers[index].data[split]) for index in (2, 0)]
            for found, wanted in zip(population.scores(split, [2, 0]), expected, strict=True):
                assert (found.errors, found.total) == (wanted.errors, wanted.total)
                assert found.nll == pytest.approx(wanted.nll, rel=1e-10)

    def test_members_of_one_shape_share_the_data(self, tmp_path):
        first, second, _ = (Trainer(run) for run in directories(tmp_path, members_of("irnn")))
        assert first.data["train"][0] is second.data["train"][0]


@pytest.fixture
def several_at_once(monkeypatch):
    """As on a GPU, more updates than one before the losses are looked at; 7 divides neither epochs nor evaluations."""
    monkeypatch.setattr("fastweights.training.population._AT_ONCE", {"cpu": 7})


@pytest.mark.usefixtures("several_at_once")
class TestSeveralUpdatesAtOnce:
    def test_their_losses_are_those_of_one_after_the_other(self, tmp_path):
        """Past the end of an epoch of 37 updates, and never past an evaluation."""
        configs = members_of("fast_weights", updates=45)
        trainers = [Trainer(run) for run in directories(tmp_path / "alone", configs)]
        population = Population([Trainer(run) for run in directories(tmp_path / "together", configs)])
        counts = []
        while sum(counts) < 45:
            losses = population.advance()
            counts.append(len(losses[0]))
            expected = [[float(trainer.update()) for _ in range(counts[-1])] for trainer in trainers]
            assert losses == [pytest.approx(each, rel=1e-4) for each in expected]
        assert counts == [7, 3, 7, 3, 7, 3, 7, 3, 5]

    def test_a_run_is_that_of_one_after_the_other(self, tmp_path):
        configs = members_of("fast_weights", updates=45)
        runs = directories(tmp_path / "together", configs)
        assert together(runs) == dict.fromkeys(runs, True)
        for run, config in zip(runs, configs, strict=True):
            same_but_for_rounding(run, alone(tmp_path / "alone", config))

    def test_one_that_diverges_ends_with_the_update_that_it_did(self, tmp_path):
        wild = small(seed=9, learning_rate=1e30, updates=40, evaluate_every=20)
        runs = directories(tmp_path / "together", [wild, *members_of("fast_weights")])
        assert set(together(runs).values()) == {True}
        assert runs[0].result()["status"] == "diverged"
        expected = alone(tmp_path / "alone", wild).result()
        assert {k: runs[0].result()[k] for k in ("updates", "reason")} == {
            k: expected[k] for k in ("updates", "reason")
        }
        for run in runs[1:]:
            same_but_for_rounding(run, alone(tmp_path / "alone", run.config()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this torch sees no GPU")
class TestOnAGPU:
    """Where an update is a CUDA graph; a warning that it could not be recorded fails a test."""

    @pytest.mark.parametrize("cell", CELLS)
    def test_in_float64_the_graph_does_the_updates_of_the_run_alone(self, tmp_path, cell):
        configs = members_of(cell, device="cuda", updates=100)
        together, alone = ([Trainer(run) for run in directories(tmp_path / name, configs)] for name in ("a", "b"))
        for trainer in (*together, *alone):
            trainer.model.double()
        population = Population(together)
        while together[0].progress.step < 60:
            losses = population.advance()
            expected = [[float(trainer.update()) for _ in losses[0]] for trainer in alone]
            assert losses == [pytest.approx(each, rel=1e-9) for each in expected]
        for mine, other in zip(together, alone, strict=True):
            for name, value in other.model.state_dict().items():
                torch.testing.assert_close(mine.model.state_dict()[name], value, rtol=1e-9, atol=1e-9)
        for split in ("validation", "test"):
            expected = [evaluate(trainer.model, *trainer.data[split]).nll for trainer in alone]
            assert [score.nll for score in population.scores(split, range(3))] == pytest.approx(expected, rel=1e-9)

    def test_runs_together_are_those_alone(self, tmp_path):
        configs = members_of("irnn", device="cuda", updates=45)
        runs = directories(tmp_path / "together", configs)
        assert together(runs) == dict.fromkeys(runs, True)
        for run, config in zip(runs, configs, strict=True):
            same_but_for_rounding(run, alone(tmp_path / "alone", config))


class TestShape:
    def test_what_members_need_not_share(self):
        assert len({shape(config) for config in members_of("fast_weights")}) == 1
        assert shape(small(updates=7, evaluate_every=3, zero_evaluations=1)) == shape(small())

    @pytest.mark.parametrize(
        "changes",
        [
            {"hidden_size": 7}, {"cell": "lstm"}, {"cell_options": {"inner_steps": 2}}, {"batch_size": 8},
            {"threads": 2}, {"data_seed": 1}, {"train_size": 500}, {"validation_size": 50}, {"test_size": 50},
            {"task_options": {"num_pairs": 2}}, {"embedding_size": 5}, {"input_size": 7}, {"head_size": 7},
        ],
    )  # fmt: skip
    def test_what_they_must_share(self, changes):
        assert shape(small(**changes)) != shape(small())

    def test_runs_of_several_shapes_are_refused(self, tmp_path):
        runs = directories(tmp_path, [small(), small(hidden_size=7)])
        for outcome in together(runs).values():
            with pytest.raises(UsageError, match="may differ only in"):
                raise outcome


class TestRuns:
    def test_a_member_leaves_what_a_run_alone_leaves(self, tmp_path):
        configs = members_of("fast_weights", updates=45)
        runs = directories(tmp_path / "together", configs)
        assert together(runs) == dict.fromkeys(runs, True)
        for run, config in zip(runs, configs, strict=True):
            other = alone(tmp_path / "alone", config)
            same_but_for_rounding(run, other)
            files = [sorted(str(p.relative_to(each.path)) for p in each.path.rglob("*")) for each in (run, other)]
            assert files[0] == files[1]
            assert (run.result()["members"], other.result()["members"]) == (3, 1)
            mine, others = checkpoint.load(run.path), checkpoint.load(other.path)
            assert torch.equal(mine.trainer["rng"], others.trainer["rng"])
            sizes = [sum(path.stat().st_size for path in each.path.glob("checkpoint-*/*")) for each in (run, other)]
            assert sizes[0] == pytest.approx(sizes[1], rel=0.01)  # a view is saved without what it is a view of
            assert mine.model.keys() == others.model.keys()
            assert mine.trainer["optimizer"]["state"].keys() == others.trainer["optimizer"]["state"].keys()

    def test_one_that_diverges_leaves_the_others_unharmed(self, tmp_path):
        wild = small(seed=9, learning_rate=1e30, updates=40)
        tame = members_of("fast_weights")
        runs = directories(tmp_path / "together", [tame[0], wild, *tame[1:]])
        assert set(together(runs).values()) == {True}
        assert runs[1].result()["status"] == "diverged"
        assert runs[1].result()["updates"] == alone(tmp_path / "alone", wild).result()["updates"] < 40
        for run in (runs[0], *runs[2:]):
            same_but_for_rounding(run, alone(tmp_path / "alone", run.config()))

    def test_one_that_stops_early_leaves_the_others_training(self, tmp_path):
        quick = small(
            hidden_size=20, updates=500, learning_rate=1e-2, evaluate_every=50, zero_evaluations=3, validation_size=20
        )
        slow = dataclasses.replace(quick, updates=520, learning_rate=1e-4, seed=1)
        runs = directories(tmp_path, [quick, slow])
        together(runs)
        assert "zero 3 times in a row" in runs[0].result()["reason"]
        assert runs[0].result()["updates"] < 500
        assert [line["validation_error"] for line in runs[0].metrics()][-3:] == [0, 0, 0]
        assert runs[1].result()["updates"] == 520
        assert runs[1].result()["reason"] == "budget used up"
        assert math.isfinite(runs[1].result()["test_nll"])

    def test_members_at_different_steps_and_one_that_is_over(self, tmp_path):
        configs = members_of("fast_weights", updates=50)
        runs = directories(tmp_path / "together", configs)
        assert train(runs[0], stop=lambda: False, notify=lambda message: None)
        assert not train(runs[1], stop=lambda: len(runs[1].metrics()) == 2, notify=lambda message: None)
        said = []
        assert together(runs, notify=lambda run, message: said.append((run, message))) == dict.fromkeys(runs, True)
        assert [run.result()["members"] for run in runs] == [1, 2, 2]
        assert min(message["step"] for run, message in said if run is runs[1]) == 30
        for run, config in zip(runs, configs, strict=True):
            same_but_for_rounding(run, alone(tmp_path / "alone", config))

    def test_stopped_together_and_resumed_alone(self, tmp_path):
        configs = members_of("fast_weights", updates=50)
        runs = directories(tmp_path / "together", configs)
        assert together(runs, stop=lambda: len(runs[0].metrics()) == 2) == dict.fromkeys(runs, False)
        for run, config in zip(runs, configs, strict=True):
            assert checkpoint.load(run.path).trainer["progress"]["step"] == 20
            assert train(run, stop=lambda: False, notify=lambda message: None)
            same_but_for_rounding(run, alone(tmp_path / "alone", config))

    def test_the_most_members_that_there_ever_were_are_recorded(self, tmp_path):
        runs = directories(tmp_path, members_of("irnn"))
        together(runs, stop=lambda: len(runs[0].metrics()) == 2)
        together(runs[:2])
        assert [run.result()["members"] for run in runs[:2]] == [3, 3]

    def test_killed_between_the_last_checkpoint_and_the_result(self, tmp_path):
        def told(run):
            return {key: value for key, value in run.result().items() if key != "environment"}

        runs = directories(tmp_path, members_of("irnn"))
        together(runs)
        before = [told(run) for run in runs]
        for run in runs[:2]:
            run.result_path.unlink()
        assert together(runs) == dict.fromkeys(runs, True)
        assert [told(run) for run in runs] == before

    def test_one_that_cannot_write_its_last_checkpoint_has_failed(self, tmp_path):
        runs = directories(tmp_path, members_of("irnn"))

        def stop():
            (runs[1].path / "partial-0").write_text("a file where the checkpoint's folder is to be")
            return True

        outcomes = together(runs, stop=stop)
        assert [outcomes[runs[0]], outcomes[runs[2]]] == [False, False]
        assert isinstance(outcomes[runs[1]], OSError)

    def test_one_in_use_and_one_that_fails_are_told_and_left_out(self, tmp_path):
        runs = directories(tmp_path, members_of("irnn"))
        (runs[2].path / "partial-10").write_text("a file where the checkpoint's folder is to be")
        with runs[1].locked():
            outcomes = together(runs)
        assert outcomes[runs[0]] is True
        assert isinstance(outcomes[runs[1]], RunInUse)
        assert isinstance(outcomes[runs[2]], NotADirectoryError)
        assert not runs[2].in_use()
        assert runs[0].result()["status"] == "finished"

    def test_killed_in_step_and_resumed_the_bits_are_those_of_an_undisturbed_population(self, tmp_path):
        """Members killed out of step end one after the other, the last alone, which rounds differently."""
        configs = members_of("fast_weights", updates=200)
        undisturbed = directories(tmp_path / "undisturbed", configs)
        together(undisturbed)
        runs = directories(tmp_path / "killed", configs)
        command = [sys.executable, "-m", "fastweights.training.worker", str(os.getpid())]
        worker = subprocess.Popen([*command, *(str(run.path) for run in runs)], stdout=subprocess.DEVNULL)
        wait_until(lambda: len(runs[-1].metrics()) >= 3)
        wait_until(lambda: halted_in_step(worker.pid, runs))
        worker.kill()
        worker.wait()
        assert not any(run.is_over() or run.in_use() for run in runs)
        together(runs)
        assert [bits(run) for run in runs] == [bits(run) for run in undisturbed]


@pytest.mark.slow
class TestSweep:
    def processes(self, folder, configs, population, **options):
        """Run names, process by process, as they are started; and the runs."""
        started = []

        class Place(LocalProcesses):
            def start(self, runs, say):
                started.append([run.path.name for run in runs])
                return super().start(runs, say)

        messages = []
        runs = run_all(
            configs,
            folder,
            place=Place(1),
            observe=lambda *said: messages.append(said),
            population=population,
            **options,
        )
        return started, messages, runs

    def test_runs_of_one_shape_share_a_process_in_the_order_given(self, tmp_path):
        pairs = zip(members_of("irnn"), members_of("fast_weights"), strict=True)
        configs = [config for pair in pairs for config in pair]
        names = [config.run_id for config in configs]
        started, messages, runs = self.processes(tmp_path, configs, population=2)
        assert started == [[names[0], names[2]], [names[1], names[3]], [names[4]], [names[5]]]
        assert [run.path.name for run in runs] == names
        assert [run.result()["members"] for run in runs] == [2, 2, 2, 2, 1, 1]
        about = {run.path.name for run, message in messages if "validation_error" in message}
        assert about == set(names)

    def test_a_killed_population_is_tried_again_one_by_one(self, tmp_path):
        """Which costs none of the retries: it is not known whose fault it was."""
        configs = members_of("irnn", updates=1_000, evaluate_every=50)
        killed = []

        class Place(LocalProcesses):
            def start(self, runs, say):
                def kill_once(message):
                    if message.get("step", 0) > 50 and not killed:  # all have their first checkpoint
                        killed.append(worker)
                        os.kill(worker._process.pid, signal.SIGKILL)
                    say(message)

                worker = super().start(runs, kill_once)
                return worker

        messages = []
        runs = run_all(
            configs, tmp_path, place=Place(1), observe=lambda *said: messages.append(said), population=3, retries=0
        )
        retried = [run for run, message in messages if "SIGKILL" in message.get("retry", "")]
        assert retried == runs
        for run in runs:
            assert run.result()["members"] == 3
            assert [line["step"] for line in run.metrics()] == list(range(50, 1_001, 50))
            assert "SIGKILL" in run.error_path.read_text()

    def test_a_member_that_fails_is_tried_alone_and_named(self, tmp_path):
        configs = members_of("irnn")
        bad = RunDirectory.create(tmp_path, configs[1])
        (bad.path / "partial-10").write_text("a file where the checkpoint's folder is to be")
        with pytest.raises(RunError, match=rf"1 of 3 runs failed(.|\n)*{configs[1].run_id}(.|\n)*NotADirectoryError"):
            self.processes(tmp_path, configs, population=3, retries=1)
        assert bad.error_path.read_text().count("Traceback") == 3  # in company, alone, and once more
        others = directories(tmp_path, [configs[0], configs[2]])
        assert all(run.result()["members"] == 3 for run in others)
        assert not any(run.error_path.exists() for run in others)

    def test_a_member_that_another_process_trains_is_waited_for(self, tmp_path):
        configs = members_of("irnn")
        held = RunDirectory.create(tmp_path, configs[0])
        with held.locked() as _:
            waited = []

            def let_go(run, message):
                if "in use" in message:
                    waited.append(run)
                    finished = alone(tmp_path / "elsewhere", configs[0])
                    held.write_result(finished.result())

            runs = run_all(configs, tmp_path, place=LocalProcesses(1), observe=let_go, population=3)
        assert waited == [runs[0]]
        assert [run.result()["members"] for run in runs] == [1, 2, 2]

    def test_an_interrupt_stops_every_member_with_a_checkpoint(self, tmp_path):
        configs = members_of("irnn", updates=10_000_000, evaluate_every=10_000_000)

        def interrupt(run, message):
            if "step" in message:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_all(configs, tmp_path, place=LocalProcesses(1), observe=interrupt, population=3)
        for config in configs:
            assert checkpoint.load(tmp_path / config.run_id).trainer["progress"]["step"] > 0

    def test_a_population_of_none_is_refused(self, tmp_path):
        with pytest.raises(UsageError, match="population must be at least 1, got 0"):
            run_all([small()], tmp_path, place=LocalProcesses(1), observe=lambda *said: None, population=0)
