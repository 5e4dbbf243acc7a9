"""Policy-gradient losses: rlax on the same inputs, where gradients vanish, divergences by enumeration, channels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from rlx import policy


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_clipped_surrogate_equals_rlax():
    log_prob, behaviour, advantage = 0.3 * normal(0, 3, 100)
    wanted = rlax.clipped_surrogate_pg_loss(jnp.exp(log_prob - behaviour), advantage, 0.2)
    np.testing.assert_allclose(policy.ppo_clip_loss(log_prob, behaviour, advantage, 0.2).mean(), wanted, rtol=1e-5)


def test_clip_none_reached_is_the_unclipped_surrogate():
    log_prob, behaviour, advantage = normal(1, 3, 100)
    far = policy.ppo_clip_loss(log_prob, behaviour, advantage, 1e6)
    no_penalty = policy.ppo_kl_loss(log_prob, behaviour, advantage, jnp.zeros(100), 0.0)
    np.testing.assert_allclose(far, no_penalty, rtol=1e-6)
    np.testing.assert_allclose(far, -np.exp(log_prob - behaviour) * advantage, rtol=1e-5)


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"),
    [(1.3, 1.0, False), (1.3, -1.0, True), (0.7, 1.0, True), (0.7, -1.0, False), (1.1, 1.0, True), (0.9, -1.0, True)],
)
def test_gradient_vanishes_only_where_the_ratio_went_too_far(ratio: float, advantage: float, moves: bool):
    grad = jax.grad(lambda x: policy.ppo_clip_loss(x, jnp.array(0.0), jnp.array(advantage), 0.2))(jnp.log(ratio))
    np.testing.assert_allclose(grad, -ratio * advantage if moves else 0.0, rtol=1e-6)
    outside = policy.clip_fraction(jnp.log(jnp.array([ratio])), jnp.zeros(1), 0.2)
    assert bool(outside[0]) == (abs(ratio - 1) > 0.2)


def test_on_policy_gradients_are_the_policy_gradient():
    log_prob, advantage, zeros = normal(2, 100), normal(3, 100), jnp.zeros(100)
    wanted = jax.grad(lambda x: policy.policy_gradient_loss(x, advantage).sum())(log_prob)
    np.testing.assert_allclose(wanted, -advantage)
    clip = jax.grad(lambda x: policy.ppo_clip_loss(x, log_prob, advantage, 0.2).sum())(log_prob)
    kl = jax.grad(lambda x: policy.ppo_kl_loss(x, log_prob, advantage, zeros, 1.0).sum())(log_prob)
    np.testing.assert_allclose(clip, wanted, rtol=1e-6)
    np.testing.assert_allclose(kl, wanted, rtol=1e-6)


def test_policy_gradient_by_enumeration():
    """The expected gradient of the loss is minus the gradient of the expected reward, whatever the baseline."""
    with jax.enable_x64(True):
        logits, reward = np.random.default_rng(4).normal(size=(2, 5))
        probs = jax.nn.softmax(logits)
        wanted = jax.grad(lambda x: jax.nn.softmax(x) @ reward)(logits)
        for baseline in (0.0, 3.0):
            got = jax.grad(lambda x, b=baseline: probs @ policy.policy_gradient_loss(jax.nn.log_softmax(x), reward - b))
            np.testing.assert_allclose(got(logits), -wanted, atol=1e-12)


def test_kl_coefficient_adapts_by_factors_of_two():
    kl = jnp.array([0.0, 0.66, 0.67, 1.0, 1.5, 1.51, 100.0])
    np.testing.assert_array_equal(policy.adapt_kl_coefficient(3.0, kl, 1.0), [1.5, 1.5, 3, 3, 3, 6, 6])
    for kl in (0.0, 9.0):  # however long it was on one side, it comes back
        coefficient = 1.0
        for _ in range(200):
            coefficient = policy.adapt_kl_coefficient(coefficient, kl, 1.0)
        np.testing.assert_allclose(coefficient, 1e-6 if kl == 0 else 1e6)


def test_kl_penalty_pulls_towards_the_old_policy():
    """At the minimum of the penalised surrogate the policy is the tilt of the old one, by enumeration."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(5)
        old, advantage = jax.nn.log_softmax(rng.normal(size=4)), jnp.asarray(rng.normal(size=4))
        coefficient = 2.0

        def loss(logits):
            new = jax.nn.log_softmax(logits)
            kl = policy.categorical_kl(old, new)
            return jnp.exp(old) @ policy.ppo_kl_loss(new, old, advantage, jnp.full(4, kl), coefficient)

        logits = jax.lax.fori_loop(0, 5000, lambda _, x: x - 0.5 * jax.grad(loss)(x), old)
        new = jax.nn.softmax(logits)
        # stationary: new (A - E_new A) = coefficient (new - old), with KL(old || new) as the penalty
        np.testing.assert_allclose(new * (advantage - new @ advantage), coefficient * (new - jnp.exp(old)), atol=1e-9)


