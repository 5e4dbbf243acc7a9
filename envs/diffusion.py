"""Sampling by denoising as a decision process: a chain with a closed form, and a ring of modes for a small network.

A state is a noisy sample and how many steps are left; the action is the next, less noisy sample, drawn from the
policy's normal distribution; the last one is paid. So the log-probability of a trajectory is the sum of its actions',
`rlx.policy.denoise_log_prob`, and the first state is noise that no policy has a say in.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check, space
from rlx.envs.interface import at_time_limit, reset, step
from rlx.types import Array


class DenoisingState(NamedTuple):
    sample: Array  # [D]
    time: Array  # int32 [], steps since the reset


class _Denoising:
    """What both environments share; subclasses say what a finished sample is worth."""

    is_truncated = at_time_limit
    reset = reset
    step = step
    default_params: Any
    dimensions: int
    steps: int

    def reset_env(self, key: Array, params: Any) -> tuple[Array, DenoisingState]:
        del params
        state = DenoisingState(jax.random.normal(key, (self.dimensions,)), jnp.zeros((), jnp.int32))
        return self._observe(state), state

    def step_env(
        self, key: Array, state: DenoisingState, action: Array, params: Any
    ) -> tuple[Array, DenoisingState, Array, Array, dict[str, Any]]:
        del key
        state = DenoisingState(jnp.asarray(action, jnp.float32), state.time + 1)
        done = state.time >= self.steps
        return self._observe(state), state, jnp.where(done, self.reward(state.sample, params), 0.0), done, {}

    def observation_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(-jnp.inf, jnp.inf, (self.dimensions + 1,))

    def action_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(-jnp.inf, jnp.inf, (self.dimensions,))

    def reward(self, sample: Array, params: Any) -> Array:
        raise NotImplementedError

    def _observe(self, state: DenoisingState) -> Array:
        left = 1 - state.time.astype(jnp.float32) / self.steps
        return jnp.append(state.sample, left)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GaussianChainParams:
    """Steps in the order in which they are taken."""

    scale: Any  # [S] a: how much of the state is kept
    std: Any  # [S] of the step's noise
    drift: Any  # [S, D] b of the reference
    direction: Any  # [D] of the reward
    max_steps_in_episode: Any  # steps

    def replace(self, **changes: Any) -> GaussianChainParams:
        return dataclasses.replace(self, **changes)


class GaussianChain(_Denoising):
    """`x' = a x + b + std noise` from standard normal x, and a reward linear in the last x.

    Policies are drifts `b [S, D]`, of which the reference's is 0. Where `a^2 + std^2 = 1`, as here, x stays standard
    normal under the reference.

    Known optimum: with a penalty of `beta` on the KL divergence from the reference the best steps are normal with the
    same deviation and the drift `optimal_drift(beta)`,

        b* = b + std^2 / beta (prod of all later a) direction,

    at which trajectories with a common first state have differences of log-ratios equal to those of rewards over beta.

    Args:
      steps, dimensions: sizes.
      low, high: deviations of the noise in the last and the first step.

    Raises:
      ValueError: for sizes that are no positive integers, or deviations outside (0, 1].
    """

    def __init__(self, steps: int = 8, dimensions: int = 2, *, low: float = 0.3, high: float = 0.7) -> None:
        check.count("steps", steps)
        check.count("dimensions", dimensions)
        for name, value in (("low", low), ("high", high)):
            check.in_range(name, value, 0.0, 1.0, open_low=True)
        self.steps, self.dimensions = steps, dimensions
        std = np.linspace(high, low, steps)
        self.default_params = GaussianChainParams(
            jnp.asarray(np.sqrt(1 - std**2), jnp.float32),
            jnp.asarray(std, jnp.float32),
            jnp.zeros((steps, dimensions)),
            jnp.full(dimensions, dimensions**-0.5),
            jnp.asarray(steps, jnp.int32),
        )

    def reward(self, sample: Array, params: GaussianChainParams) -> Array:
        return jnp.sum(sample * params.direction, axis=-1)

    def optimal_drift(self, beta: Array | float) -> Array:
        """`[S, D]`."""
        check.positive("beta", beta)
        params = self.default_params
        later = self._later(params)
        return params.drift + (jnp.square(params.std) * later / beta)[:, None] * params.direction

    def expected_return(self, drift: Array) -> Array:
        """Of a policy with this drift, exactly."""
        params = self.default_params
        return jnp.sum(self._later(params)[:, None] * drift, axis=0) @ params.direction

    def kl(self, drift: Array) -> Array:
        """Of trajectories of a policy with this drift from the reference's, exactly."""
        params = self.default_params
        return jnp.sum(jnp.square((drift - params.drift) / params.std[:, None])) / 2

    def mean(self, sample: Array, drift: Array, params: GaussianChainParams) -> Array:
        """Of the next samples `[..., S, D]`, from those before them."""
        return params.scale[:, None] * sample + drift

    def rollout(
        self, key: Array, drift: Array, params: GaussianChainParams, shape: tuple[int, ...], start: Array | None = None
    ) -> tuple[Array, Array]:
        """Samples `[*shape, S, D]` before each step and after it, from `start [*shape, D]` or standard normal ones."""
        start_key, noise_key = jax.random.split(key)
        size = (*shape, self.dimensions)
        start = jax.random.normal(start_key, size) if start is None else jnp.broadcast_to(start, size)

        def move(x: Array, step: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
            scale, std, b, noise = step
            after = scale * x + b + std * noise
            return after, (x, after)

        noise = jax.random.normal(noise_key, (self.steps, *size))
        _, (before, after) = jax.lax.scan(move, start, (params.scale, params.std, drift, noise))
        return jnp.moveaxis(before, 0, -2), jnp.moveaxis(after, 0, -2)

    def _later(self, params: GaussianChainParams) -> Array:
        """What is left of each step's drift at the end."""
        return jnp.append(jnp.cumprod(params.scale[:0:-1])[::-1], 1.0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RingParams:
    """What a finished sample is paid for."""

    target: Any  # [2], a place or a direction
    max_steps_in_episode: Any  # steps

    def replace(self, **changes: Any) -> RingParams:
        return dataclasses.replace(self, **changes)


class Ring(_Denoising):
    """Eight narrow normal modes on a circle of radius 1, whose samples a denoiser learns to draw in `steps` steps.

    Noise is added as `x_t = sqrt(c_t) x_0 + sqrt(1 - c_t) e` with a cosine schedule. `posterior` turns a prediction of
    the noise e into the mean of the step before; `std` is that step's deviation, 0 for the last one (which has no
    density: mask it).

    Rewards: "place", `-|x - target|^2`, and "direction", `target . x`. Known optimum of "place": 0; that of what the
    reference draws is in one mode, the nearest to the target.

    Source: Ho et al., "Denoising Diffusion Probabilistic Models" (2020); Nichol and Dhariwal, "Improved Denoising
    Diffusion Probabilistic Models" (2021) for the schedule.
    """

    modes, spread, dimensions = 8, 0.05, 2

    def __init__(self, steps: int = 20, *, kind: Literal["place", "direction"] = "place") -> None:
        check.count("steps", steps, 2)
        check.require(kind in ("place", "direction"), "kind", kind, "'place' or 'direction'")
        self.steps, self.kind = steps, kind
        self.default_params = RingParams(jnp.array([1.0, 0.0]), jnp.asarray(steps, jnp.int32))
        time = (np.arange(steps + 1) / steps + 0.008) / 1.008
        kept = np.clip(np.cos(time * np.pi / 2) ** 2 / np.cos(time[0] * np.pi / 2) ** 2, 1e-4, 1.0)
        ratio = kept[1:] / kept[:-1]
        variance = (1 - kept[:-1]) / (1 - kept[1:]) * (1 - ratio)
        # in the order in which steps are taken, from noise to sample
        self.kept, self.ratio, self.std = (
            jnp.asarray(x[::-1].copy(), jnp.float32) for x in (kept[1:], ratio, np.sqrt(variance))
        )

    def data(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Samples `[*shape, 2]` of the ring."""
        mode_key, noise_key = jax.random.split(key)
        angle = 2 * jnp.pi * jax.random.randint(mode_key, shape, 0, self.modes) / self.modes
        centre = jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
        return centre + self.spread * jax.random.normal(noise_key, centre.shape)

    def noised(self, sample: Array, noise: Array, index: Array) -> Array:
        """What step `index` (0 the first one taken) starts from, of samples `[..., 2]`."""
        kept = self.kept[index][..., None]
        return jnp.sqrt(kept) * sample + jnp.sqrt(1 - kept) * noise

    def posterior(self, sample: Array, prediction: Array, index: Array) -> Array:
        """The mean of the step's outcome, from the noise `prediction [..., 2]`; the sample it implies is kept in
        bounds."""
        kept, ratio = self.kept[index][..., None], self.ratio[index][..., None]
        before = kept / ratio
        clean = jnp.clip((sample - jnp.sqrt(1 - kept) * prediction) / jnp.sqrt(kept), -1.5, 1.5)
        weight = jnp.sqrt(before) * (1 - ratio) / (1 - kept)
        return weight * clean + jnp.sqrt(ratio) * (1 - before) / (1 - kept) * sample

    def reward(self, sample: Array, params: RingParams) -> Array:
        if self.kind == "place":
            return -jnp.sum(jnp.square(sample - params.target), axis=-1)
        return jnp.sum(sample * params.target, axis=-1)
