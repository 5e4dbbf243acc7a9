"""Direct alignment against published implementations' values, a transcription in double precision, and its limits."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_expit, logit

from rlx import policy
from rlx.envs.bandit import feature_bandit
from rlx.reward import tilt

B, T = 1000, 12

pair_loss = jax.jit(
    policy.pairwise_preference_loss, static_argnames=("link", "mean", "divergence", "margin", "bias", "flip_prob")
)
kto_loss, bco_loss = jax.jit(policy.kto_loss), jax.jit(policy.bco_loss)


@functools.cache
def batch() -> dict[str, np.ndarray]:
    """Sequences of 0 to T tokens, padded with NaN; soft targets, hard ones among them."""
    rng = np.random.default_rng(0)
    mask = np.arange(T) < rng.integers(0, T + 1, (B, 2, 1))
    policy_, reference = (np.where(mask, -rng.exponential(1, mask.shape), np.nan) for _ in range(2))
    target = np.where(rng.random(B) < 0.7, rng.integers(0, 2, B), rng.random(B))
    return {"log_prob": policy_, "mask": mask, "target": target, "reference": reference}


# Four pairs: sums of log-probabilities and lengths; the losses of TRL 1.9 for them, evaluated in double precision.
SUMS = np.array([[-10, -7.5, -12, -4], [-11, -6, -15, -9]], np.float64).T
REFERENCE_SUMS = np.array([[-10.5, -8, -11, -6.5], [-10, -7, -13.5, -6]], np.float64).T
LENGTHS = np.array([[5, 4, 6, 3], [4, 6, 5, 3]]).T
GOLDEN_MASK = np.arange(6) < LENGTHS[..., None]
GOLDEN = {
    "DPO": ({}, (0.620957, 0.718460, 0.668460, 0.455492)),
    "cDPO": ({"smoothing": 0.1}, (0.635957, 0.713460, 0.673460, 0.510492)),
    "robust DPO": ({"flip_prob": 0.1}, (0.602207, 0.724710, 0.662210, 0.386742)),
    "forward KL": ({"divergence": "alpha", "alpha": 1.0}, (0.593124, 0.705151, 0.608859, 0.126887)),
    "JS": ({"divergence": "js"}, (0.652068, 0.701220, 0.673928, 0.555646)),
    "alpha": ({"divergence": "alpha", "alpha": 0.5}, (0.609934, 0.710523, 0.647415, 0.359160)),
    "RSO": ({"link": "hinge"}, (0.85, 1.05, 0.95, 0.45)),
    "IPO, means": (
        {"link": "square", "beta": 0.2, "weight": 25.0, "mean": True},
        (21.6225, 25.418403, 23.684444, 10.027778),
    ),
    "IPO": ({"link": "square", "beta": 0.2, "weight": 25.0}, (12.25, 30.25, 20.25, 0.25)),
    "EXO": ({"link": "exo", "smoothing": 1e-3}, (2.505517, 2.847860, 2.675227, 1.871218)),
    "NCA": ({"link": "nca"}, (1.349888, 1.399888, 1.377074, 1.266087)),
    "BCO": ({"link": "bco"}, (1.312856, 1.412856, 1.365354, 1.130295)),
    "SPPO": ({"link": "sppo", "weight": 100.0}, (36.25, 56.25, 48.25, 10.25)),
    "APO zero": ({"link": "apo_zero"}, (0.962523, 1.012482, 0.987549, 0.863381)),
    "APO down": ({"link": "apo_down"}, (0.975068, 1.024995, 0.962523, 0.928041)),
    "DiscoPOP": ({"link": "discopop"}, (0.849338, 0.807966, 0.875181, 0.576948)),
    "DPO, means": ({"mean": True}, (0.675800, 0.695233, 0.686503, 0.605676)),
    "SimPO": (
        {"reference": None, "mean": True, "beta": 2.0, "margin": 0.5},
        (0.313262, 2.350207, 0.201413, 0.057152),
    ),
    "ORPO": (
        {"reference": None, "mean": True, "beta": 1.0, "divergence": "odds"},
        (0.362093, 1.438172, 0.288751, 0.136606),
    ),
    "CPO": ({"reference": None}, (0.644397, 0.770957, 0.554355, 0.474077)),
}


def spread(sums: np.ndarray) -> np.ndarray:
    """Over the tokens that count, evenly."""
    return np.where(GOLDEN_MASK, (sums / LENGTHS)[..., None], 0)


@pytest.mark.parametrize("name", GOLDEN)
def test_published_values(name: str):
    settings, expected = GOLDEN[name]
    with jax.enable_x64(True):
        arguments = {"reference": spread(REFERENCE_SUMS), "beta": 0.1} | settings
        got = pair_loss(spread(SUMS), GOLDEN_MASK, np.ones(4), **arguments)
        np.testing.assert_allclose(got, expected, atol=5.1e-7, rtol=0)


def test_published_values_of_kto():
    with jax.enable_x64(True):
        got = kto_loss(spread(SUMS), GOLDEN_MASK, np.tile([1.0, 0.0], (4, 1)), spread(REFERENCE_SUMS), 0.3)
    expected = np.array([[0.495, 0.495, 0.532454, 0.445221], [0.467546, 0.517493, 0.455121, 0.418241]]).T
    np.testing.assert_allclose(got, expected, atol=5.1e-7, rtol=0)


def links(link: str, a: float, b: float, z: float, label: float) -> float:
    """Each loss as its paper has it."""
    p = expit(z)
    return {
        "logistic": lambda: -log_expit(z),
        "hinge": lambda: max(0.0, 1 - z),
        "square": lambda: (z - 1) ** 2,
        "exo": lambda: p * np.log(p / label) + (1 - p) * np.log((1 - p) / (1 - label)),
        "discopop": lambda: -log_expit(z) * (1 - expit(z / 0.05)) + np.exp(-z) * expit(z / 0.05),
        "nca": lambda: -log_expit(a) - 0.5 * log_expit(-a) - 0.5 * log_expit(-b),
        "bco": lambda: -log_expit(a) - log_expit(-b),
        "apo_zero": lambda: 1 - expit(a) + expit(b),
        "apo_down": lambda: expit(a) + 1 - p,
        "sppo": lambda: (a - 0.5) ** 2 + (b + 0.5) ** 2,
    }[link]()


TRANSCRIBED = {
    "DPO, smoothed": {"smoothing": 0.2},
    "margin": {"margin": 0.4, "weight": 3.0},
    "CPL-KL": {"bias": 0.5},
    "means, likelihood": {"mean": True, "likelihood": 0.7},
    "JS, robust": {"divergence": "js", "flip_prob": 0.2},
    "alpha": {"divergence": "alpha", "alpha": 0.3},
    "ORPO": {"reference": None, "mean": True, "divergence": "odds", "likelihood": 1.0},
    "EXO": {"link": "exo", "smoothing": 0.05},
    **{link: {"link": link} for link in ("hinge", "square", "discopop", "nca", "bco", "apo_zero", "apo_down", "sppo")},
}


@pytest.mark.parametrize("name", TRANSCRIBED)
def test_equals_transcription_on_ragged_sequences(name: str):
    data = {**batch(), "beta": 0.3, **TRANSCRIBED[name]}
    keep = np.ones(B, bool)
    scores, likelihood = np.zeros((B, 2)), np.zeros((B, 2))
    for i in range(B):
        for c in range(2):
            length = int(data["mask"][i, c].sum())
            over = max(length, 1) if data.get("mean") else 1
            likelihood[i, c] = data["log_prob"][i, c, :length].sum() / over
            rho = likelihood[i, c]
            if data["reference"] is not None:
                rho -= data["reference"][i, c, :length].sum() / over
            phi = data.get("divergence")
            if phi == "odds":
                keep[i] &= length > 0  # an empty sequence has probability 1: infinite odds, which are cut
                scores[i, c] = rho - np.log1p(-np.exp(rho)) if length else 0
            elif phi == "js":
                scores[i, c] = log_expit(rho)
            elif phi == "alpha":
                scores[i, c] = (1 - np.exp(-data["alpha"] * rho)) / data["alpha"]
            else:
                scores[i, c] = rho
    expected = np.zeros(B)
    for i, ((a, b), t) in enumerate(zip(data["beta"] * scores, data["target"], strict=True)):
        label = (1 - data.get("smoothing", 0)) * t + data.get("smoothing", 0) * (1 - t)
        label = (label - data.get("flip_prob", 0)) / (1 - 2 * data.get("flip_prob", 0))
        ahead, bias = data.get("margin", 0) * np.sign(t - 0.5), data.get("bias", 1)
        link = data.get("link", "logistic")
        both = links(link, a, b, a - bias * b - ahead, label), links(link, b, a, b - bias * a + ahead, 1 - label)
        expected[i] = data.get("weight", 1) * (label * both[0] + (1 - label) * both[1])
    expected -= data.get("likelihood", 0) * (
        data["target"] * likelihood[:, 0] + (1 - data["target"]) * likelihood[:, 1]
    )
    with jax.enable_x64(True):
        np.testing.assert_allclose(pair_loss(**data)[keep], expected[keep], rtol=1e-9, atol=1e-9)
        swapped = {k: data[k][:, ::-1] for k in ("log_prob", "mask", "reference") if data[k] is not None}
        swapped["target"] = 1 - data["target"]
        np.testing.assert_allclose(pair_loss(**{**data, **swapped})[keep], expected[keep], rtol=1e-9, atol=1e-9)
    single = {k: np.asarray(data[k], np.float32) for k in ("log_prob", "target", "reference") if data[k] is not None}
    np.testing.assert_allclose(pair_loss(**{**data, **single})[keep], expected[keep], rtol=2e-4, atol=1e-4)


def test_named_losses_are_settings():
    x, m, t, r = (jnp.asarray(batch()[k][:8]) for k in ("log_prob", "mask", "target", "reference"))
    x, r = jnp.where(m, x, 0), jnp.where(m, r, 0)
    v = np.asarray(x).sum(-1)
    rho = v - np.asarray(r).sum(-1)
    mean = v / np.maximum(np.asarray(m).sum(-1), 1)
    t = np.asarray(t)

    def of_soft(loss, difference):
        return t * loss(difference) + (1 - t) * loss(-difference)

    rho_difference = rho[:, 0] - rho[:, 1]
    chosen = t * v[:, 0] + (1 - t) * v[:, 1]
    margin = 0.5 * np.sign(t - 0.5)
    gap = 2 * (mean[:, 0] - mean[:, 1]) - margin
    cpl = t * log_expit(0.1 * (v[:, 0] - 0.5 * v[:, 1])) + (1 - t) * log_expit(0.1 * (v[:, 1] - 0.5 * v[:, 0]))
    for got, expected in (
        (policy.dpo_loss(x, m, t, r, beta=0.2), of_soft(lambda d: -log_expit(0.2 * d), rho_difference)),
        (policy.ipo_loss(x, m, t, r, tau=0.2), of_soft(lambda d: (d - 2.5) ** 2, rho_difference)),
        (policy.simpo_loss(x, m, t, margin=0.5), of_soft(lambda d: -log_expit(d), gap)),
        (policy.cpo_loss(x, m, t), of_soft(lambda d: -log_expit(0.1 * d), v[:, 0] - v[:, 1]) - chosen),
        (policy.cpl_loss(x, m, t), -cpl),
        (
            policy.orpo_loss(x, m, t, weight=0.3),
            pair_loss(x, m, t, beta=1.0, mean=True, divergence="odds", weight=0.3, likelihood=1.0),
        ),
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_gradient_of_dpo_is_the_probability_of_being_wrong():
    data = batch() | {"target": np.ones(B)}
    grad = jax.grad(lambda x: pair_loss(**{**data, "log_prob": x}, beta=0.3).sum())(data["log_prob"].astype(np.float32))
    rho = np.nansum(data["log_prob"] - data["reference"], axis=-1)
    wrong = 0.3 * expit(-0.3 * (rho[:, 0] - rho[:, 1]))
    expected = np.where(data["mask"], np.array([-1, 1])[:, None] * wrong[:, None, None], 0)
    np.testing.assert_allclose(grad, expected, atol=1e-5)


def test_minimum_of_smoothed_losses_is_where_the_label_says():
    """cDPO and EXO: no gradient at `z = logit(1 - e)`."""
    margin = float(logit(0.9)) / 0.1
    x = jnp.array([[margin], [0.0]])
    for link in ("logistic", "exo"):
        grad = jax.grad(lambda x, link=link: pair_loss(x, np.ones((2, 1), bool), 1.0, link=link, smoothing=0.1))(x)
        np.testing.assert_allclose(grad, 0, atol=1e-7)


def test_robust_loss_is_the_clean_one_in_the_mean_over_flips():
    data = {**batch(), "target": (batch()["target"] > 0.5).astype(float)}
    right, wrong = (pair_loss(**{**data, "target": t}, flip_prob=0.3) for t in (data["target"], 1 - data["target"]))
    np.testing.assert_allclose(0.7 * right + 0.3 * wrong, pair_loss(**data), rtol=1e-4, atol=1e-5)


def test_a_constant_in_both_references_changes_no_loss_of_the_difference():
    data = batch()
    keep = data["mask"].any(-1).all(-1)
    shifted = data["reference"].copy()
    shifted[..., 0] += 3.0
    for link in ("logistic", "hinge", "square", "nca"):
        same = np.allclose(
            pair_loss(**data, link=link)[keep], pair_loss(**{**data, "reference": shifted}, link=link)[keep], atol=1e-4
        )
        assert same == (link != "nca")


def test_small_alpha_is_reverse_kl_and_the_bias_prefers_likely_segments():
    data = batch()
    got = pair_loss(**data, divergence="alpha", alpha=1e-3)
    np.testing.assert_allclose(got, pair_loss(**data), atol=0.02)
    mask, likely, unlikely = np.ones((2, 1), bool), np.array([[-1.0], [-2.0]]), np.array([[-11.0], [-12.0]])
    assert policy.cpl_loss(likely, mask, 1.0) < policy.cpl_loss(unlikely, mask, 1.0)
    np.testing.assert_allclose(*(policy.cpl_loss(x, mask, 1.0, bias=1.0) for x in (likely, unlikely)), rtol=1e-6)


def test_tabular_optimum_of_dpo_is_the_tilted_reference():
    """All pairs of six answers with Bradley and Terry's labels: at `ref exp(r / beta)` nothing is left to learn."""
    rng = np.random.default_rng(5)
    reward, reference, beta = rng.normal(size=6), np.log(rng.dirichlet(np.ones(6))), 0.5
    first, second = np.triu_indices(6, 1)
    target, mask = expit(reward[first] - reward[second]), np.ones((15, 2, 1), bool)
    tilted = reference + reward / beta

    def loss(logits, **settings):
        pairs = lambda x: jnp.stack([x[first], x[second]], axis=-1)[..., None]  # noqa: E731
        return pair_loss(pairs(jax.nn.log_softmax(logits)), mask, target, pairs(reference), beta=beta, **settings).sum()

    with jax.enable_x64(True):
        np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(tilted)), 0, atol=1e-12)
        assert np.abs(jax.grad(lambda x: loss(x, link="square"))(jnp.asarray(tilted))).max() > 0.01


