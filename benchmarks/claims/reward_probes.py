"""What a reward model's features say of each attribute tells how good it is, and how far they are when not to trust it.

Twelve small reward models of a gold reward with six attributes differ in the number of preferences and in the share
of wrong ones. Linear probes read each attribute (above or below its mean) off the last hidden layer; their mean
accuracy is compared with the gold reward that the best of 64 answers by the model has, by ranks over the models.

A gate leaves out of the optimisation answers whose features are farther from the centroids of trusted answers than four
fifths of these are. Compared are the gold rewards of the best of a whole pool, where reward models are over-optimised,
with the gate and with the same share left out at random.

Controls: probes of permuted labels, and the random gate. Probes and clusters are scikit-learn's.

On seeds 0 to 2 last layers of 4, 8 and 64 features, and 500 and 1500 steps were tried. Probes read attributes off a
layer that has learned little nearly as well as off a good one: more preferences make a better model, but its probes are
no better. Eight features have the highest correlation of these, of 0.3 with the models' accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import (
    Parameters,
    best_of_n_curve,
    difference,
    fit,
    network,
    outputs,
    pool_features,
    score,
)
from rlx.envs.bandit import draw_answers, gold_pool, gold_queries, gold_task
from rlx.reward import centroid_distance, pair_accuracy, preference_loss
from rlx.types import Array, PreferenceBatch

ATTRIBUTES, PROMPTS, ANSWERS = 6, 32, 1024
NOISES, PAIRS = (0.0, 0.2, 0.4), (100, 300, 1000, 3000)
SIZES = (16, 64, 8, 1)
PROBE, TRUSTED = 1000, 1000  # answers, half of them to fit; answers whose features are clustered
CLUSTERS, KEPT = 8, 0.8
BEST_OF = (1, 4, 16, 64, 256, ANSWERS)


def features(parameters: Parameters, x: Array) -> Array:
    """The last hidden layer."""
    return jax.nn.relu(outputs(parameters[:-1], x))


def train(key: Array, pairs: PreferenceBatch, noise: Array, count: Array, steps: int) -> Parameters:
    """On the first `count` of the pairs, a share `noise` of them turned round."""
    flip_key, start_key, order_key = jax.random.split(key, 3)
    flipped = jax.random.bernoulli(flip_key, noise, (max(PAIRS),))
    target = jnp.where(flipped, pairs.target[:, 1], pairs.target[:, 0])

    def loss(parameters: Parameters, drawn: Array) -> Array:
        rows = (drawn * count).astype(int)
        batch = jax.tree.map(lambda x: x[rows], pairs)
        return preference_loss(difference(parameters, batch), target[rows])

    return fit(order_key, network(start_key, SIZES), loss, jnp.arange(4096) / 4096, steps)


def problem(seed: Array, steps: int) -> dict[str, Array]:
    """Models of one gold reward, and all that probes, clusters and pools need of them."""
    keys = jax.random.split(jax.random.key(seed), 6)
    task = gold_task(keys[0], ATTRIBUTES)
    drawn = gold_queries(task, keys[1], max(PAIRS))
    lean = PreferenceBatch(drawn.obs, None, drawn.mask, drawn.target)
    arms = jnp.array([(noise, pairs) for noise in NOISES for pairs in PAIRS])
    models = jax.lax.map(lambda arm: train(keys[2], lean, arm[0], arm[1], steps), arms)
    answers = draw_answers(task, keys[3], (PROBE + TRUSTED,))
    seen = jnp.concatenate([answers.prompt, answers.response], -1)
    test = gold_queries(task, keys[4], PROBE, beta=jnp.inf)
    pool = gold_pool(task, keys[5], PROMPTS, ANSWERS)
    return {
        "features": jax.vmap(lambda parameters: features(parameters, seen))(models),
        "attribute": answers.attribute,
        "accuracy": jax.vmap(lambda p: pair_accuracy(difference(p, test), test.target[:, 0]).mean())(models),
        "pool features": jax.lax.map(lambda parameters: features(parameters, pool_features(pool)), models),
        "proxy": jax.vmap(lambda parameters: score(parameters, pool_features(pool)))(models),
        "gold": pool.gold,
    }


@jax.jit
def curves(
    proxy: Array, gold: Array, hidden: Array, centroids: Array, threshold: Array, key: Array
) -> dict[str, Array]:
    """Gold rewards of the best of n by one model: of all answers, behind the gate, and behind a random one."""
    trusted = centroid_distance(hidden, centroids) <= threshold
    at_random = jax.random.uniform(key, proxy.shape) < trusted.mean()
    kept = {"all": jnp.ones_like(trusted), "gate": trusted, "random gate": at_random}
    lowest = proxy.min() - 1
    return {
        name: best_of_n_curve(jnp.where(mask, proxy, lowest), gold[None], BEST_OF)[0][0] for name, mask in kept.items()
    } | {"share": trusted.mean()[None]}


def probe_accuracy(hidden: np.ndarray, attribute: np.ndarray) -> float:
    """Mean over attributes, on the half that was not fitted."""
    from sklearn.linear_model import LogisticRegression

    x, labels, half = (hidden - hidden.mean(0)) / (hidden.std(0) + 1e-6), attribute > 0, len(hidden) // 2
    return float(
        np.mean(
            [LogisticRegression(C=0.1).fit(x[:half], label[:half]).score(x[half:], label[half:]) for label in labels.T]
        )
    )


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    from sklearn.cluster import KMeans

    posed = jax.jit(lambda seed: problem(seed, updates))
    samples: dict[str, list[float]] = {}
    for seed in seeds:
        found = jax.tree.map(np.asarray, posed(np.uint32(seed)))
        rng = np.random.default_rng(seed)
        models = range(len(NOISES) * len(PAIRS))
        attribute = found["attribute"][:PROBE]
        probes = [probe_accuracy(found["features"][m, :PROBE], attribute) for m in models]
        permuted = [probe_accuracy(found["features"][m, :PROBE], rng.permutation(attribute)) for m in models]
        paths: dict[str, list[np.ndarray]] = {}
        for m in models:
            trusted = found["features"][m, PROBE:]
            clusters = KMeans(CLUSTERS, n_init="auto", random_state=0).fit(trusted)
            distance = centroid_distance(trusted, jnp.asarray(clusters.cluster_centers_))
            for name, curve in curves(
                found["proxy"][m],
                found["gold"],
                found["pool features"][m],
                jnp.asarray(clusters.cluster_centers_),
                jnp.quantile(distance, KEPT),
                jax.random.key(seed),
            ).items():
                paths.setdefault(name, []).append(np.asarray(curve))
        best = np.array([curve[BEST_OF.index(64)] for curve in paths["all"]])
        each = {
            "probes: rank correlation": rank_correlation(probes, best),
            "permuted probes: rank correlation": rank_correlation(permuted, best),
            "pair accuracy: rank correlation": rank_correlation(found["accuracy"], best),
            "probes: accuracy": float(np.mean(probes)),
            "permuted probes: accuracy": float(np.mean(permuted)),
            "share of the pool behind the gate": float(np.mean(paths["share"])),
        }
        for name in ("all", "gate", "random gate"):
            curve = np.mean(paths[name], 0)
            each |= {f"{name}: best of {n}": float(value) for n, value in zip(BEST_OF, curve, strict=True)}
            each[f"{name}: drop from the peak"] = float(curve.max() - curve[-1])
        for name, value in each.items():
            samples.setdefault(name, []).append(value)
    return samples


def rank_correlation(x: Sequence[float] | np.ndarray, y: np.ndarray) -> float:
    """Spearman's; 0 where one side is constant."""
    return float(np.nan_to_num(np.asarray(stats.spearmanr(x, y))[0]))


