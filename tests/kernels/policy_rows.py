"""Rows of `rlx.policy`."""

import jax
import numpy as np
from row import FAR, LOGITS, A, B, Row, T, flags, integers, mask, normal, targets, uniform

from rlx import policy
from rlx.policy import BehaviourTree

PAIRS = {
    "log_prob": uniform(-3, -0.1, B, 2, T),
    "mask": flags(B, 2, T),
    "target": uniform(0, 1, B),
    "reference": uniform(-3, -0.1, B, 2, T),
}
SEQUENCES = {"log_prob": uniform(-3, -0.1, B, T), "mask": flags(B, T)}
EXTREME_SEQUENCES = np.full((B, T), [0, -1e4, 0, -1e-9, 0, 0, -1e4])
EXTREME_PAIRS = np.full((B, 2, T), [0, -1e4, 0, -1e-9, 0, 0, -1e4])
PURE = np.array([[0, -np.inf, -np.inf, -np.inf], [-1e4, 0, -1e4, -1e4], [-np.inf, -np.inf, -np.inf, 0]])
GAME = {
    "log_policy": lambda rng: np.log(rng.dirichlet(np.ones(A), B)),
    "preference": uniform(0, 1, B, A, A),
    "log_reference": lambda rng: np.log(rng.dirichlet(np.ones(A), B)),
}
TREE = {  # with two rows to spare
    "kind": lambda rng: np.array([1, 0, 2, 3, 4, 5, 0, 0]),
    "arg": lambda rng: np.array([0, 0, 0, *rng.integers(2, size=3), 0, 0]),
    "depth": lambda rng: np.array([0, 1, 2, 3, 2, 1, -1, -1]),
}

