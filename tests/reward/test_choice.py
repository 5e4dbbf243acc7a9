"""Choice models against brute force, SciPy, scikit-learn and choix, and in the limits in which they are one another."""

from __future__ import annotations

import itertools

import choix
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import sklearn.linear_model

from rlx import reward
from rlx.reward import centring_loss, preference_loss, tie_log_prob

plackett_luce_loss = jax.jit(reward.plackett_luce_loss, static_argnames="top")

RNG = np.random.default_rng(0)
D = RNG.normal(0, 3, 12).astype(np.float32)
HARD = (RNG.random(12) < 0.5).astype(np.float32)
SOFT = RNG.random(12).astype(np.float32)


def fit(loss, start: np.ndarray) -> np.ndarray:
    """Where the loss is least, in double precision."""
    with jax.enable_x64(True):
        both = jax.jit(jax.value_and_grad(lambda x: loss(x)))
        done = scipy.optimize.minimize(lambda x: tuple(map(np.asarray, both(x))), start, jac=True, tol=1e-12)
        return done.x


@pytest.mark.parametrize("target", [HARD, SOFT])
def test_gradient_of_bradley_terry_is_probability_less_target(target):
    grad = jax.grad(lambda d: preference_loss(d, target).sum())(D)
    np.testing.assert_allclose(grad, scipy.special.expit(D) - target, atol=1e-6)


def test_probit_of_noisy_scores_is_thurstones_model():
    """Scores with Gaussian noise of deviations 0.8 and 1.7: the first is better with `Phi(d / sqrt(.8^2 + 1.7^2))`."""
    width = np.hypot(0.8, 1.7)
    expected = -(SOFT * scipy.stats.norm.logcdf(D, scale=width) + (1 - SOFT) * scipy.stats.norm.logsf(D, scale=width))
    np.testing.assert_allclose(preference_loss(D, SOFT, link="probit", scale=1 / width), expected, rtol=1e-4)


def test_neutral_options_are_bradley_terry_to_the_bit():
    plain = preference_loss(D, HARD)
    for options in ({"margin": 0.0}, {"flip_prob": 0.0}, {"flip_prob": 0.0, "unbiased": True}, {"smoothing": 0.0}):
        np.testing.assert_array_equal(preference_loss(D, HARD, **options), plain)


def test_margin_works_against_whoever_was_preferred():
    ahead = np.where(HARD > 0, D, -D)
    np.testing.assert_allclose(preference_loss(D, HARD, margin=0.7), -scipy.special.log_expit(ahead - 0.7), rtol=1e-5)
    tie = np.full_like(D, 0.5)
    np.testing.assert_array_equal(preference_loss(D, tie, margin=0.7), preference_loss(D, tie))


@pytest.mark.parametrize("link", ["logistic", "probit", "hinge", "square"])
def test_unbiased_is_the_clean_loss_in_the_mean_over_flips(link):
    noise = 0.3

    def loss(target):
        return preference_loss(D, target, link=link, flip_prob=noise, unbiased=True, margin=0.0)

    mean = (1 - noise) * loss(HARD) + noise * loss(1 - HARD)
    np.testing.assert_allclose(mean, preference_loss(D, HARD, link=link), rtol=1e-4, atol=1e-4)


def test_noise_aware_fit_recovers_what_plain_fit_shrinks():
    """One score difference, seen often: the plain fit explains the flips, the noise-aware one looks through them."""
    true, noise = 1.5, 0.2
    seen = jnp.asarray((1 - noise) * scipy.special.expit(true) + noise * scipy.special.expit(-true))
    plain = fit(lambda x: preference_loss(x[0], seen), np.zeros(1))
    aware = fit(lambda x: preference_loss(x[0], seen, flip_prob=noise), np.zeros(1))
    np.testing.assert_allclose(plain, scipy.special.logit(seen), atol=1e-4)
    np.testing.assert_allclose(aware, true, atol=1e-4)


def test_smoothing_is_a_share_of_the_opposite_label():
    expected = 0.9 * preference_loss(D, HARD) + 0.1 * preference_loss(D, 1 - HARD)
    np.testing.assert_allclose(preference_loss(D, HARD, smoothing=0.1), expected, rtol=1e-5)


