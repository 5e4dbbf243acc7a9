"""gymnax and brax through the adapters: conformance of every member, and equality with the originals."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.envs import GymnaxEnv, check_env, make, names
from rlx.envs.registry import _GYMNAX

SLOW_TO_COMPILE = {"Asterix-MinAtar", "Freeway-MinAtar", "SpaceInvaders-MinAtar", "Seaquest-MinAtar"}
NEVER_TERMINATES_BY_CHANCE = {
    "Pendulum-v1",
    "Acrobot-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "DiscountingChain-bsuite",
    "FourRooms-misc",
    "MetaMaze-misc",
    "PointRobot-misc",
    "BernoulliBandit-misc",
    "GaussianBandit-misc",
    "Reacher-misc",
    "Swimmer-misc",
}


def test_the_names_are_those_that_gymnax_registers():
    import gymnax

    assert set(_GYMNAX) == set(gymnax.registered_envs) - {"MNISTBandit-bsuite"}


@pytest.mark.parametrize("name", [name for name in _GYMNAX if name not in SLOW_TO_COMPILE])
def test_every_gymnax_environment_conforms(name):
    env, params = make(name)
    report = check_env(env, params)
    if name not in NEVER_TERMINATES_BY_CHANCE:
        assert report.terminations > 0
    if name not in ("SimpleBandit-bsuite", "MemoryChain-bsuite"):  # whose episodes are shorter than the limit
        assert report.truncations > 0


@pytest.mark.parametrize("name", sorted(SLOW_TO_COMPILE))
def test_types_of_the_environments_that_compile_slowly(name):
    """Traced, not compiled: types of observation, reward and flags, and a state of the same types after a step."""
    env, params = make(name)
    obs_space, action_space = env.observation_space(params), env.action_space(params)
    key = jax.random.key(0)
    obs, state = jax.eval_shape(env.reset, key, params)
    action = jax.eval_shape(action_space.sample, key)
    next_obs, next_state, reward, terminated, truncated, info = jax.eval_shape(env.step, key, state, action, params)
    for seen in (obs, next_obs, info["final_observation"]):
        assert (seen.shape, seen.dtype) == (obs_space.shape, obs_space.dtype)
    assert state == next_state
    assert (reward.dtype, terminated.dtype, truncated.dtype) == (jnp.float32, jnp.bool_, jnp.bool_)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SLOW_TO_COMPILE))
def test_the_environments_that_compile_slowly_conform(name):
    check_env(*make(name))


# a vector, an integer reward, an integer observation, an observation of the wrong type, a continuous action
@pytest.mark.parametrize(
    "name",
    ["CartPole-v1", "UmbrellaChain-bsuite", "FrozenLake-misc", "FourRooms-misc", "Catch-bsuite", "PointRobot-misc"],
)
def test_trajectories_are_those_of_gymnax(name):
    import gymnax

    original, original_params = gymnax.make(name)
    original_params = original_params.replace(max_steps_in_episode=7)
    env, params = make(name)
    params = params.replace(max_steps_in_episode=7)
    assert all(isinstance(leaf, jax.Array) and not leaf.weak_type for leaf in jax.tree.leaves(env.default_params))

    def trajectory(env, params):
        def one_step(state, key):
            action_key, step_key = jax.random.split(key)
            action = env.action_space(params).sample(action_key)
            obs, state, reward, terminated, truncated, info = env.step(step_key, state, action, params)
            return state, (obs, reward, terminated, truncated, info["final_observation"], info["terminated"])

        obs, state = env.reset(jax.random.key(1), params)
        state = jax.tree.map(jnp.asarray, state)
        _, steps = jax.lax.scan(one_step, state, jax.random.split(jax.random.key(2), 40))
        return obs, steps

    theirs, ours = jax.jit(lambda: trajectory(original, original_params))(), jax.jit(lambda: trajectory(env, params))()
    done = ours[1][2] | ours[1][3]
    assert 5 <= done.sum() < 40
    for x, y in zip(jax.tree.leaves(theirs), jax.tree.leaves(ours), strict=True):
        np.testing.assert_allclose(np.asarray(x, np.float32), np.asarray(y, np.float32), rtol=1e-5, atol=1e-6)


def test_parameters_can_be_vmapped_over():
    env, params = make("Pendulum-v1")
    gravities = jnp.array([1.0, 10.0])
    many = jax.vmap(lambda g: dataclasses.replace(params, g=g))(gravities)
    _, state = env.reset(jax.random.key(0), params)
    step = lambda p: env.step_env(jax.random.key(1), state, jnp.zeros(1), p)[0]  # noqa: E731
    obs = jax.jit(jax.vmap(step))(many)
    one_by_one = [jax.jit(step)(dataclasses.replace(params, g=g)) for g in gravities]
    np.testing.assert_allclose(obs, jnp.stack(one_by_one), rtol=1e-6)
    assert not np.allclose(obs[0], obs[1])


def test_a_registered_environment_can_be_made_by_name():
    import gymnax
    from gymnax.environments.classic_control.cartpole import CartPole

    name = "OurCartPole-v0"
    if name not in gymnax.registered_envs:
        gymnax.register(name, CartPole)
    env, params = make(name)
    assert isinstance(env, GymnaxEnv)
    assert int(params.max_steps_in_episode) == 500


def test_what_is_not_an_environment_is_refused():
    with pytest.raises(TypeError, match="is_truncated"):
        GymnaxEnv(type("Old", (), {"reset_env": None, "step_env": None})())


def test_import_of_envs_leaves_gymnax_and_brax_alone():
    heavy = ("gymnax", "brax", "orbax", "matplotlib", "distrax", "scipy.optimize")
    code = "import sys, rlx.envs; rlx.envs.names(); rlx.envs.make('rlx/keydoor-5'); "
    code += f"print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


# ---- brax ----


@pytest.fixture(scope="module")
def fast():
    pytest.importorskip("brax")
    return make("brax/fast", episode_length=5)


def test_brax_fast_conforms(fast):
    report = check_env(*fast)
    assert report.terminations == 0
    assert report.truncations > 0


def test_brax_time_limit_truncates_with_the_true_last_observation(fast):
    """The debug environment moves by closed form: action > 0 adds dt to the speed, position sums the speeds."""
    env, params = fast
    dt, obs_list, finals = 0.02, [], []
    obs, state = env.reset(jax.random.key(0), params)
    step = jax.jit(env.step)
    for t in range(1, 8):
        obs, state, reward, terminated, truncated, info = step(jax.random.key(t), state, jnp.ones(1), params)
        obs_list.append(obs)
        finals.append(info["final_observation"])
        n = (t - 1) % 5 + 1  # steps into the episode
        position = dt * dt * n * (n + 1) / 2
        np.testing.assert_allclose(info["final_observation"], [position, n * dt], rtol=1e-5)
        np.testing.assert_allclose(reward, position, rtol=1e-5)
        assert (bool(terminated), bool(truncated)) == (False, t == 5)
    np.testing.assert_array_equal(obs_list[4], [0.0, 0.0])
    np.testing.assert_array_equal(obs_list[3], finals[3])


@pytest.fixture(scope="module")
def pendulum():
    pytest.importorskip("brax")
    return make("brax/inverted_pendulum", episode_length=6)


def test_brax_steps_are_those_of_the_bare_environment_and_resets_draw_new_states(pendulum):
    """Three batched environments for 20 steps, against brax's own reset and step called by hand."""
    env, params = pendulum
    bare = env.env
    assert env.action_space().shape == (1,)
    reset, step = jax.jit(jax.vmap(env.reset, (0, None))), jax.jit(jax.vmap(env.step, (0, 0, 0, None)))
    bare_reset, bare_step = jax.jit(jax.vmap(bare.reset)), jax.jit(jax.vmap(bare.step))

    keys = jax.random.split(jax.random.key(0), 3)
    obs, state = reset(keys, params)
    bare_state = bare_reset(keys)
    np.testing.assert_allclose(obs, bare_state.obs, atol=1e-6)
    starts, endings = [], []
    for t in range(20):
        keys = jax.random.split(jax.random.key(t + 1), 3)
        action = jax.random.uniform(jax.random.key(100 + t), (3, 1), minval=-1.0, maxval=1.0)
        obs, state, reward, terminated, truncated, info = step(keys, state, action, params)
        bare_state = bare_step(bare_state, action)
        np.testing.assert_allclose(info["final_observation"], bare_state.obs, atol=1e-5)
        np.testing.assert_allclose(reward, bare_state.reward, atol=1e-5)
        np.testing.assert_array_equal(terminated, bare_state.done > 0.5)
        done = terminated | truncated
        fresh = bare_reset(jax.vmap(lambda key: jax.random.split(key)[1])(keys))
        choose = lambda x, y: jnp.where(done.reshape(3, *(1,) * (x.ndim - 1)), x, y)  # noqa: B023, E731
        bare_state = jax.tree.map(choose, fresh, bare_state)
        np.testing.assert_allclose(obs, bare_state.obs, atol=1e-5)
        starts += [np.asarray(obs[i]) for i in range(3) if done[i]]
        endings += [(bool(terminated[i]), bool(truncated[i])) for i in range(3) if done[i]]
    assert len({tuple(start) for start in starts}) == len(starts) >= 9
    assert (False, True) in endings


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in names() if name.startswith("brax/")])
def test_every_brax_environment_conforms(name):
    pytest.importorskip("brax")
    check_env(*make(name), num_envs=2, steps=12)


def test_an_unknown_backend_is_an_error():
    pytest.importorskip("brax")
    with pytest.raises(ValueError, match="spring, positional, generalized, mjx"):
        make("brax/fast:magic")
