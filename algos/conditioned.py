"""Imitation of logged actions given the return that followed (Emmons et al., "RvS: What is Essential for Offline RL via
Supervised Learning?", 2022), and behaviour cloning.

No value is learned: the policy is told the mean reward per step from here to the end of the episode and imitates the
action; to act it asks for the best that the log has. Where chance decides returns this imitates luck: in `rlx/lucky` it
gets one half (`benchmarks/claims/controllable_future.py`). Discrete, MultiDiscrete and Box actions.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.nets import Network, prepare
from rlx.nets.distribution import action_bounds, action_distribution, policy_outputs
from rlx.runtime.log import draw_rows, scorer
from rlx.runtime.problem import initial_weights, pose
from rlx.space import Box
from rlx.types import Algorithm, Array, Environment, Policy, PyTree, RewardSource, Transition, Weighting
from rlx.value import returns_to_go


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of conditioned imitation. Floats may be traced (swept in one program); the rest fix the program."""

    batch_size: int = 256  # logged steps in a gradient step
    learning_rate: float = 1e-3  # of Adam; 1e-3: the paper
    outcome: Literal["return", "none"] = "return"  # what the policy is told; none: behaviour cloning
    ask: float = 1.0  # for which outcome to act: of the log's 0 is the mean and 1 the highest
    hidden: tuple[int, ...] = (256, 256)  # widths of the layers; the paper: (1024, 1024)
    activation: Literal["tanh", "relu", "silu", "elu"] = "relu"
    layer_norm: bool = False  # after each layer, before the activation
    conv_features: int = 16  # channels of the 3x3 convolution that images go through

    def __post_init__(self) -> None:
        for name in ("batch_size", "conv_features"):
            check.count(name, getattr(self, name))
        check.positive("learning_rate", self.learning_rate)
        check.require(self.outcome in ("return", "none"), "outcome", self.outcome, "'return' or 'none'")
        check.in_range("ask", self.ask)


class State(NamedTuple):
    """Everything that it remembers between updates."""

    params: PyTree
    optimiser: PyTree
    outcomes: Array  # [3]: mean, deviation and highest of those of the log
    source: PyTree
    key: Array


def make(
    config: Config,
    env: Environment,
    env_params: Any = None,
    *,
    rewards: RewardSource | None = None,
    weighting: Weighting | None = None,
) -> Algorithm:
    """Conditioned imitation for `env`, which gives spaces and channels and is never stepped.

    `update(state, data)` is a gradient step on rows drawn from `data`, a `Transition` with leaves `[T, B, ...]` *in
    stream order*: the outcomes of its steps are computed from it, all anew in each update. With several channels the
    weighted sum of rewards counts.

    Raises:
      ValueError: for an unbounded Box or one not of rank 1, a source without `rescore`, a channel that is not episodic,
        a weighting that needs policy gradients; in `update`, without data.
    """
    problem = pose(env, env_params, rewards, weighting, 1, continuing=False)
    env_params, obs_space, action_space, rewards, channels, weighting, spec = problem
    score = scorer(rewards)
    first_weights, _ = initial_weights(weighting, len(channels))
    continuous = isinstance(action_space, Box)
    if continuous:
        action_bounds(action_space)  # refuses what has none
    dist = action_distribution(action_space)
    sizes = (config.hidden, config.activation, config.layer_norm, config.conv_features)
    network = Network(dist.num_outputs, *sizes, output_scale=0.01)
    optimiser = optax.flatten(optax.adam(config.learning_rate))

    def told(obs: PyTree, outcome: Array) -> Any:
        """The observation with a standardised outcome `[...]` beside it."""
        inputs = prepare(obs_space, obs)
        if config.outcome == "none":
            return inputs
        return inputs.beside(outcome[..., None])

    def action_outputs(params: PyTree, obs: PyTree, outcome: Array) -> Array:
        """Parameters of the distribution of actions."""
        inputs = told(obs, outcome)
        found = network.apply(params, jax.tree.map(lambda x: x[None], inputs), (), None)[0][0]
        return policy_outputs(action_space, found, inputs.mask)

    # --- 1. Outcomes ---

    def outcomes_of(state: State, data: Transition, key: Array) -> Array:
        """The mean reward from each step to the end of its episode: `[T, B]`."""
        shape = data.terminated.shape
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), data)
        weights = problem.channel_weights(first_weights, flat.obs)
        reward = jnp.sum(score(state.source, flat, key) * weights, axis=-1).reshape(shape)
        cut = data.terminated | data.truncated
        return returns_to_go(reward, 1.0, cut) / returns_to_go(jnp.ones(shape), 1.0, cut)

    # --- 2. Learn ---

    def init(key: Array) -> State:
        network_key, source_key, run_key = jax.random.split(key, 3)
        obs = jax.tree.map(lambda x: jnp.zeros((1, 1, *x.shape), x.dtype), jax.eval_shape(obs_space.sample, key))
        params = network.init(network_key, told(obs, jnp.zeros((1, 1))), (), None)
        outcomes = jnp.array([0.0, 1.0, 0.0])
        return State(params, optimiser.init(params), outcomes, rewards.init(source_key, spec), run_key)

    def update(state: State, data: Transition | None = None) -> tuple[State, dict[str, Any]]:
        key, index_key, score_key = jax.random.split(state.key, 3)
        outcomes, beside = state.outcomes, ()
        if config.outcome == "return" and data is not None:
            outcome = outcomes_of(state, data, score_key)
            outcomes = jnp.stack([outcome.mean(), jnp.maximum(outcome.std(), 1e-6), outcome.max()])
            beside = ((outcome - outcomes[0]) / outcomes[1],)
        step, *drawn = draw_rows(index_key, data, (obs_space, action_space), config.batch_size, *beside)
        outcome = drawn[0] if drawn else jnp.zeros(config.batch_size)

        def loss(params: PyTree) -> Array:
            return -dist.log_prob(action_outputs(params, step.obs, outcome), dist.from_env(step.action)).mean()

        value, grads = jax.value_and_grad(loss)(state.params)
        updates, opt_state = optimiser.update(grads, state.optimiser, state.params)
        metrics = {"loss/policy": value, "outcome/mean": outcomes[0], "outcome/best": outcomes[2]}
        params: PyTree = optax.apply_updates(state.params, updates)
        return State(params, opt_state, outcomes, state.source, key), metrics

    # --- 3. Act ---

    def policy(state: State) -> Policy:
        mean, deviation, best = state.outcomes
        asked = config.ask * (best - mean) / deviation

        def act(key: Array, obs: PyTree, memory: PyTree, reset: Array, greedy: bool = False) -> tuple[Array, PyTree]:
            found = action_outputs(state.params, obs, jnp.full(reset.shape, asked))
            return dist.to_env(dist.mode(found) if greedy else dist.sample(key, found)), memory

        return Policy(lambda batch_size: (), act)

    def learned(state: State) -> PyTree:
        return state.params, state.optimiser

    def with_learned(state: State, learned: PyTree) -> State:
        params, opt_state = learned
        return state._replace(params=params, optimiser=opt_state)

    return Algorithm(init, update, policy, 1, channels, learned, with_learned)
