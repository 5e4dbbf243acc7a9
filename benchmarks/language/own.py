"""rlx's side: samples and preference training by its public functions, as one compiled program each."""

from __future__ import annotations

from typing import Any

from benchmarks.language import workload
from benchmarks.speed.meter import Meter, time_program, worker


def measure(spec: dict[str, Any], meter: Meter) -> dict[str, Any]:
    """`spec["part"]` and `spec["side"]` of `workload.PARTS`, `spec["steps"]` times."""
    import jax
    import jax.numpy as jnp

    from rlx.algos import offline_alignment
    from rlx.envs.token import toy_seq
    from rlx.nets.language import TransformerLM, init, sample
    from rlx.runtime import train
    from rlx.types import PreferenceBatch

    model = TransformerLM(workload.VOCABULARY, workload.WIDTH, workload.DEPTH, workload.HEADS)
    params_key, prompt_key, token_key, run_key = jax.random.split(jax.random.key(0), 4)
    params = init(model, params_key)
    prompt = jax.random.randint(prompt_key, (workload.PAIRS, workload.PROMPT), 2, model.vocabulary)
    mask = jnp.ones(prompt.shape, bool)
    if spec["part"] == "sampling":

        def draw(params: Any, key: jax.Array) -> jax.Array:
            rows = slice(workload.BATCH)
            drawn = lambda key: sample(model, params, key, prompt[rows], mask[rows], workload.LENGTH)  # noqa: E731
            return jax.lax.map(lambda key: drawn(key).log_prob.mean(), jax.random.split(key, spec["steps"]))

        score, compile_lap, run_lap = time_program(meter, draw, params, run_key)
        return {"compile": compile_lap, "run": run_lap, "score": float(score[-1])}

    shape = (workload.PAIRS, 2, workload.LENGTH)
    data = PreferenceBatch(
        obs=None,
        action=jax.random.randint(token_key, shape, 2, model.vocabulary),
        mask=jnp.ones(shape, bool),
        target=jnp.tile(jnp.array([1.0, 0.0]), (workload.PAIRS, 1)),
        prompt=prompt,
        prompt_mask=mask,
    )
    data = offline_alignment.with_reference(model, params, data)

    def learn(beta: Any, key: jax.Array, data: PreferenceBatch) -> jax.Array:
        config = offline_alignment.Config(
            beta=beta,
            learning_rate=workload.LEARNING_RATE,
            max_grad_norm=workload.MAX_GRAD_NORM,
            batch_size=workload.BATCH,
        )
        algorithm = offline_alignment.make(config, toy_seq("small"), model=model, reference=params)
        return train(algorithm, key, spec["steps"], data)[1]["loss"][-1]

    betas = jnp.array([workload.BETA] if spec["part"] == "dpo" else workload.BETAS)
    if spec["side"] == "rlx, one program":
        program = lambda betas, key, data: jax.vmap(learn, (0, None, None))(betas, key, data).mean()  # noqa: E731
        score, compile_lap, run_lap = time_program(meter, program, betas, run_key, data)
        return {"compile": compile_lap, "run": run_lap, "score": float(score)}
    meter.lap()
    compiled = jax.jit(learn).lower(betas[0], run_key, data).compile()
    compile_lap = meter.lap()
    losses = [jax.block_until_ready(compiled(beta, run_key, data)) for beta in betas]
    return {"compile": compile_lap, "run": meter.lap(), "score": float(jnp.mean(jnp.stack(losses)))}


if __name__ == "__main__":
    worker(measure)
