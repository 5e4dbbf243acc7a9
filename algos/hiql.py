"""Hierarchical implicit Q-learning for goals (Park et al., "HIQL: Offline Goal-Conditioned RL with Latent States as
Actions", 2023), with option-aware values (Ahn et al., 2025) and the flat policy (GCIVL) as settings.

Learns to reach any state from a log that was made for no goal in particular. One value function of states and goals,
`rlx.value.gc_value_loss`, serves two policies: the high one names a subgoal `subgoal_steps` ahead, as a vector, the low
one acts towards it; both imitate what the log did, the more where the value rose. Far from the goal, one step changes
the value less than it errs; over `option_steps` at once the same value has a short horizon, and its differences the
right sign. `subgoal_steps = 0` is one policy that acts towards the goal itself.

Discrete, MultiDiscrete and Box actions. The environment's observation is a `Dict` of `observation` and `goal`, of the
same kind, as that of `rlx.envs.GoalGrid`, whose `log` is such data.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import optax

from rlx import check
from rlx.nets import Inputs, Network, prepare
from rlx.nets.distribution import action_distribution
from rlx.policy import awr_weights
from rlx.runtime.log import check_log
from rlx.runtime.problem import pose
from rlx.space import GOAL, Box, Dict
from rlx.types import Algorithm, Array, Environment, Policy, PyTree, Transition
from rlx.value import episode_end, gc_value_loss, goal_advantage, option_end, relabel_goals


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of HIQL. Floats may be traced (swept in one program); the rest fix the program's shape."""

    batch_size: int = 256  # logged steps in a gradient step; 1024: the paper
    learning_rate: float = 3e-4  # of Adam, for all networks; 3e-4: the paper
    expectile: float = 0.7  # of what logged steps make of a value; 0.7: the paper
    high_temperature: float = 3.0  # inverse, of the policy over subgoals, per step of value; 3: the paper
    low_temperature: float = 3.0  # inverse, of the policy over actions, per step of value; 3: the paper
    max_weight: float = 100.0  # of a logged step in a policy's loss; 100: the paper
    discount: float = 0.99  # per step, and per option; 0.99: the paper
    tau: float = 0.005  # how far the target values move in a gradient step; 0.005: the paper
    subgoal_steps: int = 25  # how far ahead subgoals are; 25: the paper in mazes; 0: a flat policy
    option_steps: int = 1  # of the high policy's value; 1: HIQL, whose value serves both policies
    current_goals: float = 0.2  # share of values' goals that are the state itself; 0.2: the paper
    future_goals: float = 0.5  # share that comes later in the episode, geometrically; 0.5: the paper
    random_goals: float = 0.3  # share from anywhere in the log; 0.3: the paper
    subgoal_size: int = 10  # entries of a subgoal's vector; 10: the paper
    hidden: tuple[int, ...] = (256, 256)  # widths of the layers, of each network
    activation: Literal["tanh", "relu", "silu", "elu"] = "relu"
    layer_norm: bool = True  # after each layer, before the activation
    conv_features: int = 16  # channels of the 3x3 convolution that images go through

    def __post_init__(self) -> None:
        for name in ("batch_size", "option_steps", "subgoal_size", "conv_features"):
            check.count(name, getattr(self, name))
        check.count("subgoal_steps", self.subgoal_steps, 0)
        for name in ("learning_rate", "max_weight"):
            check.positive(name, getattr(self, name))
        check.in_range("expectile", self.expectile, 0.0, 1.0, open_low=True, open_high=True)
        for name in ("high_temperature", "low_temperature"):
            check.in_range(name, getattr(self, name), 0.0)
        check.in_range("discount", self.discount, 0.0, 1.0, open_high=True)
        check.in_range("tau", self.tau, 0.0, 1.0, open_low=True)
        shares = (self.current_goals, self.future_goals, self.random_goals)
        for name, share in zip(("current_goals", "future_goals", "random_goals"), shares, strict=True):
            check.in_range(name, share, 0.0, 1.0)
        if not any(isinstance(share, jax.core.Tracer) for share in shares):
            check.require(abs(sum(shares) - 1) < 1e-6, "current_goals + future_goals + random_goals", sum(shares), "1")


