"""Scored pairs against transcriptions in double precision, their identities, and exact optima."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rlx import policy, reward

B, G, T = 1000, 4, 9

difference_loss = jax.jit(policy.reward_difference_loss)
prdp_loss = jax.jit(policy.prdp_loss)
p3o_loss = jax.jit(policy.p3o_loss, static_argnames="how")
sequence_loss = jax.jit(policy.sequence_policy_loss)


@functools.cache
def batch() -> dict[str, np.ndarray]:
    """Groups of sequences of 0 to T tokens, padded with NaN."""
    rng = np.random.default_rng(0)
    mask = np.arange(T) < rng.integers(0, T + 1, (B, G, 1))
    names = ("log_prob", "reference", "behaviour_log_prob")
    data = {name: np.where(mask, -rng.exponential(0.3, mask.shape), np.nan) for name in names}
    return data | {"mask": mask, "reward": rng.normal(size=(B, G))}


def test_equals_transcription_on_ragged_groups():
    data, beta, clip = batch(), 0.3, 0.2
    x, r, b = (np.where(data["mask"], data[k], 0) for k in ("log_prob", "reference", "behaviour_log_prob"))
    pairs = [(i, j) for i in range(G) for j in range(i + 1, G)]

    def squares(score):
        gaps = [(score[:, i] - score[:, j]) - (data["reward"][:, i] - data["reward"][:, j]) / beta for i, j in pairs]
        return np.stack(gaps, axis=1) ** 2

    k = np.exp(x.sum(-1) - b.sum(-1))
    A = data["reward"] - (data["reward"].sum(1, keepdims=True) - data["reward"]) / (G - 1)
    a = (data["reward"][:, 0] - data["reward"][:, 1]) / 2
    d = (x - b).sum(-1)[:, 0] - (x - b).sum(-1)[:, 1]
    bounded = np.clip(k, 1 - clip, 1 + clip)
    separate = -np.minimum(k[:, 0] * a, bounded[:, 0] * a) - np.minimum(-k[:, 1] * a, -bounded[:, 1] * a)
    steps = np.maximum(squares((x - r).sum(-1)), squares(np.clip(x - r, b - r - clip, b - r + clip).sum(-1)))
    two = {name: data[name][:, :2] for name in ("log_prob", "mask", "reward", "behaviour_log_prob")}
    for dtype, tolerance in ((np.float64, 1e-11), (np.float32, 1e-4)):
        with jax.enable_x64(dtype == np.float64):
            whole, first = ({n: a if a.dtype == bool else a.astype(dtype) for n, a in d.items()} for d in (data, two))
            score = policy.sequence_score(whole["log_prob"], whole["mask"], whole["reference"])
            used = whole["log_prob"], whole["mask"], A.astype(dtype)
            for got, expected in (
                (difference_loss(score, whole["reward"], beta=beta), squares((x - r).sum(-1))),
                (policy.leave_one_out_advantage(whole["reward"]), A),
                (sequence_loss(*used), -A * x.sum(-1)),
                (sequence_loss(*used, whole["behaviour_log_prob"], clip=clip), -np.minimum(k * A, bounded * A)),
                (p3o_loss(**first, clip=clip), separate),
                (p3o_loss(**first, clip=clip, how="joint"), -np.minimum(a * d, a * np.clip(d, -clip, clip))),
                (prdp_loss(**whole, beta=beta, clip=clip), steps),
            ):
                np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("pairs", ["uniform", "skewed"])
def test_the_minimum_is_the_tilted_reference_whatever_the_pairs(pairs: str):
    rng = np.random.default_rng(1)
    r, log_reference, beta = rng.normal(size=6), np.log(rng.dirichlet(np.ones(6))), 0.5
    first, second = np.triu_indices(6, 1)
    weight = np.ones(15) if pairs == "uniform" else rng.dirichlet(0.3 * np.ones(15))
    with jax.enable_x64(True):
        tilted = reward.tilt(jnp.asarray(log_reference), jnp.asarray(r), beta)

        def loss(logits, of=r):
            score = jax.nn.log_softmax(logits) - log_reference
            gap = jnp.stack([score[first], score[second]], -1), jnp.stack([of[first], of[second]], -1)
            return weight @ policy.reward_difference_loss(*gap, beta=beta)[:, 0]

        np.testing.assert_allclose(loss(tilted), 0, atol=1e-25)
        np.testing.assert_allclose(loss(tilted, r + 100), 0, atol=1e-20)  # a constant of the prompt
        logits = jnp.zeros(6)
        for _ in range(3):  # a quadratic in the logits, but for their constant
            step = jnp.linalg.lstsq(jax.hessian(loss)(logits), jax.grad(loss)(logits))[0]
            logits -= step
        np.testing.assert_allclose(jax.nn.log_softmax(logits), tilted, atol=1e-9)


def test_gradient_is_copgs_and_that_of_rloo_on_its_own_samples():
    """`-(beta / 2) loss` has the gradient `(R_a - R_b) grad (log p_a - log p_b)`, `R = r - beta s`; of one pair."""
    score, r, beta = jnp.array([0.3, -0.7]), jnp.array([1.0, 0.2]), 0.4
    grad = jax.grad(lambda s: policy.reward_difference_loss(s, r, beta=beta)[0] * beta / 2)(score)
    regularised = np.asarray(r - beta * score)
    ahead = regularised[0] - regularised[1]
    np.testing.assert_allclose(grad, [-ahead, ahead], rtol=1e-6)
    rloo = jax.grad(
        lambda s: policy.sequence_policy_loss(
            s[:, None], np.ones((2, 1), bool), policy.leave_one_out_advantage(regularised)
        ).sum()
    )(score)
    np.testing.assert_allclose(grad, rloo, rtol=1e-6)


def test_ipo_is_a_reward_difference_of_a_half():
    x, y = jnp.array([[-1.0], [-3.0]]), jnp.array([[-2.0], [-2.5]])
    mask = np.ones((2, 1), bool)
    score = policy.sequence_score(x, mask, y)
    expected = policy.reward_difference_loss(score, jnp.array([0.25, -0.25]), beta=0.2)[0]
    np.testing.assert_allclose(policy.ipo_loss(x, mask, 1.0, y, tau=0.2), expected, rtol=1e-6)


def test_p3o_starts_as_half_of_rloo_and_ignores_constants_of_a_prompt():
    rng = np.random.default_rng(2)
    x, mask = jnp.asarray(rng.normal(size=(5, 2, 3)), jnp.float32), np.ones((5, 2, 3), bool)
    r = jnp.asarray(np.round(rng.normal(size=(5, 2)) * 256) / 256, jnp.float32)
    shift = jnp.asarray(np.round(rng.normal(size=(5, 1)) * 1280) / 256, jnp.float32)

    def gradient(kernel, r):
        return jax.value_and_grad(lambda x: kernel(x, r).sum())(x)

    expected = gradient(lambda x, r: policy.sequence_policy_loss(x, mask, policy.leave_one_out_advantage(r)), r)[1] / 2
    for how in ("separate", "joint"):
        kernel = lambda x, r, how=how: policy.p3o_loss(x, mask, r, jax.lax.stop_gradient(x), how=how)  # noqa: E731
        value, grad = gradient(kernel, r)
        np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-7)
        moved, shifted = gradient(kernel, r + shift)
        np.testing.assert_array_equal(grad, shifted)
        np.testing.assert_allclose(moved, value, atol=1e-6)
    unclipped = policy.p3o_loss(x + 1, mask, r, x, how="joint")
    np.testing.assert_allclose(unclipped, 0, atol=1e-6)  # both ratios rise alike


def test_prdp_without_clip_is_the_regression_and_pulls_back_with_it():
    data = {name: a[:50] for name, a in batch().items()}
    clean = {name: np.where(data["mask"], a, 0) if name != "reward" else a for name, a in data.items()}
    clean["mask"] = data["mask"]
    score = policy.sequence_score(clean["log_prob"], clean["mask"], clean["reference"])
    plain = policy.reward_difference_loss(score, clean["reward"], beta=0.5)
    np.testing.assert_allclose(policy.prdp_loss(**clean, beta=0.5, clip=1e4), plain, rtol=1e-4, atol=1e-5)
    one, zeros, mask = jnp.array([[1.0], [0.0]]), jnp.zeros((2, 1)), np.ones((2, 1), bool)

    def gradient(r):  # far above the band of the first step
        return jax.grad(lambda x: policy.prdp_loss(x, mask, jnp.array([r, 0.0]), zeros, zeros, beta=1.0)[0])(one)

    np.testing.assert_array_equal(gradient(3.0)[0], 0)
    assert float(gradient(-3.0)[0, 0]) > 0


def test_halves_of_a_batch_have_the_gradient_of_the_whole():
    data = {name: a[:8] for name, a in batch().items()}
    for name in ("log_prob", "reference", "behaviour_log_prob"):
        data[name] = np.where(data["mask"], data[name], 0)

    def loss(x, rows):
        return prdp_loss(x[rows], *(data[k][rows] for k in ("mask", "reward", "reference")), data["behaviour_log_prob"][
            rows
        ], beta=0.3).sum()  # fmt: skip

    x = data["log_prob"].astype(np.float32)
    halves = sum(np.asarray(jax.grad(loss)(x, rows)) for rows in (slice(0, 4), slice(4, 8)))
    np.testing.assert_allclose(halves, jax.grad(loss)(x, slice(0, 8)), rtol=1e-5, atol=1e-5)


def test_gradients_equal_finite_differences():
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        x = jnp.asarray(rng.normal(size=(2, 3)))
        other = jnp.asarray(rng.normal(size=(2, 3)))
        mask, r = np.ones((2, 3), bool), jnp.asarray(rng.normal(size=2))
        check_grads(lambda x: p3o_loss(x, mask, r, other, clip=0.3), (x,), 1, modes="rev")
        check_grads(lambda x: prdp_loss(x, mask, r, other, other, beta=0.3), (x,), 1, modes="rev")


ZEROS = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: policy.reward_difference_loss(np.zeros(1), np.zeros(1), beta=1.0), "G >= 2"),
        (lambda: policy.reward_difference_loss(np.zeros(2), np.zeros(2), beta=0.0), "beta"),
        (lambda: policy.leave_one_out_advantage(np.zeros(1)), "G >= 2"),
        (lambda: policy.sequence_policy_loss(ZEROS, ZEROS > 0, np.zeros(3)), "advantage must be of shape"),
        (lambda: policy.p3o_loss(ZEROS, ZEROS > 0, np.zeros(2), ZEROS, how="both"), "how must be one of"),
        (lambda: policy.p3o_loss(ZEROS, ZEROS > 0, np.zeros(2), ZEROS, clip=1.5), "clip"),
        (lambda: policy.prdp_loss(ZEROS, ZEROS > 0, np.zeros(3), ZEROS, ZEROS, beta=1.0), "reward must be of shape"),
    ],
)
def test_bad_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()
