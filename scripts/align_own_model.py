"""Direct preference optimisation of a language model of your own: any module that maps tokens to logits will do.

    python scripts/align_own_model.py [steps of each phase] [beta]

The model below is written in flax.nnx and knows nothing of rlx. Of rlx it takes two functions, `token_log_prob` and
`dpo_loss`, which see arrays; another method is another function (`ipo_loss`, `simpo_loss`, ...). In place of your data
there are answers to prompts of digits, compared by what they are worth (`rlx.envs.token`).
"""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from rlx.envs.token import completion_mask, toy_seq
from rlx.policy import dpo_loss, token_log_prob

WIDTH, LENGTH, BATCH = 64, 4, 128
env = toy_seq("tiny")


# --- 1. Your model ---


class Block(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.attention = nnx.MultiHeadAttention(2, WIDTH, decode=False, rngs=rngs)
        self.norms = nnx.List([nnx.LayerNorm(WIDTH, rngs=rngs) for _ in range(2)])
        self.up, self.down = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs), nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array, visible: jax.Array) -> jax.Array:
        x = x + self.attention(self.norms[0](x), mask=visible)
        return x + self.down(nnx.gelu(self.up(self.norms[1](x))))


class LanguageModel(nnx.Module):
    """Logits `[B, L, V]` of the token after each of `[B, L]`."""

    def __init__(self, vocabulary: int, context: int, rngs: nnx.Rngs) -> None:
        self.token = nnx.Embed(vocabulary, WIDTH, rngs=rngs)
        self.place = nnx.Embed(context, WIDTH, rngs=rngs)
        self.blocks = nnx.List([Block(rngs) for _ in range(2)])
        self.output = nnx.Linear(WIDTH, vocabulary, rngs=rngs)

    def __call__(self, token: jax.Array, mask: jax.Array) -> jax.Array:
        x = self.token(token) + self.place(jnp.arange(token.shape[1]))
        visible = nnx.make_causal_mask(token) * mask[:, None, None, :]
        for block in self.blocks:
            x = block(x, visible)
        return self.output(x).at[..., 0].set(-1e9)  # never padding


# --- 2. What rlx needs of it: the log-probability of each token of a completion ---


def log_prob(model: LanguageModel, prompt: jax.Array, token: jax.Array, mask: jax.Array) -> jax.Array:
    """`[B, P]`, `[B, T]`, `[B, T]` -> `[B, T]`: the logits that predict a token are those of the position before it."""
    everything = jnp.concatenate([prompt, token[:, :-1]], axis=1)
    logits = model(everything, everything != 0)[:, prompt.shape[1] - 1 :]
    return token_log_prob(logits, token, mask)


@nnx.jit
def generate(model: LanguageModel, prompt: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Answers `[B, T]` and which of their tokens count; without a cache, which so short ones do not need."""
    token = jnp.zeros((prompt.shape[0], LENGTH), jnp.int32)
    for t, step_key in enumerate(jax.random.split(key, LENGTH)):
        everything = jnp.concatenate([prompt, token], axis=1)
        logits = model(everything, everything != 0)[:, prompt.shape[1] - 1 + t]
        token = token.at[:, t].set(jax.random.categorical(step_key, logits))
    mask = completion_mask(token)
    return jnp.where(mask, token, 0), mask


# --- 3. Imitate, then prefer ---


@nnx.jit
def imitate(model: LanguageModel, optimiser: nnx.Optimizer, key: jax.Array) -> jax.Array:
    shown = env.demonstrations(key, BATCH)
    answers = shown.prompt, shown.token, shown.mask
    loss, grads = nnx.value_and_grad(lambda model: -log_prob(model, *answers).sum(axis=1).mean())(model)
    optimiser.update(model, grads)
    return loss


@nnx.jit
def prefer(model: LanguageModel, optimiser: nnx.Optimizer, pairs: tuple[jax.Array, ...], beta: float) -> jax.Array:
    """One step on pairs; candidates are rows one after the other for the model, and an axis for the loss."""
    prompt, token, mask, target, reference = pairs

    def loss(model: LanguageModel) -> jax.Array:
        rows = [x.reshape(-1, x.shape[-1]) for x in (jnp.repeat(prompt, 2, axis=0), token, mask)]
        return dpo_loss(log_prob(model, *rows).reshape(token.shape), mask, target, reference, beta=beta).mean()

    value, grads = nnx.value_and_grad(loss)(model)
    optimiser.update(model, grads)
    return value


def main(steps: int, beta: float) -> None:
    imitate_key, *answer_keys, judge_key, prefer_key, test_key = jax.random.split(jax.random.key(0), 6)
    model = LanguageModel(env.task.vocabulary, env.prompts.shape[1] + LENGTH, nnx.Rngs(0))
    optimiser = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
    loss = jnp.inf
    for step_key in jax.random.split(imitate_key, steps):
        loss = imitate(model, optimiser, step_key)
    print(f"imitation: loss {float(loss):.2f}")

    # pairs of the model's own answers, which a noisy judge compared; the reference's part is computed once
    prompt = jnp.repeat(env.prompts, 512, axis=0)
    drawn = [generate(model, prompt, key) for key in answer_keys]
    token, mask = (jnp.stack(x, axis=1) for x in zip(*drawn, strict=True))
    score = env.score(prompt[:, None], token, mask)
    target = jax.random.bernoulli(judge_key, jax.nn.sigmoid(4 * (score[:, 0] - score[:, 1]))).astype(jnp.float32)
    reference = jnp.stack([log_prob(model, prompt, *answers) for answers in drawn], axis=1)
    data = prompt, token, mask, target, reference
    print(f"reference: gold reward {float(score.mean()):.3f}")

    optimiser = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
    for step_key in jax.random.split(prefer_key, steps):
        row = jax.random.randint(step_key, (BATCH,), 0, len(prompt))
        loss = prefer(model, optimiser, tuple(x[row] for x in data), beta)
    token, mask = generate(model, prompt, test_key)
    gold, likely = env.score(prompt, token, mask).mean(), log_prob(model, prompt, token, mask).sum(axis=1).mean()
    print(f"preferences: loss {float(loss):.2f}, gold reward {float(gold):.3f} of at most {env.optimal_return():.3f}")
    print(f"answers have log-probability {float(likely):.2f}, those of the reference {reference.sum(-1).mean():.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400, float(sys.argv[2]) if len(sys.argv) > 2 else 0.3)
