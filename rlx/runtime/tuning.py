"""Choosing settings under a budget: cheap short runs guide where to spend long ones.

`tune` asks a function for the scores of settings at fidelities numbered from 0, the cheapest, to the one that counts.
`training_scores` makes such a function of an algorithm: its fidelities are numbers of environment steps.

Scores of the search are optimistic, the more so the more settings were tried: train the best setting again, with seeds
that the search has not seen, before quoting it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.optim import cokriging_posterior, fit_cokriging, variable_fidelity_improvement
from rlx.runtime.driver import train
from rlx.runtime.table import Table
from rlx.types import Algorithm

Setting = dict[str, float]
Evaluate = Callable[[Sequence[Setting], int], Sequence[float]]  # settings, fidelity -> scores, larger is better
Method = Literal["cokriging", "improvement", "halving", "random"]


class Range(NamedTuple):
    """The values that a setting may have; `log` searches their logarithm."""

    low: float
    high: float
    log: bool = False


class Tuned(NamedTuple):
    """What `tune` found."""

    best: Setting  # of the highest score at the fidelity that counts
    score: float
    trials: Table  # trial, fidelity, cost (spent up to it, itself included), score, <settings>


class Trials(NamedTuple):
    """Settings tried, in the unit cube, at a fixed capacity."""

    x: jax.Array  # [N, d]
    fidelity: jax.Array  # int [N]
    score: jax.Array  # [N]
    valid: jax.Array  # bool [N]


def suggest(
    key: jax.Array,
    trials: Trials,
    costs: jax.Array,
    affordable: jax.Array,
    greedy: jax.Array | bool = False,
    *,
    candidates: int = 1024,
    restarts: int = 3,
    steps: int = 100,
) -> tuple[jax.Array, jax.Array]:
    """Where to try next, `[d]` in the unit cube, and at which of the `affordable [F]` fidelities.

    Fits a co-kriging model to the trials and takes the largest `variable_fidelity_improvement` among random places,
    half of them near the place of the best posterior mean; with `greedy` the largest posterior mean, to be tried at the
    last fidelity. Pure, to be jitted.
    """
    fit_key, *keys = jax.random.split(key, 3)
    levels, dims = len(costs), trials.x.shape[1]
    mean = jnp.mean(trials.score, where=trials.valid)
    scale = jnp.std(trials.score, where=trials.valid)
    y = jnp.where(trials.valid, (trials.score - mean) / jnp.where(scale > 0, scale, 1), 0)
    seen = trials.x, trials.fidelity, y
    model = fit_cokriging(fit_key, *seen, levels, trials.valid, restarts=restarts, steps=steps)
    at_trials, _ = cokriging_posterior(model, *seen, trials.x, trials.valid)
    values = jnp.where(trials.valid, at_trials[:, -1], -jnp.inf)
    around = trials.x[jnp.argmax(values)] + 0.1 * jax.random.normal(keys[0], (candidates // 2, dims))
    anywhere = jax.random.uniform(keys[1], (candidates - candidates // 2, dims))
    places = jnp.concatenate([jnp.clip(around, 0, 1), anywhere])
    posterior = cokriging_posterior(model, *seen, places, trials.valid)
    worth = variable_fidelity_improvement(*posterior, model.noise, costs, jnp.max(values))
    worth = jnp.where(greedy, jnp.where(jnp.arange(levels) == levels - 1, posterior[0][:, -1:], -jnp.inf), worth)
    place, level = jnp.divmod(jnp.argmax(jnp.where(affordable, worth, -jnp.inf)), levels)
    return places[place], level


def tune(
    evaluate: Evaluate,
    space: Mapping[str, Range],
    costs: Sequence[float],
    budget: float,
    *,
    method: Method = "cokriging",
    initial: int | None = None,
    eta: int = 3,
    seed: int = 0,
) -> Tuned:
    """Search for the setting of the highest score at the last fidelity, until the next trial would exceed the budget.

    Methods:
      "cokriging": a Gaussian process over all fidelities chooses setting and fidelity by expected improvement for cost.
      "improvement": the same with the last fidelity alone, Bayesian optimisation as in textbooks.
      "halving": random settings at the cheapest fidelity, the best `1 / eta` of them at the next, and so on; again from
        the beginning while the budget lasts. Simple, and hard to beat where short runs rank as long ones do.
      "random": random settings at the last fidelity.

    Args:
      evaluate: scores of settings at a fidelity; one that is not finite counts as the worst so far.
      space: names and ranges of the settings.
      costs: of one trial at each fidelity, rising; any unit.
      budget: in the same unit.
      method: see above.
      initial: settings that Bayesian methods try before they begin, in a Latin square at the cheapest fidelity they
        use; the first two of them at the last one too. Default `2 d + 2`.
      eta: of "halving".
      seed: of all random choices.

    Raises:
      ValueError: for an empty space or range, costs that do not rise, a budget below three trials at the last fidelity,
        or an unknown method.
    """
    check.require(len(space) > 0, "space", space, "at least one setting")
    for name, span in space.items():
        check.require(span.low < span.high and (span.low > 0 or not span.log), f"space[{name!r}]", span, "a range")
    check.require(
        len(costs) > 0 and all(a < b for a, b in zip([0, *costs], costs, strict=False)), "costs", costs, "rising"
    )
    check.require(
        budget >= 3 * costs[-1], "budget", budget, f"at least three trials at the last fidelity, {3 * costs[-1]}"
    )
    check.require(method in get_args(Method), "method", method, f"one of {', '.join(get_args(Method))}")
    search = _Search(evaluate, space, costs, budget, np.random.default_rng(seed))
    if method == "random":
        search.try_all(search.uniform(math.floor(budget / costs[-1] + 1e-9)), len(costs) - 1)
    elif method == "halving":
        while search.bracket(eta):
            pass
    else:
        lowest = 0 if method == "cokriging" else len(costs) - 1
        first = search.latin_square(2 * len(space) + 2 if initial is None else initial)
        search.try_all(first, lowest)
        if lowest < len(costs) - 1:
            search.try_all(first[:2], len(costs) - 1)
        while search.follow(lowest, seed):
            pass
    return search.result()


class _Search:
    """Trials so far, and what is left of the budget."""

    def __init__(
        self,
        evaluate: Evaluate,
        space: Mapping[str, Range],
        costs: Sequence[float],
        budget: float,
        rng: np.random.Generator,
    ):
        self.evaluate, self.space, self.costs, self.left, self.rng = evaluate, space, costs, budget, rng
        self.spent = 0.0
        self.x: list[np.ndarray] = []
        self.rows: list[dict[str, Any]] = []

    def affords(self, fidelity: int, trials: int = 1) -> bool:
        return trials * self.costs[fidelity] <= self.left + 1e-9

    def try_all(self, x: np.ndarray, fidelity: int) -> np.ndarray:
        """Scores of as many of the places as the budget allows."""
        x = x[: math.floor(self.left / self.costs[fidelity] + 1e-9)]
        settings = [self.setting(row) for row in x]
        found = np.asarray(self.evaluate(settings, fidelity) if settings else [], np.float64)
        known = [row["score"] for row in self.rows] + found[np.isfinite(found)].tolist()
        scores = np.where(np.isfinite(found), found, min(known, default=0.0))
        for row, setting, score in zip(x, settings, scores, strict=True):
            self.spent, self.left = self.spent + self.costs[fidelity], self.left - self.costs[fidelity]
            self.x.append(row)
            trial = {"trial": len(self.rows), "fidelity": fidelity, "cost": float(self.spent), "score": float(score)}
            self.rows.append({**trial, **setting})
        return scores

    def setting(self, x: np.ndarray) -> Setting:
        def value(share: float, span: Range) -> float:
            low, high = (math.log(end) if span.log else end for end in (span.low, span.high))
            inside = low + float(share) * (high - low)
            return math.exp(inside) if span.log else inside

        return {name: value(share, span) for share, (name, span) in zip(x, self.space.items(), strict=True)}

    def uniform(self, n: int) -> np.ndarray:
        return self.rng.uniform(size=(n, len(self.space)))

    def latin_square(self, n: int) -> np.ndarray:
        cells = np.stack([self.rng.permutation(n) for _ in self.space], axis=1)
        return (cells + self.uniform(n)) / n

    def bracket(self, eta: int) -> bool:
        """One round of successive halving, as large as ends with one trial at the last fidelity; False if too dear."""
        sizes = [eta ** (len(self.costs) - 1 - z) for z in range(len(self.costs))]
        if sum(n * cost for n, cost in zip(sizes, self.costs, strict=True)) > self.left + 1e-9:
            return False
        x = self.uniform(sizes[0])
        for fidelity in range(len(sizes)):
            scores = self.try_all(x[: sizes[fidelity]], fidelity)
            x = x[: sizes[fidelity]][np.argsort(-scores, kind="stable")]
        return True

    def follow(self, lowest: int, seed: int) -> bool:
        """One trial where the model suggests, the last one greedy; False if none can be paid for."""
        affordable = np.array([self.affords(z) for z in range(lowest, len(self.costs))])
        if not affordable.any():
            return False
        capacity = 32 * math.ceil((len(self.x) + 1) / 32)  # few shapes, so few compilations
        padding = capacity - len(self.x)
        trials = Trials(
            jnp.asarray(np.pad(np.asarray(self.x, np.float32), ((0, padding), (0, 0)))),
            jnp.asarray(np.pad([row["fidelity"] - lowest for row in self.rows], (0, padding)), jnp.int32),
            jnp.asarray(np.pad([row["score"] for row in self.rows], (0, padding)), jnp.float32),
            jnp.arange(capacity) < len(self.x),
        )
        greedy = self.affords(-1) and self.left < self.costs[-1] + self.costs[lowest] - 1e-9
        key = jax.random.fold_in(jax.random.key(seed), len(self.x))
        x, level = _suggest(key, trials, np.asarray(self.costs[lowest:], np.float32), affordable, greedy)
        self.try_all(np.asarray(x)[None], lowest + int(level))
        return True

    def result(self) -> Tuned:
        last = [row for row in self.rows if row["fidelity"] == len(self.costs) - 1]
        best = max(last, key=lambda row: row["score"])
        setting = {name: best[name] for name in self.space}
        return Tuned(setting, best["score"], Table(tuple(self.rows[0]), self.rows))


_suggest = jax.jit(suggest)


def training_scores(
    make: Callable[[Any], Algorithm],
    config: Any,
    steps: Sequence[int],
    *,
    seeds: int = 4,
    score: Callable[[dict[str, Any]], jax.Array] | None = None,
) -> Evaluate:
    """For `tune`: fidelity z trains for `steps[z]` environment steps, with the seeds 0, 1, ... side by side.

    Args:
      make: configuration -> algorithm; floats of the configuration are traced.
      config: the configuration, a dataclass, of which settings replace fields.
      steps: rounded up to whole updates; in proportion to the costs that `tune` is told.
      seeds: how many; the score is their mean.
      score: from the metrics of a run, stacked over updates, to a number; by default the return, summed over channels,
        of the episodes that ended in the last tenth of it.
    """
    check.count("seeds", seeds)
    numbers = jnp.arange(seeds, dtype=jnp.uint32)
    updates = [math.ceil(n / make(config).steps_per_update) for n in steps]

    @functools.partial(jax.jit, static_argnums=0)
    def scores(num_updates: int, setting: dict[str, jax.Array]) -> jax.Array:
        def one(seed: jax.Array) -> jax.Array:
            algorithm = make(dataclasses.replace(config, **setting))
            _, metrics = train(algorithm, jax.random.key(seed), num_updates)
            return (score or _final_return)(metrics)

        return jax.vmap(one)(numbers).mean()

    def evaluate(settings: Sequence[Setting], fidelity: int) -> list[float]:
        traced = ({name: np.float32(value) for name, value in setting.items()} for setting in settings)
        return [float(scores(updates[fidelity], setting)) for setting in traced]

    return evaluate


def _final_return(metrics: dict[str, Any]) -> jax.Array:
    """NaN where no episode ended."""
    returns = metrics["episode_return"]
    last = max(1, len(returns.count) // 10)
    total, count = returns.total[-last:].sum(), jnp.max(returns.count[-last:].sum(0))
    return total / jnp.where(count > 0, count, jnp.nan)
