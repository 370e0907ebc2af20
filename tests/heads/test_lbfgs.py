"""Convex functions are minimised by their gradients, each for itself."""

from __future__ import annotations

import numpy as np
import pytest

from tape_bench.heads.lbfgs import lbfgs, norms


def bowls(curvatures, seed=0):
    """Quadratic functions, one for each range of curvatures, and where they are least."""
    random = np.random.default_rng(seed)
    matrices, right = [], random.normal(size=(len(curvatures), 12))
    for low, high in curvatures:
        turned, _ = np.linalg.qr(random.normal(size=(12, 12)))
        matrices.append(turned * np.geomspace(low, high, 12) @ turned.T)
    least = np.array([np.linalg.solve(m, b) for m, b in zip(matrices, right, strict=True)])
    return (lambda at: np.einsum("fij,fj->fi", matrices, at) - right), least


@pytest.mark.parametrize("curvature", [(0.5, 2), (0.01, 1), (1, 300), (1e-3, 1e-2)])
def test_a_quadratic_function_is_solved(curvature):
    gradient, least = bowls([curvature])
    begin = np.zeros((1, 12))
    target = 1e-9 * norms(gradient(begin))
    at, slopes, used = lbfgs(gradient, begin, gradient(begin), target, 500)
    assert norms(slopes) <= target
    assert used < 500
    np.testing.assert_allclose(at, least, rtol=1e-4, atol=1e-6)


def test_functions_side_by_side_do_not_disturb_each_other():
    gradient, least = bowls([(0.5, 2), (1, 100), (0.01, 1)])
    begin = np.zeros((3, 12))
    target = 1e-9 * norms(gradient(begin))
    at, _, _ = lbfgs(gradient, begin, gradient(begin), target, 500)
    np.testing.assert_allclose(at, least, rtol=1e-4, atol=1e-6)


def test_a_step_too_far_is_taken_back():
    # The slope of log cosh is bounded: the first step of 1 from far out is short, but steep
    # walls of 1000 * x throw it far over the minimum.
    def gradient(at):
        return np.tanh(at - 3) + 1000 * (at - 3)

    at, slopes, used = lbfgs(gradient, np.zeros((1, 1)), gradient(np.zeros((1, 1))),
                             np.array([1e-9]), 100)  # fmt: skip
    assert used < 30
    assert abs(slopes[0, 0]) <= 1e-9
    assert at[0, 0] == pytest.approx(3)


def test_no_more_evaluations_than_allowed():
    gradient, _ = bowls([(1e-4, 1)])
    counted = []

    def counting(at):
        counted.append(1)
        return gradient(at)

    begin = np.zeros((1, 12))
    *_, used = lbfgs(counting, begin, gradient(begin), np.zeros(1), 7)
    assert used == len(counted) == 7


def test_rounding_at_the_optimum_ends_in_peace():
    gradient, least = bowls([(0.5, 2)])
    at, slopes, used = lbfgs(gradient, least, gradient(least), np.zeros(1), 50)
    assert used <= 50
    assert np.isfinite(slopes).all()
    np.testing.assert_allclose(at, least, atol=1e-12)