class State(NamedTuple):
    """Everything that HIQL remembers between updates."""

    params: PyTree  # "subgoal", "value" (leaves stacked over two heads), "actor"; "high_value", "high" where there are
    target: PyTree  # "subgoal", "value", "high_value"
    optimiser: PyTree
    key: Array


class Rows(NamedTuple):
    """Where in the log a batch is, int `[N]` each: numbers `environment * T + time`."""

    here: Array
    last: Array  # of the episode
    goal: Array  # of the values
    wanted: Array  # of the policies


def make(config: Config, env: Environment, env_params: Any = None) -> Algorithm:
    """HIQL for `env`, which gives spaces and is never stepped; its rewards are not read.

    `update(state, data)` is a gradient step on rows drawn from `data`, a `Transition` with leaves `[T, B, ...]`, whose
    observations have the entries of the environment's; their goals are not read, nor are rewards and `log_prob`. Steps
    of an episode follow one another in time. States that look the same count as the same.

    Raises:
      ValueError: unless observations are a Dict of `observation` and `goal` of the same space; in `update`, without
        data.
    """
    problem = pose(env, env_params, None, None, 1, continuing=False)
    space, action_space = problem.obs_space, problem.action_space
    parts = dict(space.spaces) if isinstance(space, Dict) else {}
    fits = set(parts) == {"observation", GOAL} and parts["observation"] == parts[GOAL]
    check.require(fits, "the observation space", space, f"a Dict of 'observation' and {GOAL!r}, which are the same")
    seen = parts["observation"]
    dist, continuous = action_distribution(action_space), isinstance(action_space, Box)
    hierarchical, options = config.subgoal_steps > 0, config.subgoal_steps > 0 and config.option_steps > 1

    sizes = (config.hidden, config.activation, config.layer_norm, config.conv_features)
    value_network = Network(1, *sizes)
    subgoal_network = Network(config.subgoal_size, *sizes)
    actor_network = Network(dist.num_outputs, *sizes, output_scale=0.01)
    optimiser = optax.flatten(optax.adam(config.learning_rate))  # one step on one vector

    def outputs(network: Network, params: PyTree, inputs: Inputs) -> Array:
        """`[N, num_outputs]`."""
        return network.apply(params, jax.tree.map(lambda x: x[None], inputs), (), None)[0][0]

    def pair(here: PyTree, goal: PyTree) -> Inputs:
        return prepare(space, {"observation": here, GOAL: goal})

    def to_length(vector: Array) -> Array:
        """Of the length that random vectors of its size have."""
        return (
            vector * jnp.sqrt(config.subgoal_size) / jnp.maximum(jnp.linalg.norm(vector, axis=-1, keepdims=True), 1e-6)
        )

    def subgoal(params: PyTree, here: PyTree, goal: PyTree) -> Array:
        """What of a goal matters from here: the language of the high policy."""
        return to_length(outputs(subgoal_network, params["subgoal"], pair(here, goal)))

    def with_subgoal(here: PyTree, vector: Array) -> Inputs:
        return prepare(seen, here).beside(vector)

    def values(params: PyTree, here: PyTree, goal: PyTree) -> Array:
        """`[2, N]`, through the subgoal's vector."""
        inputs = with_subgoal(here, subgoal(params, here, goal))
        return jax.vmap(lambda head: outputs(value_network, head, inputs)[:, 0])(params["value"])

    def high_values(params: PyTree, here: PyTree, goal: PyTree) -> Array:
        """`[2, N]`: in options, where there are, else in steps."""
        if not options:
            return values(params, here, goal)
        inputs = pair(here, goal)
        return jax.vmap(lambda head: outputs(value_network, head, inputs)[:, 0])(params["high_value"])

    def act_outputs(actor: PyTree, inputs: Inputs) -> Array:
        found = outputs(actor_network, actor, inputs)
        if not continuous:
            return found
        mean, spread = jnp.split(found, 2, axis=-1)
        return jnp.concatenate([jnp.tanh(mean), jnp.zeros_like(spread)], axis=-1)  # unit deviations, as in the paper

    # --- 1. Draw ---

    def sample(data: Transition, key: Array) -> Rows:
        steps, num_envs = data.terminated.shape
        row_key, goal_key, wanted_key = jax.random.split(key, 3)
        here = jax.random.randint(row_key, (config.batch_size,), 0, steps * num_envs)
        end = episode_end(data.terminated | data.truncated)[here % steps, here // steps]
        last = here - here % steps + end
        logged = here, last, steps * num_envs, config.discount
        goal = relabel_goals(
            goal_key, *logged, current=config.current_goals, future=config.future_goals, random=config.random_goals
        )
        wanted = relabel_goals(wanted_key, *logged, current=0, future=1, random=0, uniform=True)
        return Rows(here, last, goal, wanted)

    def state_of(data: Transition, row: Array) -> PyTree:
        steps = data.terminated.shape[0]
        return jax.tree.map(lambda x: x[row % steps, row // steps], data.obs["observation"])

    def state_after(data: Transition, rows: Rows, goal: Array, steps: int) -> PyTree:
        """So many steps on, but no further than the goal; after an episode's last step, what that led to."""
        end = option_end(rows.here, goal, rows.last, steps)
        length = data.terminated.shape[0]
        led_to = jax.tree.map(lambda x: x[rows.here % length, rows.here // length], data.next_obs["observation"])

        def choose(there: Array, led: Array) -> Array:
            stays = (end == rows.here).reshape(-1, *(1,) * (there.ndim - 1))
            return jnp.where(stays, led, there)

        return jax.tree.map(choose, state_of(data, end), led_to)

    def same(first: PyTree, second: PyTree) -> Array:
        """Bool `[N]`."""
        equal = jax.tree.map(lambda x, y: jnp.all((x == y).reshape(len(x), -1), axis=-1), first, second)
        return jnp.stack(jax.tree.leaves(equal)).all(0)

    # --- 2. Learn ---

    def value_loss(kind: Any, params: PyTree, target: PyTree, here: PyTree, there: PyTree, goal: PyTree) -> Array:
        """`[N]`."""
        reached = same(here, goal)
        after = kind(target, there, goal)
        advantage = goal_advantage(kind(target, here, goal), after, reached, config.discount)
        return gc_value_loss(kind(params, here, goal), after, reached, config.expectile, config.discount, advantage)

    def gain(kind: Any, params: PyTree, here: PyTree, there: PyTree, goal: PyTree) -> Array:
        """How much nearer to the goal a move has led, `[N]`."""
        return jax.lax.stop_gradient((kind(params, there, goal) - kind(params, here, goal)).mean(0))

    def loss(params: PyTree, target: PyTree, data: Transition, rows: Rows) -> tuple[Array, dict[str, Any]]:
        """The losses in one, each of which moves its own part of the parameters."""
        here, goal, wanted = (state_of(data, row) for row in (rows.here, rows.goal, rows.wanted))
        step = state_after(data, rows, rows.last, 1)
        parts = {"value": value_loss(values, params, target, here, step, goal)}
        if options:
            there = state_after(data, rows, rows.goal, config.option_steps)
            parts["high_value"] = value_loss(high_values, params, target, here, there, goal)
        aim = wanted
        if hierarchical:
            ahead = state_after(data, rows, rows.wanted, config.subgoal_steps)
            named = jax.lax.stop_gradient(subgoal(params, here, ahead))
            weight = awr_weights(
                gain(high_values, params, here, ahead, wanted), config.high_temperature, config.max_weight
            )
            error = outputs(subgoal_network, params["high"], pair(here, wanted)) - named
            parts["high"] = weight * 0.5 * jnp.sum(error**2, axis=-1)  # -log of a normal density of unit deviation
            aim = state_after(data, rows, rows.last, config.subgoal_steps)
        weight = awr_weights(gain(values, params, here, step, aim), config.low_temperature, config.max_weight)
        inputs = (
            with_subgoal(here, jax.lax.stop_gradient(subgoal(params, here, aim))) if hierarchical else pair(here, aim)
        )
        steps = data.terminated.shape[0]
        action = jax.tree.map(lambda x: x[rows.here % steps, rows.here // steps], data.action)
        log_prob = dist.log_prob(act_outputs(params["actor"], inputs), dist.from_env(action))
        parts["policy"] = -weight * log_prob
        metrics = {f"loss/{name}": part.mean() for name, part in parts.items()}
        metrics |= {"log_prob": log_prob.mean(), "imitation_weight": weight.mean()}
        return jnp.stack([part.mean() for part in parts.values()]).sum(), metrics

    def init(key: Array) -> State:
        names = ("value", "high_value", "subgoal", "high", "actor", "run")
        keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))
        blank = jax.tree.map(lambda x: jnp.zeros((1, *x.shape), x.dtype), jax.eval_shape(seen.sample, key))
        lift = lambda inputs: jax.tree.map(lambda x: x[None], inputs)  # noqa: E731
        both, low = lift(pair(blank, blank)), lift(with_subgoal(blank, jnp.zeros((1, config.subgoal_size))))

        def heads(key: Array, inputs: Inputs) -> PyTree:
            return jax.vmap(lambda key: value_network.init(key, inputs, (), None))(jax.random.split(key))

        params = {
            "subgoal": subgoal_network.init(keys["subgoal"], both, (), None),
            "value": heads(keys["value"], low),
            "actor": actor_network.init(keys["actor"], low if hierarchical else both, (), None),
        }
        if hierarchical:
            params["high"] = subgoal_network.init(keys["high"], both, (), None)
        if options:
            params["high_value"] = heads(keys["high_value"], both)
        return State(params, jax.tree.map(jnp.copy, slow(params)), optimiser.init(params), keys["run"])

    def slow(params: PyTree) -> PyTree:
        """The parts that have a target."""
        return {name: params[name] for name in ("subgoal", "value", "high_value") if name in params}

    # --- 3. One update ---

    def update(state: State, data: Transition | None = None) -> tuple[State, dict[str, Any]]:
        if data is None:
            raise ValueError("data must be a log, a Transition with leaves [T, B, ...]; got None: fit(..., data=log)")
        check_log(data, space, action_space)
        key, sample_key = jax.random.split(state.key)
        grads, metrics = jax.grad(loss, has_aux=True)(state.params, state.target, data, sample(data, sample_key))
        updates, opt_state = optimiser.update(grads, state.optimiser, state.params)
        params: PyTree = optax.apply_updates(state.params, updates)
        target = optax.incremental_update(slow(params), state.target, config.tau)
        return State(params, target, opt_state, key), metrics

    # --- 4. Act ---

    def policy(state: State) -> Policy:
        """Towards the observed goal; subgoals are the high policy's means."""

        def act(key: Array, obs: PyTree, memory: PyTree, reset: Array, greedy: bool = False) -> tuple[Array, PyTree]:
            del reset  # no memory
            here, goal = obs["observation"], obs[GOAL]
            inputs = pair(here, goal)
            if hierarchical:
                inputs = with_subgoal(here, to_length(outputs(subgoal_network, state.params["high"], inputs)))
            found = act_outputs(state.params["actor"], inputs)
            return dist.to_env(dist.mode(found) if greedy else dist.sample(key, found)), memory

        return Policy(lambda batch_size: (), act)

    def learned(state: State) -> PyTree:
        return state.params, state.target, state.optimiser

    def with_learned(state: State, learned: PyTree) -> State:
        params, target, opt_state = learned
        return state._replace(params=params, target=target, optimiser=opt_state)

    return Algorithm(init, update, policy, 1, problem.channels, learned, with_learned)
