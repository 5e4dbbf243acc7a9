"""Kernels of other feedback against closed forms, simulation, scikit-learn and plain Python."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logit, ndtr
from sklearn.metrics import log_loss

from rlx.reward import (
    auroc,
    correct_prior,
    follow_up_reward,
    hierarchical_preference,
    kl_penalised_reward,
    mine_pairs,
    mix_rewards,
    reaction_loss,
    span_rewards,
)
from rlx.types import PreferenceBatch
from rlx.value import gae

RNG = np.random.default_rng(0)


def test_whole_rewards_are_penalised_too():
    found = kl_penalised_reward(
        jnp.array([0, 1]), jnp.array([2.0, 0.0]), jnp.zeros(2), jnp.ones(2, bool), coefficient=0.25
    )
    np.testing.assert_allclose(found, [-0.5, 1.0])


def test_spans_sum_to_the_holistic_score():
    score, mask, weight = RNG.normal(size=(3, 8, 2)), RNG.random((3, 8, 2)) < 0.4, np.array([0.3, 2.0])
    rewards = span_rewards(score, mask, weight)
    np.testing.assert_allclose(rewards.sum(-1), ((score * mask).sum(1) * weight).sum(-1), rtol=1e-4)
    np.testing.assert_array_equal(rewards[~mask.any(-1)], 0.0)


def test_spans_by_sign_are_a_loop():
    score, mask = np.round(RNG.normal(size=(6, 2))), RNG.random((6, 2)) < 0.7
    low, high, weight = np.array([-0.3, -0.5]), np.array([0.3, 0.6]), np.array([1.0, 2.0])
    expected = [
        sum(weight[k] * (high[k] if s[k] > 0 else low[k]) for k in (0, 1) if m[k])
        for s, m in zip(score, mask, strict=True)
    ]
    np.testing.assert_allclose(span_rewards(score, mask, weight, (low, high)), expected, rtol=1e-6)


def test_the_price_of_a_completion_is_the_divergence_of_its_policy():
    """Two tokens of three symbols, enumerated; and the policy gradient of the penalised reward is exact."""
    logits, reference = RNG.normal(size=(2, 4, 3))  # of the first token, and of the second after each first one
    completions = np.array([(i, j) for i in range(3) for j in range(3)])
    gold, beta = RNG.normal(size=9), 0.3

    def log_probs(logits):
        table = jax.nn.log_softmax(jnp.asarray(logits))
        return jnp.stack([table[0, completions[:, 0]], table[1 + completions[:, 0], completions[:, 1]]], axis=1)

    reward = jnp.zeros((9, 2)).at[:, 1].set(gold)

    def objective(logits):
        of_policy, of_reference = log_probs(logits).sum(1), log_probs(reference).sum(1)
        return jnp.exp(of_policy) @ (gold - beta * (of_policy - of_reference))

    def surrogate(logits):
        found = kl_penalised_reward(reward, log_probs(logits), log_probs(reference), jnp.ones((9, 2), bool), beta)
        probability = jax.lax.stop_gradient(jnp.exp(log_probs(logits).sum(1)))
        return probability @ (log_probs(logits).sum(1) * found.sum(1)), probability @ found.sum(1)

    value, grad = jax.value_and_grad(objective)(logits)
    found, expected = jax.grad(surrogate, has_aux=True)(logits)
    np.testing.assert_allclose(found, grad, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(expected, value, rtol=1e-5)


def test_padding_costs_nothing():
    reward, policy, reference = RNG.normal(size=(3, 2, 4))
    mask = np.arange(4) < np.array([[2], [4]])
    policy[~mask] = -np.inf
    found = np.asarray(kl_penalised_reward(reward, policy, reference, mask, 0.5))
    np.testing.assert_allclose(found[mask], (reward - 0.5 * (policy - reference))[mask], rtol=1e-5)
    np.testing.assert_array_equal(found[~mask], 0.0)
    with pytest.raises(ValueError, match="coefficient"):
        kl_penalised_reward(reward, policy, reference, mask, -1.0)


def test_advantages_of_spans_are_returns_to_go():
    """Without discount and trace decay, and with values of zero, credit is the sum of the spans still to come."""
    rewards = span_rewards(RNG.normal(size=(7, 1, 3)), RNG.random((7, 1, 3)) < 0.5)
    ones = jnp.ones_like(rewards)
    advantage, _ = gae(0 * ones, 0 * ones, rewards, ones, ones, jnp.zeros(rewards.shape, bool).at[-1].set(True))
    np.testing.assert_allclose(advantage, np.cumsum(rewards[::-1], 0)[::-1], rtol=1e-5)


def test_reactions_are_scored_by_log_loss():
    x, y, mask = RNG.normal(size=50), RNG.integers(0, 2, 50), RNG.random(50) < 0.7
    loss = np.asarray(reaction_loss(x, y.astype(float), mask, 3.0))
    weight = np.where(y, 3.0, 1.0)
    expected = log_loss(y[mask], expit(x[mask]), sample_weight=weight[mask])
    np.testing.assert_allclose(loss.sum() / weight[mask].sum(), expected, rtol=1e-5)
    np.testing.assert_array_equal(loss[~mask], 0.0)


@pytest.mark.parametrize("weight", [1.0, 5.0])
def test_a_corrected_model_states_the_base_rate(weight):
    """Of rare positives in three groups, a table fitted to the sample has the rates of all after the correction."""
    group = RNG.integers(3, size=600_000)
    reaction = RNG.random(len(group)) < np.array([0.005, 0.01, 0.03])[group]
    kept = reaction | (RNG.random(len(group)) < 0.05)
    positive = np.array([weight * (kept & reaction & (group == g)).sum() for g in range(3)])
    negative = np.array([(kept & ~reaction & (group == g)).sum() for g in range(3)])
    fitted = logit(positive / (positive + negative))
    gradient = jax.grad(lambda x: reaction_loss(x[group], 1.0 * reaction, kept, weight).sum())(jnp.asarray(fitted))
    np.testing.assert_allclose(gradient / len(group), 0.0, atol=1e-5)
    stated = expit(np.asarray(correct_prior(fitted, 0.05, weight)))
    np.testing.assert_allclose(stated, [reaction[group == g].mean() for g in range(3)], rtol=0.05)
    sample = slice(0, 5000)
    areas = [auroc(x[group[sample]], reaction[sample]) for x in (fitted, np.asarray(correct_prior(fitted, 0.05)))]
    assert areas[0] == areas[1]


def test_mixing_standardises_by_the_reference():
    reference = RNG.normal(size=(500, 2)) * [1.0, 100.0] + [3.0, -7.0]
    mixed = mix_rewards(reference, np.array([1.0, 1.0]), reference)
    scaled = mix_rewards(reference * [1.0, 5.0], np.array([1.0, 1.0]), reference * [1.0, 5.0])
    np.testing.assert_allclose(mixed, scaled, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.mean(mixed), 0.0, atol=1e-4)
    np.testing.assert_allclose(mix_rewards(reference, np.array([1.0, 2.0])), reference @ [1.0, 2.0], rtol=1e-5)


def test_views_weighted_by_precision_judge_as_well_as_the_formula_says():
    """Two answers, gold N(0, 1), views of variance v: right with E Phi(|d| / sqrt(2 / sum 1/v)), the best weights."""
    size, variance = 100_000, np.array([0.5, 2.0, 4.0])
    gold = RNG.normal(size=(size, 2))
    views = gold[..., None] + np.sqrt(variance) * RNG.normal(size=(size, 2, 3))

    def right(weight: np.ndarray) -> float:
        judged = np.asarray(mix_rewards(views, weight))
        return np.mean(np.sign(judged[:, 0] - judged[:, 1]) == np.sign(gold[:, 0] - gold[:, 1]))

    expected = ndtr(np.abs(gold[:, 0] - gold[:, 1]) / np.sqrt(2 / np.sum(1 / variance))).mean()
    np.testing.assert_allclose(right(1 / variance), expected, atol=4e-3)
    assert right(1 / variance) > right(np.ones(3)) + 0.01


def test_follow_ups_order_answers_by_satisfaction():
    """With p(reply | satisfied or not) known and two replies, the reward is the log-odds of the mixture, monotone."""
    satisfied = np.linspace(0.01, 0.99, 50)
    reply = satisfied[:, None] * np.array([0.7, 0.2]) + (1 - satisfied[:, None]) * np.array([0.1, 0.6])
    mask, positive = np.ones((50, 2, 1), bool), np.array([True, False])
    reward = np.asarray(follow_up_reward(np.log(reply)[..., None], mask, positive, "sum"))
    np.testing.assert_allclose(reward, np.log(reply[:, 0] / reply[:, 1]), rtol=1e-4, atol=1e-6)
    assert np.all(np.diff(reward) > 0)


def test_follow_ups_of_several_tokens_are_a_loop():
    log_prob, length = RNG.normal(size=(4, 5, 3)), RNG.integers(0, 4, (4, 5))
    mask, positive = np.arange(3) < length[..., None], np.array([True, False, True, False, False])
    for how in ("mean", "sum"):
        expected = []
        for row, lengths in zip(log_prob, length, strict=True):
            kinds: tuple[list, list] = ([], [])
            for f, n in enumerate(lengths):
                if n:
                    kinds[int(positive[f])].append(row[f, :n].sum() / (n if how == "mean" else 1))
            expected.append((np.mean(kinds[1]) if kinds[1] else 0) - (np.mean(kinds[0]) if kinds[0] else 0))
        np.testing.assert_allclose(follow_up_reward(log_prob, mask, positive, how), expected, rtol=1e-5)


def test_mined_pairs_are_best_and_worst():
    score = RNG.normal(size=(5, 4))
    mask = np.ones((5, 4, 2), bool)
    mask[0, score[0].argmax()] = False  # padding
    mask[1, :3] = False
    batch = PreferenceBatch(
        score[..., None, None], None, mask, np.full((5, 4), 0.25), weight=np.full(5, 2.0), rank=np.zeros((5, 4), int)
    )
    made = mine_pairs(batch, score, 0.5)
    there = np.where(mask.any(-1), score, np.nan)
    best, worst = np.nanmax(there, 1), np.nanmin(there, 1)
    np.testing.assert_allclose(made.obs[:, :, 0, 0], np.stack([best, worst], 1), rtol=1e-6)
    np.testing.assert_allclose(made.strength, best - worst, rtol=1e-5)
    np.testing.assert_array_equal(made.weight, np.where(best - worst > 0.5, 2.0, 0.0))
    assert made.weight[1] == 0
    assert made.rank is None
    assert made.source.tolist() == [2] * 5


def test_without_margins_the_order_is_lexicographic():
    factor = RNG.integers(0, 3, (200, 2, 3)).astype(float)
    target, weight, level = (np.asarray(x) for x in hierarchical_preference(factor))
    for row, t, w, k in zip(factor, target, weight, level, strict=True):
        first, second = map(tuple, row)
        assert t.tolist() == ([1, 0] if first > second else [0, 1] if first < second else [0.5, 0.5])
        assert w == (first != second)
        assert k == next((i for i in range(3) if first[i] != second[i]), 3)


def test_a_hierarchy_of_factors_is_antisymmetric_and_blind_to_units():
    factor, share = RNG.normal(size=(300, 2, 3)), 0.7
    margin = share * factor.std((0, 1))
    target, weight, level = hierarchical_preference(factor, margin)
    swapped = hierarchical_preference(factor[:, ::-1], margin)
    np.testing.assert_array_equal(swapped[0], target[:, ::-1])
    np.testing.assert_array_equal(swapped[2], level)
    units = factor * [1.0, 64.0, 0.25] + [0.0, 2.0, -4.0]
    rescaled = hierarchical_preference(units, share * units.std((0, 1)))
    for got, wanted in zip(rescaled, (target, weight, level), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="score"):
        span_rewards(np.zeros(3), np.ones(3, bool))
    with pytest.raises(ValueError, match="reaction"):
        reaction_loss(np.zeros(2), np.full(2, 2.0))
    with pytest.raises(ValueError, match="negative_rate"):
        correct_prior(np.zeros(2), 0.0)
    with pytest.raises(ValueError, match="reference"):
        mix_rewards(np.zeros((3, 2)), np.ones(2), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="positive"):
        follow_up_reward(np.zeros((3, 2)), np.ones((3, 2), bool), np.ones(2, bool))
    with pytest.raises(ValueError, match=r"batch\.target"):
        mine_pairs(PreferenceBatch(None, None, np.ones((1, 2, 1), bool), np.ones((1, 2))), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="margin"):
        hierarchical_preference(np.zeros((2, 2)), -1.0)
