"""Train a network on several machines: start the same command on each of them.

    export TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]},
                       "task": {"type": "worker", "index": 0}}'
    python -m tools.train_distributed --dataset PATH --task trimap --out DIR

Each machine has its own index in TF_CONFIG; all else is the same everywhere, DIR being
one folder that all machines see. Without TF_CONFIG one machine trains on all its GPUs.

However many share the work, the result is that of one process at the same batch size:
the loss is the sum over the valid pixels of the whole batch, divided by their number.
Every worker makes the whole batch and trains on its part, so photos, order and
augmentation cannot differ. Dropout is off: its random numbers would differ.

After each epoch the first worker writes a checkpoint and DIR/losses.json, at the end
DIR/model.keras. When a worker dies the others end within 60 s, if a step is shorter:
TensorFlow sees a closed connection at once, a silent machine after about 10 s. The same
command then goes on from the checkpoint, with as many workers as you like.
"""

import argparse
import contextlib
import faulthandler
import hashlib
import json
import os
import pathlib
import socket
import sys
import time
import urllib.parse

import keras
import numpy as np
import tensorflow as tf

from utils import batching, environment, fcn, networks, pets, training
from utils.metrics import cross_entropy

PATIENCE = 600  # seconds to wait for all workers at the start
LOST = (  # what TensorFlow raises, depending on what it was doing
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.UnavailableError,
)


def host_and_port(address: str) -> tuple[str, int]:
    parsed = urllib.parse.urlsplit(f"//{address}")
    return parsed.hostname, parsed.port