def test_integer_weights_are_repeated_rows():
    times = RNG.integers(0, 4, 12)
    repeated = preference_loss(np.repeat(D, times), np.repeat(HARD, times)).sum()
    np.testing.assert_allclose(preference_loss(D, HARD, weight=times).sum(), repeated, rtol=1e-5)


def test_tabular_fit_is_choixs():
    comparisons = [tuple(RNG.permutation(5)[:2]) for _ in range(80)]
    first, second = np.array(comparisons).T
    ours = fit(lambda s: preference_loss(s[first] - s[second], np.ones(80)).sum() + jnp.sum(s) ** 2, np.zeros(5))
    np.testing.assert_allclose(ours, choix.ilsr_pairwise(5, comparisons), atol=1e-4)


def test_linear_fit_is_logistic_regression_of_differences():
    x = RNG.normal(size=(200, 3))
    label = (RNG.random(200) < scipy.special.expit(x @ [1.0, -2.0, 0.5])).astype(float)
    ours = fit(lambda w: preference_loss(x @ w, label).sum() + 0.5 * w @ w, np.zeros(3))
    theirs = sklearn.linear_model.LogisticRegression(fit_intercept=False, C=1.0, tol=1e-8).fit(x, label)
    np.testing.assert_allclose(ours, theirs.coef_[0], atol=1e-4)


def test_plackett_luce_is_a_distribution_over_orders():
    score = RNG.normal(size=5)
    ranks = np.array(list(itertools.permutations(range(5))))
    losses = plackett_luce_loss(np.broadcast_to(score, ranks.shape), ranks)
    np.testing.assert_allclose(np.exp(-np.asarray(losses)).sum(), 1.0, rtol=1e-5)
    rank = ranks[17]
    ordered = score[np.argsort(rank)]
    by_hand = sum(scipy.special.logsumexp(ordered[i:]) - ordered[i] for i in range(5))
    np.testing.assert_allclose(losses[17], by_hand, rtol=1e-5)


def test_plackett_luce_of_the_first_places_is_the_sum_over_the_rest():
    """What the first two of four are: the total probability of the orders that begin with them."""
    score = RNG.normal(size=4)
    ranks = np.array([rank for rank in itertools.permutations(range(4)) if rank[2] == 0 and rank[0] == 1])
    total = np.exp(-np.asarray(plackett_luce_loss(np.broadcast_to(score, ranks.shape), ranks))).sum()
    for known in ([1, -1, 0, -1], [1, 2, 0, 3]):
        found = plackett_luce_loss(score, np.array(known), top=None if -1 in known else 2)
        np.testing.assert_allclose(np.exp(-found), total, rtol=1e-5)


def test_plackett_luce_of_two_is_bradley_terry_and_of_the_first_place_softmax():
    score = RNG.normal(size=(6, 2)).astype(np.float32)
    pair = plackett_luce_loss(score, np.array([[1, 0]] * 6))
    np.testing.assert_allclose(pair, preference_loss(score[:, 0] - score[:, 1], np.zeros(6)), rtol=1e-5)
    score = RNG.normal(size=(6, 4))
    first = plackett_luce_loss(score, np.array([[2, 0, 1, 3]] * 6), top=1)
    np.testing.assert_allclose(first, -scipy.special.log_softmax(score, -1)[:, 1], rtol=1e-4)
    several = plackett_luce_loss(score, np.array([[0, 0, 1, 1]] * 6), top=1)
    np.testing.assert_allclose(several, -scipy.special.log_softmax(score, -1)[:, :2].mean(-1), rtol=1e-4)


def test_plackett_luce_fit_is_choixs():
    rankings = [tuple(RNG.permutation(4)) for _ in range(40)]
    rank = np.argsort(np.array(rankings), axis=1)
    ours = fit(lambda s: plackett_luce_loss(jnp.tile(s, (40, 1)), rank).sum() + jnp.sum(s) ** 2, np.zeros(4))
    np.testing.assert_allclose(ours, choix.ilsr_rankings(4, rankings), atol=1e-4)


