"""A saved reward is the one that is loaded, and what cannot be one is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import runtime
from rlx.reward.learned import init_reward_model, predict_reward
from rlx.space import Box, Dict, Discrete

SPACE = Dict({"cell": Discrete(5), "speed": Box(-1.0, 1.0, (2,))})


def model(seed: int, **options):
    made = init_reward_model(jax.random.key(seed), SPACE, Discrete(3), **{"members": 2, "hidden": (7,), **options})
    return made.__class__(**{**vars(made), "scale": jnp.array([1.0, 2.0])})


def test_saved_and_loaded_models_say_the_same(tmp_path):
    obs = {"cell": jnp.array([[1], [4]]), "speed": jnp.ones((2, 1, 2))}
    for seed in range(2):  # the second replaces the first
        runtime.save_reward(tmp_path, saved := model(seed, activation="relu", bounded=False))
        loaded = runtime.load_reward(tmp_path)
        assert (loaded.hidden, loaded.activation, loaded.bounded) == ((7,), "relu", False)
        action = jnp.array([[0], [2]])
        np.testing.assert_array_equal(predict_reward(loaded, obs, action), predict_reward(saved, obs, action))
    with pytest.raises(ValueError, match="other sizes"):
        runtime.save_reward(tmp_path, model(0, hidden=(3,)))


def test_what_is_not_a_reward_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no reward"):
        runtime.load_reward(tmp_path)
    with pytest.raises(ValueError, match="one ensemble"):
        runtime.save_reward(tmp_path, jax.vmap(model)(jnp.arange(2)))
