"""One run on several processes equals the run on one, and survives the loss of any of them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastweights.training import checkpoint
from fastweights.training.loop import Trainer, train
from fastweights.training.records import RunDirectory
from small_runs import SMALL, is_running, small, wait_until

pytestmark = pytest.mark.slow

# Updates in float64, so that only the order of the sums differs from one process.
UPDATES = """
import sys
from pathlib import Path
import torch
from fastweights.training.distributed import launched_group
from fastweights.training.loop import Trainer
from fastweights.training.records import RunDirectory

run = RunDirectory.open(Path(sys.argv[1]))
with launched_group(run.config()) as (group, stop):
    trainer = Trainer(run, group)
    trainer.model.double()
    losses = [float(trainer.update()) for _ in range(60)]
    scores = trainer.evaluate()
    if group.is_first:
        torch.save({"losses": losses, "scores": scores, "weights": trainer.model.state_dict()}, sys.argv[2])
"""


def torchrun(processes, *arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.Popen([*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def train_command(folder, config):
    options = [
        argument
        for name, value in config.to_dict().items()
        if name not in ("cell_options", "task_options", "clip_norm")
        for argument in (f"--{name.replace('_', '-')}", value)
    ]
    return ["-m", "fastweights", "train", *options, "--task-options", "num_pairs", 1, "--runs", folder]


def ranks_of(run):
    """The training processes, without torchrun itself."""
    found = subprocess.run(
        ["pgrep", "-f", f"fastweights train .*{run.path.parent.parent}"], capture_output=True, text=True
    )
    pids = [int(line) for line in found.stdout.split()]
    return [pid for pid in pids if "torch.distributed.run" not in Path(f"/proc/{pid}/cmdline").read_text()]


def test_several_processes_do_the_updates_of_one(tmp_path):
    """Three share a mini-batch of 16 unevenly."""
    config = small(clip_norm=0.1, learning_rate=1e-2)
    (tmp_path / "updates.py").write_text(UPDATES)
    run = RunDirectory.create(tmp_path / "together", config)
    group = torchrun(3, tmp_path / "updates.py", run.path, tmp_path / "found.pt")
    _, said = group.communicate(timeout=120)
    assert group.returncode == 0, said
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    alone = Trainer(RunDirectory.create(tmp_path / "alone", config))
    alone.model.double()
    assert found["losses"] == pytest.approx([float(alone.update()) for _ in range(60)], rel=1e-12)
    assert found["scores"] == pytest.approx(alone.evaluate(), rel=1e-12)
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(found["weights"][name], value, rtol=1e-9, atol=1e-11)


def test_a_process_killed_and_the_run_ended_by_one(tmp_path, as_installed):
    config = small(updates=3_000, evaluate_every=100)
    run = RunDirectory.create(tmp_path / "runs" / "train", config)
    group = torchrun(2, *train_command(tmp_path / "runs", config))
    wait_until(lambda: len(run.metrics()) >= 2, seconds=60)
    os.kill(max(ranks_of(run)), signal.SIGKILL)
    group.communicate(timeout=120)
    assert group.returncode != 0
    assert run.result() is None
    assert not run.in_use()
    step = checkpoint.load(run.path).trainer["progress"]["step"]
    assert 200 <= step < 3_000
    assert train(run, stop=lambda: False, notify=lambda message: None)
    alone = RunDirectory.create(tmp_path / "alone", config)
    assert train(alone, stop=lambda: False, notify=lambda message: None)
    # float32 rounds differently in another order; the first evaluations have not yet been parted by that.
    for mine, other in zip(run.metrics()[:2], alone.metrics()[:2], strict=True):
        assert mine["validation_nll"] == pytest.approx(other["validation_nll"], rel=1e-3)
    assert [entry["step"] for entry in run.metrics()] == [entry["step"] for entry in alone.metrics()]
    assert run.result()["status"] == "finished"


TRAIN_APART = """
import os, sys
from pathlib import Path
from fastweights.training.distributed import launched_group
from fastweights.training.loop import train
from fastweights.training.records import RunDirectory

run = RunDirectory.open(Path(sys.argv[1 + int(os.environ["RANK"])]))
with launched_group(run.config()) as (group, stop):
    train(run, stop=stop, notify=lambda message: None, group=group)
"""


def test_hosts_that_do_not_share_the_run_are_told_apart(tmp_path):
    """Else one would go on from the checkpoint and the other begin anew, and both would train with the mean of that."""
    here, there = (RunDirectory.create(tmp_path / name, SMALL) for name in ("here", "there"))
    assert not train(here, stop=lambda: bool(here.metrics()), notify=lambda message: None)
    (tmp_path / "apart.py").write_text(TRAIN_APART)
    group = torchrun(2, tmp_path / "apart.py", here.path, there.path)
    _, said = group.communicate(timeout=120)
    assert group.returncode != 0
    assert f"does not see the checkpoint of update 10; all hosts must share {here.path}" in said
    assert here.result() is None


def test_sigterm_stops_all_with_a_checkpoint(tmp_path):
    config = small(updates=10_000_000, evaluate_every=200)
    run = RunDirectory.create(tmp_path / "runs" / "train", config)
    group = torchrun(2, *train_command(tmp_path / "runs", config))
    wait_until(lambda: len(ranks_of(run)) == 2 and run.in_use(), seconds=60)
    wait_until(lambda: run.metrics(), seconds=120)
    ranks = ranks_of(run)
    os.kill(ranks[1], signal.SIGTERM)  # one is told, all stop
    _, said = group.communicate(timeout=120)
    assert "nothing is lost" in said
    assert not any(map(is_running, ranks))
    assert checkpoint.load(run.path).trainer["progress"]["step"] >= 200


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["train", "--batch-size", 1, "--train-size", 100], "batch_size must be at least the number of processes, 2"),
        (["reproduce", "table-1"], "torchrun can share one run among processes, with train"),
    ],
)
def test_misuse_is_told_once(arguments, complaint, tmp_path):
    group = torchrun(2, "-m", "fastweights", *arguments, "--runs", tmp_path)
    _, said = group.communicate(timeout=120)
    assert group.returncode != 0
    assert said.count(complaint) == 1


def test_the_record_says_how_many_processes(tmp_path):
    group = torchrun(2, *train_command(tmp_path, SMALL))
    out, said = group.communicate(timeout=120)
    assert group.returncode == 0, said
    assert out.count("finished after 40 updates") == 1
    assert json.loads(next(tmp_path.glob("train/*/result.json")).read_text())["processes"] == 2
