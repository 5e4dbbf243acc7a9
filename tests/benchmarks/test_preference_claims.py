"""What the claims about reward models share does what it says, and their controls differ in nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims import fine_grained_feedback, preference_filter, reward_ensembles, reward_transfer
from benchmarks.claims.reward_model import best_of_n_curve, difference, fit, network, pair_loss
from rlx.reward import best_of_n, pair_accuracy
from rlx.value import occupancy


def test_curves_are_means_over_prompts():
    rng = np.random.default_rng(0)
    proxy, gold = rng.normal(size=(2, 3, 16)).astype(np.float32)
    (values,), divergence = best_of_n_curve(proxy, gold[None], (1, 4, 256))
    np.testing.assert_allclose(values[0], gold.mean(), rtol=1e-4, atol=1e-6)
    expected = [np.exp(best_of_n(proxy[x], 4)) @ gold[x] for x in range(3)]
    np.testing.assert_allclose(values[1], np.mean(expected), rtol=1e-4)
    np.testing.assert_allclose(divergence[jnp.array([0, 2])], [0, np.log(16)], atol=1e-2)


def test_a_fit_learns_pairs_and_ignores_those_of_weight_zero():
    pairs = preference_filter.clean_pairs(jax.random.key(0), 600)
    train, test = (preference_filter.rows(pairs, part) for part in (slice(300), slice(300, None)))
    spoilt = train._replace(target=train.target[:, ::-1], weight=jnp.zeros(300))
    model = jax.jit(
        lambda data: fit(jax.random.key(1), network(jax.random.key(2), (16, 16, 1)), pair_loss, data, 400, 64, 3e-3)
    )(preference_filter.joined(train, spoilt))
    assert float(pair_accuracy(difference(model, test), test.target[:, 0]).mean()) > 0.75


def test_the_control_of_the_variance_penalty_moves_it_to_other_answers():
    scores = jax.random.normal(jax.random.key(0), (5, 2, 64))
    found = reward_ensembles.aggregates(scores)
    penalty, elsewhere = (found["mean"] - found[name] for name in ("variance 1", "variance 1 of another answer"))
    np.testing.assert_allclose(np.sort(penalty, -1), np.sort(elsewhere, -1), rtol=1e-4, atol=1e-5)
    assert abs(np.corrcoef(np.ravel(penalty), np.ravel(elsewhere))[0, 1]) < 0.3


def test_expected_rewards_of_spans_are_means_of_samples():
    labels, given = fine_grained_feedback.tables(jax.random.key(0))
    values = jnp.concatenate([labels * given, given], -1)
    logits = jax.random.normal(jax.random.key(1), given.shape[:-1])
    draw = jax.jit(jax.vmap(lambda key: fine_grained_feedback.draw(key, logits)))
    data = draw(jax.random.split(jax.random.key(2), 4000))
    place = jnp.arange(fine_grained_feedback.LENGTH)[:, None]
    sampled = jnp.where(data.alive[..., None], values[place, data.last, data.action], 0).sum(1).mean((0, 1))
    np.testing.assert_allclose(fine_grained_feedback.expected(logits, values), sampled, atol=0.03)
    total = values[..., :3].sum(-1)
    assert float(fine_grained_feedback.optimum(total)) > float(sampled[:3].sum()) + 1


def test_demonstrations_are_visits_of_the_expert_and_every_state_can_be_reached():
    process = reward_transfer.process(jax.random.key(0))
    assert set(np.ravel(process.following)) == set(range(reward_transfer.STATES))
    log_policy = jax.nn.log_softmax(jax.random.normal(jax.random.key(1), process.following.shape))
    shown, start = jax.jit(reward_transfer.demonstrate)(jax.random.key(2), process.following, log_policy)
    exact = 0.1 * occupancy(process.step, reward_transfer.GAMMA, np.exp(log_policy, dtype=np.float64), start)
    np.testing.assert_allclose(reward_transfer.visits(process.step, jnp.exp(log_policy), start), exact, atol=1e-5)
    np.testing.assert_allclose(shown, exact, atol=0.01)
    np.testing.assert_allclose(shown.sum(), 1, atol=1e-3)
