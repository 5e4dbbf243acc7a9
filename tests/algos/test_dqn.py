"""Oracle: exact dynamic programming on deterministic processes, whose values a linear network represents exactly."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import space
from rlx.algos import dqn
from rlx.envs.tabular import TabularMDP, TabularState
from rlx.nets import Inputs, Network
from rlx.pareto import linear
from rlx.reward import extrinsic, stack
from rlx.types import Channel, RewardSource, Transition, Weighting
from rlx.value import policy_evaluation, value_iteration

STATES, ACTIONS, GAMMA = 6, 3, 0.8
TABULAR = {
    "hidden": (),
    "num_envs": 16,
    "batch_size": 64,
    "buffer_size": 2_000,
    "learning_starts": 1_000,
    "learning_rate": 0.005,
    "discount": GAMMA,
    "target_period": 20,
    "epsilon_start": 1.0,
    "epsilon_end": 1.0,
}
SMALL = TABULAR | {"batch_size": 8, "buffer_size": 100, "learning_starts": 40, "num_envs": 4, "hidden": (8,)}


class Masked(TabularMDP):
    """State s forbids action s modulo A, which would pay well."""

    def observation_space(self, params: Any = None) -> Any:
        mask = space.Box(0, 1, (ACTIONS,), jnp.bool_)
        return space.Dict({"state": super().observation_space(params), space.ACTION_MASK: mask})

    def _observe(self, state: TabularState) -> Any:
        return {"state": super()._observe(state), space.ACTION_MASK: jnp.arange(ACTIONS) != state.index % ACTIONS}


FORBIDDEN = np.arange(ACTIONS) == (np.arange(STATES) % ACTIONS)[:, None]


def process(num_actions: int = ACTIONS, channels: int | None = None, kind: type[TabularMDP] = TabularMDP) -> TabularMDP:
    """State 0 is terminal; episodes are cut after four steps, which must not change any value."""
    rng = np.random.default_rng(3)
    P = np.eye(STATES)[rng.integers(0, STATES, (STATES, num_actions))]
    R = rng.normal(size=(STATES, num_actions, channels or 1))
    if kind is Masked:
        R[FORBIDDEN] += 5.0
    names = None if channels is None else tuple(f"r{k}" for k in range(channels))
    terminal = np.arange(STATES) == 0
    return kind(
        P, R if channels else R[..., 0], GAMMA, ~terminal / (STATES - 1), terminal, max_steps=4, reward_channels=names
    )


def arrays(mdp: TabularMDP) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(mdp.default_params.P, np.float64), np.asarray(mdp.default_params.R, np.float64)


def learn(mdp: TabularMDP, settings: dict[str, Any], updates: int, **parts: Any) -> tuple[dqn.State, np.ndarray]:
    """The state after `updates`, and its values `[S, A, K]`."""
    config = dqn.Config(**settings)
    algorithm = dqn.make(config, mdp, **parts)

    @jax.jit
    def run(key):
        return jax.lax.scan(lambda s, _: (algorithm.update(s)[0], None), algorithm.init(key), None, updates)[0]

    state = run(jax.random.key(0))
    num_actions, num_channels = mdp.default_params.P.shape[1], len(algorithm.channels)
    num_heads = num_actions + config.dueling
    inputs = Inputs(jnp.eye(STATES)[None], None, None)
    heads, _ = Network(num_heads * num_channels, ()).apply(state.learner.params, inputs, (), None)
    heads = np.asarray(heads).reshape(STATES, num_heads, num_channels)
    if config.dueling:
        value, advantage = heads[:, :1], heads[:, 1:]
        heads = value + advantage - advantage.mean(1, keepdims=True)
    return state, heads


@pytest.mark.parametrize(
    "settings",
    [
        {"double": False, "huber": 1.0, "tau": 0.05, "target_period": 1},
        {"dueling": True, "prioritised": True, "gradient_steps": 2, "num_steps": 2},
    ],
    ids=["polyak", "dueling-prioritised"],
)
def test_values_become_optimal(settings):
    mdp = process()
    _, q = learn(mdp, TABULAR | settings, 6_000)
    np.testing.assert_allclose(q[1:, :, 0], value_iteration(*arrays(mdp), GAMMA)[1][1:], atol=0.02)


def test_masked_actions_are_neither_taken_nor_bootstrapped_from():
    mdp = process(kind=Masked)
    P, R = arrays(mdp)
    state, q = learn(mdp, TABULAR, 6_000)
    taken, at = np.asarray(state.replay.rows.step.action), np.asarray(state.replay.rows.step.obs["state"]).argmax(-1)
    assert not FORBIDDEN[at, taken].any()
    best = value_iteration(P, np.where(FORBIDDEN, -1e3, R), GAMMA)[1]
    np.testing.assert_allclose(q[1:, :, 0][~FORBIDDEN[1:]], best[1:][~FORBIDDEN[1:]], atol=0.02)
    policy = dqn.make(dqn.Config(**TABULAR), mdp).policy(state)
    obs = jax.vmap(lambda s: mdp._observe(TabularState(s, s)))(jnp.arange(STATES))
    greedy, _ = policy.act(jax.random.key(0), obs, (), jnp.zeros(STATES, bool), greedy=True)
    again, _ = policy.act(jax.random.key(1), obs, (), jnp.zeros(STATES, bool), greedy=True)
    np.testing.assert_array_equal(greedy, again)
    np.testing.assert_array_equal(greedy[1:], np.where(FORBIDDEN, -np.inf, best).argmax(-1)[1:])


def test_several_steps_give_the_value_of_the_only_policy():
    """With one action nothing is off-policy, so any number of steps has the same fixed point."""
    mdp = process(num_actions=1)
    _, q = learn(mdp, TABULAR | {"n_step": 3, "prioritised": True}, 6_000)
    np.testing.assert_allclose(q[1:, :, 0], value_iteration(*arrays(mdp), GAMMA)[1][1:], atol=0.02)


def test_each_channel_learns_its_own_value_of_the_policy_that_is_greedy_in_their_sum():
    mdp, weights, gamma = process(channels=2), np.array([1.0, -0.5]), np.array([0.8, 0.5])
    rewards = extrinsic((Channel("r0", discount=0.8), Channel("r1", discount=0.5)))
    _, q = learn(mdp, TABULAR, 6_000, rewards=rewards, weighting=linear(tuple(weights)))
    P, R = arrays(mdp)
    greedy = np.eye(ACTIONS)[(q @ weights).argmax(-1)]
    for k in range(2):
        v, _ = policy_evaluation(P, R[..., k], gamma[k], greedy)
        np.testing.assert_allclose(q[1:, :, k], (R[..., k] + gamma[k] * P @ v)[1:], atol=0.02)


def counter(name: str, can_rescore: bool) -> RewardSource:
    """Pays 1,000 times the number of updates so far: when the step is taken, or when it is replayed."""

    def score(state, batch):
        return jnp.full((*batch.terminated.shape, 1), 1000.0 * state)

    def compute(state, batch, key):
        assert isinstance(batch, Transition)
        return score(state, batch), state

    return RewardSource(
        lambda key, spec: jnp.zeros(()),
        compute,
        lambda state, batch, key: (state + 1, {}),
        (Channel(name),),
        (lambda state, batch, stored, key: score(state, batch)) if can_rescore else None,
    )


def test_replayed_steps_are_rescored_where_the_source_can():
    rewards = stack(counter("fresh", True), counter("stored", False))
    settings = SMALL | {"discount": 0.0, "learning_rate": 1e-12, "batch_size": 512, "buffer_size": 400}
    algorithm = dqn.make(dqn.Config(**settings), process(), rewards=rewards)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    _, metrics = jax.jit(lambda s: jax.lax.scan(lambda s, _: algorithm.update(s), s, None, 40))(state)
    loss = np.asarray(metrics["loss/value"])  # half the mean square of the rewards, as values are about zero
    np.testing.assert_allclose(loss[1:, 0], 0.5e6 * np.arange(1, 40) ** 2, rtol=1e-2)
    # 10 updates of prefill stamped 0, then one update stamped with each number
    squares = [np.mean([0] * 10 + [t * t for t in range(u + 1)]) for u in range(40)]
    np.testing.assert_allclose(loss[20:, 1], 0.5e6 * np.array(squares[20:]), rtol=0.25)


def test_prefill_and_schedules():
    settings = SMALL | {"epsilon_end": 0.1, "epsilon_steps": 32, "num_steps": 2, "learning_starts": 41}
    settings |= {"tau": 0.25, "target_period": 3, "gradient_steps": 1}
    algorithm = dqn.make(dqn.Config(**settings), process())
    assert algorithm.steps_per_update == 8
    state, update = jax.jit(algorithm.init)(jax.random.key(0)), jax.jit(algorithm.update)
    assert int(state.replay.size) * 4 == 48  # 41 rounded up to whole updates
    target, before, lengths = state.learner.target_params, int(state.episodes.length.sum()), []
    for i in range(1, 10):
        state, metrics = update(state)
        np.testing.assert_allclose(metrics["epsilon"], max(1.0 - 0.9 * (i - 1) / 4, 0.1), rtol=1e-5)
        lengths.append(metrics["episode_length"])
        if i % 3 == 0:
            target = jax.tree.map(lambda t, p: 0.75 * t + 0.25 * p, target, state.learner.params)
        close(state.learner.target_params, target)
    # every step is of an episode that has ended or of one that goes on
    assert before + 9 * 8 == sum(float(x.total) for x in lengths) + int(state.episodes.length.sum())


def close(got: Any, want: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol, atol), got, want)


def train(key: jax.Array, updates: int, settings: dict[str, Any]) -> tuple[Any, Any]:
    algorithm = dqn.make(dqn.Config(**(SMALL | {"prioritised": True, "n_step": 2} | settings)), process())
    state, metrics = jax.lax.scan(lambda s, _: algorithm.update(s), algorithm.init(key), None, updates)
    return state.learner.params, metrics


def test_seeds_and_settings_in_one_program_equal_single_runs():
    swept = {"learning_rate": 1e-3, "discount": 0.5, "tau": 0.1, "epsilon_start": 0.5, "epsilon_end": 0.0}
    swept |= {"max_grad_norm": 1.0, "huber": 0.5, "priority_exponent": 0.3, "importance_start": 0.1}
    keys = jax.vmap(jax.random.key)(jnp.arange(3))
    grid = {name: value * jnp.array([1.0, 0.5, 1.5]) for name, value in swept.items()}
    one = jax.jit(lambda key, settings: train(key, 20, settings))
    together = jax.jit(jax.vmap(lambda key, settings: train(key, 20, settings)))(keys, grid)
    for i in range(3):
        alone = one(keys[i], {name: values[i] for name, values in grid.items()})
        close(jax.tree.map(lambda x, i=i: x[i], together), alone, rtol=1e-3, atol=1e-4)


class OtherActions(TabularMDP):
    def action_space(self, params: Any = None) -> Any:
        return space.MultiDiscrete((2, 3))


def test_what_dqn_cannot_do_is_refused_by_name():
    mdp, config = process(), dqn.Config()
    other = OtherActions(*arrays(mdp), GAMMA, mdp.default_params.rho0, mdp.default_params.terminal)
    with pytest.raises(TypeError, match=r"DQN takes Discrete actions; got MultiDiscrete\(nvec=\(2, 3\).*ppo"):
        dqn.make(config, other)
    with pytest.raises(ValueError, match=r"channels must be episodic.*got \['bonus'\]"):
        dqn.make(config, mdp, rewards=extrinsic((Channel("bonus", episodic=False),)))
    gram = Weighting(lambda k: (), lambda state, stats: (jnp.ones(1), state, {}), needs_gram=True)
    with pytest.raises(ValueError, match="weighting must be one without needs_gram"):
        dqn.make(config, mdp, weighting=gram)


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_envs", 0), ("learning_rate", -1.0), ("discount", 1.1), ("tau", 0.0), ("huber", 0.0), ("n_step", 1.5)],
)
def test_settings_are_checked(field, value):
    with pytest.raises(ValueError, match=field):
        dqn.Config(**{field: value})
