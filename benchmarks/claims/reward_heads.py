"""A head of two layers on a frozen backbone is enough for a reward model, and needs no regulariser.

256 random ReLU features of an answer stand in for the backbone of a multimodal language model. Heads of one to five
layers, three activations, a penalty that centres rewards, and the mean of two heads are trained on the same noisy
preferences with the same number of steps. Each has the learning rate, of 0.0001, 0.0003 and 0.001, that was best for
it on seeds 0 to 3. But for the head of three layers all were better there than after half as many steps, at rates from
0.0003 to 0.01. Normalisation by length is left out: its form is not known to us.

The control trains the head of two layers on preferences dealt out anew at random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import Parameters, fit, network
from rlx.envs.bandit import draw_answers, gold_task
from rlx.reward import centring_loss, pair_accuracy, preference_loss
from rlx.types import Array

FEATURES, WIDTH = 256, 64
PAIRS, TEST, BETA = 8000, 4000, 2.0
BATCH = 64


class Head(NamedTuple):
    layers: int
    activation: Callable[[Array], Array] = jax.nn.silu
    centring: float = 0.0
    learning_rate: float = 3e-4

    def score(self, parameters: Parameters, x: Array) -> Array:
        for weight, bias in parameters[:-1]:
            x = self.activation(x @ weight + bias)
        return (x @ parameters[-1][0] + parameters[-1][1])[..., 0]


HEADS = {
    "1 layer": Head(1, learning_rate=1e-3),
    "2 layers": Head(2),
    "3 layers": Head(3),
    "5 layers": Head(5, learning_rate=1e-4),
    "2 layers, ReLU": Head(2, jax.nn.relu),
    "2 layers, tanh": Head(2, jnp.tanh),
    "2 layers, centred": Head(2, centring=0.1),
}


def one(seed: Array, steps: int) -> dict[str, Array]:
    keys = iter(jax.random.split(jax.random.key(seed), 12))
    task = gold_task(next(keys), 6, 0.0)
    backbone = jax.random.normal(next(keys), (9, FEATURES)) * (2 / 9) ** 0.5

    def embed(response: Array) -> Array:
        return jax.nn.relu(jnp.concatenate([response, jnp.ones((*response.shape[:-1], 1))], -1) @ backbone) / 2.0

    train, test = (draw_answers(task, next(keys), (number, 2), jnp.zeros(8)) for number in (PAIRS, TEST))
    said = jax.random.bernoulli(next(keys), jax.nn.sigmoid(BETA * (train.gold[:, 0] - train.gold[:, 1])))
    target = (test.gold[:, 0] > test.gold[:, 1]).astype(jnp.float32)
    seen, new = embed(train.response), embed(test.response)
    other = jax.random.permutation(next(keys), said)
    order, first, second = next(keys), next(keys), next(keys)

    def judged(head: Head, start: Array, said: Array) -> Array:
        """Rewards of the test's answers `[TEST, 2]`."""

        def loss(parameters: Parameters, rows: tuple[Array, Array]) -> Array:
            scores = head.score(parameters, rows[0])
            return preference_loss(scores[:, 0] - scores[:, 1], rows[1]) + head.centring * centring_loss(scores)

        sizes = (FEATURES, *[WIDTH] * (head.layers - 1), 1)
        data = seen, said.astype(jnp.float32)
        return head.score(fit(order, network(start, sizes), loss, data, steps, BATCH, head.learning_rate), new)

    def accuracy(scores: Array) -> Array:
        return pair_accuracy(scores[:, 0] - scores[:, 1], target).mean()

    two = HEADS["2 layers"]
    scores = {name: judged(head, first, said) for name, head in HEADS.items()}
    again = judged(two, second, said)
    found = {name: accuracy(each) for name, each in scores.items()}
    found["best of two heads"] = jnp.maximum(found["2 layers"], accuracy(again))
    found["mean of two heads"] = accuracy(scores["2 layers"] / scores["2 layers"].std() + again / again.std())
    found["2 layers, random labels"] = accuracy(judged(two, first, other))
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.jit(lambda seeds: jax.lax.map(lambda seed: one(seed, updates), seeds))(jnp.asarray(seeds, jnp.uint32))
    samples = {name: np.asarray(values, np.float64).tolist() for name, values in found.items()}

    def lead(name: str, over: str) -> list[float]:
        return [a - b for a, b in zip(samples[name], samples[over], strict=True)]

    samples["lead of 5 layers over 2"] = lead("5 layers", "2 layers")
    samples["lead of centring"] = lead("2 layers, centred", "2 layers")
    samples["lead of the mean over the best head"] = lead("mean of two heads", "best of two heads")
    return samples


CLAIM = Claim(
    name="reward_heads",
    title="BaseReward: A Strong Baseline for Multimodal Reward Model",
    year=2025,
    cards=(191,),
    environment=f"{FEATURES} random features of an answer, whose gold reward weighs six random networks; {PAIRS}"
    " preferences with noise",
    baseline="a linear head; deeper heads, centred rewards, single heads",
    method="a head of two layers with SiLU, and the mean of two",
    metric="accuracy on new pairs by their true reward",
    conditions=(
        Condition("two layers: two points above linear", "2 layers", "1 layer", 0.02, paired=True),
        Condition("five layers: less than a point better", "lead of 5 layers over 2", 0.01, direction=-1),
        Condition("centring: less than a point better", "lead of centring", 0.01, direction=-1),
        Condition("mean of two: above the better less 0.3 points", "lead of the mean over the best head", -0.003),
        Condition("above random labels", "2 layers", "2 layers, random labels", 0.2, paired=True),
    ),
    settings={
        "width": WIDTH,
        "beta": BETA,
        "batch": BATCH,
        "learning_rates": {name: head.learning_rate for name, head in HEADS.items()},
    },
    updates=2000,
    steps_per_update=BATCH,
    run=run,
)