def cluster() -> tuple[list[str], int]:
    """Return all workers' addresses, and which this is; the first writes for all."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        return ["this machine"], 0
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        workers = [*jobs.get("chief", ()), *jobs["worker"]]
        worker = workers.index(jobs[task["type"]][task["index"]])
        good = task["index"] >= 0 and len({*workers}) == len(workers)
        good &= all(all(host_and_port(address)) for address in workers)
    except (ValueError, TypeError, LookupError, AttributeError):
        good = False
    if not good:
        raise ValueError(
            'TF_CONFIG must read {"cluster": {"worker": ["HOST:PORT", ...]}, "task": '
            '{"type": "worker", "index": I}}, all addresses different and I from 0 up '
            f"to the last of them; it reads {text[:200]}"
        )
    return workers, worker


def meet(workers: list[str], worker: int) -> None:
    """Wait until all workers have started.

    TensorFlow would wait far longer, deaf to signals and threads, and name nobody.
    """
    deadline = time.monotonic() + PATIENCE
    with socket.create_server(("", host_and_port(workers[worker])[1])):
        for address in workers[:worker] + workers[worker + 1 :]:
            print(f"waiting for {address}, {PATIENCE} s at most", flush=True)
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(host_and_port(address), 5).close()
                    break
                if time.monotonic() > deadline:
                    raise tf.errors.UnavailableError(None, None, address)
                time.sleep(0.2)


def joined(workers: list[str], worker: int) -> tf.distribute.Strategy:
    """Return the strategy, once all workers are there."""
    if os.environ.get("TF_CONFIG"):
        meet(workers, worker)
        # Nothing else ends the wait for a worker that dies right here.
        faulthandler.dump_traceback_later(60, exit=True)
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        faulthandler.cancel_dump_traceback_later()
        return strategy
    listed = tf.config.list_logical_devices  # logical: one CPU can pass for two
    devices = [device.name for device in listed("GPU") or listed("CPU")]
    return tf.distribute.MirroredStrategy(devices)


def check_batch_size(batch_size: int, number: int) -> None:
    if batch_size < 1 or batch_size % number:
        raise ValueError(
            f"the batch size {batch_size} cannot be divided among the {number} that "
            f"share it: give a multiple of {number}."
        )


def agree(strategy: tf.distribute.Strategy, text: str) -> bool:
    """Wait for all workers and return whether they hold the same text."""
    number = int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)
    mine = strategy.experimental_distribute_values_from_function(
        lambda _: tf.constant([number], tf.int64)
    )
    return len(np.unique(strategy.gather(mine, axis=0))) == 1


def parts(strategy: tf.distribute.Strategy, images: tf.Tensor, masks: tf.Tensor, size):
    """Give each device its part of a batch, a short one filled up with void photos."""
    more = [[0, size - len(masks)], [0, 0], [0, 0]]
    masks = tf.pad(masks, more, constant_values=pets.VOID)
    images = tf.pad(images, [*more, [0, 0]])
    share = size // strategy.num_replicas_in_sync

    def part(context):
        first = context.replica_id_in_sync_group * share
        return images[first : first + share], masks[first : first + share]

    return strategy.experimental_distribute_values_from_function(part)


def num_valid(masks: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(masks != pets.VOID, tf.float32))


def step_of(strategy: tf.distribute.Strategy, model: keras.Model):
    """Return the function that trains on one batch and returns its loss."""

    def on_device(part, valid):
        images, masks = part
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(model(images, training=True))
            loss = tf.add_n([cross_entropy(masks, x) for x in outputs])
            loss *= num_valid(masks) / valid  # from the part's mean to its share
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply(gradients)  # Keras adds them up over devices
        return loss

    @tf.function
    def step(batch, valid):
        losses = strategy.run(on_device, args=(batch, valid))
        return strategy.reduce("SUM", losses, axis=None)

    return step


def network(arguments: argparse.Namespace, steps: int) -> keras.Model:
    """Build the network, with an optimiser as `training.fit` has it."""
    weights = None if arguments.weights == "none" else arguments.weights
    options = {"fc_units": arguments.fc_units, "fc_kernel": 1, "weights": weights}
    num_classes = len(pets.CLASS_NAMES[arguments.task])
    model = fcn.build(arguments.variant, num_classes, dropout=0.0, **options)
    training.freeze(model, (1, 2))
    schedule = training.cosine_schedule(1e-3, steps)
    model.compile(training.AdamW(schedule, weight_decay=1e-4))
    model.optimizer.build(model.trainable_variables)
    return model


def restored(out: pathlib.Path, settings: dict, model: keras.Model):
    """Take over the last checkpoint; return what keeps them, and losses.json so far."""
    file, record = out / "losses.json", settings | {"losses": []}
    if file.is_file():
        try:
            record = dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            raise ValueError(f"{file} is damaged: remove {out}.") from None
    if record | settings != record:
        raise ValueError(
            f"{out} holds a run with other arguments or photos: give another --out."
        )
    checkpoints = training.Checkpoints(out / "checkpoints", model)
    checkpoints.set_model(model)
    del record["losses"][checkpoints.epoch :]
    return checkpoints, record


def set_up(arguments: argparse.Namespace, workers: list[str], worker: int):
    """Join the others; return the strategy, the data and what `restored` does."""
    check_batch_size(arguments.batch_size, len(workers))
    print(f"worker {worker}: {environment.prepare(arguments.seed)}", flush=True)
    strategy = joined(workers, worker)
    check_batch_size(arguments.batch_size, strategy.num_replicas_in_sync)
    options = {"augment": True, "shuffle": True}
    for name in ("task", "image_size", "batch_size", "seed", "data_dir"):
        options[name] = getattr(arguments, name)
    dataset = pets.load(arguments.dataset, "trainval", **options)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"{arguments.out} cannot be made ({error.strerror}): give another --out."
        ) from error
    keras.utils.set_random_seed(arguments.seed)  # preparing photos uses numbers up
    with strategy.scope():
        model = network(arguments, arguments.epochs * len(dataset))
    names = "\n".join(batching.plan_of(dataset).photo_names)
    settings = vars(arguments) | {
        "dataset": pathlib.Path(arguments.dataset).name,
        "steps": len(dataset),
        "photos": hashlib.sha256(names.encode()).hexdigest()[:16],
    }
    del settings["out"], settings["data_dir"]
    checkpoints, record = restored(arguments.out, settings, model)
    if not agree(strategy, f"{settings} {checkpoints.epoch}"):
        raise ValueError(
            "the workers differ in their arguments, photos or checkpoint: start all "
            "with the same command, --out being a folder that all of them see."
        )
    return strategy, dataset, checkpoints, record


def train(strategy, dataset, checkpoints, record, out: pathlib.Path, chief: bool):
    """Train from where the checkpoint stands to the end, and save the network."""
    model, plan = checkpoints.model, batching.plan_of(dataset)
    step = step_of(strategy, model)
    for epoch in range(checkpoints.epoch, record["epochs"]):
        plan.epoch, losses = epoch, []
        for images, masks in dataset:
            batch = parts(strategy, images, masks, plan.batch_size)
            losses.append(float(step(batch, tf.maximum(num_valid(masks), 1))))
            if not np.isfinite(losses[-1]):  # all workers see the same
                names = ", ".join(plan.names(epoch, len(losses) - 1))
                raise FloatingPointError(
                    f"the loss is {losses[-1]} in epoch {epoch + 1}, batch "
                    f"{len(losses)}, files: {names}: look at these photos."
                )
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}", flush=True)
        record["losses"].append(losses)
        if chief:
            environment.write_json(out / "losses.json", record)
            checkpoints.on_epoch_end(epoch, {"loss": np.mean(losses)})
    digest = hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights()))
    print(f"weights {digest.hexdigest()}", flush=True)
    if chief:
        networks.save_model(model, out / "model.keras")
    # Nobody leaves before the chief has saved: it would take that for a death.
    if not agree(strategy, digest.hexdigest()):
        raise RuntimeError("the workers ended with different weights")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train on one or several machines.")
    option = parser.add_argument
    option("--dataset", required=True, help="as in pets.load")
    option("--task", default="trimap", choices=pets.CLASS_NAMES)
    option("--variant", default="32s", choices=fcn.VARIANTS)
    option("--image-size", type=int, default=160)
    option("--epochs", type=int, default=12)
    option("--batch-size", type=int, default=8, help="of all together")
    option("--seed", type=int, default=0)
    option("--fc-units", type=int, default=512)
    option("--weights", default="imagenet_convolutions", help="or none")
    option("--data-dir", help="as in pets.load")
    option("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error(f"--epochs is {arguments.epochs}: give 1 or more.")
    return arguments


def main() -> int:
    arguments, joined_others = parsed(), False
    try:
        workers, worker = cluster()
        ready = set_up(arguments, workers, worker)
        joined_others = len(workers) > 1
        train(*ready, arguments.out, chief=worker == 0)
        return 0
    except LOST:
        if len(workers) == 1:
            raise
        code, joined_others = 1, True
        sentence = (
            "another worker is lost: start all workers again with the same command, "
            "the last checkpoint is used."
        )
    except (ValueError, OSError, FloatingPointError) as error:
        code, sentence = 2, str(error)
    print(f"error: {sentence}", file=sys.stderr, flush=True)
    if joined_others:
        os._exit(code)  # a clean end might wait for the one that is lost
    return code


if __name__ == "__main__":
    sys.exit(main())
