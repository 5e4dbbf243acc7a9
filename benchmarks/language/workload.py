"""What is timed, in numbers that both sides read. Standard library only."""

from __future__ import annotations

# The model: a decoder with rotary positions, a layer norm before each part, GELU in between.
VOCABULARY, WIDTH, DEPTH, HEADS = 32, 64, 2, 2
PROMPT, LENGTH = 4, 16  # tokens
BATCH = 64  # prompts that are answered at once, pairs in a gradient step
BETA, LEARNING_RATE, MAX_GRAD_NORM = 0.1, 1e-3, 1.0
STEPS = 200  # batches of samples, gradient steps
PAIRS = 1024  # from which gradient steps draw
BETAS = [0.02 * 1.25**i for i in range(16)]

# what is timed -> sides, and what a token is
PARTS = {
    "sampling": (("rlx", "pytorch"), BATCH * LENGTH),
    "dpo": (("rlx", "pytorch"), BATCH * 2 * LENGTH),
    "betas": (("rlx, one program", "rlx, 16 runs"), BATCH * 2 * LENGTH * len(BETAS)),
}
