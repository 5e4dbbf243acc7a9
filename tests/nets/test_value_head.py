"""Heads: what they decode to, learn and report, against NumPy; the quantile network by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from rlx.nets import Inputs, QuantileNetwork, value_head
from rlx.value import categorical_project, quantile_huber_loss, td_loss

RNG = np.random.default_rng(0)
NUMBERS, AFTER = (jnp.asarray(RNG.normal(size=(4, 2, 5)), jnp.float32) for _ in range(2))
REWARD, DISCOUNT = (jnp.asarray(RNG.uniform(size=(4, 2)), jnp.float32) for _ in range(2))
SUPPORT = np.linspace(-2, 2, 5)


def test_distributions_decode_to_their_means():
    probs = softmax(np.asarray(NUMBERS), -1)
    for kind in ("two_hot", "hl_gauss", "c51"):
        head = value_head(kind, 5, -2.0, 2.0, None)
        np.testing.assert_allclose(head.value(NUMBERS), probs @ SUPPORT, rtol=1e-5, atol=1e-6)
    for kind in ("qr", "iqn"):
        np.testing.assert_allclose(value_head(kind, 5, 0.0, 0.0, None).value(NUMBERS), NUMBERS.mean(-1), rtol=1e-6)


def test_targets_have_the_mean_of_the_bootstrap():
    for kind in ("c51", "qr", "iqn"):
        head = value_head(kind, 5, -2.0, 2.0, None)
        assert head.target is not None
        mean = head.target_mean(head.target(REWARD, DISCOUNT, AFTER))
        np.testing.assert_allclose(mean, REWARD + DISCOUNT * head.value(AFTER), rtol=1e-5, atol=1e-6)


def test_losses_are_those_of_the_kernels():
    mean, huber = (value_head("mean", 51, 0.0, 0.0, kappa) for kappa in (None, 0.3))
    assert mean.size == 1
    for head, kappa in ((mean, None), (huber, 0.3)):
        got = head.loss(NUMBERS[..., :1], REWARD, None)
        np.testing.assert_allclose(got, td_loss(NUMBERS[..., 0], REWARD, huber=kappa))
    quantiles = value_head("qr", 5, 0.0, 0.0, 0.3)
    got = quantiles.loss(NUMBERS, AFTER, quantiles.levels)
    np.testing.assert_allclose(got, quantile_huber_loss(NUMBERS, jnp.linspace(0.1, 0.9, 5), AFTER, 0.3), rtol=1e-5)
    log_probs = np.log(softmax(np.asarray(NUMBERS), -1))
    c51 = value_head("c51", 5, -2.0, 2.0, None)
    assert c51.target is not None
    shifted = REWARD[..., None] + DISCOUNT[..., None] * SUPPORT
    projected = categorical_project(shifted, jax.nn.softmax(AFTER), jnp.asarray(SUPPORT, jnp.float32))
    got = c51.loss(NUMBERS, c51.target(REWARD, DISCOUNT, AFTER), None)
    np.testing.assert_allclose(got, -(np.asarray(projected) * log_probs).sum(-1), rtol=1e-5)


def test_what_the_support_misses_is_reported():
    for kind in ("two_hot", "hl_gauss"):
        head = value_head(kind, 5, -2.0, 2.0, None)
        assert head.clipped is not None
        np.testing.assert_array_equal(head.clipped(jnp.array([-3.0, 0.0, 2.5])), [1, 0, 1])
    c51 = value_head("c51", 5, -2.0, 2.0, None)
    assert c51.target is not None
    assert c51.clipped is not None
    target = c51.target(jnp.array([1.5]), jnp.array([1.0]), jnp.zeros((1, 5)))
    np.testing.assert_allclose(c51.clipped(target), 2 / 5, rtol=1e-6)  # the atoms at 1 and 2 are moved beyond


def test_quantiles_of_a_level_are_by_hand_and_do_not_depend_on_the_others():
    network = QuantileNetwork(3, (7,), "relu", frequencies=4)
    obs, levels = jnp.asarray(RNG.normal(size=(2, 5)), jnp.float32), jnp.asarray(RNG.uniform(size=(2, 6)), jnp.float32)
    inputs = Inputs(obs, None, None)
    params = network.init(jax.random.key(0), inputs, levels)
    got = network.apply(params, inputs, levels)
    alone = network.apply(params, inputs, levels[:, 3:4])
    np.testing.assert_allclose(got[:, 3:4], alone, rtol=1e-5, atol=1e-6)
    weights = jax.tree.map(np.asarray, params["params"])
    torso = weights["Torso_0"]["MLP_0"]["Dense_0"]
    features = np.maximum(np.asarray(obs) @ torso["kernel"] + torso["bias"], 0)
    cosines = np.cos(np.pi * np.arange(4) * np.asarray(levels)[..., None])
    embedded = np.maximum(cosines @ weights["Dense_0"]["kernel"] + weights["Dense_0"]["bias"], 0)
    wanted = (features[:, None] * embedded) @ weights["Dense_1"]["kernel"] + weights["Dense_1"]["bias"]
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match="head must be one of"):
        value_head("c52", 5, 0.0, 1.0, None)
    with pytest.raises(ValueError, match="atoms"):
        value_head("qr", 1, 0.0, 1.0, None)
    with pytest.raises(ValueError, match="width of the support"):
        value_head("c51", 5, 1.0, 0.0, None)
