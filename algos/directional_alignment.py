"""Directional preference alignment (Wang et al., "Arithmetic Control of LLMs for Diverse User Preferences", 2024).

One policy for all users: what somebody wants is a direction in the space of rewards, and the model is told it. Each
prompt is answered several times under a random direction, and the answer with the highest reward in that direction is
imitated, under that direction. Rewards are standardised on answers of the reference, without which a direction means
nothing. With a single fixed direction it is rejection-sampling fine-tuning.

    algorithm = directional_alignment.make(Config(), env, directions=arc(-45.0, 0.0), rewards=style_and_length)
    run = runtime.fit(algorithm, total_steps=1_000_000)
    drawn = sample(model, run.state.params, key, prompt, mask, length, condition=direction)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.algos.offline_alignment import language_policy
from rlx.nets.language import PAD, LanguageModel, sample, sft_loss
from rlx.nets.reference import ReferenceConfig, choose_model, choose_reference
from rlx.policy import best_worst_pair
from rlx.types import Algorithm, Array, Channel, Policy, PyTree


@dataclasses.dataclass(frozen=True)
class Config(ReferenceConfig):
    """Settings of directional alignment. Floats may be traced (swept in one program); the rest fix the shape."""

    num_prompts: int = 64  # in an update, drawn from the environment's table, each with a direction
    num_samples: int = 16  # answers to each, of which the best is imitated; 16: the card, 80 in the paper
    learning_rate: float = 1e-3  # of Adam
    max_grad_norm: float = 1.0  # longer gradients are scaled down to it
    temperature: float = 1.0  # of sampling
    num_steps: int = 1  # gradient steps on the answers of an update
    refresh_every: int = 1  # updates after which answers are sampled from the current policy again; a round
    calibration: int = 1024  # answers of the reference by which rewards are standardised

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_prompts", "num_samples", "num_steps", "refresh_every", "calibration"):
            check.count(name, getattr(self, name))
        for name in ("learning_rate", "max_grad_norm", "temperature"):
            check.positive(name, getattr(self, name))


class State(NamedTuple):
    """Everything that it remembers between updates."""

    params: PyTree
    optimiser: PyTree
    sampler: PyTree  # parameters of the policy that answers
    moments: tuple[Array, Array]  # [K] mean and deviation of rewards under the reference
    updates: Array  # int32 []
    key: Array


def arc(low: float, high: float) -> Callable[[Array], Array]:
    """Directions `(cos, sin)` of two rewards at an angle uniform in `[low, high]` degrees: key -> `[2]`."""

    def draw(key: Array) -> Array:
        angle = jnp.deg2rad(jax.random.uniform(key, (), minval=low, maxval=high))
        return jnp.stack([jnp.cos(angle), jnp.sin(angle)])

    return draw


def orthant(objectives: int) -> Callable[[Array], Array]:
    """Directions uniform on the unit sphere's part where all are positive: key -> `[K]`."""

    def draw(key: Array) -> Array:
        direction = jnp.abs(jax.random.normal(key, (objectives,)))
        return direction / jnp.linalg.norm(direction)

    return draw


