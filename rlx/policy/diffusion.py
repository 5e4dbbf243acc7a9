"""Alignment of diffusion models, whose denoising steps are the actions of a policy.

A sampler draws `x_{t-1}` from a normal distribution around what the network makes of `x_t`; the log-probabilities of
its steps go into the losses of `alignment` and `scored` as those of tokens do.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from rlx import check
from rlx.policy.alignment import pairwise_preference_loss
from rlx.policy.sequence import widened
from rlx.types import Array


def denoise_log_prob(sample: Array, mean: Array, std: Array | float, *, average: bool = False) -> Array:
    """The log-probability of a denoising step, `log N(sample; mean, std^2)`, summed over dimensions.

        sum_d -(x_d - mean_d)^2 / (2 std^2) - log std - log(2 pi) / 2

    `average` divides by the number of dimensions, as published code of D3PO does: its beta is then that of the sum,
    over the dimensions.

    Shapes: `[..., D]` twice, `std` broadcasts to `[..., D]` -> `[...]`. Differentiated: `mean`, `std`; the sample is an
    action that was taken.

    Usual mistake: a sampler without noise (eta = 0), or the last step of one with it: no density there.

    >>> round(float(denoise_log_prob(jnp.array([0.0, 1.0]), jnp.zeros(2), 1.0)), 4)
    -2.3379

    Raises:
      ValueError: for shapes that differ, or `std <= 0`.

    Source: Black et al., "Training Diffusion Models with Reinforcement Learning" (2024); Yang et al., "Using Human
    Feedback to Fine-tune Diffusion Models without Any Reward Model" (2024).
    """
    check.same_shape(sample=sample, mean=mean)
    check.require(jnp.ndim(sample) >= 1, "sample", jnp.shape(sample), "of shape [..., D]")
    check.positive("std", std)
    dtype = jnp.result_type(mean)
    mean = widened(mean)
    std = jnp.asarray(std, mean.dtype)
    z = (jax.lax.stop_gradient(jnp.asarray(sample, mean.dtype)) - mean) / std
    each = -jnp.square(z) / 2 - jnp.log(std) - math.log(2 * math.pi) / 2
    return (jnp.mean(each, axis=-1) if average else jnp.sum(each, axis=-1)).astype(dtype)


def d3po_loss(
    log_prob: Array,
    mask: Array,
    target: Array,
    reference: Array,
    *,
    beta: Array | float = 0.1,
    clip: Array | float = 0.1,
) -> Array:
    """Direct preference for denoising diffusion: DPO for every denoising step, with the label of the final image.

        loss_t = -log sigmoid(beta (log k_w - log k_l)),   k = clip(p / r, 1 - clip, 1 + clip)

    Outside of the band a candidate has no gradient, which bounds how far one batch of steps moves the policy. A tie
    (`target = 1/2`) has the loss 0.

    Shapes: `[..., 2, S]`, bool `[..., 2, S]`, `[...]`, `[..., 2, S]` -> `[..., S]`, 0 where a candidate's step is
    masked. Differentiated: `log_prob`.

    Usual mistakes: two candidates at different noise levels in one column; and the sum over steps inside the sigmoid,
    which is the loss of a trajectory (`dpo_loss`), whose log-ratios are too large for a band this narrow.

    >>> log_prob, mask = jnp.array([[0.0, 0.0], [0.0, 1.0]]), jnp.ones((2, 2), bool)
    >>> [round(x, 4) for x in d3po_loss(log_prob, mask, jnp.array(1.0), jnp.zeros((2, 2)), beta=1.0).tolist()]
    [0.6931, 0.7419]

    Raises:
      ValueError: for shapes that do not fit, `beta <= 0`, or `clip` outside (0, 1); infinite for none.

    Source: Yang et al., "Using Human Feedback to Fine-tune Diffusion Models without Any Reward Model" (2024).
    """
    shape = jnp.shape(log_prob)
    check.require(len(shape) >= 2 and shape[-2] == 2, "log_prob", shape, "of shape [..., 2, S]")
    check.same_shape(log_prob=log_prob, mask=mask, reference=reference)
    check.require(jnp.shape(target) == shape[:-2], "target", jnp.shape(target), f"of shape {shape[:-2]}")
    if not (isinstance(clip, float) and math.isinf(clip)):
        check.in_range("clip", clip, 0.0, 1.0, open_low=True, open_high=True)
    mask = jnp.asarray(mask, bool)
    used, base = (jnp.where(mask, widened(x), 0) for x in (log_prob, reference))
    ratio = used - jax.lax.stop_gradient(base)
    clip = jax.lax.stop_gradient(jnp.asarray(clip, ratio.dtype))[..., None, None]
    low = jnp.where(jnp.isinf(clip), -jnp.inf, jnp.log1p(-jnp.where(jnp.isinf(clip), 0, clip)))
    ratio = jnp.clip(ratio, low, jnp.log1p(clip))
    steps = jnp.swapaxes(ratio, -1, -2)[..., None]  # [..., S, 2, 1]
    both = jnp.all(mask, axis=-2)
    label = jnp.broadcast_to(jnp.asarray(target, ratio.dtype)[..., None], both.shape)
    loss = pairwise_preference_loss(steps, jnp.ones(steps.shape, bool), label, beta=beta)
    return jnp.where(both & (label != 0.5), loss, 0).astype(jnp.result_type(log_prob))


def diffusion_dpo_loss(
    noise: Array, prediction: Array, reference_prediction: Array, target: Array, *, beta: Array | float
) -> Array:
    """DPO for a denoiser, without sampling: how much better than the reference it denoises the preferred image.

        -log sigmoid(-beta [(|e_w - f(w)|^2 - |e_w - g(w)|^2) - (|e_l - f(l)|^2 - |e_l - g(l)|^2)])

    e is the noise that was added to an image, f the policy's prediction of it and g the reference's, from the same
    noisy image at the same time. The squared errors stand for log-ratios of denoising steps, up to factors that `beta`
    takes up: the number of steps, and the weight of each time. With an embedding of a user as a further input of f
    (`user_embedding`), and not of g, it is PPD's loss.

    Shapes: `[..., 2, D]` three times, `[...]` -> `[...]`; `beta` broadcasts. Differentiated: `prediction`.

    Usual mistakes: squared errors averaged over dimensions with a beta for their sum; and other noise for the reference
    than for the policy.

    >>> noise, better = jnp.zeros((2, 2)), jnp.array([[0.0, 0.0], [1.0, 1.0]])
    >>> round(float(diffusion_dpo_loss(noise, better, jnp.ones((2, 2)), jnp.array(1.0), beta=1.0)), 4)
    0.1269

    Raises:
      ValueError: for shapes that do not fit, or `beta <= 0`.

    Source: Wallace et al., "Diffusion Model Alignment Using Direct Preference Optimization" (2024); Dang et al.,
    "Personalized Preference Fine-tuning of Diffusion Models" (2025).
    """
    check.same_shape(noise=noise, prediction=prediction, reference_prediction=reference_prediction)
    shape = jnp.shape(prediction)
    check.require(len(shape) >= 2 and shape[-2] == 2, "prediction", shape, "of shape [..., 2, D]")
    dtype = jnp.result_type(prediction)
    prediction = widened(prediction)
    noise = jax.lax.stop_gradient(jnp.asarray(noise, prediction.dtype))
    error, other = (
        -jnp.sum(jnp.square(noise - x), axis=-1, keepdims=True)
        for x in (prediction, jnp.asarray(reference_prediction, prediction.dtype))
    )
    return pairwise_preference_loss(error, jnp.ones(error.shape, bool), target, other, beta=beta).astype(dtype)


def user_embedding(feature: Array, target: Array, mask: Array | None = None) -> Array:
    """What a user likes, from a few of their choices: the mean of what was preferred less what was not.

        mean_n (2 t_n - 1) (x_n1 - x_n2)

    A stand-in for the set encoder of PPD, which is a vision-language model.

    Shapes: `[..., N, 2, D]`, `[..., N]` in [0, 1], bool `[..., N]` -> `[..., D]`; 0 without a pair. Differentiated:
    `feature`.

    Usual mistake: to show it to the reference too.

    >>> pairs = jnp.array([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [3.0, 1.0]]])
    >>> user_embedding(pairs, jnp.array([1.0, 0.0])).tolist()
    [2.0, 0.0]

    Raises:
      ValueError: for shapes that do not fit, or targets outside [0, 1].

    Source: Dang et al., "Personalized Preference Fine-tuning of Diffusion Models" (2025).
    """
    shape = jnp.shape(feature)
    check.require(len(shape) >= 3 and shape[-2] == 2, "feature", shape, "of shape [..., N, 2, D]")
    check.require(jnp.shape(target) == shape[:-2], "target", jnp.shape(target), f"of shape {shape[:-2]}")
    check.in_range("target", target, 0.0, 1.0)
    valid = jnp.ones(shape[:-2], bool) if mask is None else jnp.asarray(mask, bool)
    check.require(valid.shape == shape[:-2], "mask", valid.shape, f"of shape {shape[:-2]}")
    wide = widened(feature)
    sign = 2 * jax.lax.stop_gradient(jnp.asarray(target, wide.dtype)) - 1
    each = jnp.where(valid[..., None], sign[..., None] * (wide[..., 0, :] - wide[..., 1, :]), 0)
    number = jnp.maximum(jnp.sum(valid, axis=-1), 1)[..., None]
    return (jnp.sum(each, axis=-2) / number).astype(jnp.result_type(feature))
