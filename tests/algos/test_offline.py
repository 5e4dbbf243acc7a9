"""Oracles: stationary points in closed form on one state, Bayes' rule, and the log's own frequencies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Tiny

from rlx import runtime
from rlx.algos import conditioned, cql, iql, recoil, td3_bc
from rlx.envs import make
from rlx.envs.bandit import LuckyBandit
from rlx.nets import Inputs, Network
from rlx.pareto import linear
from rlx.reward import extrinsic
from rlx.space import Box, Discrete, MultiDiscrete
from rlx.types import Algorithm, Channel, Transition

SMALL = dict(batch_size=128, hidden=(16,), learning_rate=3e-3)
ARMS = np.array([1.0, 0.0, 2.0, 0.5], np.float32)  # what an action pays
TAKEN = np.repeat(np.arange(4), [3, 2, 1, 2])  # how often the log has each
OBS = jnp.array([0.0, 1.0])  # the only state
KEY = jax.random.key(0)
ARMED, LINE = Tiny(Discrete(4), guess=False), Tiny(Box(-1.0, 3.0, (1,)), guess=False)


def log_of(action: np.ndarray, reward: np.ndarray) -> Transition:
    """Steps `[T, 2]`, each twice, that end the episode."""
    rows = lambda x: jnp.stack([jnp.asarray(x)] * 2, axis=1)  # noqa: E731
    flag = jnp.ones((len(action), 2), bool)
    obs = jnp.broadcast_to(OBS, (*flag.shape, 2))
    return Transition(obs, rows(action), jnp.zeros(flag.shape), rows(reward), flag, ~flag, obs)


def learn(algorithm: Algorithm, data: Any, steps: int = 1_500) -> Any:
    return jax.jit(lambda data: runtime.train(algorithm, KEY, steps, data)[0])(data)


def act(algorithm: Algorithm, state: Any, number: int = 1, greedy: bool = True) -> np.ndarray:
    obs = jnp.broadcast_to(OBS, (number, 2))
    return np.asarray(algorithm.policy(state).act(KEY, obs, (), jnp.ones(number, bool), greedy=greedy)[0])


def values(params: Any, inputs: Inputs, outputs: int) -> np.ndarray:
    """Of each critic, `[critics, N, outputs]`."""
    network = Network(outputs, SMALL["hidden"], "relu")
    inputs = jax.tree.map(lambda x: x[None], inputs)
    return np.asarray(jax.vmap(lambda critic: network.apply(critic, inputs, (), None)[0][0])(params))


# --- TD3+BC ---


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_td3_bc_ends_where_value_and_nearness_balance(alpha: float):
    """For a reward equal to the scaled action x and a log of mean m: `x = m + alpha / (2 |x|)`."""
    scaled = np.linspace(-0.8, 0.8, 65).astype(np.float32)[:, None]
    algorithm = td3_bc.make(td3_bc.Config(**SMALL, alpha=alpha, tau=0.05), LINE)
    state = learn(algorithm, log_of(2 * scaled + 1, scaled[:, 0]), 3_000)
    found = (act(algorithm, state)[0, 0] - 1) / 2
    np.testing.assert_allclose(found, np.sqrt(alpha / 2), atol=0.06)


def test_td3_bc_follows_the_weighted_sum_and_moves_the_actor_every_other_step():
    env = Tiny(Box(-1.0, 3.0, (1,)), guess=False)
    env.reward_channels = ("near", "far")
    rewards = extrinsic((Channel("near", discount=0.5), Channel("far", discount=0.8)))
    scaled = np.linspace(-0.8, 0.8, 65).astype(np.float32)[:, None]
    data = log_of(2 * scaled + 1, np.concatenate([scaled, -scaled], axis=1))
    for weights, sign in (((1.0, 0.0), 1), ((0.0, 1.0), -1)):
        config = td3_bc.Config(**SMALL, alpha=1.0, tau=0.05)
        algorithm = td3_bc.make(config, env, rewards=rewards, weighting=linear(jnp.array(weights)))
        assert sign * (act(algorithm, learn(algorithm, data))[0, 0] - 1) > 0.6
    first, update = jax.jit(algorithm.init)(KEY), jax.jit(algorithm.update)
    second, _ = update(first, data)
    third, _ = update(second, data)
    learners = [state.learner for state in (first, second, third)]
    before, after = ((learner.params, learner.target) for learner in learners[:2])
    still = jax.tree.map(lambda x, y: bool(jnp.array_equal(x, y)), before, after)
    assert all(jax.tree.leaves((still[0]["actor"], still[1])))
    assert not all(jax.tree.leaves(still[0]["critic"]))
    assert not jnp.array_equal(*(jax.tree.leaves(learner.params["actor"])[-1] for learner in learners[1:]))


# --- CQL ---


@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_cql_is_at_its_fixed_point(penalty: float):
    """`Q = r - penalty (softmax(Q) / behaviour - 1)` in the only state."""
    algorithm = cql.make(cql.Config(**SMALL, penalty=penalty), ARMED)
    state = learn(algorithm, log_of(TAKEN, ARMS[TAKEN]), 2_000)
    q = values(state.params["critic"], Inputs(OBS[None], None, None), 4)[:, 0]
    behaviour = np.bincount(TAKEN) / len(TAKEN)
    share = np.asarray(jax.nn.softmax(q))
    np.testing.assert_allclose(q, ARMS - penalty * (share / behaviour - 1), atol=0.08)
    assert act(algorithm, state)[0] == q.mean(0).argmax()


def test_calibration_keeps_values_at_the_returns_of_the_log():
    """An arm that the log does not have is pushed down without end, but with it no further than what others return."""
    without = np.delete(np.arange(8), [5])  # arm 2 is never taken
    data = log_of(TAKEN[without], ARMS[TAKEN[without]])
    found = {}
    for calibrated in (False, True):
        config = cql.Config(**SMALL, penalty=5.0, calibrated=calibrated, num_critics=1)
        state = learn(cql.make(config, ARMED), data, 2_000)
        found[calibrated] = values(state.params["critic"], Inputs(OBS[None], None, None), 4)[0, 0]
    assert found[False][2] < -3.0
    assert found[True][2] > -0.5


def test_cql_stays_with_the_good_actions_of_a_log():
    """Of two clusters the one that pays; elsewhere values are lower than the penalty-free ones, and than in the log."""
    rng = np.random.default_rng(0)
    scaled = np.concatenate([rng.normal(-0.5, 0.05, (100, 1)), rng.normal(0.3, 0.05, (100, 1))]).astype(np.float32)
    data = log_of(2 * scaled + 1, (scaled[:, 0] > 0).astype(np.float32))
    grid = jnp.linspace(-1, 1, 41)[:, None]
    inputs = Inputs(jnp.concatenate([jnp.broadcast_to(OBS, (41, 2)), grid], 1), None, None)
    algorithm = cql.make(cql.Config(**SMALL, penalty=0.5, num_samples=4), LINE)
    state = learn(algorithm, data)
    q = values(state.params["critic"], inputs, 1).min(0)[:, 0]
    assert abs(float(grid[q.argmax(), 0]) - 0.3) < 0.15
    assert q[-1] < q.max() - 0.2
    np.testing.assert_allclose((act(algorithm, state)[0, 0] - 1) / 2, 0.3, atol=0.2)


def test_critics_are_kept_apart():
    """The metric is that of slopes by differences, and its weight lowers it."""
    action = np.random.default_rng(2).uniform(-1, 1, (64, 2)).astype(np.float32)
    data = log_of(action, 0.3 * action[:, 0])
    metric = {}
    for diversity in (0.0, 1.0):
        config = cql.Config(**SMALL, penalty=0.0, num_critics=4, num_samples=1, diversity=diversity)
        algorithm = cql.make(config, Tiny(Box(-1.0, 1.0, (2,)), guess=False))
        state = learn(algorithm, data, 500)
        before = state.params["critic"]
        metric[diversity] = float(jax.jit(algorithm.update)(state, data)[1]["loss/diversity"])
        if diversity == 0:

            def q(shift: np.ndarray, critic: Any = before) -> np.ndarray:
                vector = jnp.concatenate([jnp.broadcast_to(OBS, (64, 2)), action + shift], axis=1)
                return values(critic, Inputs(vector, None, None), 1)[..., 0]

            slope = np.stack([q(1e-2 * e) - q(-1e-2 * e) for e in np.eye(2, dtype=np.float32)], axis=-1)
            unit = slope / np.linalg.norm(slope, axis=-1, keepdims=True)
            alike = np.mean((np.sum(unit.sum(0) ** 2, -1) - 4) / 3)
            np.testing.assert_allclose(metric[diversity], alike, atol=0.4)
    assert metric[1.0] < metric[0.0] - 1.0


# --- Conditioned imitation ---


@pytest.mark.parametrize("outcome", ["return", "none"])
def test_conditioned_imitation_is_bayes_rule_on_a_lucky_log(outcome: Any):
    env = LuckyBandit(0.2)
    algorithm = conditioned.make(conditioned.Config(**SMALL, outcome=outcome), env)
    state = learn(algorithm, env.log(jax.random.key(1), 2_000, 4))
    args = jnp.ones((20_000, 1)), (), jnp.ones(20_000, bool)
    share = np.mean(np.asarray(algorithm.policy(state).act(KEY, *args)[0]) == 1)
    wanted = env.conditioned(jnp.array(1.0))[1] if outcome == "return" else env.default_params.behaviour[1]
    np.testing.assert_allclose(share, wanted, atol=0.05)


def test_where_nothing_is_chance_the_best_return_is_reproduced():
    """Episodes of two steps, in stream order: what is asked for is the mean reward from here to the end."""
    rng = np.random.default_rng(1)
    action = rng.integers(4, size=(200, 2))
    obs = jnp.broadcast_to(OBS, (200, 2, 2))
    ends = jnp.broadcast_to((jnp.arange(200) % 2 == 1)[:, None], (200, 2))
    data = Transition(
        obs, jnp.asarray(action), jnp.zeros((200, 2)), jnp.asarray(ARMS[action]), ends, ~ends & False, obs
    )
    algorithm = conditioned.make(conditioned.Config(**SMALL), ARMED)
    state = learn(algorithm, data)
    assert act(algorithm, state)[0] == 2
    reward = ARMS[action]
    outcome = np.where(ends, reward, (reward + np.roll(reward, -1, 0)) / 2)
    np.testing.assert_allclose(state.outcomes, [outcome.mean(), outcome.std(), outcome.max()], rtol=1e-5)
    assert np.mean(act(algorithm, state, 5_000, greedy=False) == 2) > 0.9


# --- ReCOIL ---


def test_recoil_matches_the_expert_and_is_at_its_fixed_point():
    """`Q_a = 2 (expert_a - policy_a) / (expert_a + offline_a)`, where steps are terminal."""
    nothing = np.zeros(8, np.float32)
    expert, offline = np.repeat(np.arange(4), [0, 0, 6, 2]), TAKEN
    logs = recoil.Logs(log_of(expert, nothing), log_of(offline, nothing))
    config = recoil.Config(**SMALL, tau=0.05, inverse_temperature=3.0, layer_norm=False)
    algorithm = recoil.make(config, ARMED)
    state = learn(algorithm, logs, 3_000)
    share = np.bincount(act(algorithm, state, 40_000, greedy=False), minlength=4) / 40_000
    one_hot = jnp.concatenate([jnp.broadcast_to(OBS, (4, 2)), jnp.eye(4)], axis=1)
    q = values(state.params["critic"], Inputs(one_hot, None, None), 1)[..., 0].mean(0)
    of_expert, of_offline = np.bincount(expert, minlength=4) / 8, np.bincount(offline) / 8
    np.testing.assert_allclose(q, 2 * (of_expert - share) / (of_expert + of_offline), atol=0.15)
    everything = (of_expert + of_offline) / 2
    assert np.abs(share - of_expert).sum() < 0.6 * np.abs(everything - of_expert).sum()


# --- Several steps ---

ROBOT, ROBOT_PARAMS = make("rlx/point-goals-4")
ROBOT_PARAMS = ROBOT_PARAMS.replace(max_steps_in_episode=25)
ON_ROBOTS = {
    "td3_bc": td3_bc.Config(**SMALL, alpha=10.0, tau=0.02, discount=0.9),
    "cql": cql.Config(**SMALL, tau=0.02, discount=0.9, num_samples=4),
    "conditioned": conditioned.Config(**SMALL),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_ROBOTS)
def test_the_good_half_of_a_log_is_found(name: str):
    """Of robots that go to the goal or to the opposite one; 0 is the mean return of the log, 1 the optimum."""

    def towards(key: Any, obs: Any) -> Any:
        del key
        right = (jnp.arange(len(obs)) < len(obs) // 2)[:, None]
        return ROBOT.expert(jnp.where(right, obs, obs.at[:, 4:6].multiply(-1.0)))

    robots = dict(num_envs=128, env_params=ROBOT_PARAMS, epsilon=0.3)
    log = jax.jit(lambda: runtime.record(runtime.scripted(towards), ROBOT, KEY, 25, **robots))()
    modules: dict[str, Any] = {"td3_bc": td3_bc, "cql": cql, "conditioned": conditioned}
    algorithm = modules[name].make(ON_ROBOTS[name], ROBOT, ROBOT_PARAMS)
    state = learn(algorithm, log, 2_000)
    played = runtime.evaluate(algorithm.policy(state), ROBOT, KEY, 32, env_params=ROBOT_PARAMS, max_steps=25)
    worst, best = log.reward.sum(0).mean(), ROBOT.bound(jnp.zeros(2), ROBOT_PARAMS.goal, ROBOT_PARAMS).mean()
    assert (played.returns.mean() - worst) / (best - worst) > 0.8


@pytest.mark.parametrize("module", [cql, iql])
def test_a_random_walk_teaches_the_shortest_way(module: Any):
    """In a room of 5 x 5 cells, eight steps from corner to corner."""
    env, params = make("rlx/open-5")
    log = jax.jit(lambda: runtime.record(None, env, KEY, 200, num_envs=20))()
    own = {"penalty": 0.01} if module is cql else {"level": 0.9, "inverse_temperature": 20.0}
    config = module.Config(**{**SMALL, "hidden": (64,)}, tau=0.05, discount=0.9, **own)
    algorithm = module.make(config, env, params)
    state = learn(algorithm, log, 3_000)
    played = runtime.evaluate(algorithm.policy(state), env, KEY, 4, env_params=params, max_steps=30)
    np.testing.assert_array_equal(played.lengths, 8)


# --- All ---


def test_fit_passes_the_log():
    """Two-part actions for those that take them, of which one is always the same."""
    action = np.array([[1, 2], [1, 0]] * 4)
    env = Tiny(MultiDiscrete((2, 3)), guess=False, end="truncated")
    data = log_of(action, np.zeros(8, np.float32))
    for algorithm, log in (
        (conditioned.make(conditioned.Config(**SMALL), env), data),
        (recoil.make(recoil.Config(**SMALL), env), recoil.Logs(data, data)),
    ):
        run = runtime.fit(algorithm, total_steps=300, data=log, env=env, eval_episodes=2, progress=False)
        assert (run.updates, run.steps) == (300, 300)
        assert np.mean(act(algorithm, run.state, 1_000, greedy=False)[:, 0] == 1) > 0.9


SWEPT: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "td3_bc": (td3_bc, LINE, {"alpha": [0.5, 2.5], "target_noise": [0.1, 0.2]}),
    "cql": (cql, ARMED, {"penalty": [0.1, 1.0], "temperature": [0.5, 1.0]}),
    "cql of a box": (cql, LINE, {"penalty": [0.1, 1.0], "discount": [0.9, 0.99]}),
    "conditioned": (conditioned, ARMED, {"ask": [0.0, 1.0], "learning_rate": [1e-3, 3e-3]}),
    "recoil": (recoil, ARMED, {"level": [0.6, 0.9], "inverse_temperature": [1.0, 5.0]}),
}


@pytest.mark.parametrize("name", SWEPT)
def test_seeds_and_settings_share_one_log(name: str):
    module, env, swept = SWEPT[name]
    action = TAKEN if env is ARMED else np.linspace(-1, 3, 8).astype(np.float32)[:, None]
    log = log_of(action, ARMS[TAKEN])
    data = recoil.Logs(log, log) if module is recoil else log
    keys, settings = jax.random.split(KEY, 2), {field: jnp.array(x) for field, x in swept.items()}

    def one(key: Any, settings: Any) -> Any:
        algorithm = module.make(module.Config(**{**SMALL, "batch_size": 8, "hidden": (4,), **settings}), env)
        state, _ = runtime.train(algorithm, key, 4, data)
        kept = algorithm.with_learned(algorithm.init(key), algorithm.learned(state))
        return algorithm.learned(state), algorithm.learned(kept)

    learned, kept = jax.jit(jax.vmap(one))(keys, settings)
    jax.tree.map(np.testing.assert_array_equal, learned, kept)
    alone, _ = jax.jit(one)(keys[1], jax.tree.map(lambda x: x[1], settings))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[1], y, rtol=1e-3, atol=1e-5), learned, alone)


def test_refusals():
    made = {
        "td3_bc": td3_bc.make(td3_bc.Config(), LINE),
        "cql": cql.make(cql.Config(), ARMED),
        "conditioned": conditioned.make(conditioned.Config(), ARMED),
    }
    empty = jax.tree.map(lambda x: x[:0], log_of(TAKEN, ARMS[TAKEN]))

    def trace(algorithm: Algorithm, *data: Any) -> None:
        jax.eval_shape(lambda key: algorithm.update(algorithm.init(key), *data), KEY)

    for algorithm in made.values():
        with pytest.raises(ValueError, match="data must be a log"):
            trace(algorithm)
    with pytest.raises(ValueError, match="at least one step"):
        trace(made["cql"], empty)
    with pytest.raises(ValueError, match=r"recoil\.Logs"):
        trace(recoil.make(recoil.Config(), ARMED))
    with pytest.raises(TypeError, match="Box"):
        td3_bc.make(td3_bc.Config(), ARMED)
    with pytest.raises(ValueError, match="diversity must be None"):
        cql.make(cql.Config(diversity=1.0), ARMED)
    with pytest.raises(TypeError, match="Discrete or Box"):
        cql.make(cql.Config(), Tiny(MultiDiscrete((2, 3))))
    for module, field, value in (
        (td3_bc, "policy_period", 0),
        (td3_bc, "noise_clip", -1.0),
        (cql, "temperature", 0.0),
        (cql, "penalty", -1.0),
        (cql, "diversity", -1.0),
        (conditioned, "outcome", "luck"),
        (recoil, "level", 1.0),
        (recoil, "batch_size", 33),
    ):
        with pytest.raises(ValueError, match=field):
            module.Config(**{field: value})
