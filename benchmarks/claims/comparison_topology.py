"""Comparing answers that share beginnings is claimed to teach more about rewards than comparing independent ones.

Exact stand-in: rewards of all strings of 5 letters out of 4 are Gaussian with a covariance that falls with the number
of letters by which two strings differ, or with what they have left after a common beginning, or both. What a set of
comparisons leaves unknown of a reward difference is its posterior variance, which does not depend on the answers given
(`rlx.reward.inference_distance`). Compared at equal numbers of comparisons are independent pairs (the chain) and small
trees of four leaves with a common beginning of two letters.

The paper's claim is about all responses, so the first condition asks for uniform pairs of strings. The second asks for
pairs that share a beginning, where comparisons of like strings are less noisy, as they are easier to make. Rewards
without any covariance are the control: there the comparisons say nothing of other strings, either way.

Of three noises (0.25 on seeds 0 to 9, 1 and 4 on seeds 0 to 3) the middle one was taken: what trees gain on pairs with
a common beginning hardly grows beyond it (0.002, 0.007 and 0.008). On uniform pairs they lost with all three.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.reward import inference_distance, prefix_tree, shared_prefix
from rlx.types import Array

LETTERS, LENGTH = 4, 5
COMPARISONS = (24, 48, 72)
MAIN = 48  # comparisons of the conditions
QUERIES = 200
NOISE = 1.0  # variance of a comparison, of rewards of variance 1
SHARED = 2  # letters of a beginning
EDGES = ((0, 1), (2, 3), (1, 2))  # of a tree's four leaves


def letter(key: Array, prefix: Array, t: int) -> Array:
    return jax.random.randint(key, prefix.shape[:1], 0, LETTERS)


def chain(key: Array, comparisons: int) -> tuple[Array, Array]:
    """Strings `[N, 5]` and pairs of them `[E, 2]`."""
    strings = prefix_tree(key, letter, (2 * comparisons, 1, 1, 1, 1))
    return strings, jnp.arange(2 * comparisons).reshape(-1, 2)


def trees(key: Array, comparisons: int) -> tuple[Array, Array]:
    number = comparisons // len(EDGES)
    strings = prefix_tree(key, letter, (number, 1, 2, 2, 1))
    pairs = 4 * jnp.arange(number)[:, None, None] + jnp.array(EDGES)
    return strings, pairs.reshape(-1, 2)


def prefix_covariance(strings: Array) -> Array:
    return shared_prefix(strings) / LENGTH


def hamming_covariance(strings: Array) -> Array:
    return jnp.exp(-jnp.sum(strings[:, None] != strings[None], -1) / 2.0)


COVARIANCES: dict[str, Callable[[Array], Array]] = {
    "prefix": prefix_covariance,
    "Hamming": hamming_covariance,
    "both": lambda strings: (prefix_covariance(strings) + hamming_covariance(strings)) / 2.0,
    "none": lambda strings: (shared_prefix(strings) == LENGTH).astype(jnp.float32),
}


def figures(key: Array, comparisons: int) -> dict[str, Array]:
    """Posterior over prior variance, means over queries."""
    chain_key, tree_key, uniform_key, close_key = jax.random.split(key, 4)
    queries = {
        "uniform pairs": prefix_tree(uniform_key, letter, (2 * QUERIES, 1, 1, 1, 1)),
        "pairs with a common beginning": prefix_tree(close_key, letter, (QUERIES, 1, 2, 1, 1)),
    }
    found = {}
    for topology, (strings, pairs) in (
        ("chain", chain(chain_key, comparisons)),
        ("tree", trees(tree_key, comparisons)),
    ):
        different = LENGTH - shared_prefix(strings)[pairs[:, 0], pairs[:, 1]]
        noises = {
            "equal noise": jnp.full(len(pairs), NOISE),
            "noise by difference": NOISE * jnp.maximum(different, 1) / 2,
        }
        for kind, asked in queries.items():
            everything = jnp.concatenate([strings, asked])
            index = len(strings) + jnp.arange(2 * QUERIES).reshape(-1, 2)
            for name, covariance in COVARIANCES.items():
                prior = covariance(everything)
                first, second = index.T
                before = prior[first, first] + prior[second, second] - 2 * prior[first, second]
                for noise, variance in noises.items():
                    after = inference_distance(prior + 1e-4 * jnp.eye(len(prior)), pairs, variance, index)
                    found[f"{topology}: {kind}, {name}, {noise}"] = after.sum() / before.sum()
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    sizes = COMPARISONS if updates > 2 else (MAIN,)
    samples: dict[str, list[float]] = {}
    for comparisons in sizes:

        def one(seed: Array, comparisons: int = comparisons) -> dict[str, Array]:
            keys = jax.random.split(jax.random.key(seed), updates)
            return jax.tree.map(jnp.mean, jax.lax.map(lambda key: figures(key, comparisons), keys))

        found = jax.jit(lambda seeds, one=one: jax.lax.map(one, seeds))(jnp.asarray(seeds, jnp.uint32))
        for name, values in found.items():
            if comparisons == MAIN or ("both" in name and "by difference" in name):
                samples[f"{name}, {comparisons}"] = np.asarray(values, np.float64).tolist()
    return samples


CLAIM = Claim(
    name="comparison_topology",
    title="Reward Generalization in RLHF: A Topological Perspective",
    year=2024,
    cards=(202,),
    environment=f"all strings of {LENGTH} letters out of {LETTERS}, Gaussian rewards whose covariance falls with common"
    f" beginnings and different letters; {MAIN} comparisons",
    baseline="comparisons of independent strings (chain)",
    method=f"comparisons within trees of four strings with {SHARED} letters in common",
    metric="posterior over prior variance of reward differences",
    conditions=(
        Condition(
            "uniform pairs: trees leave less",
            f"tree: uniform pairs, both, noise by difference, {MAIN}",
            f"chain: uniform pairs, both, noise by difference, {MAIN}",
            direction=-1,
            paired=True,
        ),
        Condition(
            "pairs with a common beginning: trees leave less",
            f"tree: pairs with a common beginning, both, noise by difference, {MAIN}",
            f"chain: pairs with a common beginning, both, noise by difference, {MAIN}",
            0.02,
            direction=-1,
            paired=True,
        ),
    ),
    settings={"noise": NOISE, "queries": QUERIES, "comparisons": COMPARISONS, "edges": EDGES},
    updates=4,  # sets of comparisons for each seed
    steps_per_update=1,
    run=run,
)
