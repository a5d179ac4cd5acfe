"""What surrounds the recording of a CUDA graph, on any machine: torch's own part is played by stand-ins."""

import contextlib

import pytest
import torch

from fastweights.training.graph import NotRecorded, recorded


class Graph:
    """Does on `replay` what was done while it recorded."""

    def replay(self):
        self.work()


@pytest.fixture
def cuda(monkeypatch):
    """What was called between the beginning and the end of recording is kept, as in a graph, and leaves no trace."""

    class Stream:
        def wait_stream(self, other):
            pass

    @contextlib.contextmanager
    def graph(target, stream):
        before = total.clone()
        yield
        total.copy_(before)  # recording does not execute
        target.work = add

    total = torch.zeros(())

    def add():
        total.add_(1)

    monkeypatch.setattr("fastweights.training.graph._stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    return total, add


def test_recording_leaves_what_it_changed_as_it_was(cuda):
    total, add = cuda
    total.fill_(5)
    launch = recorded(add, [total])
    assert launch != add
    assert total == 5
    launch()
    assert total == 6


def test_what_cannot_be_recorded_is_done_all_the_same_with_a_warning(cuda):
    total, add = cuda
    calls = []

    def work():
        calls.append(None)
        if len(calls) > 3:  # after the warm-up
            raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors might be")
        add()

    with pytest.warns(NotRecorded, match="no CUDA graph, every update is slower: operation not permitted when stream"):
        launch = recorded(work, [total])
    assert launch is work
    assert total == 0


def test_what_fails_before_it_is_recorded_fails(cuda):
    def work():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        recorded(work, [])
