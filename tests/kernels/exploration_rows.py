"""Rows of `rlx.exploration`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from row import A, B, N, Row, T, flags, gram, grid, integers, mask, normal, simplex, targets, uniform

from rlx import exploration
from rlx.exploration import AnnotationQueue, Answers, Cells, GoalLibrary, TopologicalGraph

LIBRARY = {
    "atoms": flags(N, A),
    "valid": flags(N),
    "tries": integers(9, N),
    "outcomes": flags(N, 4),
    "action": integers(4, N, T),
    "length": integers(T, N),
}
LIMITS = ("solved_return", "solved_share", "better_margin", "better_share", "control_limit")
QUEUE = {
    "waiting": lambda rng: np.array([-1, 2, 0]),
    "asked": lambda rng: np.isin(np.arange(N), (0, 2)),
    "label": normal(N, 2),
    "known": flags(N),
}


def gains(make: Callable[..., exploration.SetFunction]) -> Callable[..., Any]:
    """Gains of elements in order, as a function of the arrays that the set function is made of."""
    return lambda xs, mask, **arrays: exploration.marginal_gains(make(**arrays), xs, mask)


def remembered(kernel: Callable[..., Any]) -> Callable[..., Any]:
    return lambda entries, added, **rest: kernel(exploration.EpisodeMemory(entries, added), **rest)


PATH = {"xs": integers(N, T), "mask": flags(T)}


def insert_elites(genome, fitness, descriptor, cell, old_fitness, filled):
    """Into an archive of 4 cells, some of them filled."""
    zeros = jax.tree.map(lambda x: jnp.zeros((4, *x.shape[1:]), x.dtype), (genome, descriptor))
    archive = exploration.EliteArchive(zeros[0], jnp.asarray(old_fitness), zeros[1], jnp.asarray(filled))
    return exploration.insert_elites(archive, genome, fitness, descriptor, cell)


def on_search(kernel):
    """The kernel with the fields of a `GaussianSearch` as arguments."""

    def run(mean, sigma, matrix, path, **others):
        return kernel(exploration.GaussianSearch(mean, sigma, matrix, path), **others)

    return run


SEARCH = dict(mean=normal(A), sigma=uniform(0.1, 1), matrix=normal(A, A), path=normal(A))

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
    "grid_cell": Row(partial(exploration.grid_cell, low=-1.0, high=1.0, shape=(3, 4)), {"descriptor": normal(B, 2)}),
    "insert_elites": targets(
        insert_elites,
        genome=normal(N, A),
        fitness=grid(N),
        descriptor=normal(N, 2),
        cell=integers(4, N),
        old_fitness=grid(4),
        filled=mask(4),
    ),
    "insert_random": targets(
        lambda seed, **arguments: exploration.insert_random(jax.random.key(seed), **arguments),
        seed=integers(9),
        memory=normal(N, A),
        filled=mask(N),
        new=normal(B, A),
        accept=mask(B),
    ),
    "sample_elites": Row(
        lambda seed, filled: exploration.sample_elites(jax.random.key(seed), filled, 3),
        dict(seed=integers(9), filled=mask(N)),
    ),
    "archive_metrics": Row(
        exploration.archive_metrics,
        dict(fitness=normal(N), filled=mask(N), offset=normal()),
        differentiated=("fitness",),
    ),
    "iso_line": Row(
        lambda seed, **arguments: exploration.iso_line(jax.random.key(seed), **arguments),
        dict(seed=integers(9), first=normal(B, A), second=normal(B, A), iso=uniform(0, 1), line=uniform(0, 1)),
        differentiated=("first", "second"),
    ),
    "emitter_order": Row(exploration.emitter_order, dict(value=normal(N), status=integers(3, N))),
    "search_points": Row(
        on_search(exploration.search_points), {**SEARCH, "noise": normal(N, A)}, differentiated=("mean", "matrix")
    ),
    "adapt_search": targets(
        on_search(exploration.adapt_search),
        **SEARCH,
        noise=normal(N, A),
        order=lambda rng: rng.permutation(N),
        num_parents=integers(N),
    ),
    "emitter_improvement": Row(exploration.emitter_improvement, {"reward": normal(T, B)}),
    "emitter_stagnates": Row(partial(exploration.emitter_stagnates, window=3), {"reward": normal(T, B)}),
    "emitter_schedule": Row(exploration.emitter_schedule, dict(evaluations=integers(5000, B), available=mask(B))),
    "autoencoder_descriptor": Row(
        exploration.autoencoder_descriptor,
        dict(encoding=normal(B, 2, A), reconstruction=normal(B, 2, 3, 3), observation=normal(B, 2, 3, 3)),
        differentiated=("encoding", "reconstruction"),
        stopped=("observation",),
    ),
    "path_signature": Row(
        partial(exploration.path_signature, order=3), {"path": normal(B, T, 2)}, differentiated=("path",)
    ),
    "label_reward": Row(
        exploration.label_reward,
        {"label": normal(T, B, A), "count": integers(5, T, B, A), "weight": normal(A), "decay": uniform(0, 3)},
        differentiated=("label", "weight"),
        extremes={"label": np.full((T, B, A), 1e4)},
    ),
    "label_count": Row(
        exploration.label_count, {"label": flags(T, B, A), "done": flags(T, B), "start": integers(3, B, A)}
    ),
    "subgoal_automaton_reward": Row(
        exploration.subgoal_automaton_reward,
        {"achieved": flags(T, B, A), "done": flags(T, B), "start": flags(B, A), "bonus": normal(A)},
        static={"ordered": True},
        differentiated=("bonus",),
    ),
    "annotation_scores": Row(
        lambda **x: tuple(exploration.annotation_scores(**x)),
        {"predicted": flags(T, B), "actual": flags(T, B), "mask": flags(T, B)},
    ),
    "add_goal": Row(lambda goal, **x: exploration.add_goal(GoalLibrary(**x), goal), {**LIBRARY, "goal": flags(A)}),
    "record_goal": Row(
        lambda goal, success, path, steps, **x: exploration.record_goal(GoalLibrary(**x), goal, success, path, steps),
        {**LIBRARY, "goal": integers(N), "success": flags(), "path": integers(4, T), "steps": integers(T)},
    ),
    "goals_reached": Row(
        exploration.goals_reached, {"atoms": flags(N, A), "event": integers(A + 1, T), "mask": flags(T)}
    ),
    "compose_goal": Row(
        lambda seed, **x: exploration.compose_goal(jax.random.key(seed), **x),
        {"seed": integers(9), "atoms": flags(N, A), "mastered": flags(N)},
    ),
    "goal_prob": Row(exploration.goal_prob, {"outcomes": flags(N, T), "tries": integers(9, N), "valid": flags(N)}),
    "task_filter": Row(
        exploration.task_filter,
        {"returns": uniform(0, 1, N, T), "control": uniform(0, 1, N, T), **{name: uniform(0, 1) for name in LIMITS}},
    ),
    "topo_graph_update": Row(
        lambda feature, previous, radius, **x: exploration.topo_graph_update(
            TopologicalGraph(**x), feature, previous, radius=radius
        ),
        {
            "node": normal(N, A),
            "mask": flags(N),
            "visits": integers(9, N),
            "cost": uniform(0, 9, N, N),
            "feature": normal(A),
            "previous": integers(N),
            "radius": uniform(0, 3),
        },
        stopped=("feature", "radius"),
    ),
    "shortest_paths": Row(
        exploration.shortest_paths,
        {"cost": uniform(0.1, 9, N, N)},
        differentiated=("cost",),
    ),
    "subgoal_score": Row(
        exploration.subgoal_score,
        {
            "visits": integers(9, N),
            "degree": integers(4, N),
            "path_cost": uniform(0, 9, N),
            "goal_distance": uniform(0, 9, N),
            "mask": lambda rng: np.ones(N, bool),
            "frontier": uniform(0, 1),
        },
        differentiated=("path_cost", "goal_distance"),
    ),
    "update_cells": Row(
        lambda old, visits, found, cell, value, length, mask: exploration.update_cells(
            Cells(old, visits, visits, found, old), cell, value, length, value, mask
        ),
        {
            "old": normal(N),
            "visits": integers(9, N),
            "found": flags(N),
            "cell": integers(N, T),
            "value": normal(T),
            "length": integers(5, T),
            "mask": flags(T),
        },
    ),
    "cell_prob": Row(exploration.cell_prob, {"visits": integers(9, N), "mask": flags(N)}),
    "belief_update": Row(
        exploration.belief_update,
        {"belief": simplex(B, A), "likelihood": uniform(0.1, 1, B, A)},
        differentiated=("belief", "likelihood"),
        extremes={"likelihood": np.zeros((B, A))},
    ),
    "information_gain": Row(
        exploration.information_gain,
        {"before": simplex(T, B, A), "after": simplex(T, B, A), "weight": normal(B)},
        differentiated=("before", "after"),
        extremes={"after": np.zeros((T, B, A))},
    ),
    "push_captions": Row(
        lambda caption, content, more, mask, **x: exploration.push_captions(
            AnnotationQueue(**x, content=content), caption, more, mask
        ),
        {
            **QUEUE,
            "content": integers(9, 3, 2),
            "caption": integers(N + 1, T),
            "more": integers(9, T, 2),
            "mask": flags(T),
        },
    ),
    "pop_captions": Row(lambda **x: exploration.pop_captions(AnnotationQueue(**x, content=None), 2)[:2], QUEUE),
    "store_labels": Row(
        lambda caption, new, valid, **x: exploration.store_labels(
            AnnotationQueue(**x, content=None), Answers(caption, new, valid)
        ),
        {**QUEUE, "caption": lambda rng: rng.permutation(N)[:2], "new": normal(2, 2), "valid": flags(2)},
    ),
    "noisy_labels": Row(
        lambda seed, **x: exploration.noisy_labels(jax.random.key(seed), **x),
        {
            "seed": integers(9),
            "truth": flags(T, A),
            "tpr": uniform(0, 1),
            "fpr": uniform(0, 1),
            "coverage": uniform(0, 1),
        },
    ),
}
