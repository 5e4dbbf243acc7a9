"""Self-play against direct best responses, fixed points of exact steps, and enumerated gradients."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from rlx import policy

A = 5


def game(seed: int = 0) -> tuple[jax.Array, jax.Array]:
    """A preference that is not transitive, and a reference."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(0, 1.5, (A, A))
    return jax.nn.sigmoid(jnp.asarray(skill - skill.T) / 2**0.5), jnp.log(jnp.asarray(rng.dirichlet(np.ones(A))))


def kl(p, q):
    return float(np.sum(p * (np.log(p) - np.log(q))))


@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_gap_equals_direct_best_responses(temperature: float):
    with jax.enable_x64(True):
        P, log_reference = game()
        log_policy = jax.nn.log_softmax(jnp.asarray(np.random.default_rng(1).normal(size=A)))
        gap = float(policy.duality_gap(log_policy, P, log_reference, temperature))
    P, r, pi = np.asarray(P), np.exp(log_reference), np.exp(log_policy)

    def gain(logits, u):
        p = np.exp(logits - logits.max())
        p = np.maximum(p / p.sum(), 1e-300)
        return -(p @ u - temperature * kl(p, r))

    if temperature:
        best = -min(scipy.optimize.minimize(gain, np.log(r), args=(P @ pi,), tol=1e-12).fun, 0)
        worst = min(scipy.optimize.minimize(gain, np.log(r), args=(-P.T @ pi,), tol=1e-12).fun, 1)
        expected = best - worst + 2 * temperature * kl(pi, r)
    else:
        expected = np.max(P @ pi) - np.min(P.T @ pi)
    np.testing.assert_allclose(gap, expected, atol=1e-6)


def test_exact_steps_converge_to_the_policy_without_a_gap():
    with jax.enable_x64(True):
        P, log_reference = game()
        tau = 0.05

        def iterate(log_policy, _):
            now = policy.nash_step(log_policy, P, log_reference, eta=0.5, temperature=tau)
            return now, policy.duality_gap(now, P, log_reference, tau)

        last, gaps = jax.lax.scan(iterate, log_reference, length=3000)
        assert gaps[0] > 0.01
        assert float(gaps[-1]) < 1e-10
        assert bool(jnp.all(gaps > -1e-12))
        # the fixed point: reference tilted by the win rates against itself
        tilted = jax.nn.log_softmax(log_reference + P @ jnp.exp(last) / tau)
        np.testing.assert_allclose(last, tilted, atol=1e-7)
        value = jnp.exp(last) @ P @ jnp.exp(last)
        np.testing.assert_allclose(value, 0.5, atol=1e-12)


def test_win_rates_of_a_group_are_those_against_the_policy_that_sampled_it():
    rng = np.random.default_rng(0)
    P = rng.random((5, 5))
    by_hand = [np.mean([P[i, j] for j in range(5) if j != i]) for i in range(5)]
    np.testing.assert_allclose(policy.win_rate(P), by_hand, rtol=1e-6)
    P, log_policy = game()
    group = rng.choice(A, (4000, 3), p=np.exp(log_policy) / np.exp(log_policy).sum())
    rates = policy.win_rate(np.asarray(P)[group[:, :, None], group[:, None]])
    exact = np.asarray(P @ jnp.exp(log_policy))
    for a in range(A):
        np.testing.assert_allclose(np.mean(rates[group == a]), exact[a], atol=0.02)
    with pytest.raises(ValueError, match="preference must be of shape"):
        policy.win_rate(jnp.zeros((3, 2)))


