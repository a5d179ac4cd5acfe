"""Runs that take a second, and how tests look at them."""

import dataclasses
import os
import time

from fastweights.training.config import RunConfig
from fastweights.training.loop import complete

SMALL = RunConfig(
    hidden_size=6,
    task_options={"num_pairs": 1},
    train_size=600,
    validation_size=100,
    test_size=100,
    embedding_size=4,
    input_size=6,
    head_size=6,
    updates=40,
    batch_size=16,
    evaluate_every=10,
    zero_evaluations=100,
)


def small(**changes):
    return complete(dataclasses.replace(SMALL, **changes))


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
