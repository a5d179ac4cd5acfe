"""Lyapunov spectra against the systems whose exponents are known exactly or to many digits."""

import math

import pytest
import torch

from fastweights import UsageError
from fastweights.dynamics import (
    driven_lyapunov_spectrum,
    lyapunov_spectrum,
    runge_kutta_4,
    spectral_radius,
    systems,
    trajectory,
)

pytestmark = pytest.mark.usefixtures("float64")


def ensemble(found):
    """Mean over the batch, and its standard error."""
    return found.exponents.mean(0), found.exponents.std(0) / math.sqrt(len(found.exponents))


def assert_within(found, expected, errors=4):
    mean, error = ensemble(found)
    assert ((mean - torch.tensor(expected)).abs() <= errors * error).all(), (mean, error)
    return error


def test_henon():
    found = lyapunov_spectrum(systems.henon(), 0.1 * torch.rand(500, 2), 400, warmup=100)
    error = assert_within(found, [0.41922, -1.62319])
    assert error.max() < 2e-3
    torch.testing.assert_close(found.exponents.sum(1), torch.full((500,), math.log(0.3)))
    assert found.sum_rule_gap < 1e-13


def test_lorenz():
    starts = torch.tensor([0.0, 0.0, 25.0]) + 6 * torch.randn(600, 3)
    found = lyapunov_spectrum(runge_kutta_4(systems.lorenz(), 0.01), starts, 200, warmup=400, dt=0.01)
    error = assert_within(found, [0.9056, 0.0, -14.572])
    assert error[0] < 0.04
    # The flow's sum is −41/3 exactly; what is left is the fourth-order error of the step.
    torch.testing.assert_close(found.exponents.sum(1), torch.full((600,), -41 / 3), atol=5e-4, rtol=0)
    assert found.sum_rule_gap < 1e-11


def test_rossler():
    step = runge_kutta_4(systems.rossler(), 0.05)
    path = trajectory(step, torch.tensor([0.0, -5.0, 0.0]) + torch.randn(40, 3), 1600)
    on_attractor = path[600::20].reshape(-1, 3)  # over 50 units of time: all phases of the cycle alike
    found = lyapunov_spectrum(step, on_attractor, 120, warmup=30, dt=0.05)
    # λ₁ and λ₂ part only after a time 1/λ₁; their sum and λ₃ are there at once.
    found = found._replace(exponents=torch.stack((found.exponents[:, :2].sum(1), found.exponents[:, 2]), dim=1))
    error = assert_within(found, [0.0714, -5.3943])
    assert error[0] < 0.01


def test_logistic():
    found = lyapunov_spectrum(systems.logistic(), torch.rand(400, 1), 300, warmup=10)
    assert_within(found, [math.log(2)])


def test_the_cat_map_has_no_error_at_all():
    found = lyapunov_spectrum(systems.cat_map, torch.rand(3, 2), 100, warmup=30)
    expected = math.log((3 + math.sqrt(5)) / 2)
    assert expected == pytest.approx(0.9624237, abs=5e-8)
    torch.testing.assert_close(found.exponents, torch.tensor([[expected, -expected]]).expand(3, 2))


@pytest.mark.parametrize(("size", "count", "steps", "warmup"), [(8, 8, 1500, 50), (512, 16, 50, 0)])
def test_products_of_gaussian_matrices_have_newmans_spectrum(size, count, steps, warmup):
    gain = 1.3
    matrices = gain / math.sqrt(size) * torch.randn(steps + warmup, size, size)
    found = driven_lyapunov_spectrum(lambda h, J: J @ h, torch.ones(1, size), matrices / 3, count=count, warmup=warmup)
    rank = torch.arange(1, count + 1)
    newman = (torch.digamma((size - rank + 1) / 2) + math.log(2 * gain**2 / size)) / 2
    difference = found.exponents[0] + math.log(3) - newman
    # The variance of ln|R_kk| is ψ′((N − k + 1)/2)/4, independently at every step.
    error = (torch.special.polygamma(1, (size - rank + 1) / 2) / 4 / steps).sqrt()
    assert (difference.abs() < 4 * error).all()
    # Ten blocks know their scatter to a factor of about 1 ± 0.7 (three standard errors).
    ratio = found.standard_error[0] / error
    assert ((ratio > 0.3) & (ratio < 1.7)).all()


