"""Rows of `rlx.reward`."""

import jax
import jax.numpy as jnp
import numpy as np
from row import FAR, A, B, N, Row, T, flags, grid, integers, mask, normal, ranking, simplex, targets, uniform

from rlx import reward
from rlx.types import PreferenceBatch

PREFERENCES = dict(difference=normal(B), target=uniform(0, 1, B))
QUERIES = dict(obs=normal(B, 3, T), mask=mask(B, 3, T), target=simplex(B, 3))
PLAN = dict(transition=simplex(5, 2, 5), discount=uniform(0, 0.9, 5, 2), temperature=uniform(0.5, 2))
REWARD = dict(reward=normal(5, 2, 5), discount=uniform(0.5, 0.9))

ROWS = {
    **{
        f"preference_loss, {name}": Row(
            reward.preference_loss,
            dict(
                **PREFERENCES,
                margin=uniform(0, 1, B),
                scale=uniform(0.5, 2, B),
                weight=uniform(0, 3, B),
                smoothing=uniform(0, 0.2),
                **({"flip_prob": uniform(0, 0.4)} if noisy else {}),
            ),
            {"link": name.split()[0], "unbiased": "unbiased" in name},
            ("difference",),
            ("target", "margin", "scale", "weight", "smoothing"),
            {"difference": FAR},
        )
        for name, noisy in (
            ("logistic", False),
            ("hinge", False),
            ("logistic with flips", True),
            ("square unbiased", True),
        )
    },
    **{
        f"plackett_luce_loss, top {top}": Row(
            reward.plackett_luce_loss,
            dict(score=normal(B, 5), rank=ranking(B, 5), mask=mask(B, 5)),
            {"top": top},
            ("score",),
            extremes={"score": np.outer(FAR, np.arange(5))},
        )
        for top in (None, 2)
    },
    **{
        f"tie_log_prob, {model}": Row(
            reward.tie_log_prob,
            dict(difference=normal(B), threshold=uniform(0.1, 1)),
            {"model": model},
            ("difference", "threshold"),
            extremes={"difference": FAR},
        )
        for model in ("rao_kupper", "davidson")
    },
    "centring_loss": Row(reward.centring_loss, dict(score=normal(B, 3), mask=mask(B, 3)), differentiated=("score",)),
    **{
        f"segment_score, {how}": Row(
            reward.segment_score,
            dict(reward=normal(B, T), mask=mask(B, T), discount=uniform(0.5, 1)),
            {"how": how},
            ("reward",),
        )
        for how in ("sum", "mean", "last")
    },
    "to_pairs": Row(
        lambda seed, rank, obs, **x: reward.to_pairs(
            PreferenceBatch(obs, None, **x, rank=rank), jax.random.key(seed), 2
        ),
        dict(seed=integers(9), rank=ranking(B, 3), **QUERIES),
        differentiated=("obs",),
    ),
    "length_normalise": Row(
        reward.length_normalise, dict(score=normal(B), length=integers(5, B)), differentiated=("score",)
    ),
    "trex_pairs": Row(
        lambda seed, rank, obs, **x: reward.trex_pairs(
            jax.random.key(seed), PreferenceBatch(obs, None, **x, rank=rank), 4, 3
        ),
        dict(seed=integers(9), rank=ranking(B, 3), **QUERIES),
        differentiated=("obs",),
    ),
    "swap_candidates": Row(
        lambda where, obs, **x: reward.swap_candidates(PreferenceBatch(obs, None, **x), where),
        dict(where=flags(B), **QUERIES),
        differentiated=("obs",),
    ),
    "flip_labels": Row(
        lambda where, obs, **x: reward.flip_labels(PreferenceBatch(obs, None, **x), where),
        dict(where=flags(B), obs=normal(B, 2, T), mask=mask(B, 2, T), target=simplex(B, 2)),
        differentiated=("target",),
    ),
    "bootstrap_indices": Row(lambda seed: reward.bootstrap_indices(jax.random.key(seed), T, B), {"seed": integers(9)}),
    "synthetic_teacher": Row(
        lambda seed, skip, equal, **x: reward.synthetic_teacher(jax.random.key(seed), **x, skip=skip, equal=equal),
        dict(
            seed=integers(9),
            reward=normal(B, 3, T),
            mask=mask(B, 3, T),
            beta=uniform(0.5, 2),
            discount=uniform(0.5, 1),
            mistake=uniform(0, 0.3),
            skip=uniform(-2, 0),
            equal=uniform(0, 0.5),
        ),
        stopped=("reward",),
    ),
    "epic_canonical": Row(
        reward.epic_canonical,
        dict(**REWARD, state_probs=simplex(5), action_probs=simplex(2)),
        differentiated=("reward", "discount", "state_probs", "action_probs"),
    ),
    "epic_canonical_samples": Row(
        lambda scale, **x: reward.epic_canonical_samples(lambda s, a, t: jnp.tanh(scale @ (s + a * t)), **x),
        dict(
            scale=normal(3),
            obs=normal(B, 3),
            action=normal(B, 3),
            next_obs=normal(B, 3),
            other_action=normal(N, 3),
            other_obs=normal(N, 3),
            discount=uniform(0.5, 0.9),
        ),
        differentiated=("scale", "obs", "discount"),
    ),
    "dard_canonical": Row(
        reward.dard_canonical,
        dict(**REWARD, transition=simplex(5, 2, 5), action_probs=simplex(2)),
        differentiated=("reward", "transition", "discount", "action_probs"),
    ),
    "starc_canonical, value": Row(
        reward.starc_canonical,
        dict(**REWARD, transition=simplex(5, 2, 5), policy=simplex(5, 2)),
        differentiated=("reward", "transition", "discount", "policy"),
    ),
    "starc_canonical, minimal": Row(
        reward.starc_canonical,
        dict(**REWARD, transition=simplex(5, 2, 5)),
        {"kind": "minimal"},
        ("reward", "transition", "discount"),
    ),
    "mce_irl_loss": Row(
        reward.mce_irl_loss,
        dict(reward=normal(5, 2), expert_visits=uniform(0, 2, 5, 2), initial=simplex(5), **PLAN),
        differentiated=("reward",),
        stopped=("expert_visits",),
        extremes={"reward": np.outer(np.ones(5), [1e4, -1e4])},
    ),
    **{
        f"regret_score, {kind}": Row(
            lambda seed, table, kind=kind, **x: reward.regret_score(
                *jax.random.randint(jax.random.key(seed), (2, B, T), 0, 2),
                **x,
                **({"q": table} if kind == "expected" else {"reward": table, "next_state": jnp.arange(B)}),
            ),
            dict(seed=integers(9), table=normal(5, 2), mask=mask(B, T), v=normal(5), discount=uniform(0.5, 1)),
            differentiated=("table", "v"),
        )
        for kind in ("expected", "deterministic")
    },
    "successor_value": Row(
        reward.successor_value,
        dict(successor=normal(N, B, A), weights=normal(A), temperature=uniform(0.5, 2)),
        differentiated=("successor", "weights", "temperature"),
        extremes={"weights": np.full(A, 1e4)},
    ),
    "thurstone_prob": Row(
        reward.thurstone_prob,
        dict(mean=normal(B, 4), variance=uniform(0.5, 1, B, 4)),
        differentiated=("mean", "variance"),
        extremes={"mean": np.outer(FAR, np.arange(4))},
    ),
    "thurstone_fit": targets(
        lambda prob, weight, **x: reward.thurstone_fit(*np.triu_indices(4, 1), prob, 4, weight, **x, steps=5),
        prob=uniform(0, 1, 6),
        weight=uniform(0, 1, 6),
        learning_rate=uniform(0.01, 0.1),
    ),
    "select_edges": targets(
        lambda seed, **x: reward.select_edges(jax.random.key(seed), **x, num=4),
        seed=integers(9),
        mean=normal(N),
        degree=uniform(0, 9, N),
        asked=flags(N, N),
    ),
    "cycle_probability": Row(reward.cycle_probability, {"prob": uniform(0, 1, N, N)}, differentiated=("prob",)),
    "expected_utility_gap": Row(
        reward.expected_utility_gap,
        dict(utility=normal(A), lotteries=simplex(N, A), lottery_utility=normal(N)),
        differentiated=("utility", "lottery_utility"),
        extremes={"lottery_utility": np.ones(N)},
    ),
    "edge_stats": Row(
        lambda counts: tuple(reward.edge_stats(counts)), {"counts": uniform(1, 9, 4, 4, 3)}, differentiated=("counts",)
    ),
    "pagerank": Row(
        reward.pagerank,
        dict(weights=uniform(0.1, 1, 4, 4), damping=uniform(0.5, 0.9), personal=simplex(4)),
        {"num_iterations": 9},
        ("weights", "damping", "personal"),
        extremes={"weights": np.zeros((4, 4))},
    ),
    "segment_demo": targets(lambda features: reward.segment_demo(features, 3, 2), features=normal(9, 2)),
    "select_features": targets(
        lambda **x: reward.select_features(**x, num=2),
        mean=normal(B, 5),
        std=uniform(0, 1, B, 5),
        other_mean=normal(B, 5),
        other_std=uniform(0, 1, B, 5),
        alpha=uniform(1, 5),
    ),
    "perceptual_reward": Row(
        reward.perceptual_reward,
        dict(features=normal(T, 5), mean=normal(B, 5), std=uniform(0.5, 1, B, 5), chosen=mask(B, 5)),
        differentiated=("features", "mean", "std"),
        extremes={"std": np.zeros((B, 5))},
    ),
    "airl_logit": Row(
        reward.airl_logit,
        dict(
            reward=normal(B),
            potential=normal(B),
            next_potential=normal(B),
            discount=uniform(0, 1, B),
            log_prob=normal(B),
        ),
        differentiated=("reward", "potential", "next_potential"),
        stopped=("log_prob",),
    ),
    "discriminator_loss": Row(
        reward.discriminator_loss,
        dict(logit=normal(B), expert=uniform(0, 1, B)),
        differentiated=("logit",),
        stopped=("expert",),
        extremes={"logit": FAR},
    ),
    "gradient_penalty": Row(
        lambda scale, **x: reward.gradient_penalty(lambda x: jnp.tanh(scale @ x), **x),
        dict(scale=normal(A), expert=normal(B, A), policy=normal(B, A), share=uniform(0, 1, B), target=uniform(0, 1)),
        differentiated=("scale",),
        extremes={"scale": np.zeros(A)},
    ),
    **{
        f"adversarial_reward, {kind}": Row(
            reward.adversarial_reward, {"logit": normal(B)}, {"kind": kind}, stopped=("logit",), extremes={"logit": FAR}
        )
        for kind in ("gail", "log", "airl")
    },
    "adversarial_reward, fairl": targets(lambda logit: reward.adversarial_reward(logit, "fairl"), logit=normal(B)),
    "standardise": Row(
        reward.standardise,
        dict(reward=normal(T, B), weights=uniform(0, 1, T, B)),
        differentiated=("reward",),
        extremes={"reward": np.zeros((T, B))},
    ),
    **{
        f"reward_distance, order {order}": Row(
            reward.reward_distance,
            dict(first=normal(T, B), second=normal(T, B), weights=uniform(0, 1, T, B)),
            {"order": order},
            ("first", "second"),
            extremes={"first": np.zeros((T, B))},
        )
        for order in (1, 2, np.inf)
    },
    "pearson_distance": Row(
        reward.pearson_distance,
        dict(first=normal(T, B), second=normal(T, B), weights=uniform(0, 1, T, B)),
        differentiated=("first", "second"),
        extremes={"first": np.ones((T, B)), "second": np.ones((T, B))},
    ),
    **{
        f"query_score, {how}": Row(
            reward.query_score, {"prob": uniform(0.1, 0.9, 4, B)}, {"how": how}, differentiated=("prob",)
        )
        for how in ("disagreement", "mean_entropy", "entropy_of_mean", "information_gain")
    },
    "select_queries": targets(
        lambda score, feature, mask, asked: reward.select_queries(score, 2, feature, pool=5, mask=mask, asked=asked),
        score=normal(N),
        feature=normal(N, 2),
        mask=mask(N),
        asked=normal(2, 2),
    ),
    "pair_accuracy": targets(reward.pair_accuracy, **PREFERENCES),
    "auroc": targets(reward.auroc, score=grid(9), label=flags(9), weight=uniform(0, 1, 9)),
    "calibration_error": targets(
        reward.calibration_error, prob=uniform(0, 1, 9), outcome=uniform(0, 1, 9), weight=uniform(0, 1, 9)
    ),
    "best_of_k_accuracy": targets(reward.best_of_k_accuracy, score=grid(B, 4), target=simplex(B, 4), mask=mask(B, 4)),
    "ties_score": targets(
        reward.ties_score,
        score=grid(B, 4),
        correct=mask(B, 4),
        reference_score=grid(B, 5),
        reference_correct=mask(B, 5),
        mask=mask(B, 4),
        reference_mask=mask(B, 5),
    ),
    "best_of_n": targets(
        lambda proxy, n, prob: reward.best_of_n(proxy, n + 1, jnp.log(prob)),
        proxy=grid(N),
        n=integers(9),
        prob=simplex(N),
    ),
    "best_of_n, without replacement": targets(
        lambda proxy, n: reward.best_of_n(proxy, n + 1, replacement=False), proxy=grid(N), n=integers(3)
    ),
    "best_of_n_kl": Row(reward.best_of_n_kl, {"n": uniform(1, 50, B)}, differentiated=("n",)),
    "tilt": Row(
        reward.tilt,
        dict(log_reference=normal(B, N), reward=normal(B, N), beta=uniform(0.1, 1, B)),
        differentiated=("log_reference", "reward", "beta"),
        extremes={"reward": np.outer(FAR, np.arange(N))},
    ),
    **{
        f"overoptimisation_fit, {form}": Row(
            reward.overoptimisation_fit,
            dict(distance=uniform(0.1, 3, 9), gain=normal(9)),
            {"form": form},
            stopped=("distance",),
        )
        for form in ("best_of_n", "policy")
    },
    **{
        f"ensemble_reward, {how}": Row(
            reward.ensemble_reward,
            dict(reward=normal(4, B), caution=uniform(0.1, 1)),
            {"how": how},
            ("reward",),
            ("caution",),
            {"reward": np.outer(np.ones(4), FAR)},
        )
        for how in ("mean", "worst_case", "uncertainty_weighted", "lower_bound", "entropic")
    },
    "brme_reward": Row(
        reward.brme_reward,
        dict(mean=normal(4, B), std=uniform(0, 1, 4, B), nominal=uniform(0, 1)),
        differentiated=("mean",),
        stopped=("std", "nominal"),
    ),
    "brme_loss": Row(
        reward.brme_loss,
        dict(mean=normal(4, B), std=uniform(0, 1, 4, B), target=normal(4, B)),
        differentiated=("mean", "std"),
        stopped=("target",),
    ),
    "extrapolate": Row(
        reward.extrapolate,
        dict(start=normal(3), end=normal(3), factor=normal()),
        differentiated=("start", "end", "factor"),
    ),
    "preference_strength": targets(reward.preference_strength, difference=normal(4, B), target=uniform(0, 1, B)),
    **{
        f"denoise, {how}": Row(
            reward.denoise,
            dict(target=uniform(0, 1, N), strength=normal(N), fraction=uniform(0.2, 0.5), smoothing=uniform(0, 0.5)),
            {"how": how},
            stopped=("target", "strength"),
        )
        for how in ("flip", "soft_margin", "flip_margin")
    },
    "dynamic_scale": targets(
        reward.dynamic_scale,
        strength=normal(B),
        base=uniform(0.1, 1),
        gain=uniform(0, 1),
        rate=uniform(0.1, 1),
    ),
    "retrieval_count": Row(reward.retrieval_count, {"prob": uniform(0, 1, B)}),
    "retrieve": targets(
        lambda **x: reward.retrieve(**x, maximum=2),
        query=normal(B, 2),
        pool=normal(N, 2),
        count=integers(3, B),
        mask=mask(N),
    ),
    **{
        f"triplet_loss, {'squared' if squared else 'plain'}": Row(
            reward.triplet_loss,
            dict(anchor=normal(4), positive=normal(B, 4), negative=normal(B, 4), margin=uniform(5, 9)),
            {"squared": squared},
            ("anchor", "positive", "negative"),
            ("margin",),
            {"positive": np.zeros((B, 4)), "anchor": np.zeros(4)},
        )
        for squared in (True, False)
    },
    "most_similar_pair": targets(reward.most_similar_pair, feature=normal(B, 3, 2)),
    "goal_steps": Row(
        lambda seed, **x: reward.goal_steps(jax.random.key(seed), **x, count=4),
        dict(seed=integers(9), chosen_mask=mask(B, T), rejected_mask=mask(B, A)),
    ),
    **{
        f"goal_contrastive_loss, {pairs} {reduce}": Row(
            reward.goal_contrastive_loss,
            dict(source=normal(B, 5, 4), goal=normal(B, 5, 4), negative=normal(B, 5, 4)),
            {"pairs": pairs, "reduce": reduce},
            ("source", "goal", "negative"),
            extremes={"source": np.zeros((B, 5, 4)), "goal": np.full((B, 5, 4), 1e4)},
        )
        for pairs, reduce in (("all", "log_of_mean"), ("diagonal", "mean_of_logs"))
    },
    "goal_value": Row(
        reward.goal_value,
        dict(state=normal(B, T, 4), goal=normal(4)),
        differentiated=("state", "goal"),
        extremes={"state": np.zeros((B, T, 4))},
    ),
    "prune_step": targets(
        lambda **x: reward.prune_step(**x, minimum=2), value=normal(B, T), mask=mask(B, T), threshold=normal()
    ),
    "info_nce_loss": Row(
        reward.info_nce_loss,
        dict(first=normal(B, 4), second=normal(B, 4), temperature=uniform(0.1, 1), mask=mask(B)),
        differentiated=("first", "second"),
        stopped=("temperature",),
        extremes={"first": np.zeros((B, 4)), "temperature": np.array(1e-3)},
    ),
    "answer_spread": Row(
        reward.answer_spread,
        dict(score=normal(B, 4), mask=mask(B, 4)),
        differentiated=("score",),
        extremes={"score": np.zeros((B, 4))},
    ),
    "meta_gradient": Row(
        lambda scale, parameters, rate: reward.meta_gradient(
            lambda p: jnp.sum(jnp.square(p - scale)),
            lambda p: jnp.mean(reward.answer_spread(p * scale)),
            parameters,
            rate,
        ),
        dict(scale=normal(A), parameters=normal(A), rate=uniform(0, 1)),
        stopped=("scale", "parameters", "rate"),
    ),
    "unit_norm_loss": Row(
        reward.unit_norm_loss, {"z": normal(B, 4)}, differentiated=("z",), extremes={"z": np.zeros((B, 4))}
    ),
    "reference_scaled_reward": Row(
        reward.reference_scaled_reward,
        dict(reward=normal(T, B), reference=normal(B, 5)),
        differentiated=("reward", "reference"),
        extremes={"reward": np.outer(np.ones(T), FAR)},
    ),
    "centroid_distance": Row(
        reward.centroid_distance,
        dict(feature=normal(T, B, 2), centroid=normal(3, 2), mask=lambda rng: np.array([True, False, True])),
        differentiated=("feature", "centroid"),
        extremes={"feature": np.zeros((T, B, 2)), "centroid": np.zeros((3, 2))},
    ),
    "consistency_filter": Row(
        reward.consistency_filter,
        dict(best_prob=uniform(0, 1, B), gold_prob=uniform(0, 1, B), teacher_prob=uniform(0, 1, B)),
    ),
    "kl_penalised_reward": targets(
        reward.kl_penalised_reward,
        reward=normal(B, T),
        log_prob=normal(B, T),
        reference_log_prob=normal(B, T),
        mask=mask(B, T),
        coefficient=uniform(0, 1),
    ),
    "span_rewards": Row(
        reward.span_rewards,
        dict(score=normal(B, T, 2), mask=flags(B, T, 2), weight=normal(2)),
        differentiated=("score", "weight"),
    ),
    "span_rewards, by sign": Row(
        lambda low, high, **x: reward.span_rewards(**x, values=(low, high)),
        dict(score=normal(B, T, 2), mask=flags(B, T, 2), weight=normal(2), low=normal(2), high=normal()),
        differentiated=("weight", "low", "high"),
        stopped=("score",),
    ),
    "reaction_loss": Row(
        reward.reaction_loss,
        dict(logit=normal(B, 2), reaction=uniform(0, 1, B, 2), mask=mask(B, 2), positive_weight=uniform(0, 3)),
        differentiated=("logit",),
        stopped=("reaction", "positive_weight"),
        extremes={"logit": np.outer(FAR, np.ones(2))},
    ),
    "correct_prior": Row(
        reward.correct_prior,
        dict(logit=normal(B), negative_rate=uniform(0.1, 1), positive_rate=uniform(0.1, 1, B)),
        differentiated=("logit",),
        stopped=("negative_rate", "positive_rate"),
    ),
    "mix_rewards": Row(
        reward.mix_rewards,
        dict(reward=normal(B, 2), weight=normal(2), reference=normal(N, 2)),
        differentiated=("reward", "weight"),
        stopped=("reference",),
        extremes={"reference": np.ones((N, 2))},
    ),
    **{
        f"follow_up_reward, {how}": Row(
            reward.follow_up_reward,
            dict(log_prob=normal(B, 5, 4), mask=flags(B, 5, 4), positive=flags(5)),
            {"how": how},
            ("log_prob",),
        )
        for how in ("mean", "sum")
    },
    "mine_pairs": Row(
        lambda score, minimum_gap, obs, **x: reward.mine_pairs(PreferenceBatch(obs, None, **x), score, minimum_gap),
        dict(score=normal(B, 3), minimum_gap=uniform(0, 1), **QUERIES),
        differentiated=("obs",),
        stopped=("score", "minimum_gap"),
    ),
    "hierarchical_preference": targets(reward.hierarchical_preference, factor=grid(B, 2, 4), margin=uniform(0, 1, 4)),
    "marginal_preference": Row(
        reward.marginal_preference,
        dict(context_prob=simplex(B, 4), prob=uniform(0, 1, B, 4)),
        differentiated=("context_prob", "prob"),
    ),
    "marginal_preference_bound": Row(
        reward.marginal_preference_bound,
        dict(
            context_prob=simplex(B, 4),
            context_estimate=simplex(B, 4),
            prob=uniform(0, 1, B, 4),
            prob_estimate=uniform(0, 1, B, 4),
        ),
        differentiated=("context_prob", "context_estimate", "prob", "prob_estimate"),
    ),
    "borda_score": Row(
        reward.borda_score,
        dict(score=normal(B, 3, 4), context_prob=simplex(B, 4), mask=mask(B, 3)),
        differentiated=("score", "context_prob"),
        extremes={"score": np.multiply.outer(FAR, np.outer(np.arange(3), np.ones(4)))},
    ),
    "reversal_accuracy": targets(reward.reversal_accuracy, difference=normal(B, 2), target=uniform(0, 1, B, 2)),
    "listwise_reward": targets(
        lambda order, distance, **x: reward.listwise_reward(**x, weights=(order, distance)),
        score=grid(B, 5),
        gold=grid(B, 5),
        mask=mask(B, 5),
        order=uniform(0, 1),
        distance=uniform(0, 1),
    ),
    "prefix_tree": Row(
        lambda seed, logits: reward.prefix_tree(
            jax.random.key(seed),
            lambda key, prefix, t: jax.random.categorical(key, jnp.asarray(logits)[prefix[:, max(t - 1, 0)]]),
            (2, 1, 3),
        ),
        dict(seed=integers(9), logits=normal(A, A)),
        stopped=("logits",),
    ),
    "shared_prefix": Row(reward.shared_prefix, dict(tokens=integers(2, B, 4, 3), mask=mask(B, 4, 3))),
    "inference_distance": Row(
        lambda root, **x: reward.inference_distance(root @ root.T, **x),
        dict(root=normal(5, 5), pairs=integers(5, 4, 2), noise=uniform(0.5, 1, 4), queries=integers(5, 3, 2)),
        differentiated=("root", "noise"),
        extremes={"root": np.zeros((5, 5))},
    ),
    "trueskill_update": Row(
        lambda **x: tuple(reward.trueskill_update(**x)),
        {"mean": normal(B, 2), "deviation": uniform(1, 9, B, 2), "draw": flags(B), "draw_prob": uniform(0.1, 0.5)},
        stopped=("mean", "deviation"),
    ),
    "normalised_task_scores": Row(
        reward.normalised_task_scores,
        {"score": normal(B, A)},
        differentiated=("score",),
        extremes={"score": np.zeros((B, A))},
    ),
    "normalised_percentiles": Row(
        reward.normalised_percentiles,
        {"returns": uniform(0.1, 1, B, T), "scale": uniform(1, 2, T)},
        differentiated=("returns",),
    ),
}