def test_unpaired_losses_on_ragged_sequences():
    data = batch()
    x, m, r = data["log_prob"][:, 0], data["mask"][:, 0], data["reference"][:, 0]
    liked = data["target"] > 0.4
    rho = np.where(m, x - r, 0).sum(-1)
    v, u = 0.3 * (rho - 0.8), 0.3 * rho - 0.8
    weights = {"beta": 0.3, "desirable_weight": 1.5, "undesirable_weight": 0.5}
    kto = np.where(liked, 1.5 * (1 - expit(v)), 0.5 * (1 - expit(-v)))
    bco = np.where(liked, -1.5 * log_expit(u), -0.5 * log_expit(-u))
    np.testing.assert_allclose(kto_loss(x, m, liked, r, 0.8, **weights), kto, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bco_loss(x, m, liked, r, 0.8, **weights), bco, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(policy.kl_baseline(x, m, r), max(0, rho.mean()), rtol=1e-4, atol=1e-6)
    assert policy.kl_baseline(x - 5, m, r) == 0


def test_halves_of_a_batch_have_the_gradient_of_the_whole():
    """Pairs always; KTO given the baseline of the whole batch, and not otherwise."""
    data = batch()
    x, m, r = (np.where(data["mask"], data[k], 0)[:8].astype(np.float32) for k in ("log_prob", "mask", "reference"))
    t = data["target"][:8]

    def pair(x, rows):
        return pair_loss(x[rows], m[rows] > 0, t[rows], r[rows]).sum()

    def kto(x, rows, baseline=None):
        used = x[rows, 0] + 1, m[rows, 0] > 0, r[rows, 0]
        baseline = policy.kl_baseline(*used) if baseline is None else baseline
        return kto_loss(used[0], used[1], t[rows], used[2], baseline).sum()

    whole = policy.kl_baseline(x[:, 0] + 1, m[:, 0] > 0, r[:, 0])
    halves, everything = (slice(0, 4), slice(4, 8)), slice(0, 8)
    for loss, equal in ((pair, True), (functools.partial(kto, baseline=whole), True), (kto, False)):
        parts = sum(np.asarray(jax.grad(loss)(x, rows)) for rows in halves)
        assert np.allclose(parts, jax.grad(loss)(x, everything), atol=1e-6) == equal


def test_published_values_of_aot():
    with jax.enable_x64(True):
        used = spread(SUMS), GOLDEN_MASK, np.ones(4), spread(REFERENCE_SUMS)
        np.testing.assert_allclose(policy.aot_loss(*used), (0.718460, 0.620957, 0.533382, 0.575939), atol=5.1e-7)
        unpaired = policy.aot_loss(*used, paired=False)
        np.testing.assert_allclose(unpaired, (0.598139, 0.598139, 0.620957, 0.620957), atol=5.1e-7)


def test_transport_couples_the_batch_and_ignores_its_order():
    data = batch()
    hard = {**data, "target": np.round(data["target"])}
    chosen = np.where(hard["target"] > 0.5, 0, 1)
    v, u = (np.nansum(data[k], -1) for k in ("log_prob", "reference"))

    def ahead(x):
        return np.take_along_axis(x, chosen[:, None], 1)[:, 0] - np.take_along_axis(x, 1 - chosen[:, None], 1)[:, 0]

    z = 0.2 * (np.sort(ahead(v)) - np.sort(ahead(u)))
    expected = -0.9 * log_expit(z) - 0.1 * log_expit(-z)
    got = policy.aot_loss(**hard, beta=0.2, smoothing=0.1)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    order = np.random.default_rng(1).permutation(B)
    shuffled = policy.aot_loss(**{k: x[order] for k, x in hard.items()}, beta=0.2, smoothing=0.1)
    np.testing.assert_allclose(shuffled, got, rtol=1e-5)
    halves = [policy.aot_loss(**{k: x[s] for k, x in hard.items()}).sum() for s in (slice(0, 500), slice(500, B))]
    assert abs(sum(halves) - policy.aot_loss(**hard).sum()) > 0.01


def test_tail_of_the_longer_answer_counts_less():
    """LD-DPO: shared tokens count fully, those past the shorter answer `tail` times; all of them at `tail = 1`."""
    data = batch()
    score = np.zeros((B, 2))
    for i in range(B):
        shared = int(data["mask"][i].sum(-1).min())
        for c in range(2):
            length = int(data["mask"][i, c].sum())
            ratio = (data["log_prob"] - data["reference"])[i, c, :length]
            score[i, c] = ratio[:shared].sum() + 0.3 * ratio[shared:].sum()
    z = 0.5 * (score[:, 0] - score[:, 1])
    expected = -data["target"] * log_expit(z) - (1 - data["target"]) * log_expit(-z)
    with jax.enable_x64(True):
        np.testing.assert_allclose(pair_loss(**data, beta=0.5, tail=0.3), expected, rtol=1e-9)
        np.testing.assert_allclose(pair_loss(**data, tail=jnp.array(1.0)), pair_loss(**data), rtol=1e-12)


def test_value_bias_is_the_value_of_the_best_policy():
    """That of `p` for rewards `beta log(p / r)`, shifted to mean zero under any distribution: `-beta E log(p / r)`."""
    rng = np.random.default_rng(2)
    log_p, log_r, log_c = (jax.nn.log_softmax(jnp.asarray(rng.normal(size=5), jnp.float32)) for _ in range(3))
    beta, mask = 0.4, np.ones((5, 1), bool)
    term = jnp.exp(log_c) @ policy.value_bias_term(log_p[:, None], mask, log_r[:, None], coefficient=beta)
    shifted = beta * (log_p - log_r) - term
    value = beta * jax.nn.logsumexp(log_r + shifted / beta)
    np.testing.assert_allclose(value, -term, rtol=1e-4)


def test_rpo_is_dpo_with_a_pessimistic_term():
    """The likelihood of the chosen, up to the constant of the reference; the two signs have opposite gradients."""
    data = {k: np.where(batch()["mask"], x, 0) if x.ndim == 3 else x for k, x in batch().items()}
    x, m, r = (data[k][:, 0] for k in ("log_prob", "mask", "reference"))
    data["target"] = np.ones(B)
    term = policy.value_bias_term(x, m > 0, r, coefficient=-0.3)
    np.testing.assert_allclose(pair_loss(**data) + term - 0.3 * r.sum(-1), pair_loss(**data, likelihood=0.3), rtol=1e-3)
    up, down = (jax.grad(lambda x, c=c: policy.value_bias_term(x, m, coefficient=c).sum())(x) for c in (0.3, -0.3))
    np.testing.assert_array_equal(up, -down)


def log_pairs(x: jax.Array) -> jax.Array:
    """`[A, A, 2, 1]` of `[A]`."""
    return jnp.stack(jnp.broadcast_arrays(x[:, None], x[None]), -1)[..., None]


@pytest.mark.parametrize("divergence", ["reverse_kl", "js", "alpha"])
def test_tabular_optimum_of_f_dpo(divergence: str):
    """`p = r (f')^{-1}((reward - lambda) / beta)`, lambda from bisection, for all pairs labelled by rewards."""
    rng = np.random.default_rng(6)
    gold, reference, beta, alpha = rng.normal(size=6), np.log(rng.dirichlet(np.ones(6))), 2.0, 0.4
    inverse = {  # of the score of a log-ratio
        "reverse_kl": lambda s: s,
        "js": lambda s: s - np.log(-np.expm1(np.minimum(s, -1e-12))),
        "alpha": lambda s: -np.log(np.maximum(1 - alpha * s, 1e-300)) / alpha,
    }[divergence]
    low, high = -100.0, 100.0
    for _ in range(200):
        middle = (low + high) / 2
        total = np.sum(np.exp(reference + np.minimum(inverse((gold - middle) / beta), 50)))
        low, high = (middle, high) if total > 1 or np.isnan(total) else (low, middle)
    optimum = reference + inverse((gold - high) / beta)
    np.testing.assert_allclose(np.exp(optimum).sum(), 1, rtol=1e-9)
    target, mask = expit(gold[:, None] - gold), np.ones((6, 6, 2, 1), bool)
    with jax.enable_x64(True):

        def loss(logits):
            pairs = log_pairs(jax.nn.log_softmax(logits)), mask, target, log_pairs(jnp.asarray(reference))
            return pair_loss(*pairs, beta=beta, divergence=divergence, alpha=alpha).sum()

        np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(optimum)), 0, atol=1e-9)


