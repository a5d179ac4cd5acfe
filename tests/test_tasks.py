"""The tasks: what is drawn, what is typed, and the exact floors."""

import itertools
import math
import time
from collections import Counter

import numpy as np
import pytest

from fastweights import tasks
from fastweights.errors import UsageError
from fastweights.tasks.associative_retrieval import DIGITS, LETTERS, AssociativeRetrieval


@pytest.fixture(params=["interleaved", "keys_first"])
def order(request):
    return request.param


@pytest.mark.parametrize("name", tasks.names())
def test_the_oracle_scores_one_hundred_percent(name):
    task = tasks.load(name)()
    sequences = task.split("train", 5_000, seed=3)
    assert (task.solve(sequences.tokens) == sequences.targets).all()
    assert sequences.tokens.shape == (5_000, task.sequence_length)
    assert sequences.tokens.max() < task.num_tokens
    assert sequences.targets.max() < task.num_classes


@pytest.mark.parametrize("num_pairs", [1, 4, 26])
def test_sequences_have_the_papers_form(num_pairs, order):
    task = AssociativeRetrieval(num_pairs, order=order)
    sequences = task.split("train", 500, seed=0)
    for tokens, target in zip(sequences.tokens, sequences.targets, strict=True):
        text = task.decode(tokens)
        body, asked = text[: 2 * num_pairs], text[-1]
        keys, values = (body[::2], body[1::2]) if order == "interleaved" else (body[:num_pairs], body[num_pairs:])
        assert set(keys) <= set(LETTERS)
        assert len(set(keys)) == num_pairs
        assert set(values) <= set(DIGITS)
        assert text[-3:-1] == "??"
        assert dict(zip(keys, values, strict=True))[asked] == str(target)
        assert (task.encode(text) == tokens).all()


def test_draws_are_uniform():
    count, pairs = 60_000, 4
    task = AssociativeRetrieval(pairs)
    sequences = task.split("train", count, seed=1)
    keys, values = sequences.tokens[:, 0:8:2], sequences.tokens[:, 1:8:2].astype(int) - len(LETTERS)
    asked = (keys == sequences.tokens[:, -1:]).argmax(axis=1)
    for drawn, outcomes in ((keys.ravel(), 26), (values.ravel(), 10), (sequences.targets, 10), (asked, pairs)):
        frequencies = np.bincount(drawn, minlength=outcomes) / len(drawn)
        # Five standard deviations of a multinomial share.
        assert np.abs(frequencies - 1 / outcomes).max() < 5 * math.sqrt(1 / outcomes / len(drawn))
    repeats = np.mean([len(set(row)) < pairs for row in values])
    assert repeats == pytest.approx(1 - 10 * 9 * 8 * 7 / 10**4, abs=0.01)


def test_values_without_replacement_never_repeat():
    values = AssociativeRetrieval(10, replacement=False).split("test", 500, seed=0).tokens[:, 1:20:2]
    assert all(len(set(row)) == 10 for row in values)


def test_splits_are_independent_streams_and_equal_seeds_give_equal_data():
    task = AssociativeRetrieval()
    splits = {name: task.split(name, 2_000, seed=0).tokens for name in ("train", "validation", "test")}
    for one, other in itertools.combinations(splits.values(), 2):
        assert (one != other).any(axis=1).mean() > 0.99
    assert (splits["train"] == task.split("train", 2_000, seed=0).tokens).all()
    assert (splits["train"] != task.split("train", 2_000, seed=1).tokens).any()


def test_a_hundred_thousand_sequences_take_under_a_second():
    started = time.perf_counter()
    AssociativeRetrieval().split("train", 100_000, seed=0)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(("num_pairs", "error", "nll"), [(3, 0.5700, 0.963), (4, 0.6165, 1.187), (5, 0.6424, 1.349)])
def test_no_binding_floor_with_replacement(num_pairs, error, nll):
    floor = AssociativeRetrieval(num_pairs).no_binding_floor()
    assert floor.error == pytest.approx(error, abs=5e-5)
    assert floor.nll == pytest.approx(nll, abs=5e-4)


@pytest.mark.parametrize("num_pairs", [1, 2, 3, 4])
def test_no_binding_floor_equals_an_enumeration_of_all_digits(num_pairs):
    error = nll = 0.0
    for digits in itertools.product(range(10), repeat=num_pairs):
        shares = np.array(list(Counter(digits).values())) / num_pairs
        error += 1 - shares.max()
        nll -= float(shares @ np.log(shares))
    floor = AssociativeRetrieval(num_pairs).no_binding_floor()
    assert floor.error == pytest.approx(error / 10**num_pairs, rel=1e-12, abs=1e-15)
    assert floor.nll == pytest.approx(nll / 10**num_pairs, rel=1e-12, abs=1e-15)


def test_no_binding_floor_without_replacement_is_a_guess_among_the_pairs():
    floor = AssociativeRetrieval(4, replacement=False).no_binding_floor()
    assert floor.error == 0.75
    assert floor.nll == pytest.approx(math.log(4))


def test_no_binding_floor_is_what_a_counting_predictor_scores():
    task = AssociativeRetrieval(26)
    sequences = task.split("test", 20_000, seed=5)
    values = sequences.tokens[:, 1:52:2].astype(int) - len(LETTERS)
    counts = (values[:, :, None] == np.arange(10)).sum(axis=1)
    measured = (counts.argmax(axis=1) != sequences.targets).mean()
    floor = task.no_binding_floor().error
    assert measured == pytest.approx(floor, abs=4 * math.sqrt(floor * (1 - floor) / 20_000))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "0 characters"),
        ("??c", "3 characters"),
        ("c9k8j3f1?c", "10 characters"),
        ("c9k8j3f1??z", "'z', which is not among its keys c, k, j, f"),
        ("c9c8j3f1??c", "'c' occurs twice"),
        ("c9K8j3f1??c", "character 3 .* must be a letter a–z, got 'K'"),
        ("c9kkj3f1??c", "character 4 .* must be a digit, got 'k'"),
        ("c9k8j3f1?cc", r"character 10 .* must be '\?', got 'c'"),
        ("c9k8j3f1??4", "character 11 .* must be a letter a–z, got '4'"),
        ("ckjf9831??c", "character 2 .* must be a digit"),
    ],
)
def test_malformed_text_is_refused_with_the_place_and_an_example(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        AssociativeRetrieval().encode(text)


def test_text_in_the_other_order():
    task = AssociativeRetrieval(order="keys_first")
    tokens = task.encode("ckjf9831??c")
    assert task.decode(tokens) == "ckjf9831??c"
    assert task.solve(tokens[None]) == [9]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"num_pairs": 27}, "between 1 and 26, got 27"),
        ({"num_pairs": 0}, "between 1 and 26, got 0"),
        ({"num_pairs": 11, "replacement": False}, "between 1 and 10, got 11: without replacement"),
        ({"order": "key_first"}, "did you mean 'keys_first'"),
    ],
)
@pytest.mark.usefixtures("as_installed")
def test_impossible_settings_are_refused(settings, complaint):
    with pytest.raises(UsageError, match=complaint):
        AssociativeRetrieval(**settings)


def test_text_of_any_length_is_solved(order):
    longer = AssociativeRetrieval(9, order=order).split("test", 200, seed=0)
    assert (AssociativeRetrieval(4, order=order).solve(longer.tokens) == longer.targets).all()
