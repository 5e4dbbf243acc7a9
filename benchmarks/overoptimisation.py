"""Draw gold and proxy rewards of the best of n over the distance from the reference policy: `overoptimisation.png`.

python -m benchmarks.overoptimisation            about four minutes

Reward models and pools of the claims `reward_ensembles` and `reward_robust`, on the first ten of their judging seeds.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims import reward_ensembles, reward_robust
from benchmarks.claims.reward_model import best_of_n_curve, standardised
from rlx.reward import brme_reward, overoptimisation_fit
from rlx.runtime.figure import COLOURS, STYLE
from rlx.runtime.statistics import bootstrap
from rlx.types import Array

PICTURE = Path(__file__).with_name("overoptimisation.png")
NS = tuple(2**power for power in range(13))
ENSEMBLE = {
    "single": "one model",
    "mean": "mean of five",
    "worst case": "worst case of five",
    "variance 0.5": "mean less half the variance",
}


def curves(seed: Array, steps: int) -> dict[str, Array]:
    """Distance, gold and proxy reward `[3, n]` of each proxy."""

    def curve(both: tuple[Array, Array]) -> Array:
        proxy, gold = both
        values, divergence = best_of_n_curve(proxy, jnp.stack([gold, standardised(proxy)]), NS)
        return jnp.concatenate([jnp.sqrt(jnp.maximum(divergence, 0))[None], values])

    problem, scores = reward_ensembles.ensemble(seed, reward_ensembles.NOISE, steps)
    proxies = reward_ensembles.aggregates(scores)
    pairs = {label: (proxies[name], problem.gold) for name, label in ENSEMBLE.items()}
    problem, _, mean, std = reward_robust.heads(seed, steps)
    pairs["robust mix of heads"] = brme_reward(mean, std, 0.6), problem.gold
    return dict(zip(pairs, jax.lax.map(curve, jax.tree.map(lambda *x: jnp.stack(x), *pairs.values())), strict=True))


def draw(found: dict[str, np.ndarray], path: Path) -> None:
    """`found[label]` is `[S, 3, n]`."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: Any = STYLE
    with mpl.rc_context(style):
        figure = Figure(figsize=(11.5, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        gold, proxy = figure.subplots(1, 2)
        for (label, seeds), colour in zip(found.items(), COLOURS, strict=False):
            distance = seeds[:, 0].mean(0)
            for axis, row in ((gold, 1), (proxy, 2)):
                middle, low, high = bootstrap(np.mean, seeds[:, row], resamples=1000)
                axis.plot(distance, middle, color=colour, linewidth=1.8, label=label)
                axis.fill_between(distance, low, high, color=colour, alpha=0.15, linewidth=0)
            fit = overoptimisation_fit(distance, seeds[:, 1].mean(0) - seeds[0, 1, 0])
            print(f"{label:20} slope {fit.slope:.2f}, decay {fit.decay:.2f}, r2 {fit.r2:.2f}")
        gold.axhline(0, color="#888888", linewidth=0.8)
        gold.set_title("gold reward: rises, then falls")
        proxy.set_title("proxy reward: goes on rising")
        for axis in (gold, proxy):
            axis.set_xlabel("distance from the reference, square root of the KL divergence")
            axis.set_ylabel("deviations of the reference's answers")
            axis.set_xlim(0, None)
        gold.legend(frameon=False, loc="lower left")
        count = len(next(iter(found.values())))
        title = "Best of n by learned rewards, a quarter of the preferences wrong"
        figure.suptitle(title, x=0.01, ha="left", fontsize=13)
        figure.supxlabel(
            f"n = 1 to {NS[-1]}. Mean of {count} seeds and its 95 % bootstrap interval.",
            x=0.01,
            ha="left",
            fontsize=9.5,
            color="#777777",
        )
        figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()
    numbers = jnp.arange(1000, 1000 + options.seeds, dtype=jnp.uint32)
    found = jax.jit(lambda seeds: jax.lax.map(lambda seed: curves(seed, options.steps), seeds))(numbers)
    draw({label: np.asarray(values, np.float64) for label, values in found.items()}, options.out)


if __name__ == "__main__":
    main()
