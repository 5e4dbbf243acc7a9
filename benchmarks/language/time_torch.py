"""The same small language model in plain PyTorch: sampled from a cache, and trained by DPO. Run by the peer's Python
with a specification (JSON) as argument.

Eager operations with the library's own attention and optimiser, nothing copied to the host inside the timed part, and
reference log-probabilities computed beforehand, as on our side.
"""

from __future__ import annotations

from typing import Any

from benchmarks.language import workload
from benchmarks.speed.meter import Meter, worker


def measure(spec: dict[str, Any], meter: Meter) -> dict[str, Any]:
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]
    from torch.nn import functional  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(len(spec["cores"]))
    torch.manual_seed(0)
    vocabulary, width, depth, heads = workload.VOCABULARY, workload.WIDTH, workload.DEPTH, workload.HEADS
    prompt_length, length, batch = workload.PROMPT, workload.LENGTH, workload.BATCH
    size = width // heads
    angle = torch.arange(prompt_length + length)[:, None] * 100.0 ** (-torch.arange(size // 2) / (size // 2))
    turn = torch.polar(torch.ones_like(angle), angle)

    def rotate(x: Any, start: int) -> Any:
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * turn[start : start + x.shape[-2]]).flatten(-2)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
            self.inward, self.outward = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
            self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any, past: Any) -> tuple[Any, Any]:
            split = self.inward(self.before(x)).unflatten(-1, (3, heads, size)).transpose(1, 3)
            query, key, value = split.unbind(2)  # [B, H, L, D]
            start = 0 if past is None else past[0].shape[2]
            query, key = rotate(query, start), rotate(key, start)
            if past is not None:
                key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
            y = functional.scaled_dot_product_attention(query, key, value, is_causal=past is None)
            x = x + self.outward(y.transpose(1, 2).flatten(2))
            return x + self.narrow(functional.gelu(self.wide(self.between(x)))), (key, value)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(vocabulary, width)
            self.blocks = nn.ModuleList(Block() for _ in range(depth))
            self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, vocabulary)

        def forward(self, token: Any, past: Any = None) -> tuple[Any, Any]:
            x, kept = self.embed(token), []
            for i, block in enumerate(self.blocks):
                x, new = block(x, None if past is None else past[i])
                kept.append(new)
            return self.output(self.norm(x)), kept

    model = Model()
    prompt = torch.randint(2, vocabulary, (workload.PAIRS, prompt_length))

    @torch.no_grad()
    def sample(prompt: Any) -> tuple[Any, Any]:
        """Completions and the log-probabilities of their tokens, `[B, T]`."""
        logits, past = model(prompt)
        tokens, log_probs = [], []
        for step in range(length):
            log_prob = functional.log_softmax(logits[:, -1], -1)
            token = torch.multinomial(log_prob.exp(), 1)
            tokens.append(token)
            log_probs.append(log_prob.gather(1, token))
            if step + 1 < length:
                logits, past = model(token, past)
        return torch.cat(tokens, 1), torch.cat(log_probs, 1)

    def log_prob(prompt: Any, completion: Any) -> Any:
        """Sums over the tokens of completions `[B, 2, T]`."""
        both = torch.cat([prompt[:, None].expand(-1, 2, -1), completion[..., :-1]], -1).flatten(0, 1)
        scores = functional.log_softmax(model(both)[0][:, prompt_length - 1 :], -1)
        return scores.gather(2, completion.flatten(0, 1)[..., None]).sum((1, 2)).unflatten(0, (-1, 2))

    completion = torch.randint(2, vocabulary, (workload.PAIRS, 2, length))
    with torch.no_grad():
        reference = log_prob(prompt, completion)
    optimiser = torch.optim.Adam(model.parameters(), lr=workload.LEARNING_RATE)

    def learn() -> Any:
        row = torch.randint(workload.PAIRS, (batch,))
        score = log_prob(prompt[row], completion[row]) - reference[row]
        loss = -functional.logsigmoid(workload.BETA * (score[:, 0] - score[:, 1])).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), workload.MAX_GRAD_NORM)
        optimiser.step()
        return loss

    once: Any = (lambda: sample(prompt[:batch])[1].mean()) if spec["part"] == "sampling" else learn
    meter.lap()
    score = once()
    first = meter.lap()
    for _ in range(spec["steps"]):
        score = once()
    return {"compile": first, "run": meter.lap(), "score": float(score)}


if __name__ == "__main__":
    worker(measure)
