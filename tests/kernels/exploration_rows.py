"""Rows of `rlx.exploration`."""

from functools import partial

import numpy as np
from row import A, B, N, Row, T, mask, normal, targets, uniform

from rlx import exploration

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
    "nearest_neighbours": targets(
        partial(exploration.nearest_neighbours, k=2), query=normal(B, A), reference=normal(N, A), mask=mask(N)
    ),
    "knn_novelty": targets(
        partial(exploration.knn_novelty, k=2, exclude_self=True),
        query=normal(B, A),
        reference=normal(N, A),
        mask=mask(N),
    ),
}
