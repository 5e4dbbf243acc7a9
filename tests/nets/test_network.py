from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.nets import Conv3x3, Inputs, Network, Torso, prepare, vector_size
from rlx.space import Box, Dict, Discrete, MultiDiscrete


def test_memory_of_a_rollout_is_that_of_each_episode_alone():
    # lengths 3, 4 and the rest, cut at other places in the second environment
    network = Network(2, hidden=(8,), memory=5)
    obs = jax.random.normal(jax.random.key(0), (10, 2, 3))
    reset = np.zeros((10, 2), bool)
    reset[[0, 3, 7], 0] = True
    reset[[0, 6], 1] = True
    carry = jax.random.normal(jax.random.key(1), (2, 5))  # a memory that the first reset must empty
    params = network.init(jax.random.key(2), Inputs(obs, None, None), carry, jnp.asarray(reset))
    outputs, carries = network.apply(params, Inputs(obs, None, None), carry, jnp.asarray(reset))
    for b, cuts in enumerate([[0, 3, 7, 10], [0, 6, 10]]):
        for start, stop in itertools.pairwise(cuts):
            alone = Inputs(obs[start:stop, b : b + 1], None, None)
            first = jnp.zeros((stop - start, 1), bool)
            expected, memory = network.apply(params, alone, network.initial_carry(1), first)
            np.testing.assert_allclose(outputs[start:stop, b], expected[:, 0], atol=1e-6)
            np.testing.assert_allclose(carries[start:stop, b], memory[:, 0], atol=1e-6)


def test_memory_goes_on_where_nothing_resets():
    network = Network(2, hidden=(8,), memory=5)
    obs = jax.random.normal(jax.random.key(0), (6, 2, 3))
    reset = jnp.zeros((6, 2), bool)
    params = network.init(jax.random.key(2), Inputs(obs, None, None), network.initial_carry(2), reset)
    whole, _ = network.apply(params, Inputs(obs, None, None), network.initial_carry(2), reset)
    half, carries = network.apply(params, Inputs(obs[:3], None, None), network.initial_carry(2), reset[:3])
    rest, _ = network.apply(params, Inputs(obs[3:], None, None), carries[-1], reset[3:])
    np.testing.assert_allclose(whole, jnp.concatenate([half, rest]), atol=1e-6)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])  # which of the two ways it takes
def test_convolution_is_that_of_xla(backend, monkeypatch):
    x = jax.random.normal(jax.random.key(0), (4, 6, 5, 3))
    conv = Conv3x3(4)
    params = conv.init(jax.random.key(1), x)
    params["params"]["bias"] = jnp.arange(4.0)
    kernel = params["params"]["kernel"].reshape(3, 3, 3, 4)
    layout = ("NHWC", "HWIO", "NHWC")
    expected = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=layout) + jnp.arange(4.0)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    np.testing.assert_allclose(conv.apply(params, x), jnp.moveaxis(expected, 0, -1).transpose(2, 0, 1, 3), atol=1e-5)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_features_of_an_image_do_not_depend_on_its_batch(layer_norm):
    torso = Torso((7,), layer_norm=layer_norm)
    inputs = Inputs(
        jax.random.normal(jax.random.key(0), (2, 3, 5)), jax.random.normal(jax.random.key(1), (2, 3, 6, 6, 2)), None
    )
    params = torso.init(jax.random.key(2), inputs)
    together = torso.apply(params, inputs)
    for i in range(2):
        for j in range(3):
            one = jax.tree.map(lambda x, i=i, j=j: x[i, j], inputs)
            np.testing.assert_allclose(torso.apply(params, one), together[i, j], atol=1e-5)


def test_prepare_joins_parts_and_takes_the_mask_out():
    space = Dict(
        {
            "a": Box(-1.0, 1.0, (2, 2)),
            "b": Discrete(3),
            "c": MultiDiscrete((2, 2)),
            "d": Dict({"image": Box(0, 1, (4, 4, 2))}),
            "image": Box(0, 1, (4, 4, 1), bool),
            "action_mask": Box(0, 1, (5,), bool),
        }
    )
    obs = {
        "a": jnp.arange(8.0).reshape(2, 2, 2),
        "b": jnp.array([2, 0]),
        "c": jnp.array([[0, 1], [1, 1]]),
        "d": {"image": jnp.ones((2, 4, 4, 2))},
        "image": jnp.zeros((2, 4, 4, 1), bool),
        "action_mask": jnp.ones((2, 5), bool),
    }
    inputs = prepare(space, obs)
    np.testing.assert_array_equal(inputs.vector, [[0, 1, 2, 3, 0, 0, 1, 1, 0, 0, 1], [4, 5, 6, 7, 1, 0, 0, 0, 1, 0, 1]])
    assert vector_size(space) == 11
    np.testing.assert_array_equal(inputs.image[0, 0, 0], [1, 1, 0])
    assert inputs.mask.shape == (2, 5)


def test_kernels_are_orthogonal_by_operations_that_cannot_wait_for_each_other():
    """A batched LAPACK factorisation holds a thread of XLA's pool while it waits for others of that pool."""
    network, obs = Network(2, hidden=(8, 5), memory=3, output_scale=0.01), jnp.zeros((1, 1, 4))
    first = jnp.zeros((1, 1), bool)
    keys = jax.random.split(jax.random.key(0), 3)
    init = jax.jit(jax.vmap(lambda key: network.init(key, Inputs(obs, None, None), jnp.zeros((1, 3)), first)))
    program = init.lower(keys).compile()
    text = program.as_text()
    assert text is not None
    assert "lapack" not in text
    torso = program(keys)["params"]["Torso_0"]["MLP_0"]
    for name in ("Dense_0", "Dense_1"):
        kernel = np.asarray(torso[name]["kernel"], np.float64)
        short = np.swapaxes(kernel, 1, 2) if kernel.shape[1] > kernel.shape[2] else kernel
        product = short @ np.swapaxes(short, 1, 2)
        np.testing.assert_allclose(product, np.broadcast_to(2 * np.eye(short.shape[1]), product.shape), atol=1e-5)
    assert len({float(kernel[0, 0]) for kernel in torso["Dense_0"]["kernel"]}) == 3