ROWS = {
    "policy_gradient_loss": Row(
        policy.policy_gradient_loss,
        dict(log_prob=normal(B), advantage=normal(B)),
        differentiated=("log_prob",),
        stopped=("advantage",),
        extremes={"advantage": FAR},
    ),
    "normalise_advantage": Row(
        policy.normalise_advantage, dict(advantage=normal(T, B), mask=flags(T, B)), stopped=("advantage",)
    ),
    "normalise_advantage, channels": Row(
        policy.normalise_advantage,
        dict(advantage=normal(T, B, A), mask=flags(T, B)),
        static={"per_channel": True},
        stopped=("advantage",),
    ),
    "ppo_clip_loss": Row(
        policy.ppo_clip_loss,
        dict(log_prob=normal(B), behaviour_log_prob=normal(B), advantage=normal(B), clip=uniform(0.1, 0.3)),
        differentiated=("log_prob",),
        stopped=("behaviour_log_prob", "advantage"),
        extremes={"log_prob": FAR, "advantage": np.ones(B)},
    ),
    "ppo_kl_loss": Row(
        policy.ppo_kl_loss,
        dict(
            log_prob=normal(B),
            behaviour_log_prob=normal(B),
            advantage=normal(B),
            kl=uniform(0, 1, B),
            coefficient=uniform(0, 1),
        ),
        differentiated=("log_prob", "kl"),
        stopped=("behaviour_log_prob", "advantage"),
        extremes={"log_prob": FAR},
    ),
    "adapt_kl_coefficient": targets(
        policy.adapt_kl_coefficient, coefficient=uniform(0.5, 2), kl=uniform(0, 0.05), target=uniform(0.01, 0.02)
    ),
    "kl_estimate": Row(
        policy.kl_estimate,
        dict(log_prob=normal(B), other_log_prob=normal(B)),
        differentiated=("log_prob", "other_log_prob"),
        extremes={"other_log_prob": FAR},
    ),
    "clip_fraction": targets(
        policy.clip_fraction, log_prob=normal(B), behaviour_log_prob=normal(B), clip=uniform(0.1, 0.3)
    ),
    "categorical_entropy": Row(
        policy.categorical_entropy, {"logits": normal(B, A)}, differentiated=("logits",), extremes={"logits": LOGITS}
    ),
    "categorical_kl": Row(
        policy.categorical_kl,
        dict(logits=normal(B, A), other_logits=normal(B, A)),
        differentiated=("logits", "other_logits"),
        extremes={"logits": LOGITS, "other_logits": LOGITS},
    ),
    "gaussian_entropy": Row(
        policy.gaussian_entropy,
        {"log_std": normal(B, A)},
        differentiated=("log_std",),
        extremes={"log_std": np.outer(FAR, np.ones(A))},
    ),
    "gaussian_kl": Row(
        policy.gaussian_kl,
        dict(mean=normal(B, A), log_std=normal(B, A), other_mean=normal(B, A), other_log_std=normal(B, A)),
        differentiated=("mean", "log_std", "other_mean", "other_log_std"),
        extremes={"mean": np.outer(FAR, np.ones(A)), "log_std": np.full((B, A), -20.0)},
    ),
    "tanh_log_det": Row(policy.tanh_log_det, {"u": normal(B)}, differentiated=("u",), extremes={"u": FAR}),
    "sac_policy_loss": Row(
        policy.sac_policy_loss,
        dict(log_prob=normal(B), q=normal(B), alpha=uniform(0, 1)),
        differentiated=("log_prob", "q"),
        stopped=("alpha",),
        extremes={"q": FAR},
    ),
    "sac_temperature_loss": Row(
        policy.sac_temperature_loss,
        dict(log_alpha=normal(), log_prob=normal(B), target_entropy=normal()),
        differentiated=("log_alpha",),
        stopped=("log_prob", "target_entropy"),
        extremes={"log_prob": FAR},
    ),
    "smooth_action": Row(
        policy.smooth_action,
        dict(
            action=uniform(-1, 1, B, A),
            noise=normal(B, A),
            noise_clip=uniform(0.2, 0.5),
            low=uniform(-1, -0.5),
            high=uniform(0.5, 1),
        ),
        differentiated=("action",),
        extremes={"noise": np.outer(FAR, np.ones(A))},
    ),
    "awr_weights": targets(policy.awr_weights, advantage=normal(B), inverse_temperature=uniform(0, 3)),
    "tscac_weights": targets(
        policy.tscac_weights,
        log_prob=normal(B, 3),
        behaviour_log_prob=normal(B),
        advantage=normal(B),
        multiplier=uniform(0.1, 2, 3),
    ),
    **{
        f"awr_weights, {kind}": Row(
            policy.awr_weights,
            dict(advantage=normal(B), inverse_temperature=uniform(0, 3)),
            {"kind": kind},
            stopped=("advantage",),
        )
        for kind in ("softmax", "step")
    },
    "td3_bc_loss": Row(
        policy.td3_bc_loss,
        dict(q=normal(B), action=normal(B, A), logged_action=normal(B, A), alpha=uniform(0, 3)),
        differentiated=("action",),  # of q, the mean magnitude is not: tests/policy/test_actor_critic.py
        stopped=("logged_action",),
        extremes={"q": np.zeros(B)},
    ),
    "mi_energy_bound": Row(
        policy.mi_energy_bound,
        dict(positive=normal(B), negative=normal(B, 4), log_prior=normal(4)),
        differentiated=("positive", "negative"),
        stopped=("log_prior",),
        extremes={"negative": LOGITS[[1, 1, 1]]},
    ),
    "mi_energy_bound, drawn": Row(
        policy.mi_energy_bound,
        dict(positive=normal(B), negative=normal(B, 4)),
        differentiated=("positive", "negative"),
    ),
    "select_future": Row(
        policy.select_future, dict(value=normal(B, 4), log_prior=uniform(-3, 0, B, 4), min_prob=uniform(0, 1))
    ),
    "tb_log_reward": Row(
        policy.tb_log_reward,
        dict(log_z=normal(B), forward_log_prob=normal(T, B), backward_log_prob=normal(T, B), mask=mask(T, B)),
        differentiated=("log_z", "forward_log_prob", "backward_log_prob"),
        extremes={"forward_log_prob": np.outer(np.ones(T), FAR)},
    ),
    "order_loss_pair": Row(
        policy.order_loss_pair,
        dict(first=normal(B), second=normal(B), label=uniform(0, 1, B)),
        differentiated=("first", "second"),
        stopped=("label",),
        extremes={"first": FAR},
    ),
    "order_loss_pareto": Row(
        policy.order_loss_pareto,
        dict(log_reward=normal(T, B), best=flags(T, B), valid=mask(T, B)),
        differentiated=("log_reward",),
        extremes={"log_reward": np.outer(np.ones(T), FAR)},
    ),
    **{
        f"link_loss, {name}": Row(
            policy.link_loss,
            dict(z=normal(B), **({"flip_prob": uniform(0, 0.5)} if noisy else {})),
            {"link": name.split()[0]},
            ("z",),
            ("flip_prob",) if noisy else (),
            {"z": FAR},
        )
        for name, noisy in (
            ("logistic", False),
            ("probit", False),
            ("hinge", False),
            ("square", False),
            ("logistic with flips", True),
            ("probit with flips", True),
        )
    },
    **{
        f"link_prob, {link}": Row(
            policy.link_prob, {"z": normal(B)}, {"link": link}, differentiated=("z",), extremes={"z": FAR}
        )
        for link in ("logistic", "probit")
    },
    "token_log_prob": Row(
        policy.token_log_prob,
        {"logits": normal(B, T, A), "token": integers(A - 1, B, T), "mask": flags(B, T)},
        differentiated=("logits",),
        extremes={"logits": np.full((B, T, A), [1e30, -1e30, 0, -np.inf])},
    ),
    **{
        f"sequence_log_prob, {'mean' if mean else 'sum'}": Row(
            policy.sequence_log_prob,
            {"logits": normal(B, T, A), "token": integers(A - 1, B, T), "mask": flags(B, T)},
            {"mean": mean},
            ("logits",),
            extremes={"logits": np.full((B, T, A), [1e30, -1e30, 0, -np.inf])},
        )
        for mean in (False, True)
    },
    "top_k_mass": Row(policy.top_k_mass, {"logits": normal(B, A)}, {"k": 2}, ("logits",)),
    **{
        f"top_k_entropy, {renormalise}": Row(
            policy.top_k_entropy,
            {"logits": normal(B, A)},
            {"k": 2, "renormalise": renormalise},
            ("logits",),
            extremes={"logits": np.full((B, A), [1e30, -1e30, -np.inf, -np.inf])},
        )
        for renormalise in (False, True)
    },
    **{
        f"sequence_score, {name}": Row(
            policy.sequence_score,
            {"log_prob": uniform(-3, -0.1, B, T), "mask": flags(B, T)}
            | ({} if name == "odds" else {"reference": uniform(-3, -0.1, B, T)}),
            {"divergence": name, "mean": name == "odds"},
            ("log_prob",),
            () if name == "odds" else ("reference",),
            {"log_prob": np.full((B, T), [0, -1e4, 0, -1e-9, 0, 0, -1e4])},
        )
        for name in ("reverse_kl", "js", "alpha", "odds")
    },
    **{
        f"{name}, {', '.join(map(str, static.values()))}": Row(
            getattr(policy, name),
            {"log_prob": uniform(-3, -0.1, B, 2, T), "mask": flags(B, 2, T), "target": uniform(0, 1, B)}
            | ({"reference": uniform(-3, -0.1, B, 2, T)} if with_reference else {}),
            static,
            ("log_prob",),
            ("target", "reference") if with_reference else ("target",),
            {"log_prob": np.full((B, 2, T), [0, -1e4, 0, -1e-9, 0, 0, -1e4]), "target": [0.0, 1.0, 0.5]},
        )
        for name, with_reference, static in (
            *(
                ("pairwise_preference_loss", True, {"link": link, "smoothing": 0.1})
                for link in ("logistic", "exo", "discopop", "nca", "bco", "apo_zero", "apo_down", "sppo")
            ),
            ("dpo_loss", True, {"beta": 0.5}),
            ("ipo_loss", True, {"mean": True}),
            ("simpo_loss", False, {"margin": 0.5}),
            ("cpo_loss", False, {"likelihood": 0.5}),
            ("orpo_loss", False, {"weight": 0.3}),
            ("cpl_loss", False, {"bias": 0.5}),
        )
    },
    **{
        name: Row(
            kernel,
            {
                "log_prob": normal(B, T),
                "mask": flags(B, T),
                "desirable": uniform(0, 1, B),
                "reference": normal(B, T),
                baseline: uniform(0, 1),
            },
            differentiated=("log_prob",),
            stopped=("desirable", "reference", baseline),
            extremes={"log_prob": np.full((B, T), [0, -1e4, 0, 1e4, 0, 0, -1e4])},
        )
        for name, kernel, baseline in (
            ("kto_loss", policy.kto_loss, "baseline"),
            ("bco_loss", policy.bco_loss, "shift"),
        )
    },
    "kl_baseline": Row(
        policy.kl_baseline,
        {"log_prob": uniform(0, 1, B, T), "mask": flags(B, T), "reference": uniform(-1, 0, B, T)},
        stopped=("log_prob", "reference"),
    ),
    "pairwise_preference_loss, tail": Row(
        policy.pairwise_preference_loss,
        PAIRS | {"tail": uniform(0, 1)},
        differentiated=("log_prob",),
        stopped=("target", "reference", "tail"),
        extremes={"log_prob": EXTREME_PAIRS},
    ),
    **{
        f"aot_loss, {paired}": Row(
            policy.aot_loss,
            PAIRS | {"smoothing": uniform(0, 0.5)},
            {"paired": paired},
            ("log_prob",),
            ("target", "reference"),
            {"log_prob": EXTREME_PAIRS},
        )
        for paired in (True, False)
    },
    "value_bias_term": Row(
        policy.value_bias_term,
        SEQUENCES | {"reference": normal(B, T), "coefficient": normal()},
        differentiated=("log_prob",),
        stopped=("reference", "coefficient"),
    ),
    "reward_difference_loss": Row(
        policy.reward_difference_loss,
        {"score": normal(B, A), "reward": normal(B, A), "beta": uniform(0.1, 1)},
        differentiated=("score",),
        stopped=("reward", "beta"),
        extremes={"score": np.outer(FAR, np.ones(A))},
    ),
    "leave_one_out_advantage": targets(policy.leave_one_out_advantage, reward=normal(B, A)),
    **{
        f"sequence_policy_loss, {clipped}": Row(
            policy.sequence_policy_loss,
            SEQUENCES
            | {"advantage": normal(B)}
            | ({"behaviour_log_prob": uniform(-3, -0.1, B, T), "clip": uniform(0.1, 0.3)} if clipped else {}),
            differentiated=("log_prob",),
            stopped=("advantage", "behaviour_log_prob") if clipped else ("advantage",),
            extremes={"log_prob": EXTREME_SEQUENCES},
        )
        for clipped in (True, False)
    },
    **{
        f"p3o_loss, {how}": Row(
            policy.p3o_loss,
            {
                "log_prob": uniform(-3, -0.1, B, 2, T),
                "mask": flags(B, 2, T),
                "reward": normal(B, 2),
                "behaviour_log_prob": uniform(-3, -0.1, B, 2, T),
                "clip": uniform(0.1, 0.3),
            },
            {"how": how},
            ("log_prob",),
            ("reward", "behaviour_log_prob", "clip"),
            {"log_prob": EXTREME_PAIRS},
        )
        for how in ("separate", "joint")
    },
    "prdp_loss": Row(
        policy.prdp_loss,
        {
            "log_prob": uniform(-3, -0.1, B, A, T),
            "mask": flags(B, A, T),
            "reward": normal(B, A),
            "reference": uniform(-3, -0.1, B, A, T),
            "behaviour_log_prob": uniform(-3, -0.1, B, A, T),
            "beta": uniform(0.1, 1),
            "clip": uniform(0.1, 2),
        },
        differentiated=("log_prob",),
        stopped=("reward", "reference", "behaviour_log_prob", "beta", "clip"),
        extremes={"log_prob": np.full((B, A, T), [0, -1e4, 0, -1e-9, 0, 0, -1e4])},
    ),
    "geometric_reference": targets(
        policy.geometric_reference, reference=normal(B), log_prob=normal(B), weight=uniform(0, 1)
    ),
    "mixture_logits": targets(
        policy.mixture_logits, reference_logits=normal(B, A), logits=normal(B, A), weight=uniform(0, 1)
    ),
    **{
        f"nash_md_loss, {kl}": Row(
            policy.nash_md_loss,
            SEQUENCES | {"reference": uniform(-3, -0.1, B, T), "win_prob": uniform(0, 1, B), "beta": uniform(0, 1)},
            {"kl": kl},
            # its gradient is not that of its value
            stopped=("reference", "win_prob", "beta"),
            extremes={"log_prob": EXTREME_SEQUENCES},
        )
        for kl in ("token", "sequence", "to_go")
    },
    "duality_gap": Row(
        policy.duality_gap,
        GAME | {"temperature": uniform(0.1, 1)},
        differentiated=("log_policy", "preference", "log_reference"),
        extremes={"log_policy": PURE, "temperature": np.array(0.0)},
    ),
    "nash_step": Row(
        policy.nash_step,
        GAME | {"eta": uniform(1, 2), "temperature": uniform(0.1, 1)},
        differentiated=("log_policy", "preference", "log_reference"),
        stopped=("eta", "temperature"),
        extremes={"preference": np.full((B, A, A), 1e3)},
    ),
    **{
        f"f_dpg_loss, {divergence}": Row(
            policy.f_dpg_loss,
            {
                "log_prob": uniform(-3, -0.1, B),
                "log_target": uniform(-3, -0.1, B),
                "log_behaviour": uniform(-3, -0.1, B),
                "log_partition": normal(),
                "baseline": normal(),
            },
            {"divergence": divergence},
            # its gradient is not that of its value
            stopped=("log_target", "log_behaviour", "log_partition", "baseline"),
            extremes={"log_prob": -np.abs(FAR), "log_behaviour": np.array([-1e4, 0.0, -1e4])},
        )
        for divergence in ("forward_kl", "reverse_kl", "js", "tv", "chi2", "reverse_chi2")
    },
    "log_partition": Row(
        policy.log_partition,
        {"log_target": normal(B, A), "log_behaviour": normal(B, A)},
        differentiated=("log_target",),
        stopped=("log_behaviour",),
        extremes={"log_target": np.full((B, A), [1e4, -1e4, 0, -np.inf])},
    ),
    "fit_gdc": targets(
        policy.fit_gdc, feature=normal(40, 2), moment=uniform(-0.3, 0.3, 2), log_weight=uniform(-0.1, 0.1, 40)
    ),
    "denoise_log_prob": Row(
        policy.denoise_log_prob,
        {"sample": normal(B, A), "mean": normal(B, A), "std": uniform(0.5, 1)},
        differentiated=("mean", "std"),
        stopped=("sample",),
        extremes={"sample": np.outer(FAR, np.ones(A))},
    ),
    "d3po_loss": Row(
        policy.d3po_loss,
        PAIRS | {"clip": uniform(0.5, 0.9)},
        differentiated=("log_prob",),
        stopped=("target", "reference", "clip"),
        extremes={"log_prob": EXTREME_PAIRS},
    ),
    "diffusion_dpo_loss": Row(
        policy.diffusion_dpo_loss,
        {
            "noise": normal(B, 2, A),
            "prediction": normal(B, 2, A),
            "reference_prediction": normal(B, 2, A),
            "target": uniform(0, 1, B),
            "beta": uniform(0.1, 1),
        },
        differentiated=("prediction",),
        stopped=("noise", "reference_prediction", "target", "beta"),
        extremes={"prediction": np.full((B, 2, A), 1e4)},
    ),
    "user_embedding": Row(
        policy.user_embedding,
        {"feature": normal(B, T, 2, A), "target": uniform(0, 1, B, T), "mask": flags(B, T)},
        differentiated=("feature",),
        stopped=("target",),
    ),
    "label_pair": targets(policy.label_pair, score=normal(B, 2)),
    "best_worst_pair": targets(policy.best_worst_pair, score=normal(B, A), mask=flags(B, A)),
    "anchored_future_pairs": targets(
        policy.anchored_future_pairs, past=normal(B, A), present=normal(B, A), future=normal(B, T)
    ),
    "drop_key_tokens": targets(
        policy.drop_key_tokens,
        token=integers(A, B, T),
        mask=flags(B, T),
        importance=normal(B, T),
        share=uniform(0, 1, B),
    ),
    "win_rate": targets(policy.win_rate, preference=uniform(0, 1, B, A, A)),
    "modpo_loss": Row(
        policy.modpo_loss,
        {
            "log_prob": uniform(-3, -0.1, B, 2, T),
            "mask": flags(B, 2, T),
            "target": uniform(0, 1, B),
            "reference": uniform(-3, -0.1, B, 2, T),
            "other_reward": normal(B, 2),
            "weight": uniform(0.1, 1, B),
        },
        differentiated=("log_prob",),
        stopped=("target", "reference", "other_reward", "weight"),
        extremes={"log_prob": EXTREME_PAIRS},
    ),
    "multi_head_dpo_loss": Row(
        policy.multi_head_dpo_loss,
        {
            "log_prob": uniform(-3, -0.1, 2, B, 2, T),
            "mask": flags(B, 2, T),
            "target": uniform(0, 1, B),
            "reference": uniform(-3, -0.1, B, 2, T),
            "objective": integers(2, B),
        },
        differentiated=("log_prob",),
        stopped=("target", "reference"),
        extremes={"log_prob": np.stack([EXTREME_PAIRS] * 2)},
    ),
    "combine_heads": Row(
        policy.combine_heads,
        {"logits": normal(2, B, A), "weight": uniform(0.1, 1, 2)},
        differentiated=("logits",),
        stopped=("weight",),
        extremes={"logits": np.full((2, B, A), [1e4, -1e4, 0, -1e30])},
    ),
    "rank_correlation": targets(policy.rank_correlation, first=normal(B, T), second=normal(B, T)),
    "length_report": targets(policy.length_report, mask=mask(B, T), reward=normal(B), reference_mask=mask(B, T)),
    "length_controlled_win_rate": targets(
        policy.length_controlled_win_rate, win=uniform(0, 1, 40), length_difference=normal(40)
    ),
    "objective_mismatch": targets(
        policy.objective_mismatch, accuracy=uniform(0, 1, B), proxy=normal(B, T), gold=normal(B, T)
    ),
    "filtered_bc_loss": Row(
        policy.filtered_bc_loss,
        {"log_prob": uniform(-3, -0.1, T, B), "success": uniform(0, 1, B), "mask": flags(T, B)},
        differentiated=("log_prob",),
        stopped=("success",),
        extremes={"log_prob": np.full((T, B), -1e30)},
    ),
    "bt_tick": Row(
        lambda condition, task, **x: policy.bt_tick(BehaviourTree(**x), condition, task),
        {**TREE, "condition": flags(3), "task": integers(4, 2)},
    ),
    "bt_size": Row(lambda at, **x: policy.bt_size(BehaviourTree(**x), at), {**TREE, "at": integers(6)}),
    "bt_splice": Row(
        lambda at, root, **x: policy.bt_splice(BehaviourTree(**x), at, BehaviourTree(**x), root),
        {**TREE, "at": integers(6), "root": integers(6)},
    ),
    "bt_random": Row(
        lambda seed: policy.bt_random(jax.random.key(seed), 9, conditions=3, actions=4, tasks=1), {"seed": integers(9)}
    ),
    "bt_mutate": Row(
        lambda seed, **x: policy.bt_mutate(
            jax.random.key(seed), BehaviourTree(**x), BehaviourTree(**x), conditions=3, actions=4
        ),
        {**TREE, "seed": integers(9)},
    ),
}
