"""Sweeps: their manifest, and that nothing that goes wrong on the way changes what comes out."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from fastweights.errors import RunError, UsageError
from fastweights.training import checkpoint, processes, sweep
from fastweights.training.loop import train
from fastweights.training.manifest import grid, parse_ranges
from fastweights.training.options import parse_value
from fastweights.training.processes import ending_in_words
from fastweights.training.records import RunDirectory
from fastweights.training.sweep import LocalProcesses, run_all
from finished_runs import finish
from small_runs import SMALL, is_running, small, wait_until

ENDLESS = {"updates": 10_000_000, "evaluate_every": 10_000_000}
DAMAGE = (
    *("checkpoint", "result", "config"),
    *("first metrics line", "last metrics line", "metrics line of no checkpoint", "no text in the metrics"),
)
CONFIGS = [small(seed=seed, updates=1_000, evaluate_every=50) for seed in (0, 1, 2)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the sweep over CONFIGS gives if it is left alone."""
    root = tmp_path_factory.mktemp("undisturbed")
    return outcomes(run_all(CONFIGS, root, place=LocalProcesses(2), observe=ignore))


def ignore(run, message):
    pass


def outcomes(runs):
    """What a table is made from: every run's result and curve, without times."""
    return {
        run.path.name: (
            {key: value for key, value in run.result().items() if key not in ("seconds", "environment")},
            [{key: value for key, value in entry.items() if key != "seconds"} for entry in run.metrics()],
        )
        for run in runs
    }


def worker_of(run):
    """The process that holds the run's lock."""
    inode = (run.path / ".lock").stat().st_ino
    with open("/proc/locks") as locks:
        (pid,) = [int(line.split()[4]) for line in locks if line.split()[5].endswith(f":{inode}")]
    return pid


def driver(folder, configs, slots=2):
    """A process that drives a sweep as the command line does."""
    code = (
        "import json, sys\n"
        "from fastweights.training.config import RunConfig\n"
        "from fastweights.training.sweep import LocalProcesses, run_all\n"
        "from pathlib import Path\n"
        "configs = [RunConfig.from_dict(values) for values in json.loads(sys.argv[2])]\n"
        f"run_all(configs, Path(sys.argv[1]), place=LocalProcesses({slots}), observe=lambda run, message: None)\n"
    )
    listed = json.dumps([config.to_dict() for config in configs])
    return subprocess.Popen([sys.executable, "-c", code, str(folder), listed], stderr=subprocess.PIPE, text=True)


class TestManifest:
    def test_every_combination_times_the_seeds_in_a_fixed_order(self):
        configs = grid(SMALL, {"learning_rate": [1e-3, 1e-2], "decay": [0.9, 0.95], "num_pairs": [1]}, seeds=[3, 4])
        found = [(c.learning_rate, c.cell_options["decay"], c.seed) for c in configs]
        assert found == [(rate, decay, seed) for rate in (1e-3, 1e-2) for decay in (0.9, 0.95) for seed in (3, 4)]
        assert all(config == small(**config.to_dict()) for config in configs)
        assert len({config.run_id for config in configs}) == 8

    def test_an_integer_is_the_float_that_it_stands_for(self):
        """Else equal runs would have two names."""
        whole, point = (grid(SMALL, {"clip_norm": [value]}, seeds=[0])[0] for value in (1, 1.0))
        assert whole.run_id == point.run_id

    def test_early_updates_are_compared_with_none(self):
        """What belongs to them alone is left out where there are none, so that equal runs have one name."""
        plain, early = grid(dataclasses.replace(SMALL, early_train_size=100), {"early_updates": [0, 9]}, seeds=[0])
        assert plain == small()
        assert early == small(early_updates=9, early_train_size=100)

    @pytest.mark.parametrize(
        ("fields", "seeds", "complaint"),
        [
            ({"learning_rates": [1.0]}, [0], "did you mean 'learning_rate'"),
            ({"dekay": [0.9]}, [0], "did you mean 'decay'"),
            ({"decay": []}, [0], "decay needs at least one value"),
            ({"decay": [0.9, 0.9]}, [0], "decay has a value twice: 0.9 0.9"),
            ({"hidden_size": ["many"]}, [0], "hidden_size must be int, got 'many'"),
            ({"seed": [1]}, [0], "give the seeds as seeds"),
            ({}, [], "seed needs at least one value"),
            ({"cell": ["irnn", "lstn"]}, [0], "did you mean 'lstm'"),
            ({"cell": [1]}, [0], "cell must be str, got 1"),
        ],
    )
    @pytest.mark.usefixtures("as_installed")
    def test_what_is_no_grid_is_refused(self, fields, seeds, complaint):
        with pytest.raises(UsageError, match=complaint):
            grid(SMALL, fields, seeds)

    def test_words_of_the_command_line_are_what_they_stand_for(self):
        texts = ("True", "false", "None", "3", "-2", "3.0", "1e-3", "relu")
        found = [parse_value(text) for text in texts]
        assert found == [True, False, None, 3, -2, 3.0, 1e-3, "relu"]
        assert [type(value) for value in found[3:7]] == [int, int, float, float]

    def test_a_range_given_twice_is_refused(self):
        with pytest.raises(UsageError, match="decay is given twice"):
            parse_ranges([("decay", 0.1, 0.5), ("decay", 0.5, 0.9)])