def test_a_quiet_tanh_network_forgets_at_the_rate_of_its_spectral_radius():
    W = torch.randn(60, 60) / math.sqrt(60) * 0.9
    found = lyapunov_spectrum(systems.tanh_network(W), 0.1 * torch.randn(1, 60), 400, count=2, warmup=400)
    # A complex pair shares one modulus, so the mean of the first two exponents has no oscillation left.
    moduli = torch.linalg.eigvals(W).abs().sort(descending=True).values
    assert float(found.exponents.mean()) == pytest.approx(float(moduli[:2].log().mean()), abs=2e-3)
    assert spectral_radius(W) == float(moduli[0])


def test_the_flow_of_a_quiet_tanh_network():
    W = torch.tensor([[0.5, -0.7], [0.7, 0.5]])
    step = runge_kutta_4(lambda h: -h + torch.tanh(W @ h), 0.05)
    found = lyapunov_spectrum(step, 1e-3 * torch.ones(1, 2), 126, warmup=100, dt=0.05)
    torch.testing.assert_close(found.exponents, torch.full((1, 2), -0.5), atol=1e-6, rtol=0)  # −1 + Re(0.5 ± 0.7i)


def test_sixteen_exponents_of_a_network_of_512_units():
    rates = 1.5 * 0.9 ** torch.arange(512.0)
    basis = torch.linalg.qr(torch.randn(512, 512)).Q
    W = basis * rates @ basis.T
    found = lyapunov_spectrum(systems.tanh_network(W), torch.randn(1, 512), 50, count=16, warmup=450)
    rest = found.states[0]
    torch.testing.assert_close(torch.tanh(W @ rest), rest)
    assert rest.abs().mean() > 0.1, "not 0, which repels in four directions"
    # At rest the exponents are ln |eigenvalues| of D W, D = diag(1 − h²), which is similar to √D W √D.
    slope = (1 - rest**2).sqrt()
    multipliers = torch.linalg.eigvalsh(slope[:, None] * W * slope).flip(0)
    torch.testing.assert_close(found.exponents[0], multipliers[:16].log(), atol=1e-9, rtol=0)
    assert found.sum_rule_gap is None


def test_driving_a_unit_makes_it_forget():
    weight, drive = 1.5, 1.0
    h = 0.0
    for _ in range(500):
        h = math.tanh(weight * h + drive)
    found = driven_lyapunov_spectrum(
        lambda s, x: torch.tanh(weight * s + x), torch.zeros(2, 1), torch.full((60, 1), drive), warmup=50
    )
    torch.testing.assert_close(found.exponents, torch.full((2, 1), math.log(weight * (1 - h**2))))


def test_the_sum_rule_catches_rare_orthonormalisation():
    step, start = systems.tanh_network(2 * torch.randn(100, 100) / 10), torch.randn(1, 100)
    assert lyapunov_spectrum(step, start, 50, warmup=10).sum_rule_gap < 1e-10
    with pytest.raises(UsageError, match=r"qr_every = 10 is too large: Σλ misses mean ln \|det J\| by"):
        lyapunov_spectrum(step, start, 100, warmup=10, qr_every=10)
    often, rarely = (lyapunov_spectrum(step, start, 100, warmup=10, qr_every=n, count=3) for n in (1, 10))
    torch.testing.assert_close(often.exponents, rarely.exponents)


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: lyapunov_spectrum(lambda x: x * torch.tensor([0.5, 0.0]), torch.ones(1, 2), 20),
            "singular Jacobian along the trajectory.*ask for fewer with count",
        ),
        (lambda: lyapunov_spectrum(lambda x: x**2 + 1, torch.ones(1, 1), 50), "one of them diverged"),
        (lambda: lyapunov_spectrum(lambda x: x / 0, torch.ones(1, 1), 50), "step is not finite at the state"),
        (lambda: lyapunov_spectrum(torch.sin, torch.ones(1, 2), 50, count=3), r"count must be in 1\.\.2, got 3"),
        (
            lambda: lyapunov_spectrum(torch.sin, torch.ones(1, 2), 50, dt=0.0),
            r"dt must be positive and finite, got 0\.0",
        ),
        (lambda: lyapunov_spectrum(torch.sin, torch.ones(1, 2), 0), "steps must be at least 1"),
        (lambda: lyapunov_spectrum(torch.sin, torch.ones(1, 2), 50, qr_every=7), "qr_every must divide steps = 50"),
        (lambda: lyapunov_spectrum(torch.sin, torch.ones(1, 2), 20, qr_every=4), "steps must be at least 40"),
        (
            lambda: driven_lyapunov_spectrum(torch.add, torch.ones(1, 2), torch.ones(5, 2), warmup=5),
            "inputs must hold more steps than warmup = 5, got 5",
        ),
    ],
)
def test_impossible_arguments(call, message):
    with pytest.raises(UsageError, match=message):
        call()
