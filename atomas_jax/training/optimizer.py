"""From OptimizerConfig to an optax transformation."""

import jax
import optax

from atomas_jax.training.configuration import OptimizerConfig

DECAYED = ("kernel", "embedding")
"""Names of the parameters weight decay shrinks; scales, biases and temperatures are left alone."""


def schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Learning rate by step (counted from 0): a linear warm-up, then the named decay up to `steps`."""
    peak, warmup = config.learning_rate, max(config.warmup_steps, 1)
    after = {
        "constant": lambda: optax.constant_schedule(peak),
        "linear": lambda: optax.linear_schedule(peak, 0.0, max(steps - warmup, 1)),
        "cosine": lambda: optax.cosine_decay_schedule(peak, max(steps - warmup, 1)),
        "rsqrt": lambda: lambda step: peak * (warmup / (step + warmup)) ** 0.5,
    }[config.schedule]()
    # the step is counted from 0 and a first step of rate 0 would be lost, so the rise starts at 1 / warmup
    return optax.join_schedules([optax.linear_schedule(peak / warmup, peak, warmup - 1), after], [warmup - 1])


def decay_mask(params) -> dict:
    """True where weight decay applies, by the parameter's own name."""

    def decays(path, _) -> bool:
        names = [step.key for step in path]
        return names[-1] in DECAYED and "relative_bias" not in names

    return jax.tree_util.tree_map_with_path(decays, params)


def build(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Clipping by global norm, then AdamW (Loshchilov & Hutter 2019) or Adafactor (Shazeer & Stern 2018, as in T5X)."""
    rate = schedule(config, steps)
    if config.name == "adamw":
        update = optax.adamw(
            rate, config.beta1, config.beta2, config.epsilon, weight_decay=config.weight_decay, mask=decay_mask
        )
    else:
        # optax adds this decay after the learning rate is applied, AdamW's before: the rate makes them the same
        decay = (lambda step: config.weight_decay * rate(step)) if config.weight_decay else None
        update = optax.adafactor(rate, weight_decay_rate=decay, weight_decay_mask=decay_mask)
    return optax.chain(optax.clip_by_global_norm(config.clip), update) if config.clip else update
