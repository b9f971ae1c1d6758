"""The training step and the validation step: pure functions of state and batch, jitted once a batch shape."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from atomas_jax.batching.batches import Batch
from atomas_jax.model.atomas import Atomas, Outputs, Starts, beside_texts, head_kernel, head_logits
from atomas_jax.model.configuration import ModelConfig
from atomas_jax.model.layout import join
from atomas_jax.objectives.configuration import ObjectiveConfig
from atomas_jax.objectives.contrast import Queue, enqueue
from atomas_jax.objectives.language import TokenLoss, token_loss_of_states
from atomas_jax.objectives.total import joint_loss
from atomas_jax.training.partitioning import batch_sharding, replicated
from atomas_jax.training.state import TrainState

Metrics = dict[str, jax.Array]


def make_train_step(
    model: ModelConfig,
    objectives: ObjectiveConfig,
    optimizer: optax.GradientTransformation,
    starts: Starts,
    places: TrainState,
    accumulate: int,
    seed: int,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The jitted step, on the mesh of `places` (`state.shardings`). It donates the state.

    Metrics are float32 scalars: every loss term, unweighted, and a few more.

    A step whose loss or gradient is not finite changes nothing but the counters: parameters, average, optimiser and
    queue stay as they were, and `refused` of the metrics is 1.
    """
    network = Atomas(model)
    mesh = places.step.mesh
    dropout = jax.random.key(seed, impl="rbg")  # a stream of its own; threefry costs more than the layers on CPU

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        batch = jax.lax.with_sharding_constraint(batch, batch_sharding(mesh))
        # Atomas and ALBEF move the momentum copy first, then take its features
        average = optax.incremental_update(state.params, state.average, 1 - objectives.momentum)
        momentum = None
        if objectives.uses_queue:
            embed = lambda *strings: network.apply({"params": average}, *strings, method="embed_blocks")  # noqa: E731
            momentum = (embed("text", batch.text), beside_texts(embed("smiles", batch.smiles), batch.partner))

        def loss(params, part: Batch, momentum, queue: Queue | None, key):
            outputs = run(network, params, part, objectives, starts, key)
            caption, generation = language_losses(model, params, objectives, outputs, part)
            return joint_loss(
                objectives, part.molecule.reshape(-1), outputs.aligned, momentum, queue,
                share(caption, batch.text, accumulate), share(generation, batch.target_smiles, accumulate),
                part.partner,
            )  # fmt: skip

        key = jax.random.fold_in(dropout, state.step)
        gradients, total, terms = accumulated(loss, state.params, batch, momentum, state.queue, key, accumulate)
        norm = optax.global_norm(gradients)
        sound = jnp.isfinite(total) & jnp.isfinite(norm)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        queue = enqueue(state.queue, *momentum, batch.molecule.reshape(-1)) if objectives.uses_queue else None
        new = (optax.apply_updates(state.params, updates), average, optimizer_state, queue)
        old = (state.params, state.average, state.optimizer, state.queue)
        kept = jax.tree.map(lambda a, b: jnp.where(sound, a, b), new, old)
        refused = jnp.where(sound, 0, state.refused + 1)
        metrics = {"loss": total, **terms, "gradient_norm": norm, "refused": 1 - sound.astype(jnp.float32)}
        return TrainState(state.step + 1, *kept, refused), metrics

    # said, not left to the compiler: a state that came back laid out otherwise would compile the next step again
    return jax.jit(step, donate_argnums=0, out_shardings=(places, replicated(mesh)))


