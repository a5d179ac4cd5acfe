"""docs/tour.md runs as it stands, draws its pictures, and what it says of them is so."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "tour.md").read_text(encoding="utf-8")
PREAMBLE, *EXAMPLES = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
PICTURES = re.findall(r"^!\[.+\]\((.+)\)$", TEXT, flags=re.MULTILINE)


@pytest.fixture
def example(monkeypatch, tmp_path, float64):
    """Run the preamble and one example in an empty folder; gives the example's names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs" / "pictures").mkdir(parents=True)

    def execute(number):
        names = {}
        exec(compile(PREAMBLE + EXAMPLES[number], f"tour.md, example {number}", "exec"), names)
        return names

    plt.switch_backend("agg")
    yield execute
    plt.close("all")


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_draws_the_picture_below_it(example, tmp_path, number):
    example(number)
    drawn = [path.relative_to(tmp_path / "docs").as_posix() for path in tmp_path.rglob("*.*")]
    assert drawn == [PICTURES[number]]
    assert (DOCS / PICTURES[number]).stat().st_size < 100_000


def test_crosstalk_has_the_variance_said(example):
    """450 pairs: the mean of 225,000 squares; the standard error is below that of 450 independent ones, 0.067."""
    names = example(0)
    crosstalk = names["recalled"] - names["values"]
    assert crosstalk.square().mean().item() == pytest.approx(449 / 500, rel=4 * (2 / 450) ** 0.5)


def test_no_energy_rises_and_every_pattern_is_recalled(example):
    names = example(1)
    assert (names["run"].energy.diff(dim=0) <= 1e-9).all()
    assert torch.equal(names["run"].state, names["patterns"])


def test_the_equilibria_are_those_that_the_page_counts(example):
    names = example(2)
    kinds = names["kinds"]
    assert {kind: kinds.count(kind) for kind in kinds} == {"stable node": 4, "saddle": 4, "unstable node": 1}
    memories, dynamics = names["memories"], names["dynamics"]
    stronger = memories.ContinuousHopfield.from_weights([[1.0, 0.5], [0.5, 1.0]], gain=3.0).field
    points = dynamics.equilibria(stronger, dynamics.grid((-2, -2), (2, 2), 15)).points
    stable = [p for p, J in zip(points, dynamics.jacobian(stronger, points), strict=True) if _attracts(dynamics, J)]
    assert len(stable) == 2
    assert all(p[0] * p[1] > 0 for p in stable)


def test_the_fast_weights_keep_what_the_irnn_loses(example):
    example(3)
    norms = {line.get_label(): line.get_ydata() for line in plt.gca().lines}
    assert (norms["IRNN"] <= norms["IRNN"][0] * 0.5 ** torch.arange(41).numpy() * (1 + 1e-12)).all()
    assert norms["FastWeightRNN"][30] > 0.1 * norms["FastWeightRNN"][2]
    assert norms["LSTM"][30] < 0.1 * norms["LSTM"][2]


def _attracts(dynamics, jacobian):
    return dynamics.linearise_field(jacobian).stability == "asymptotically stable"