def test_ties_are_efrons():
    """Three tied at the head of four: each next one has a third less of their weight in its sum."""
    score = RNG.normal(size=4)
    weight = np.exp(score)
    tied, rest = weight[:3].sum(), weight[3]
    expected = np.prod(weight[:3]) / np.prod([tied * (1 - share / 3) + rest for share in range(3)])
    found = plackett_luce_loss(score, np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(np.exp(-found), expected, rtol=1e-5)
    equal = np.zeros(4)  # exact where the tied ones have equal scores: every order of them is as likely
    np.testing.assert_allclose(
        plackett_luce_loss(equal, np.array([0, 0, 0, 1])), plackett_luce_loss(equal, np.array([0, 1, 2, 3])), rtol=1e-5
    )


def test_padding_of_a_ranking_is_not_there():
    score, rank = RNG.normal(size=5), np.array([2, 0, 1, 0, 5])
    mask = np.array([True, True, True, False, False])
    np.testing.assert_allclose(
        plackett_luce_loss(score, rank, mask), plackett_luce_loss(score[:3], rank[:3]), rtol=1e-5
    )
    assert float(plackett_luce_loss(score, rank, np.zeros(5, bool))) == 0.0


def test_tie_models_are_their_papers_formulas():
    first, second = np.exp(RNG.normal(size=(2, 9)))
    difference = np.log(first / second)
    theta, nu = 1.7, 0.6
    one = first / (first + theta * second)
    other = second / (theta * first + second)
    np.testing.assert_allclose(
        np.exp(tie_log_prob(difference, np.log(theta))), np.stack([one, 1 - one - other, other], -1), rtol=1e-4
    )
    middle = nu * np.sqrt(first * second)
    weights = np.stack([first, middle, second], -1)
    np.testing.assert_allclose(
        np.exp(tie_log_prob(difference, np.log(nu), "davidson")), weights / weights.sum(-1, keepdims=True), rtol=1e-4
    )


def test_without_ties_the_tie_models_are_bradley_terry():
    for model, threshold in (("rao_kupper", 1e-6), ("davidson", -30.0)):
        found = tie_log_prob(D, threshold, model)
        np.testing.assert_allclose(-found[:, 0], preference_loss(D, np.ones(12)), rtol=1e-3, atol=1e-5)
        assert np.all(np.exp(found[:, 1]) < 1e-5)


def test_centring_leaves_a_difference_alone():
    direction = np.array([1.0, -1.0])
    grad = jax.grad(lambda s: centring_loss(s))(jnp.array([0.3, 0.9]))
    np.testing.assert_allclose(grad @ direction, 0.0, atol=1e-6)
    assert float(centring_loss(np.array([1.0, 2.0, 5.0]), np.array([True, True, False]))) == 9.0


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="target"):
        preference_loss(np.zeros(2), np.array([0.0, 2.0]))
    with pytest.raises(ValueError, match="same shape"):
        preference_loss(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="flip_prob"):
        preference_loss(np.zeros(2), np.zeros(2), unbiased=True)
    with pytest.raises(ValueError, match="flip_prob"):
        preference_loss(np.zeros(2), np.zeros(2), unbiased=True, flip_prob=0.5)
    with pytest.raises(ValueError, match="smoothing"):
        preference_loss(np.zeros(2), np.zeros(2), smoothing=2.0)
    with pytest.raises(ValueError, match="rank"):
        plackett_luce_loss(np.zeros(2), np.zeros(2))
    with pytest.raises(ValueError, match="top"):
        plackett_luce_loss(np.zeros(2), np.zeros(2, int), top=0)
    with pytest.raises(ValueError, match="threshold"):
        tie_log_prob(np.zeros(2), 0.0)
    with pytest.raises(ValueError, match="model"):
        tie_log_prob(np.zeros(2), 0.0, "thurstone")
    with pytest.raises(ValueError, match="same shape"):
        centring_loss(np.zeros(2), np.zeros(3, bool))
