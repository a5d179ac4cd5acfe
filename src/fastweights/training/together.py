"""Runs of one shape trained in one process, each from where it stands to its end, whatever becomes of the others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from fastweights.errors import UsageError
from fastweights.training import environment
from fastweights.training.evaluation import Score
from fastweights.training.loop import Trainer, go_on, is_over
from fastweights.training.population import OWN, Population, shape
from fastweights.training.records import RunDirectory

Outcome = bool | Exception
"""Whether a run is over, False if it was stopped; or what made it fail."""
Notify = Callable[[RunDirectory, dict[str, Any]], None]


def train_together(
    runs: Sequence[RunDirectory], *, stop: Callable[[], bool], notify: Notify
) -> Iterator[tuple[RunDirectory, Outcome]]:
    """Train runs of one shape together, each from where it stands to its end.

    Args:
        runs: their directories; those that are over, or that another process trains, are left out.
        stop: asked before every update, on a GPU before every few; once it says yes, every member writes a checkpoint.
        notify: told of every run what `loop.train` tells.

    Yields:
        Every run once, as soon as it is over, stopped or has failed. What a member fails of does not stop the others;
        what the shared pass fails of stops all.
    """
    left = list(runs)
    try:
        with contextlib.ExitStack() as held:
            training = _train(runs, held, stop, notify)
            while left:
                with environment.of_training(runs[0].config().threads):  # not while the caller is at work
                    run, outcome = next(training)
                left.remove(run)
                yield run, outcome
    except Exception as error:
        for run in left:
            yield run, error


def _train(
    runs: Sequence[RunDirectory], held: contextlib.ExitStack, stop: Callable[[], bool], notify: Notify
) -> Iterator[tuple[RunDirectory, Outcome]]:
    configs = [run.config() for run in runs]
    if len({shape(config) for config in configs}) > 1:
        raise UsageError(f"the runs of a population may differ only in {', '.join(OWN)}, and in λ and η")
    members: list[Trainer] = []
    for run in runs:
        try:
            held.enter_context(run.locked())
            member = _begin(run, notify)
        except Exception as error:
            yield run, error
            continue
        if member is None:
            yield run, True
        else:
            members.append(member)
    for member in members:
        member.progress.members = max(member.progress.members, len(members))
        member.start_clock()
    while len(members) > 1:
        population = Population(members)
        ended: dict[Trainer, Outcome] = {}
        while not ended:
            ended = _advance(members, population, stop, notify)
        yield from ((member.run, outcome) for member, outcome in ended.items())
        members = [member for member in members if member not in ended]
    for last in members:
        yield last.run, _alone(last, stop, notify)


def _begin(run: RunDirectory, notify: Notify) -> Trainer | None:
    """A member where its run stands, or None if that is over."""
    if is_over(run, lambda message: notify(run, message)):
        return None
    member = Trainer(run)
    member.random_state = torch.get_rng_state()
    ending = member.ending()
    if ending is not None:
        member.finish(ending)
        return None
    return member


def _alone(member: Trainer, stop: Callable[[], bool], notify: Notify) -> Outcome:
    try:
        return go_on(member, stop, lambda message: notify(member.run, message))
    except Exception as error:
        return error


def _advance(
    members: list[Trainer], population: Population, stop: Callable[[], bool], notify: Notify
) -> dict[Trainer, Outcome]:
    """Some updates of all members; what became of those that end with them."""
    if stop():
        return {member: _stop(member) for member in members}
    losses = population.advance()
    scores = _scores(members, population)
    followed = {
        member: _follow_up(member, own, scores.get(member), notify) for member, own in zip(members, losses, strict=True)
    }
    return {member: outcome for member, outcome in followed.items() if outcome is not None}


def _scores(members: list[Trainer], population: Population) -> dict[Trainer, tuple[Score, Score]]:
    """On validation and test, of the members that are to be evaluated, if those are several."""
    due = [index for index, member in enumerate(members) if member.evaluation_is_due()]
    if len(due) < 2:
        return {}
    pairs = zip(population.scores("validation", due), population.scores("test", due), strict=True)
    return {members[index]: pair for index, pair in zip(due, pairs, strict=True)}


def _stop(member: Trainer) -> Outcome:
    try:
        member.save()
    except Exception as error:
        return error
    return False


def _follow_up(
    member: Trainer, losses: list[float], scores: tuple[Score, Score] | None, notify: Notify
) -> Outcome | None:
    """None if the member goes on."""
    try:
        ending = member.follow_up(losses, lambda message: notify(member.run, message), scores)
        if ending is None:
            return None
        member.finish(ending)
    except Exception as error:
        return error
    return True