CLAIM = Claim(
    name="reward_probes",
    title="Probing Preference Representations: A Multi-Dimensional Evaluation and Analysis Method for Reward Models",
    year=2025,
    cards=(187,),
    environment=f"{PROMPTS} prompts with pools of {ANSWERS} answers, gold reward of {ATTRIBUTES} attributes with a bad"
    f" and rare tail; {len(NOISES) * len(PAIRS)} reward models",
    baseline="probes of permuted labels; a random gate",
    method="linear probes of a reward model's features, and a gate by the distance to their clusters",
    metric="Spearman correlation, over reward models, of probes' accuracy and gold reward of the best of 64; gold"
    " reward of the best of the pool, mean over reward models",
    conditions=(
        Condition("rank correlation above 0.6", "probes: rank correlation", 0.6),
        Condition(
            "rank correlation above permuted probes'",
            "probes: rank correlation",
            "permuted probes: rank correlation",
            0.3,
            paired=True,
        ),
        Condition(
            "gold reward behind the gate above that behind a random one",
            f"gate: best of {ANSWERS}",
            f"random gate: best of {ANSWERS}",
            0.2,
            paired=True,
        ),
        Condition(
            "smaller drop from the peak than behind a random gate",
            "gate: drop from the peak",
            "random gate: drop from the peak",
            0.1,
            direction=-1,
            paired=True,
        ),
    ),
    settings={
        "noises": NOISES,
        "pairs": PAIRS,
        "network": SIZES,
        "batch": 64,
        "learning_rate": 1e-3,
        "clusters": CLUSTERS,
        "kept": KEPT,
        "probe_c": 0.1,
    },
    updates=500,
    steps_per_update=64,
    run=run,
)