def test_tabular_optimum_of_ipo():
    """`r exp(P(y beats mu) / tau)` of pairs from mu, here the reference; not that of DPO."""
    rng = np.random.default_rng(7)
    gold, reference, tau = rng.normal(size=6), np.log(rng.dirichlet(np.ones(6))), 0.3
    mu, win, mask = np.exp(reference), expit(gold[:, None] - gold), np.ones((6, 6, 2, 1), bool)
    with jax.enable_x64(True):

        def loss(logits):
            pairs = log_pairs(jax.nn.log_softmax(logits)), mask, win, log_pairs(jnp.asarray(reference))
            return mu @ policy.ipo_loss(*pairs, tau=tau) @ mu

        np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(reference + win @ mu / tau)), 0, atol=1e-9)
        assert np.abs(jax.grad(loss)(jnp.asarray(reference + gold / tau))).max() > 1e-3


def test_linear_policies_reach_the_tilt_that_is_in_their_class():
    """Arms with features, gold linear in them, all pairs of the reference: DPO has its minimum at the tilt, IPO not."""
    with jax.enable_x64(True):
        params = feature_bandit(jax.random.key(0), arms=20, features=6, clean=True)
        reference, gold, feature, preference = (
            x[0] for x in (params.log_reference, params.gold, params.feature, params.preference)
        )
        beta = 0.3
        weight = jnp.linalg.lstsq(feature, gold)[0]
        mu, mask = jnp.exp(reference), np.ones((20, 20, 2, 1), bool)

        def policy_at(theta):
            return jax.nn.log_softmax(reference + feature @ theta)

        def loss(theta, kernel):
            each = kernel(log_pairs(policy_at(theta)), mask, preference, log_pairs(reference))
            return mu @ each @ mu

        tilted = tilt(reference, gold, jnp.asarray(beta))
        np.testing.assert_allclose(policy_at(weight / beta), tilted, atol=1e-4)
        dpo = jax.grad(loss)(weight / beta, functools.partial(policy.dpo_loss, beta=beta))
        ipo = jax.grad(loss)(weight / beta, functools.partial(policy.ipo_loss, tau=beta))
        np.testing.assert_allclose(dpo, 0, atol=1e-6)
        assert np.abs(ipo).max() > 0.01