def test_a_failure_is_forgotten_if_another_process_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "_LOOK_SECONDS", 0.01)
    told = iter(("failed", "in use"))

    class Place:
        slots = 1

        def start(self, runs, say):
            what = next(told)
            if what == "in use":
                finish(tmp_path, small())
            say({what: "no memory"})
            say({"ended": "as told"})
            return self

        def rest(self):
            pass

    (run,) = run_all([small()], tmp_path, place=Place(), observe=ignore)
    assert run.is_over()


@pytest.mark.slow
class TestRunAll:
    def test_runs_are_brought_to_their_end_once(self, tmp_path):
        configs = [small(seed=seed) for seed in (0, 1, 0)]
        messages = []
        place = LocalProcesses(2)
        runs = run_all(configs, tmp_path, place=place, observe=lambda run, message: messages.append(message))
        assert [run.config().seed for run in runs] == [0, 1]
        assert all(run.result()["status"] == "finished" for run in runs)
        written = [run.result_path.stat().st_mtime_ns for run in runs]
        messages.clear()
        run_all(configs, tmp_path, place=place, observe=lambda run, message: messages.append(message))
        assert messages == [{"over": True}, {"over": True}]
        assert [run.result_path.stat().st_mtime_ns for run in runs] == written

    def test_a_run_that_fails_is_tried_again_then_named_and_does_not_stop_the_others(self, tmp_path):
        bad, good = small(seed=1), small(seed=0)
        run = RunDirectory.create(tmp_path, bad)
        (run.path / "partial-10").write_text("a file where the checkpoint's folder is to be")
        messages = []
        with pytest.raises(RunError, match=rf"1 of 2 runs failed(.|\n)*{bad.run_id}(.|\n)*NotADirectoryError"):
            run_all(
                [bad, good], tmp_path, place=LocalProcesses(1), observe=lambda *said: messages.append(said), retries=2
            )
        told = [key for about, message in messages for key in message if about.path == run.path]
        assert told.count("retry") == 2
        assert told[-1] == "failed"
        assert RunDirectory.create(tmp_path, good).result()["status"] == "finished"
        assert run.error_path.read_text().count("Traceback") == 3

    def test_a_process_goes_on_to_the_next_run_and_ends_after_the_last(self, tmp_path):
        """One that is killed between two of them costs no run a retry."""
        pids = []

        class Place(LocalProcesses):
            def start(self, runs, say):
                worker = super().start(runs, say)
                pids.append(worker._process.pid)
                return worker

        class Killing(Place):
            def start(self, runs, say):
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)  # it is idle, for the first run is over
                    wait_until(lambda pid=pid: not is_running(pid))
                return super().start(runs, say)

        alone = [RunDirectory.create(tmp_path / "alone", small(seed=seed)) for seed in (0, 1)]
        assert all(train(run, stop=lambda: False, notify=lambda message: None) for run in alone)
        configs = [small(seed=0), small(seed=1)]
        for place, expected in ((Place(1), 1), (Killing(1), 2)):
            pids.clear()
            runs = run_all(configs, tmp_path / f"{expected}", place=place, observe=ignore, retries=0)
            assert len(pids) == 2
            assert len(set(pids)) == expected
            assert not any(map(is_running, pids))
            assert outcomes(runs) == outcomes(alone)
            assert not any(run.error_path.exists() for run in runs)

    def test_a_process_that_ends_before_it_is_asked_is_a_failure(self, tmp_path, monkeypatch):
        """Which used to be told by nobody, and waited for."""
        monkeypatch.setattr(processes.Worker, "train", lambda *arguments: False)
        with pytest.raises(RunError, match="its process ended before it began"):
            run_all([small()], tmp_path, place=LocalProcesses(1), observe=ignore, retries=1)

    def test_a_diverged_run_is_a_result(self, tmp_path):
        (run,) = run_all(
            [small(learning_rate=1e30, updates=400)], tmp_path, place=LocalProcesses(1), observe=ignore, retries=0
        )
        assert run.result()["status"] == "diverged"

    def test_an_interrupt_stops_the_workers_with_a_checkpoint(self, tmp_path):
        config = small(**ENDLESS)

        def interrupt(run, message):
            if "step" in message:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_all([config], tmp_path, place=LocalProcesses(1), observe=interrupt)
        assert checkpoint.load(tmp_path / config.run_id).trainer["progress"]["step"] > 0

    def test_a_thousand_finished_runs_are_listed_and_resumed_in_five_seconds(self, tmp_path):
        configs = grid(SMALL, {"learning_rate": [i / 1e4 for i in range(1, 101)]}, seeds=range(10))
        (done,) = run_all(configs[:1], tmp_path, place=LocalProcesses(1), observe=ignore)
        result = done.result()
        for config in configs[1:]:
            run = RunDirectory.create(tmp_path, config)
            run.write_result(result | {"config": config.to_dict(), "run_id": config.run_id})
        over = []
        started = time.process_time()  # of this process alone: others may keep the machine busy
        again = grid(SMALL, {"learning_rate": [i / 1e4 for i in range(1, 101)]}, seeds=range(10))
        runs = run_all(again, tmp_path, place=LocalProcesses(1), observe=lambda run, message: over.append(message))
        assert time.process_time() - started < 5
        assert len(runs) == 1000
        assert over == [{"over": True}] * 1000


