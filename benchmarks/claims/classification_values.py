"""Values learned by classification, cross-entropy to a histogram of the target, stand noise that regression does not.

Fitted evaluation of the uniform policy on random processes of 128 states with 16 random features each, from 3,000
logged transitions whose rewards carry noise: none, Gaussian, or heavy-tailed (Student's t with two degrees of freedom).
A network learns by bootstrapping with its own slow copy; its error is measured against the exact values in all states.
The squared error, two neighbouring atoms (two-hot) and the Gaussian histogram (HL-Gauss) differ in the last layer and
the loss alone, and see the same data in the same order. A support also clips the targets, so the squared error of
targets that are clipped likewise is reported too: what it gains is not due to classification.

The histogram should be no worse than the squared error without noise, better with Gaussian noise and much better with
heavy tails. Two-hot is reported: at this size it does as well, so what is shown is the gain of classification, not of
the Gaussian. The paper shows it on games, robots and language at scale, and that larger networks gain more.

Tuned on seeds 0 to 3 in four rounds. Wider networks and a slow copy that is faster or absent made classification worse
than the squared error without noise (by up to 28%). With Gaussian noise of deviation 3 the gain was between -1% and 4%
throughout, far from the 15% that is asked; that condition was kept. Heavy tails of scale 1 gained 10 to 13%, of scale
3, where a tenth of the targets is beyond the support, 34 to 47%; scale 3 was taken. Updates were then reduced from
4,000 to 3,000 for time, unseen, when the clipped squared error was added.

Nothing was changed after it was judged. With heavy tails the error halves, but so it does where the squared error's
targets are clipped to the same support: at this size what helps is the support, not the cross-entropy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.claims.claim import Claim, Condition
from rlx.envs.tabular import garnet
from rlx.nets import MLP, HeadKind, value_head
from rlx.types import Array, PyTree
from rlx.value import policy_evaluation

STATES, ACTIONS, FEATURES, ROWS, GAMMA = 128, 4, 16, 3_000, 0.95
HIDDEN, BATCH, LEARNING_RATE, TAU = (64, 64), 128, 1e-3, 0.01
ATOMS, LOW, HIGH = 51, -8.0, 8.0
NOISE = {"no noise": ("normal", 0.0), "Gaussian noise": ("normal", 3.0), "heavy tails": ("t", 3.0)}
ARMS: dict[str, tuple[HeadKind, bool]] = {  # the head, and whether targets are clipped to the support in any case
    "squared error": ("mean", False),
    "squared error, clipped": ("mean", True),
    "two-hot": ("two_hot", True),
    "HL-Gauss": ("hl_gauss", True),
}


def problem(seed: int) -> dict[str, Array]:
    """Transitions `[ROWS]` between states, their rewards under each noise, features `[S, D]` and exact values `[S]`."""
    key = jax.random.key(seed)
    mdp = garnet(key, STATES, ACTIONS, gamma=GAMMA)
    P, R, discount, _ = mdp.arrays()
    exact, _ = policy_evaluation(P, R, discount, np.full((STATES, ACTIONS), 1 / ACTIONS))
    rng = np.random.default_rng(seed)
    state, action = rng.integers(STATES, size=ROWS), rng.integers(ACTIONS, size=ROWS)
    after = np.array([rng.choice(STATES, p=P[s, a]) for s, a in zip(state, action, strict=True)])
    draws = {"normal": rng.normal(size=ROWS), "t": rng.standard_t(2, size=ROWS)}
    reward = np.stack([R[state, action] + scale * draws[kind] for kind, scale in NOISE.values()])
    found = dict(state=state, after=after, reward=reward, features=rng.normal(size=(STATES, FEATURES)), exact=exact)
    return {name: jnp.asarray(x, jnp.int32 if x.dtype.kind == "i" else jnp.float32) for name, x in found.items()}


def error(
    kind: HeadKind, clip: bool, key: Array, data: dict[str, Array], reward: Array, updates: int
) -> tuple[Array, Array]:
    """Root mean square error over the states, and the share of the last targets that the support misses."""
    head = value_head(kind, ATOMS, LOW, HIGH, None)
    network = Head(head.size)
    optimiser = optax.adam(LEARNING_RATE)
    init_key, key = jax.random.split(key)
    params = network.init(init_key, data["features"])

    def numbers(params: PyTree, state: Array) -> Any:
        return network.apply(params, data["features"][state])

    def value(params: PyTree, state: Array) -> Array:
        return head.value(numbers(params, state))

    def step(carry: tuple[PyTree, PyTree, PyTree], key: Array) -> tuple[tuple[PyTree, PyTree, PyTree], Array]:
        params, slow, opt_state = carry
        rows = jax.random.randint(key, (BATCH,), 0, ROWS)
        target = jax.lax.stop_gradient(reward[rows] + GAMMA * value(slow, data["after"][rows]))
        missed = jnp.mean(jnp.abs(target - 0.5 * (LOW + HIGH)) > 0.5 * (HIGH - LOW))
        target = jnp.clip(target, LOW, HIGH) if clip else target

        def loss(params: PyTree) -> Array:
            return head.loss(numbers(params, data["state"][rows]), target, None).mean()

        change, opt_state = optimiser.update(jax.grad(loss)(params), opt_state)
        params = optax.apply_updates(params, change)
        return (params, optax.incremental_update(params, slow, TAU), opt_state), missed

    start = (params, params, optimiser.init(params))
    (params, _, _), missed = jax.lax.scan(step, start, jax.random.split(key, updates))
    found = value(params, jnp.arange(STATES))
    return jnp.sqrt(jnp.mean(jnp.square(found - data["exact"]))), missed[-100:].mean()


class Head(nn.Module):
    """Layers, and one linear layer of `size`."""

    size: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return nn.Dense(self.size)(MLP(HIDDEN, "relu")(x))


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    problems = [problem(seed) for seed in seeds]
    data = jax.tree.map(lambda *x: jnp.stack(x), *problems)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    found, samples = {}, {}
    for name, (kind, clip) in ARMS.items():

        def of(key: Array, data: dict[str, Array], kind: HeadKind = kind, clip: bool = clip) -> tuple[Array, Array]:
            return jax.vmap(lambda reward: error(kind, clip, key, data, reward, updates))(data["reward"])

        rmse, missed = (np.asarray(x, np.float64) for x in jax.jit(jax.vmap(of))(keys, data))
        for i, noise in enumerate(NOISE):
            found[name, noise] = rmse[:, i]
            samples[f"{name}: error, {noise}"] = rmse[:, i].tolist()
            samples[f"{name}: targets beyond the support, {noise}"] = missed[:, i].tolist()
            gain = 1 - found[name, noise] / found["squared error", noise]
            if name != "squared error":
                samples[f"{name}: gain, {noise}"] = gain.tolist()
    return samples


CLAIM = Claim(
    name="classification_values",
    title="Stop Regressing: Training Value Functions via Classification for Scalable Deep RL",
    year=2024,
    cards=(150,),
    environment=f"random processes of {STATES} states, {ROWS:,} logged transitions with noisy rewards",
    baseline="fitted evaluation by the squared error",
    method="by cross-entropy to a Gaussian histogram (HL-Gauss)",
    metric="root mean square error of the values of all states; the gain is the share by which it is lower",
    conditions=(
        Condition("without noise, less than 10% worse", "HL-Gauss: gain, no noise", 0.0, margin=-0.1),
        Condition("with Gaussian noise, at least 15% better", "HL-Gauss: gain, Gaussian noise", 0.0, margin=0.15),
        Condition("with heavy tails, at least 35% better", "HL-Gauss: gain, heavy tails", 0.0, margin=0.35),
    ),
    settings={
        "states": STATES,
        "features": FEATURES,
        "rows": ROWS,
        "gamma": GAMMA,
        "hidden": HIDDEN,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "tau": TAU,
        "support": (ATOMS, LOW, HIGH),
        "noise": NOISE,
    },
    updates=3_000,
    steps_per_update=BATCH,
    run=run,
)
