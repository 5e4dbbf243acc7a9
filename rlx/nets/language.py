"""Small language models (flax linen), and what is done with any of them: score, sample, imitate, enumerate.

A model maps tokens `[B, L]` and a mask of those that count to logits `[B, L, V]` of the token *after* each, and to a
cache from which it goes on: `model.apply(params, token, mask, cache) -> (logits, cache)`. Masked tokens are invisible
wherever they stand, so prompts are padded on the left and completions on the right, and all begin at the same index.
Token 0 pads and is never predicted, token 1 ends. The functions here need only such a model:

    params = init(model, key)
    drawn = sample(model, params, key, prompt, prompt_mask, length)
    log_prob = completion_log_prob(model, params, prompt, prompt_mask, drawn.token, drawn.mask)  # = drawn.log_prob
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.policy.objectives import combine_heads
from rlx.policy.sequence import token_log_prob
from rlx.types import Array, PyTree

PAD, END = 0, 1
FORBIDDEN = -1e9  # a logit that no token survives, and finite: differences and sums of two stay numbers


class AttentionCache(NamedTuple):
    """Keys and values of a transformer's past."""

    key: Array  # [depth, B, M, H, D]
    value: Array  # [depth, B, M, H, D]
    mask: Array  # bool [B, M]
    length: Array  # int32 []: how much of it is written