@pytest.mark.parametrize(("code", "words"), [(1, "exit code 1"), (-9, "ended by SIGKILL"), (-45, "ended by signal 45")])
def test_every_end_of_a_process_has_words(code, words):
    assert ending_in_words(code).endswith(words)


# Long runs; the other tests here and test_training.py make short ones with the annotations checked.
@pytest.mark.slow
@pytest.mark.usefixtures("as_installed")
class TestFaults:
    """Each compares with the same sweep left alone."""

    def test_workers_killed(self, tmp_path, undisturbed):
        killed = set()

        def kill(run, message):
            if "validation_error" in message and run.path.name not in killed:
                killed.add(run.path.name)
                os.kill(worker_of(run), signal.SIGKILL)

        runs = run_all(CONFIGS, tmp_path, place=LocalProcesses(2), observe=kill)
        assert len(killed) == 3
        assert outcomes(runs) == undisturbed
        assert all("SIGKILL" in run.error_path.read_text() for run in runs)

    def test_a_worker_that_hangs(self, tmp_path, undisturbed):
        hung = []

        def hang(run, message):
            if "validation_error" in message and not hung:
                hung.append(worker_of(run))
                os.kill(hung[0], signal.SIGSTOP)

        said = []

        def observe(run, message):
            said.append(message)
            hang(run, message)

        runs = run_all(CONFIGS, tmp_path, place=LocalProcesses(2, silence=20.0), observe=observe)
        assert {"retry": "its process said nothing for 20 s"} in said
        assert not is_running(hung[0])
        assert outcomes(runs) == undisturbed

    def test_the_driver_killed_twice(self, tmp_path, undisturbed):
        runs = [RunDirectory.create(tmp_path, config) for config in CONFIGS]
        for evaluations in (2, 6):
            process = driver(tmp_path, CONFIGS)
            wait_until(lambda evaluations=evaluations: len(runs[0].metrics()) >= evaluations or runs[0].is_over())
            process.kill()
            process.communicate()
        before = {run.path: run.result_path.stat().st_mtime_ns for run in runs if run.is_over()}
        assert outcomes(run_all(CONFIGS, tmp_path, place=LocalProcesses(2), observe=ignore)) == undisturbed
        assert {path: (path / "result.json").stat().st_mtime_ns for path in before} == before

    def test_two_drivers_at_once(self, tmp_path, undisturbed):
        drivers = [driver(tmp_path, CONFIGS) for _ in range(2)]
        for process in drivers:
            assert process.wait() == 0, process.stderr.read()
            process.stderr.close()
        runs = [RunDirectory.create(tmp_path, config) for config in CONFIGS]
        assert outcomes(runs) == undisturbed
        assert not any(run.error_path.exists() for run in runs)

    def test_a_run_is_taken_over_from_a_driver_that_dies(self, tmp_path, undisturbed, monkeypatch):
        monkeypatch.setattr(sweep, "_LOOK_SECONDS", 0.2)
        first = driver(tmp_path, CONFIGS, slots=3)
        runs = [RunDirectory.create(tmp_path, config) for config in CONFIGS]
        wait_until(lambda: all(run.metrics() for run in runs))

        def kill(run, message):
            if "in use" in message:
                first.kill()

        found = outcomes(run_all(CONFIGS, tmp_path, place=LocalProcesses(3), observe=kill))
        first.communicate()
        assert found == undisturbed

    @pytest.mark.parametrize("which", DAMAGE)
    def test_truncated_files(self, tmp_path, undisturbed, which):
        run = RunDirectory.create(tmp_path, CONFIGS[0])
        train(run, stop=lambda: which != "result" and len(run.metrics()) == 5, notify=lambda message: None)
        path = {
            "checkpoint": next(run.path.glob("checkpoint-*")) / "trainer.pt",
            "result": run.result_path,
            "config": run.path / "config.json",
        }.get(which, run.metrics_path)
        whole = path.read_bytes()
        cut = {
            "first metrics line": whole[20:],
            "last metrics line": whole[:-20],  # the checkpoint that follows it is there
            "metrics line of no checkpoint": whole + whole[:30],
            "no text in the metrics": b"\xff" + whole,
        }.get(which, whole[: len(whole) // 2])
        path.write_bytes(cut)
        said = []
        assert train(RunDirectory.create(tmp_path, CONFIGS[0]), stop=lambda: False, notify=said.append)
        assert outcomes([run])[run.path.name] == undisturbed[run.path.name]
        set_aside = any("set aside" in message for message in said)
        assert set_aside == (which not in ("metrics line of no checkpoint", "config"))
        assert bool(list(run.path.glob("damaged-*"))) == set_aside

    def test_a_full_disk(self, tmp_path, undisturbed):
        """A small file system fills up, the sweep fails and says so; with more room the same command ends it."""
        disk = tmp_path / "disk"
        disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", disk], capture_output=True)
        if mounted.returncode:
            pytest.skip("no right to mount a file system")
        try:
            with pytest.raises(RunError, match="No space left on device"):
                run_all(CONFIGS, disk, place=LocalProcesses(2), observe=ignore, retries=0)
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
            found = outcomes(run_all(CONFIGS, disk, place=LocalProcesses(2), observe=ignore))
        finally:
            subprocess.run(["umount", "-l", disk], check=True)
            shutil.rmtree(disk)
        assert found == undisturbed