def test_rock_paper_scissors_is_won_by_nobody():
    P = jnp.array([[0.5, 0, 1], [1, 0.5, 0], [0, 1, 0.5]])
    uniform = jnp.full(3, -jnp.log(3.0))
    for temperature in (0.0, 0.1):
        np.testing.assert_allclose(policy.duality_gap(uniform, P, uniform, temperature), 0, atol=1e-6)
    np.testing.assert_allclose(policy.nash_step(uniform, P, uniform, eta=0.5, temperature=0.1), uniform, atol=1e-6)
    rock = jnp.log(jnp.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(policy.duality_gap(rock, P, uniform), 1.0)  # paper wins 1, and rock loses 0 to it


def test_pairs_of_the_last_policy_fit_the_exact_step():
    """INPO: the square loss on labels has the minimum of the loss on win rates, `nash_step`; at tau = eta it is IPO."""
    with jax.enable_x64(True):
        P, log_reference = game()
        eta, tau = 0.5, 0.2
        last = jax.nn.log_softmax(jnp.asarray(np.random.default_rng(2).normal(size=A)))
        mask = np.ones((A, A, 2, 1), bool)
        pairs = lambda x: jnp.stack(jnp.broadcast_arrays(x[:, None], x[None]), -1)[..., None]  # noqa: E731

        def loss(logits, tau):
            mixed = pairs(policy.geometric_reference(log_reference, last, tau / eta))
            each = policy.ipo_loss(pairs(jax.nn.log_softmax(logits)), mask, P, mixed, tau=eta)
            return jnp.exp(last) @ each @ jnp.exp(last)

        for tau in (0.2, eta):
            target = policy.nash_step(last, P, log_reference, eta=eta, temperature=tau)
            np.testing.assert_allclose(jax.grad(loss)(target, tau), 0, atol=1e-12)


def test_exact_dno_is_the_step_without_regularisation():
    """A soft label `sigmoid(r_w - r_l)` of win rates, against the last policy: `last exp(r / eta) / Z`."""
    with jax.enable_x64(True):
        P, log_reference = game()
        eta = 0.4
        win = P @ jnp.exp(log_reference)
        first, second = np.triu_indices(A, 1)
        label = jax.nn.sigmoid(win[first] - win[second])
        pairs = lambda x: jnp.stack([x[first], x[second]], -1)[..., None]  # noqa: E731
        step = policy.nash_step(log_reference, P, jnp.zeros(A), eta=eta)
        mask = np.ones((10, 2, 1), bool)
        grad = jax.grad(
            lambda x: policy.dpo_loss(pairs(jax.nn.log_softmax(x)), mask, label, pairs(log_reference), beta=eta).sum()
        )(step)
        np.testing.assert_allclose(grad, 0, atol=1e-12)


def test_gradient_of_nash_md_is_that_of_the_regularised_game_but_for_single_tokens():
    """Two tokens of three kinds, enumerated: the mean gradient is that of `beta KL - (win rate)`."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        first, rest = jnp.asarray(rng.normal(size=3)), jnp.asarray(rng.normal(size=(3, 3)))
        reference = jnp.asarray(rng.normal(size=3)), jnp.asarray(rng.normal(size=(3, 3)))
        sequences = np.array(list(itertools.product(range(3), repeat=2)))
        win = jnp.asarray(rng.random(9))
        mask = np.ones((9, 2), bool)

        def tokens(params):
            first, rest = (jax.nn.log_softmax(x) for x in params)
            return jnp.stack([first[sequences[:, 0]], rest[sequences[:, 0], sequences[:, 1]]], -1)

        other = tokens(reference)

        def objective(params):
            lp = tokens(params).sum(-1)
            return jnp.exp(lp) @ (0.3 * (lp - other.sum(-1)) - win)

        def sampled(params, kl):
            prob = jax.lax.stop_gradient(jnp.exp(tokens(params).sum(-1)))
            return prob @ policy.nash_md_loss(tokens(params), mask, other, win, beta=0.3, kl=kl)

        params = first, rest
        exact = jnp.concatenate([x.ravel() for x in jax.grad(objective)(params)])
        for kl, right in (("sequence", True), ("to_go", True), ("token", False)):
            grad = jnp.concatenate([x.ravel() for x in jax.grad(sampled)(params, kl)])
            assert np.allclose(grad, exact, atol=1e-12) == right


def test_mixtures():
    rng = np.random.default_rng(4)
    a, b = (jax.nn.log_softmax(jnp.asarray(rng.normal(size=(2, A)), jnp.float32)) for _ in range(2))
    p = np.exp(a) ** 0.3 * np.exp(b) ** 0.7
    np.testing.assert_allclose(jnp.exp(policy.mixture_logits(a, b, 0.3)), p / p.sum(-1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(policy.geometric_reference(a, b, 0.3), np.log(p), rtol=1e-5)
    barred = jnp.array([0.0, -jnp.inf])
    np.testing.assert_array_equal(policy.mixture_logits(barred, jnp.zeros(2), 1.0), [0.0, -np.inf])
    np.testing.assert_allclose(policy.mixture_logits(barred, jnp.zeros(2), 0.0), np.log([0.5, 0.5]), rtol=1e-6)
    np.testing.assert_array_equal(policy.mixture_logits(barred, jnp.zeros(2), 0.5), [0.0, -np.inf])


GAME = np.zeros(3), np.full((3, 3), 0.5), np.zeros(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: policy.duality_gap(GAME[0], np.ones((3, 2)), GAME[2]), "preference must be of shape"),
        (lambda: policy.duality_gap(*GAME, -1.0), "temperature"),
        (lambda: policy.nash_step(*GAME, eta=0.1, temperature=0.2), "temperature / eta"),
        (lambda: policy.mixture_logits(GAME[0], GAME[2], 1.5), "weight"),
        (lambda: policy.nash_md_loss(np.zeros(2), np.ones(2, bool), np.zeros(2), 0.5, kl="step"), "kl must be one of"),
        (lambda: policy.nash_md_loss(np.zeros(2), np.ones(2, bool), np.zeros(2), 1.5), "win_prob"),
    ],
)
def test_bad_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()
