"""Sources on learned features and episodes' memories: streams whose bonuses are known in closed form, and shards."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.exploration import diayn, elliptical, icm, novelty
from rlx.space import SKILL, Box, Dict, Discrete, MultiDiscrete
from rlx.types import EnvSpec, Transition

T, B, S = 8, 2, 5
KEY = jax.random.key(0)
SMALL = dict(hidden=(8,), features=4)


def spec(num_envs: int = B, space=None, actions=None) -> EnvSpec:
    return EnvSpec(space or Box(0.0, 1.0, (S,)), actions or Discrete(3), ("reward",), num_envs)


def batch(before: np.ndarray, after: np.ndarray, done=False, action=None) -> Transition:
    """Steps between states, int `[T, B]`, as one-hot observations."""
    zeros, flags = jnp.zeros(before.shape), jnp.zeros(before.shape, bool)
    action = jnp.zeros(before.shape, jnp.int32) if action is None else action
    return Transition(jax.nn.one_hot(before, S), action, zeros, zeros, flags, flags | done, jax.nn.one_hot(after, S))


def walk(states: list[int], envs: int = B, **options) -> Transition:
    """Every environment goes through the states."""
    path = np.tile(np.array(states)[:, None], (1, envs))
    return batch(path[:-1], path[1:], **options)


def random_batch(seed: int, envs: int) -> Transition:
    rng = np.random.default_rng(seed)
    before, after = rng.integers(S, size=(2, T, envs))
    return batch(before, after, rng.random((T, envs)) < 0.2, jnp.asarray(rng.integers(3, size=(T, envs))))


def first_rewards(source, stream: Transition) -> np.ndarray:
    """Rewards of a fresh source; those that are divided by their return's deviation, before that."""
    rewards, state = jax.jit(source.compute)(source.init(KEY, spec(stream.reward.shape[1])), stream, KEY)
    if isinstance(state, tuple) and not hasattr(state, "_fields"):
        rewards = rewards * jnp.sqrt(state[1][0].moments.var + 1e-8)
    return np.asarray(rewards[..., 0])


def test_ellipse_of_an_episode_knows_a_state_the_better_the_oftener_it_was_there():
    """n visits with the same features leave `b / (1 + n b)`, whatever the features; the next episode knows nothing."""
    done = (np.arange(T) == 4)[:, None]
    path = np.tile(np.array([0, 1, 1, 1, 1, 1, 1, 1, 2])[:, None], (1, B))
    found = first_rewards(elliptical(learn=False, **SMALL), batch(path[:-1], path[1:], done))
    first = found[0]
    for t, visits in ((1, 1), (4, 4), (5, 0), (6, 1)):
        np.testing.assert_allclose(found[t], first / (1 + visits * first), rtol=1e-4)


def test_lifelong_ellipse_learns_from_earlier_batches_whatever_the_episode():
    source = elliptical(lifelong=True, learn=False, **SMALL)
    state, stream = source.init(KEY, spec()), walk([0, 1, 2, 3, 0, 1, 2, 3, 0], done=True)
    _, state = source.compute(state, stream, KEY)
    before = source.rescore(state, stream, None, KEY)
    after = source.rescore(source.update(state, stream, KEY)[0], stream, None, KEY)
    np.testing.assert_allclose(before[:4], before[4:], rtol=1e-5)  # visits of the batch do not count yet
    assert float((after / before).max()) < 0.7


def test_noveld_pays_at_first_visits_in_the_episode_only():
    """The first observation is a visit."""
    done = (np.arange(7) == 3)[:, None]
    path = np.tile(np.array([0, 1, 0, 2, 1, 1, 0, 3])[:, None], (1, B))
    before = path[:-1].copy()
    before[4] = 4  # of a new episode
    found = first_rewards(novelty("noveld", alpha=0.0, **SMALL), batch(before, path[1:], done))
    np.testing.assert_array_equal(found[:, 0] > 0, [True, False, True, False, True, True, True])
    again = batch(before, np.roll(path[1:], 1, axis=0), False)
    assert first_rewards(novelty("noveld", alpha=1e9, **SMALL), again).max() == 0.0


def test_ride_divides_the_distance_by_the_root_of_the_visits():
    found = first_rewards(novelty("ride", **SMALL), walk([0, 1, 0, 1, 0, 1]))[:, 0]
    np.testing.assert_allclose(found / found[0], np.array([1, 2, 2, 3, 3]) ** -0.5, rtol=1e-4)


def test_ngu_between_two_states_is_known_up_to_no_factor_at_all():
    """All squared distances are 0 or d^2, and their mean is a share of d^2, so d cancels."""
    states = [0, 1, 0, 1, 1, 0, 1]
    distances = [[float(s != old) for old in states[: t + 1]] for t, s in enumerate(states[1:])]
    nearest = [sorted(row)[:3] for row in distances]
    mean = np.mean(np.concatenate(nearest))
    wanted = [1 / (np.sqrt(sum(1e-3 / (max(x / mean - 0.008, 0) + 1e-3) for x in row)) + 1e-3) for row in nearest]
    found = first_rewards(novelty("ngu", neighbours=3, max_factor=1.0, **SMALL), walk(states))
    np.testing.assert_allclose(found[:, 0], wanted, rtol=1e-3)