def make(
    config: Config,
    env: Any,
    env_params: Any = None,
    *,
    model: LanguageModel | None = None,
    reference: PyTree = None,
    rewards: Callable[[Array, Array, Array], Array] | None = None,
    directions: Callable[[Array], Array] | None = None,
) -> Algorithm:
    """Directional alignment on `env`, a token environment (`rlx.envs.token`).

    An update counts as many environment steps as its answers could have tokens. The policy that is evaluated is told
    the middle: the mean direction, at length 1. For others, `language_policy(..., condition=direction)`.

    Args:
      model: whose parameters are learned; default a network of the configuration's sizes.
      reference: its parameters to begin with, made by `init(model, key, condition=K)`; default supervised training on
        the environment's demonstrations, as part of `init`.
      rewards: prompts `[N, 1, P]`, tokens `[N, G, T]` and their mask -> `[N, G, K]`; default the environment's.
      directions: key -> a unit vector `[K]`; default `orthant`.

    Raises:
      ValueError: for a model of another vocabulary or of several heads, or a `reference` without its model.
    """
    env_params = env.default_params if env_params is None else env_params
    length, table = env.task.length, env_params.prompt
    network = choose_model(config, env, model, reference)
    reward = env.gold_reward if rewards is None else rewards
    example = jnp.zeros((1, 1, length), jnp.int32)
    objectives = jax.eval_shape(reward, table[:1, None], example, example == 0).shape[-1]
    draw_direction = orthant(objectives) if directions is None else directions
    optimiser = optax.flatten(
        optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.adam(config.learning_rate))
    )
    channels = env.task.channels if rewards is None else tuple(f"objective {k}" for k in range(objectives))

    def ask(
        key: Array, params: PyTree, prompts: int, answers: int, temperature: Array | float
    ) -> tuple[Array, Array, Any, Array]:
        """Prompts `[N, P]`, directions `[N, K]`, answers `[N, G, T]` under them and their rewards `[N, G, K]`."""
        prompt_key, direction_key, sample_key = jax.random.split(key, 3)
        prompt = table[jax.random.randint(prompt_key, (prompts,), 0, table.shape[0])]
        direction = jax.vmap(draw_direction)(jax.random.split(direction_key, prompts))
        repeated, told = (jnp.repeat(x, answers, axis=0) for x in (prompt, direction))
        drawn = sample(
            network, params, sample_key, repeated, repeated != PAD, length, temperature=temperature, condition=told
        )
        drawn = jax.tree.map(lambda x: x.reshape(prompts, answers, length), drawn)
        return prompt, direction, drawn, reward(prompt[:, None], drawn.token, drawn.mask)

    def start(key: Array) -> State:
        base = choose_reference(config, env, env_params, network, reference, objectives)
        *_, found = ask(jax.random.key(config.reference_seed), base, config.calibration, 1, 1.0)
        moments = found.mean((0, 1)), jnp.maximum(found.std((0, 1)), 1e-6)
        params, sampler = (jax.tree.map(jnp.copy, base) for _ in range(2))
        return State(params, optimiser.init(params), sampler, moments, jnp.zeros((), jnp.int32), key)

    def update(state: State, data: None = None) -> tuple[State, dict[str, Any]]:
        del data
        # --- 1. Answer under random directions, keep the best ---
        key, ask_key = jax.random.split(state.key)
        asked = ask(ask_key, state.sampler, config.num_prompts, config.num_samples, config.temperature)
        prompt, direction, drawn, found = asked
        standard = (found - state.moments[0]) / state.moments[1]
        along = jnp.sum(standard * direction[:, None], axis=-1)
        best = best_worst_pair(along).index[:, :1]
        token, mask = (jnp.take_along_axis(x, best[..., None], axis=1)[:, 0] for x in (drawn.token, drawn.mask))

        # --- 2. Imitate it under its direction ---
        def loss(params: PyTree) -> Array:
            return sft_loss(network, params, prompt, prompt != PAD, token, mask, direction).mean()

        params, opt_state = state.params, state.optimiser
        imitation = jnp.zeros(())
        for _ in range(config.num_steps):
            imitation, grads = jax.value_and_grad(loss)(params)
            updates, opt_state = optimiser.update(grads, opt_state, params)
            params: PyTree = optax.apply_updates(params, updates)

        count = state.updates + 1
        due = count % config.refresh_every == 0
        sampler = jax.tree.map(lambda new, old: jnp.where(due, new, old), params, state.sampler)
        metrics = {
            "loss": imitation,
            "reward": found.mean((0, 1)),
            "along": along.mean(),
            "along/best": jnp.take_along_axis(along, best, axis=1).mean(),
            "length": jnp.sum(drawn.mask, axis=-1).mean(),
        }
        return State(params, opt_state, sampler, state.moments, count, key), metrics

    def policy(state: State) -> Policy:
        many = jax.vmap(draw_direction)(jax.random.split(jax.random.key(0), 256)).mean(0)
        return language_policy(network, state.params, condition=many / jnp.linalg.norm(many))

    def with_learned(state: State, learned: PyTree) -> State:
        params, opt_state = learned
        return state._replace(params=params, optimiser=opt_state)

    return Algorithm(
        start,
        update,
        policy,
        config.num_prompts * config.num_samples * length,
        tuple(Channel(name) for name in channels),
        lambda state: (state.params, state.optimiser),
        with_learned,
    )
