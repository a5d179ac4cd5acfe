"""Sweeps on a Dask cluster, and what its deaths do to them: nothing, in the end."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from fastweights.errors import RunError, UsageError
from fastweights.training import checkpoint
from fastweights.training.cluster import DaskCluster
from fastweights.training.records import RunDirectory
from fastweights.training.sweep import LocalProcesses, run_all
from small_runs import small, wait_until

pytest.importorskip("distributed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # what Dask's own parts warn of

CONFIGS = [small(seed=seed, updates=1_000, evaluate_every=50) for seed in (0, 1, 2)]


def dask(*arguments):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]], **quiet)


class Cluster:
    """A scheduler and two workers on this machine, bound to loopback."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.folder = folder
        self.workers, self.places = [], []
        self.start_scheduler()
        for _ in range(2):
            self.start_worker()

    def start_scheduler(self):
        self.scheduler = dask("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")
        wait_until(self.answers, seconds=60)

    def answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def start_worker(self):
        options = ("--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--local-directory", str(self.folder))
        self.workers.append(dask("worker", self.address, *options))

    def place(self):
        self.places.append(DaskCluster(self.address))
        return self.places[-1]

    def close(self):
        for place in self.places:
            place.close()
        for process in (*self.workers, self.scheduler):
            process.terminate()
        for process in (*self.workers, self.scheduler):
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path / "dask")
    yield cluster
    cluster.close()


def outcomes(runs):
    return [{key: v for key, v in run.result().items() if key not in ("seconds", "environment")} for run in runs]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    return outcomes(run_all(CONFIGS, root, place=LocalProcesses(2), observe=lambda run, message: None))


def test_a_cluster_gives_what_this_machine_gives_though_a_worker_is_killed(cluster, tmp_path, undisturbed):
    killed = []

    def kill(run, message):
        if "step" in message and not killed:
            killed.append(cluster.workers[0].pid)
            subprocess.run(["pkill", "-KILL", "-P", str(killed[0])], check=False)
            os.kill(killed[0], signal.SIGKILL)

    runs = run_all(CONFIGS, tmp_path / "runs", place=cluster.place(), observe=kill)
    assert killed
    assert outcomes(runs) == undisturbed


def test_the_scheduler_killed(cluster, tmp_path, undisturbed):
    killed = []

    def kill(run, message):
        if "step" in message and not killed:
            killed.append(run)
            cluster.scheduler.kill()

    with pytest.raises(RunError, match="is gone; once it is back, the same command goes on"):
        run_all(CONFIGS, tmp_path / "runs", place=cluster.place(), observe=kill)
    cluster.close()
    again = Cluster(tmp_path / "dask2")
    try:
        runs = run_all(CONFIGS, tmp_path / "runs", place=again.place(), observe=lambda *said: None)
    finally:
        again.close()
    assert outcomes(runs) == undisturbed


def test_an_interrupt_stops_the_runs_with_a_checkpoint(cluster, tmp_path):
    config = small(updates=10_000_000, evaluate_every=10_000_000)

    def interrupt(run, message):
        if "step" in message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all([config], tmp_path / "runs", place=cluster.place(), observe=interrupt)
    run = RunDirectory.create(tmp_path / "runs", config)
    wait_until(lambda: not run.in_use())
    assert checkpoint.load(run.path).trainer["progress"]["step"] > 0


def test_a_run_that_another_process_trains_is_waited_for(cluster, tmp_path):
    run = RunDirectory.create(tmp_path / "runs", CONFIGS[0])
    with contextlib.ExitStack() as held:
        held.enter_context(run.locked())

        def release(run, message):
            if "in use" in message:
                held.close()

        run_all(CONFIGS[:1], tmp_path / "runs", place=cluster.place(), observe=release, retries=0)
    assert run.is_over()
    assert not run.error_path.exists()


def test_a_folder_that_the_hosts_do_not_share_is_named(cluster, tmp_path):
    """Here one that is gone when the workers look."""
    place, away = cluster.place(), tmp_path / "away"
    attend = place.start

    def start(runs, say):
        runs[0].path.rename(away)
        attempt = attend(runs, say)
        attempt.wait()
        away.rename(runs[0].path)
        return attempt

    place.start = start
    with pytest.raises(RunError, match="file system that all hosts share"):
        run_all(CONFIGS[:1], tmp_path / "runs", place=place, observe=lambda *said: None, retries=0)
    run = RunDirectory.create(tmp_path / "runs", CONFIGS[0])
    assert "file system that all hosts share" in run.error_path.read_text()


def test_a_scheduler_that_does_not_answer_is_named():
    started = time.monotonic()
    with pytest.raises(UsageError, match=r"nobody answers at 'tcp://127\.0\.0\.1:9'"):
        DaskCluster("tcp://127.0.0.1:9")
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("address", ["nonsense", "tcp://127.0.0.1", "tcp://127.0.0.1:port", "bogus://127.0.0.1:9"])
def test_what_is_no_address_is_refused_at_once(address):
    started = time.monotonic()
    with pytest.raises(UsageError, match=r"scheduler must be an address, as tcp://10\.0\.0\.1:8786; .+"):
        DaskCluster(address)
    assert time.monotonic() - started < 5