LINKS = ("logistic", "hinge", "square", "exo", "discopop", "nca", "bco", "apo_zero", "apo_down", "sppo")


@pytest.mark.parametrize("link", LINKS)
def test_extremes_stay_finite_in_half_precision(link: str):
    """Empty, likely, and all but impossible answers, and their gradients."""
    data = batch()
    x = jnp.where(data["mask"], data["log_prob"], 0).at[:100].multiply(1e4).astype(jnp.bfloat16)
    r = jnp.where(data["mask"], data["reference"], 0).astype(jnp.bfloat16)

    def loss(x):
        each = pair_loss(x, data["mask"], data["target"], r, link=link, smoothing=0.01, tail=0.5)
        return each.astype(jnp.float32).sum(), each

    grad, each = jax.grad(loss, has_aux=True)(x)
    assert each.dtype == grad.dtype == jnp.bfloat16
    assert bool(jnp.isfinite(each).all() & jnp.isfinite(grad).all())


PAIR = (np.zeros((2, 3)), np.ones((2, 3), bool), 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: policy.pairwise_preference_loss(np.zeros((3, 3)), PAIR[1], 1.0), r"of shape \[..., 2, T\]"),
        (lambda: policy.pairwise_preference_loss(*PAIR[:2], np.ones(2)), "target must be of shape"),
        (lambda: policy.pairwise_preference_loss(*PAIR[:2], 1.5), "target"),
        (lambda: policy.pairwise_preference_loss(*PAIR, link="linear"), "link must be one of"),
        (lambda: policy.pairwise_preference_loss(*PAIR, link="exo"), "smoothing"),
        (lambda: policy.pairwise_preference_loss(*PAIR, link="nca", margin=1.0), "margin must be 0"),
        (lambda: policy.pairwise_preference_loss(*PAIR, link="sppo", bias=0.5), "bias must be 1"),
        (lambda: policy.pairwise_preference_loss(*PAIR, np.zeros((2, 3)), divergence="odds"), "reference must be None"),
        (lambda: policy.pairwise_preference_loss(*PAIR, divergence="kl"), "divergence must be one of"),
        (lambda: policy.pairwise_preference_loss(*PAIR, flip_prob=0.5), "flip_prob"),
        (lambda: policy.dpo_loss(*PAIR, np.zeros((2, 4))), "same shape"),
        (lambda: policy.ipo_loss(*PAIR, np.zeros((2, 3)), tau=0.0), "tau"),
        (lambda: policy.kto_loss(*PAIR, np.zeros((2, 3)), 0.0), "desirable must be of shape"),
        (lambda: policy.pairwise_preference_loss(*PAIR, tail=1.5), "tail"),
        (lambda: policy.aot_loss(*PAIR, np.zeros((2, 3))), r"of shape \[B, 2, T\]"),
        (lambda: policy.value_bias_term(np.zeros(3), np.ones(3, bool), coefficient=np.inf), "coefficient"),
        (lambda: policy.kl_baseline(np.zeros(3), np.ones(3, bool), np.zeros(3)), "log_prob must have rank 2"),
    ],
)
def test_bad_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()