class TransformerLM(nn.Module):
    """A decoder with rotary positions, which see distances only: padding on the left changes nothing.

    `heads` are alternative outputs on one trunk, logits `[B, L, heads, V]`, for one objective each (`mix_heads`); with
    one there is no such axis. `condition [B, E]` (a preference, a user) is added to all embeddings by a linear map.
    """

    vocabulary: int
    width: int = 64
    depth: int = 2
    num_heads: int = 2  # of the attention
    heads: int = 1

    @nn.compact
    def __call__(
        self, token: Array, mask: Array | None = None, cache: Any = None, condition: Array | None = None
    ) -> tuple[Array, Any]:
        batch, length = token.shape
        size = self.width // self.num_heads
        mask = jnp.ones((batch, length), bool) if mask is None else mask
        start = 0 if cache is None else cache.length
        place = start + jnp.arange(length)
        if cache is None:
            seen, known = mask, place
        else:
            seen = jax.lax.dynamic_update_slice(cache.mask, mask, (0, start))
            known = jnp.arange(seen.shape[1])
        visible = seen[:, None, None, :] & (known <= place[:, None])  # [B, 1, L, M]
        frequency = 100.0 ** (-jnp.arange(size // 2) / (size // 2))
        angle = place[:, None, None] * frequency  # [L, 1, size / 2]
        keys, values = [], []
        x = _embed(self, token, condition)
        for layer in range(self.depth):
            y = nn.LayerNorm()(x)
            query, key, value = jnp.split(nn.Dense(3 * self.width, use_bias=False)(y), 3, axis=-1)
            query, key, value = (z.reshape(batch, length, self.num_heads, size) for z in (query, key, value))
            query, key = _rotate(query, angle), _rotate(key, angle)
            if cache is not None:
                key, value = (
                    jax.lax.dynamic_update_slice(past[layer], new, (0, start, 0, 0))
                    for past, new in ((cache.key, key), (cache.value, value))
                )
                keys.append(key)
                values.append(value)
            score = jnp.einsum("blhd,bmhd->bhlm", query, key) / size**0.5
            attention = jax.nn.softmax(jnp.where(visible, score, FORBIDDEN))
            y = jnp.einsum("bhlm,bmhd->blhd", attention, value).reshape(batch, length, self.width)
            x = x + nn.Dense(self.width, use_bias=False)(y)
            y = nn.Dense(4 * self.width)(nn.LayerNorm()(x))
            x = x + nn.Dense(self.width)(nn.gelu(y))
        if cache is not None:
            cache = AttentionCache(jnp.stack(keys), jnp.stack(values), seen, cache.length + length)
        return _predict(self, nn.LayerNorm()(x)), cache

    @nn.nowrap
    def initial_cache(self, batch_size: int, capacity: int) -> AttentionCache:
        """An empty cache for `capacity` tokens in all."""
        size = self.width // self.num_heads
        empty = jnp.zeros((self.depth, batch_size, capacity, self.num_heads, size))
        return AttentionCache(empty, empty, jnp.zeros((batch_size, capacity), bool), jnp.zeros((), jnp.int32))


class GRULM(nn.Module):
    """Layers of gated recurrent units, which sleep through masked tokens; `heads` and `condition` as `TransformerLM`.

    Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation"
    (2014).
    """

    vocabulary: int
    width: int = 64
    depth: int = 2
    heads: int = 1

    @nn.compact
    def __call__(
        self, token: Array, mask: Array | None = None, cache: Any = None, condition: Array | None = None
    ) -> tuple[Array, Any]:
        mask = jnp.ones(token.shape, bool) if mask is None else mask
        memory = self.initial_cache(token.shape[0], 0) if cache is None else cache
        x, last = _embed(self, token, condition), []
        for layer in range(self.depth):
            gates = nn.Dense(3 * self.width)(x)
            recurrent = self.param(f"recurrent_{layer}", nn.initializers.lecun_normal(), (self.width, 3 * self.width))
            bias = self.param(f"bias_{layer}", nn.initializers.zeros, (self.width,))

            def step(h: Array, xs: Any, recurrent: Array = recurrent, bias: Array = bias) -> tuple[Array, Array]:
                gate, valid = xs
                (reset_in, update_in, new_in), (reset_h, update_h, new_h) = (
                    jnp.split(z, 3, axis=-1) for z in (gate, h @ recurrent)
                )
                update = jax.nn.sigmoid(update_in + update_h)
                new = jnp.tanh(new_in + jax.nn.sigmoid(reset_in + reset_h) * (new_h + bias))
                h = jnp.where(valid[:, None], update * h + (1 - update) * new, h)
                return h, h

            time_major = jnp.swapaxes(gates, 0, 1), jnp.swapaxes(mask, 0, 1)
            h, hidden = jax.lax.scan(step, memory[layer], time_major)
            last.append(h)
            x = jnp.swapaxes(hidden, 0, 1)
        return _predict(self, x), None if cache is None else jnp.stack(last)

    @nn.nowrap
    def initial_cache(self, batch_size: int, capacity: int) -> Array:
        """The memory before the first token; it needs no capacity."""
        del capacity
        return jnp.zeros((self.depth, batch_size, self.width))


LanguageModel = TransformerLM | GRULM


def init(model: LanguageModel, key: Array, condition: int = 0) -> PyTree:
    """Random parameters; `condition` is how many numbers the model will be told beside the tokens, at first in vain.

    Their map begins as zero, so that a model that was trained without them is the same with any.
    """
    given = jnp.zeros((1, condition)) if condition else None
    return model.init(key, jnp.zeros((1, 1), jnp.int32), None, None, given)


def completion_logits(
    model: LanguageModel,
    params: PyTree,
    prompt: Array,
    prompt_mask: Array,
    token: Array,
    mask: Array,
    condition: Array | None = None,
) -> Array:
    """The logits that predict each token of completions, all in one pass (teacher forcing).

    Shapes: `[B, P]`, bool `[B, P]`, `[B, ..., T]`, bool `[B, ..., T]` -> `[B, ..., T, V]` (with heads `[..., H, V]`);
    the axes between are candidates of one prompt. `condition` is `[B, E]`, or `[B, ..., E]` for one of each candidate.
    """
    check.require(token.ndim >= 2 and token.shape[0] == prompt.shape[0], "token", token.shape, "of shape [B, ..., T]")
    lead, length = token.shape[:-1], token.shape[-1]

    def every(x: Array, width: int) -> Array:
        if x.ndim == 2:
            x = x.reshape(x.shape[0], *[1] * (len(lead) - 1), width)
        return jnp.broadcast_to(x, (*lead, width)).reshape(-1, width)

    before = prompt.shape[1]
    tokens = jnp.concatenate([every(prompt, before), token.reshape(-1, length)[:, :-1]], axis=1)
    masks = jnp.concatenate([every(prompt_mask, before), mask.reshape(-1, length)[:, :-1]], axis=1)
    given = None if condition is None else every(condition, condition.shape[-1])
    logits, _ = model.apply(params, tokens, masks, None, given)
    return logits[:, before - 1 :].reshape(*lead, length, *logits.shape[2:])


def completion_log_prob(
    model: LanguageModel,
    params: PyTree,
    prompt: Array,
    prompt_mask: Array,
    token: Array,
    mask: Array,
    condition: Array | None = None,
) -> Array:
    """The log-probability of each token of completions, 0 where masked: `completion_logits` at the tokens.

    Shapes: as there -> `[B, ..., T]`, of a model with one head.
    """
    return token_log_prob(completion_logits(model, params, prompt, prompt_mask, token, mask, condition), token, mask)


def completion_score(
    model: LanguageModel, params: PyTree, prompt: Array, prompt_mask: Array, token: Array, mask: Array
) -> Array:
    """A reward model's score of completions: the sum of its logits for their tokens, no distribution.

    Shapes: as in `completion_logits` -> `[B, ...]`.
    """
    logits = completion_logits(model, params, prompt, prompt_mask, token, mask)
    said = jnp.take_along_axis(logits, token[..., None], axis=-1)[..., 0]
    return jnp.sum(jnp.where(mask, said, 0.0), axis=-1)


def mix_heads(logits: Array, mix: Array | None) -> Array:
    """Logits of the geometric mixture of heads, `combine_heads`: `[..., H, V]`, weights `[H]` -> `[..., V]`."""
    if mix is None or jnp.shape(mix) != logits.shape[-2:-1]:
        raise ValueError(f"mix must be the weights of the model's {logits.shape[-2]} heads; got {mix!r}")
    return _forbid_padding(combine_heads(jnp.moveaxis(logits, -2, 0), mix))


def with_heads(params: PyTree, heads: int, key: Array, scale: float = 1e-3) -> PyTree:
    """Parameters of a model with several heads from those of one, each a copy of its output with a little noise.

    A trunk and heads that are trained together need different heads to begin with no more than they need to be good:
    `scale` is the deviation of the noise, 0.001 where the method was published.
    """
    check.count("heads", heads, 2)
    output = params["params"]["output"]
    leaves, tree = jax.tree.flatten(jax.tree.map(lambda x: jnp.concatenate([x] * heads, axis=-1), output))
    keys = jax.random.split(key, len(leaves))
    noisy = [x + scale * jax.random.normal(key, x.shape) for key, x in zip(keys, leaves, strict=True)]
    return {**params, "params": {**params["params"], "output": jax.tree.unflatten(tree, noisy)}}


class Sample(NamedTuple):
    """Completions as they were drawn."""

    token: Array  # int32 [B, T], padding after the end
    mask: Array  # bool [B, T], true up to the end token and for it
    log_prob: Array  # [B, T] under the distribution that was drawn from; 0 where masked


def sample(
    model: LanguageModel,
    params: PyTree,
    key: Array,
    prompt: Array,
    prompt_mask: Array,
    length: int,
    *,
    temperature: Array | float = 1.0,
    mix: Array | None = None,
    condition: Array | None = None,
) -> Sample:
    """A completion of each prompt, token by token from a cache: one scan, nothing is computed twice.

    Args:
      prompt: `[B, P]`, with bool `prompt_mask [B, P]`.
      length: T, most tokens of a completion.
      temperature: by which logits are divided; `log_prob` is of what is drawn from, so after division.
      mix: `[M]`, weights of the logits of M models or of M heads, whose mean is drawn from: the geometric mixture of
        policies. `params` then hold M models' parameters, stacked, unless the model has heads.
      condition: `[B, E]`.
    """
    check.positive("temperature", temperature)
    check.count("length", length)
    models = 0 if mix is None or model.heads > 1 else mix.shape[0]
    run: Any = lambda params, token, mask, cache: model.apply(params, token, mask, cache, condition)  # noqa: E731
    cache: Any = model.initial_cache(prompt.shape[0], prompt.shape[1] + length)
    if models:
        run = jax.vmap(run, (0, None, None, 0))
        cache = jax.tree.map(lambda x: jnp.broadcast_to(x, (models, *x.shape)), cache)

    def predict(token: Array, mask: Array, cache: Any) -> tuple[Array, Any]:
        logits, cache = run(params, token, mask, cache)
        if models or model.heads > 1:
            logits = mix_heads(jnp.moveaxis(logits, 0, -2) if models else logits, mix)
        return jax.nn.log_softmax(logits[:, -1] / temperature), cache

    def draw(log_prob: Array, uniform: Array, alive: Array) -> tuple[Array, Array]:
        cumulative = jnp.cumsum(jnp.exp(log_prob), axis=-1)
        token = jnp.sum(cumulative <= uniform[:, None] * cumulative[:, -1:], axis=-1)
        taken = jnp.take_along_axis(log_prob, token[:, None], axis=-1)[:, 0]
        return jnp.where(alive, token, PAD), jnp.where(alive, taken, 0.0)

    def step(carry: Any, uniform: Array) -> tuple[Any, Any]:
        token, alive, cache = carry
        alive &= token != END
        log_prob, cache = predict(token[:, None], alive[:, None], cache)
        token, taken = draw(log_prob, uniform, alive)
        return (token, alive, cache), (token, alive, taken)

    uniform = jax.random.uniform(key, (length, prompt.shape[0]))
    log_prob, cache = predict(prompt, prompt_mask, cache)
    alive = jnp.ones(prompt.shape[0], bool)
    token, taken = draw(log_prob, uniform[0], alive)
    _, rest = jax.lax.scan(step, (token, alive, cache), uniform[1:])
    first = token, alive, taken
    joined = [jnp.concatenate([x[None], xs]).T for x, xs in zip(first, rest, strict=True)]
    return Sample(joined[0].astype(jnp.int32), joined[1], joined[2])


def enumerated_log_prob(
    model: LanguageModel,
    params: PyTree,
    prompt: Array,
    prompt_mask: Array,
    completions: Any,
    *,
    mix: Array | None = None,
    condition: Array | None = None,
) -> Array:
    """The log-probability of every completion that there can be, exact, by one pass over the contexts they share.

    Shapes: `[X, P]`, bool `[X, P]`, `completions` as `rlx.envs.token.TokenEnv.enumerate` lists them (`token`, `mask`
    `[N, T]`, `context [R, T]`, `row [N]`) -> `[X, N]`; its exponentials sum to 1 for each prompt. `mix [H]` are weights
    of the model's heads, `condition` is `[X, E]`.
    """
    context = jnp.broadcast_to(completions.context, (prompt.shape[0], *completions.context.shape))
    logits = completion_logits(model, params, prompt, prompt_mask, context, jnp.ones(context.shape, bool), condition)
    if model.heads > 1:
        logits = mix_heads(logits, mix)
    place = jnp.arange(context.shape[-1])
    chosen = jax.nn.log_softmax(logits)[:, completions.row[:, None], place, completions.token]
    return jnp.sum(jnp.where(completions.mask, chosen, 0.0), axis=-1)


def sft_loss(
    model: LanguageModel,
    params: PyTree,
    prompt: Array,
    prompt_mask: Array,
    token: Array,
    mask: Array,
    condition: Array | None = None,
) -> Array:
    """Supervised fine-tuning: minus the mean log-probability of a completion's tokens, `[B, ...]`."""
    log_prob = completion_log_prob(model, params, prompt, prompt_mask, token, mask, condition)
    return -jnp.sum(log_prob, axis=-1) / jnp.maximum(jnp.sum(mask, axis=-1), 1)


def sft(
    model: LanguageModel,
    params: PyTree,
    key: Array,
    draw: Callable[[Array], Any],
    num_steps: int,
    learning_rate: Array | float = 3e-3,
) -> tuple[PyTree, Array]:
    """Train on demonstrations until there is a reference: `num_steps` of Adam, as one scan.

    `draw(key)` gives a batch with `prompt`, `prompt_mask`, `token` and `mask`, such as
    `functools.partial(env.demonstrations, count=256)`. The learning rate falls to 0 along a cosine, so that the
    reference does not carry the noise of its last batches.

    Returns:
      The parameters, and the mean loss of every step `[num_steps]`.
    """
    optimiser = optax.chain(
        optax.scale_by_adam(),
        optax.scale_by_schedule(lambda step: (1 + jnp.cos(jnp.pi * step / num_steps)) / 2),
    )

    def step(carry: Any, key: Array) -> tuple[Any, Array]:
        params, state = carry
        batch = draw(key)
        loss, grads = jax.value_and_grad(
            lambda params: sft_loss(model, params, batch.prompt, batch.prompt_mask, batch.token, batch.mask).mean()
        )(params)
        updates, state = optimiser.update(grads, state)
        params = jax.tree.map(lambda p, u: p - learning_rate * u, params, updates)
        return (params, state), loss

    (params, _), losses = jax.lax.scan(step, (params, optimiser.init(params)), jax.random.split(key, num_steps))
    return params, losses


def _embed(module: Any, token: Array, condition: Array | None) -> Array:
    x = nn.Embed(module.vocabulary, module.width, embedding_init=nn.initializers.normal(1.0))(token)
    return (
        x
        if condition is None
        else x
        + nn.Dense(module.width, use_bias=False, kernel_init=nn.initializers.zeros, name="condition")(condition)[
            :, None
        ]
    )


def _predict(module: Any, x: Array) -> Array:
    logits = nn.Dense(module.heads * module.vocabulary, name="output")(x)
    if module.heads > 1:
        logits = logits.reshape(*x.shape[:-1], module.heads, module.vocabulary)
    return _forbid_padding(logits)


def _forbid_padding(logits: Array) -> Array:
    return jnp.where(jnp.arange(logits.shape[-1]) == PAD, FORBIDDEN, logits)


def _rotate(x: Array, angle: Array) -> Array:
    """Turn pairs of numbers by angles that grow with the position."""
    first, second = jnp.split(x, 2, axis=-1)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