@pytest.mark.parametrize("actions", [MultiDiscrete((2, 3)), Box(-2.0, 2.0, (2,))])
def test_curiosity_falls_where_actions_have_sure_outcomes(actions):
    """The outcome is the action's own: a forward model learns it, whatever kind of action it is."""
    taken = jax.vmap(jax.vmap(actions.sample))(jax.random.split(KEY, (32, B)))
    after = jnp.asarray(taken, jnp.float32).reshape(32, B, -1)
    stream = batch(np.zeros((32, B), int), np.zeros((32, B), int), action=taken)
    stream = stream._replace(obs=jnp.zeros_like(after), next_obs=after)
    source = icm(num_epochs=4, learning_rate=3e-3, **SMALL)
    state = source.init(KEY, spec(B, Box(-2.0, 2.0, after.shape[2:]), actions))

    def iteration(state, key):
        rewards, state = source.compute(state, stream, key)
        state, metrics = source.update(state, stream, key)
        return state, (rewards.mean() * jnp.sqrt(state[1][0].moments.var[0]), metrics["loss"])

    _, (raw, loss) = jax.jit(lambda s: jax.lax.scan(iteration, s, jax.random.split(KEY, 40)))(state)
    assert raw[-1] < 0.5 * raw.max()
    assert loss[-1] < loss[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda axis: elliptical(lifelong=True, learn=False, axis_name=axis, **SMALL),
        lambda axis: novelty("ngu", num_minibatches=1, axis_name=axis, **SMALL),
    ],
)
def test_shards_learn_what_one_device_would(make):
    def run(source, streams):
        state = source.init(KEY, spec(streams.reward.shape[2]))

        def iteration(state, stream):
            rewards, state = source.compute(state, stream, KEY)
            return source.update(state, stream, KEY)[0], rewards

        return jax.lax.scan(iteration, state, streams)[1]

    wide = jax.tree.map(lambda *x: jnp.stack(x), *(random_batch(seed, 2 * B) for seed in range(3)))
    halves = jax.tree.map(lambda x: jnp.stack(jnp.split(x, 2, axis=2)), wide)
    wanted = jax.jit(lambda x: run(make(None), x))(wide)
    found = jax.jit(jax.vmap(lambda x: run(make("data"), x), axis_name="data"))(halves)
    np.testing.assert_allclose(jnp.concatenate([*found], axis=2), wanted, rtol=2e-3, atol=1e-4)


def skilled(seen: float) -> Transition:
    """Skills 0 to 2, each in a state of its own where `seen` is 1; all in the same one where it is 0."""
    skill = np.random.default_rng(0).integers(3, size=(16, B))
    obs = {"observation": seen * jax.nn.one_hot(skill, S), SKILL: jax.nn.one_hot(skill, 3)}
    zeros, flags = jnp.zeros(skill.shape), jnp.zeros(skill.shape, bool)
    return Transition(obs, zeros, zeros, zeros, flags, flags, obs)


@pytest.mark.parametrize("seen", [0.0, 1.0])
def test_skills_are_worth_what_states_say_of_them(seen):
    """log 3 where each has a state of its own; what the counts of the skills hold where all states are the same."""
    source, stream = diayn(hidden=(8,), learning_rate=0.03), skilled(seen)
    state = source.init(KEY, spec(B, Dict({"observation": Box(0.0, 1.0, (S,)), SKILL: Box(0.0, 1.0, (3,))})))

    def iteration(state, key):
        rewards, state = source.compute(state, stream, key)
        state, metrics = source.update(state, stream, key)
        return state, (rewards.mean(), metrics["information"])

    _, (reward, information) = jax.jit(lambda s: jax.lax.scan(iteration, s, jax.random.split(KEY, 60)))(state)
    share = np.bincount(np.asarray(stream.obs[SKILL]).argmax(-1).ravel(), minlength=3) / 32
    wanted = np.log(3) + (0.0 if seen else np.sum(share * np.log(share)))
    np.testing.assert_allclose([reward[-1], information[-1]], wanted, atol=0.05)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (icm, {"beta": 2.0}),
        (icm, {"features": 0}),
        (elliptical, {"ridge": 0.0}),
        (novelty, {"kind": "first"}),
        (novelty, {"capacity": 0}),
        (diayn, {"learning_rate": -1.0}),
    ],
)
def test_options_out_of_range_are_named(make, options):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        make(**options)


def test_diayn_needs_a_skill_in_the_observation():
    with pytest.raises(ValueError, match="skill"):
        diayn().init(KEY, spec())