def accumulated(loss, params, batch: Batch, momentum, queue, key, parts: int):
    """Gradient, total and terms of a loss, the mean over `parts` equal parts of the batch taken one after another:
    each some of its groups."""
    gradient = jax.value_and_grad(loss, has_aux=True)
    if parts == 1:
        (total, terms), gradients = gradient(params, batch, momentum, queue, key)
        return gradients, total, terms

    groups = batch.partner.shape[0]

    def split(array):  # groups of a part lie `parts` apart, so that a sharded batch stays spread over the devices
        by_group = array.reshape(groups // parts, parts, -1, *array.shape[1:]).swapaxes(0, 1)
        return by_group.reshape(parts, -1, *array.shape[1:])

    def one(part):
        index, rows, momentum_rows = part
        (total, terms), gradients = gradient(params, rows, momentum_rows, queue, jax.random.fold_in(key, index))
        return gradients, total, terms

    inputs = (jnp.arange(parts), *jax.tree.map(split, (batch, momentum)))
    shapes = jax.eval_shape(one, jax.tree.map(lambda x: x[0], inputs))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    sums, _ = jax.lax.scan(lambda sums, part: (jax.tree.map(jnp.add, sums, one(part)), None), zeros, inputs)
    return jax.tree.map(lambda x: x / parts, sums)


def run(network: Atomas, params, batch: Batch, objectives: ObjectiveConfig, starts: Starts, key=None) -> Outputs:
    """The model on a batch, only the parts with a weight; with dropout when there is a key."""
    return network.apply(
        {"params": params}, batch.smiles, batch.target_smiles, batch.text, batch.partner, starts,
        deterministic=key is None,
        caption=objectives.language * objectives.caption > 0,
        generation=objectives.language * objectives.generation > 0,
        aligned=objectives.global_alignment + objectives.hierarchical > 0,
        rngs=None if key is None else {"dropout": key},
    )  # fmt: skip


def language_losses(
    model: ModelConfig, params, objectives: ObjectiveConfig, outputs: Outputs, batch: Batch
) -> tuple[TokenLoss | None, TokenLoss | None]:
    """Token losses of captioning and of generation; None where the direction is switched off."""
    kernel = head_kernel(params, model)

    def one(states, blocks):
        if states is None:
            return None
        targets = join(blocks)
        return token_loss_of_states(
            partial(head_logits, config=model), kernel, states, targets, targets != 0,
            objectives.label_smoothing, objectives.z_loss,
        )  # fmt: skip

    return one(outputs.caption, batch.text), one(outputs.generation, batch.target_smiles)


def share(loss: TokenLoss | None, targets: Sequence[jax.Array], parts: int) -> TokenLoss | None:
    """A part's loss with the count a part has on average, so that the mean of the parts is the mean over all tokens."""
    return loss and loss._replace(count=sum((block != 0).sum() for block in targets) / parts)


def make_validation_step(model: ModelConfig, objectives: ObjectiveConfig, starts: Starts, mesh: Mesh):
    """The jitted (params, batch) -> (losses by name as (sum, weight), text embeddings, SMILES embeddings).

    No dropout. Language losses are token sums; alignment terms are in-batch means weighted by real rows, the global
    one in its "softmax" form (a queue belongs to training). Embeddings are [G * R, E] and lie as the texts do. Results
    are whole on every device of the mesh.
    """
    network = Atomas(model)
    objectives = replace(objectives, global_form="softmax", label_smoothing=0.0, z_loss=0.0)
    alignments = replace(objectives, language=0.0)

    def step(params, batch: Batch):
        outputs = run(network, params, batch, objectives, starts)
        losses = {}
        for name, loss in zip(("caption", "generation"), language_losses(model, params, objectives, outputs, batch)):
            if loss is not None:
                losses[name] = (loss.cross_entropy, loss.count)
                losses[f"{name}_accuracy"] = (loss.correct, loss.count)
        rows = (batch.molecule >= 0).sum()
        embeddings = None
        if outputs.aligned is not None:
            molecule = batch.molecule.reshape(-1)
            _, terms = joint_loss(alignments, molecule, outputs.aligned, partner=batch.partner)
            losses |= {name: (value * rows, rows) for name, value in terms.items()}
            embeddings = (outputs.aligned.text.embedding, outputs.aligned.smiles.embedding)
        return losses, embeddings

    return jax.jit(step, out_shardings=replicated(mesh))
