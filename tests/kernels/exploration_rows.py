"""Rows of `rlx.exploration`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from row import A, B, N, Row, T, flags, gram, integers, mask, normal, simplex, targets, uniform

from rlx import exploration


def gains(make: Callable[..., exploration.SetFunction]) -> Callable[..., Any]:
    """Gains of elements in order, as a function of the arrays that the set function is made of."""
    return lambda xs, mask, **arrays: exploration.marginal_gains(make(**arrays), xs, mask)


def remembered(
    kernel: Callable[..., Any],
) -> Callable[..., Any]:
    return lambda entries, added, **rest: kernel(exploration.EpisodeMemory(entries, added), **rest)


PATH = {"xs": integers(N, T), "mask": flags(T)}
ROWS = {
    "distill_loss": Row(
        exploration.distill_loss,
        dict(prediction=normal(T, B, A), target=normal(T, B, A)),
        differentiated=("prediction",),
        stopped=("target",),
        extremes={"prediction": np.full((T, B, A), 1e4)},
    ),
    "distill_bonus": targets(exploration.distill_bonus, prediction=normal(T, B, A), features=normal(T, B, A)),
    "count_bonus": Row(exploration.count_bonus, {"visits": uniform(1, 9, T, B)}),
    "simhash": Row(exploration.simhash, dict(features=normal(T, B, A), projection=normal(A, 5))),
    "nearest_neighbours": targets(
        partial(exploration.nearest_neighbours, k=2), query=normal(B, A), reference=normal(N, A), mask=mask(N)
    ),
    "knn_novelty": targets(
        partial(exploration.knn_novelty, k=2, exclude_self=True),
        query=normal(B, A),
        reference=normal(N, A),
        mask=mask(N),
    ),
    "distill_bonus, mixture": targets(
        partial(exploration.distill_bonus, kind="mixture"), prediction=normal(T, A), features=normal(3, T, A)
    ),
    "distill_bonus, coin flip": targets(
        partial(exploration.distill_bonus, kind="coin_flip"), prediction=normal(T, A), features=normal(T, A)
    ),
    "pseudo_count_stat": targets(exploration.pseudo_count_stat, prediction=normal(T, A), mean=normal(T, A)),
    **{
        f"distill_target, {kind}": Row(
            lambda seed, features, kind=kind: exploration.distill_target(jax.random.key(seed), features, kind),
            {"seed": integers(9), "features": normal(*shape)},
            stopped=("features",),
        )
        for kind, shape in (("gaussian", (T, A)), ("mixture", (3, T, A)))
    },
    "pseudo_count": targets(
        exploration.pseudo_count, log_density=uniform(-5, -4, T), next_log_density=uniform(-3, -1, T)
    ),
    "pseudo_count, gain": Row(
        exploration.pseudo_count,
        dict(log_density=uniform(-5, -4, T), next_log_density=uniform(-3, -1, T), gain_scale=uniform(0.1, 0.2)),
        stopped=("log_density", "next_log_density"),
    ),
    "elliptical_bonus": targets(exploration.elliptical_bonus, features=normal(B, A), inverse=normal(B, A, A)),
    "elliptical_update": Row(
        exploration.elliptical_update, dict(inverse=gram(A), features=normal(A)), stopped=("inverse", "features")
    ),
    "icm_loss": Row(
        exploration.icm_loss,
        dict(
            inverse_log_prob=normal(T, B), prediction=normal(T, B, A), next_features=normal(T, B, A), beta=uniform(0, 1)
        ),
        differentiated=("inverse_log_prob", "prediction"),
        stopped=("next_features",),
        extremes={"prediction": np.full((T, B, A), 1e4), "inverse_log_prob": np.full((T, B), -1e4)},
    ),
    "icm_bonus": targets(exploration.icm_bonus, prediction=normal(T, B, A), next_features=normal(T, B, A)),
    "remember": Row(
        remembered(exploration.remember),
        dict(entries=normal(B, 4, A), added=integers(7, B), entry=normal(B, A), reset=flags(B)),
        stopped=("entries", "entry"),
    ),
    "episodic_count": Row(
        remembered(exploration.episodic_count),
        dict(entries=integers(3, B, 4), added=integers(7, B), index=integers(3, B)),
    ),
    "novelty_gate": Row(
        partial(exploration.novelty_gate, kind="ride"),
        dict(novelty=uniform(0, 2, T, B), visits=integers(4, T, B)),
        stopped=("novelty",),
    ),
    "novelty_gate, noveld": Row(
        lambda novelty, visits, previous: exploration.novelty_gate(novelty, visits, "noveld", previous),
        dict(novelty=uniform(0, 2, T, B), visits=integers(3, T, B), previous=uniform(0, 2, T, B)),
        stopped=("novelty", "previous"),
    ),
    "ngu_bonus": Row(
        exploration.ngu_bonus, dict(squared=uniform(0, 2, T, 3), mean_square=uniform(0, 2)), stopped=("squared",)
    ),
    "diayn_reward": Row(
        exploration.diayn_reward, dict(logits=normal(T, B, A), skill=integers(A, T, B)), stopped=("logits",)
    ),
    "marginal_gains": Row(gains(exploration.coverage), {**PATH, "covers": mask(N, A), "weight": uniform(0, 1, A)}),
    "marginal_gains, information": Row(gains(exploration.information), {**PATH, "covariance": gram(N, 12)}),
    "marginal_gains, facility location": Row(
        gains(exploration.facility_location), {**PATH, "similarity": uniform(0, 1, N, A)}
    ),
    "marginal_gains, entropy reduction": Row(
        gains(exploration.entropy_reduction), {**PATH, "prior": simplex(A), "answer": integers(2, N, A)}
    ),
}
