"""Mutual information from a table of joint probabilities, and Bayes' rule from one of three variables."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from rlx.pareto import mutual_information_loss, refine_target

RNG = np.random.default_rng(0)


def test_mutual_information_is_the_divergence_of_joint_and_product():
    """The input is uniform over the batch, so the joint distribution is a table `[B, C]`."""
    joint = RNG.dirichlet(np.ones(4) * 0.5, 7) / 7
    product = np.outer(joint.sum(1), joint.sum(0))
    wanted = -scipy.stats.entropy(joint.ravel(), product.ravel())
    np.testing.assert_allclose(mutual_information_loss(np.log(joint) + RNG.normal(size=(7, 1))), wanted, rtol=1e-4)


def test_limits_of_mutual_information():
    np.testing.assert_allclose(mutual_information_loss(np.ones((5, 3))), 0.0, atol=1e-6)
    np.testing.assert_allclose(mutual_information_loss(np.tile([1.0, 9.0, 0.0], (5, 1))), 0.0, atol=1e-6)
    np.testing.assert_allclose(mutual_information_loss(1e3 * np.eye(4)), -np.log(4), rtol=1e-6)


def test_an_excluded_class_leaves_loss_and_gradient_finite():
    logits = jnp.array([[0.3, -jnp.inf, 1.0], [1e4, -jnp.inf, -1e4]])
    loss, grad = jax.value_and_grad(mutual_information_loss)(logits)
    np.testing.assert_allclose(loss, mutual_information_loss(logits[:, ::2]), rtol=1e-5)
    assert np.all(np.isfinite(grad))


def test_refined_predictions_condition_on_the_domain():
    """On a joint table of input, class and domain, whose conditional distributions are the arguments."""
    joint = RNG.dirichlet(np.ones(5 * 3 * 2)).reshape(5, 3, 2)
    of_class = joint.sum(2) / joint.sum((1, 2))[:, None]
    of_target = joint[..., 1] / joint.sum(2)
    wanted = joint[..., 1] / joint[..., 1].sum(1, keepdims=True)
    found = refine_target(np.log(of_class) + 2.0, np.log(of_target))
    np.testing.assert_allclose(np.exp(found), wanted, rtol=1e-4)
    blind = refine_target(np.log(of_class), np.full((5, 3), -2.0))
    np.testing.assert_allclose(np.exp(blind), of_class, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mutual_information_loss(jnp.ones(3)), "logits must have rank 2"),
        (lambda: refine_target(jnp.ones(3), jnp.ones((2, 3))), r"domain_log_prob \(2, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