class TestKlEstimate:
    """Exact expectations over a policy of six actions."""

    rng = np.random.default_rng(6)
    logits, reference = rng.normal(size=(2, 6))

    def expectation(self, kind, logits, reference, sampler=None):
        log_p, log_q = jax.nn.log_softmax(logits), jax.nn.log_softmax(reference)
        probs = jnp.exp(log_p if sampler is None else jax.nn.log_softmax(sampler))
        return probs @ policy.kl_estimate(log_p, log_q, kind)

    @pytest.mark.parametrize("kind", ["k1", "k3"])
    def test_unbiased(self, kind):
        with jax.enable_x64(True):
            exact = policy.categorical_kl(self.logits, self.reference)
            np.testing.assert_allclose(self.expectation(kind, self.logits, self.reference), exact, rtol=1e-12)

    def test_k2_is_biased_to_third_order(self):
        with jax.enable_x64(True):
            bias = []
            for scale in (0.1, 0.05):
                near = self.logits + scale * self.reference
                exact = policy.categorical_kl(self.logits, near)
                bias.append(abs(self.expectation("k2", self.logits, near) - exact))
            assert 6 < bias[0] / bias[1] < 10  # halving the distance divides the bias by about 8

    @pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
    def test_gradient_as_a_loss_on_own_samples(self, kind):
        with jax.enable_x64(True):
            got = jax.grad(lambda x: self.expectation(kind, x, self.reference, sampler=self.logits))(self.logits)
            wanted = {
                "k1": lambda x: 0.0 * x.sum(),
                "k2": lambda x: policy.categorical_kl(x, self.reference),
                "k3": lambda x: policy.categorical_kl(self.reference, x),
            }[kind]
            np.testing.assert_allclose(got, jax.grad(wanted)(self.logits), atol=1e-12)


def test_errors_name_the_argument():
    x = jnp.zeros(3)
    with pytest.raises(ValueError, match="same shape; got log_prob"):
        policy.ppo_clip_loss(x, x, x[:, None], 0.2)
    with pytest.raises(ValueError, match="clip must be"):
        policy.ppo_clip_loss(x, x, x, 0.0)
    with pytest.raises(ValueError, match="kind must be"):
        policy.kl_estimate(x, x, "k4")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="target must be"):
        policy.adapt_kl_coefficient(1.0, 0.1, 0.0)
    with pytest.raises(ValueError, match="coefficient must be"):
        policy.ppo_kl_loss(x, x, x, x, -1.0)


def test_normalised_advantages_in_numpy_with_masks_channels_and_shards():
    x, mask = np.random.default_rng(0).normal(size=(6, 4, 3)), np.random.default_rng(1).random((6, 4)) < 0.7
    valid = x[mask]
    wanted = np.where(mask[..., None], (x - valid.mean(0)) / valid.std(0), 0.0)
    advantage = jnp.asarray(x, jnp.float32)
    found = policy.normalise_advantage(advantage, mask, per_channel=True)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(policy.normalise_advantage(advantage), (x - x.mean()) / x.std(), rtol=1e-4, atol=1e-5)
    halves = jax.vmap(
        lambda a, m: policy.normalise_advantage(a, m, per_channel=True, axis_name="shard"), axis_name="shard"
    )
    sharded = halves(jnp.stack(jnp.split(advantage, 2)), np.stack(np.split(mask, 2)))
    np.testing.assert_allclose(jnp.concatenate([*sharded]), wanted, rtol=1e-4, atol=1e-5)
    assert not np.any(policy.normalise_advantage(advantage, np.zeros((6, 4, 3), bool)))
    with pytest.raises(ValueError, match="shape of mask"):
        policy.normalise_advantage(advantage, mask)


def test_the_scale_of_a_channel_does_not_matter_once_it_is_normalised():
    """Powers of two are exact; the sum, normalised afterwards, is nearly the large channel alone."""
    x = normal(3, 50, 8, 2)
    large = x * jnp.array([1.0, 1024.0])
    mix = lambda a: policy.normalise_advantage(a, per_channel=True).sum(-1)  # noqa: E731
    np.testing.assert_allclose(mix(large), mix(x), rtol=1e-5, atol=1e-5)
    summed = policy.normalise_advantage(large.sum(-1))
    assert np.corrcoef(summed.ravel(), x[..., 1].ravel())[0, 1] > 0.999
