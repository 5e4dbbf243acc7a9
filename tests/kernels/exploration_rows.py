"""Rows of `rlx.exploration`."""

import jax
import numpy as np
from row import A, B, N, Row, T, flags, integers, normal, simplex, targets, uniform

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

ROWS = {
    "distill_loss": Row(
        exploration.distill_loss,
        dict(prediction=normal(T, B, A), target=normal(T, B, A)),
        differentiated=("prediction",),
        stopped=("target",),
        extremes={"prediction": np.full((T, B, A), 1e4)},
    ),
    "distill_bonus": targets(exploration.distill_bonus, prediction=normal(T, B, A), target=normal(T, B, A)),
    "count_bonus": Row(exploration.count_bonus, {"visits": uniform(1, 9, T, B)}),
    "simhash": Row(exploration.simhash, dict(features=normal(T, B, A), projection=normal(A, 5))),
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
