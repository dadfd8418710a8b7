"""Compare FCN-8s on TensorFlow with the same network in PyTorch, in turn.

    pip install -r requirements-backends.txt

Both have the same layers, slim head, loss and optimiser, and all cores. PyTorch's copy
is channels last, so its convolutions read memory as TensorFlow's do. First it is shown
that with the same weights both give the same logits. Then, run by run, in float32 and
in bfloat16: a training step, a forward pass of one photo, and a large matrix product,
which is the rate the cores reach at best. Writes results/pytorch.json.
"""

import functools
import os
import re
import sys
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks import timing, train_step
from utils import environment, fcn

# For GPUs, and loaded after TensorFlow it ends the process.
sys.modules.setdefault("triton", None)
try:
    import torch
    from torch.nn import functional
except ImportError:
    sys.exit("error: PyTorch is missing: pip install -r requirements-backends.txt")


class FCN8s(torch.nn.Module):
    """FCN-8s with the weights of one of `fcn.build("8s", ...)`."""

    def __init__(self, model: keras.Model):
        super().__init__()
        self.parts, self.scales = torch.nn.ModuleDict(), {}
        for layer in model.layers:
            if isinstance(layer, keras.layers.Rescaling):
                self.scales[layer.name] = layer.scale
            elif isinstance(layer, keras.layers.Conv2DTranspose):
                kernel = torch.tensor(layer.get_weights()[0]).permute(3, 2, 0, 1)
                self.register_buffer(layer.name, kernel.contiguous())
            elif isinstance(layer, keras.layers.Conv2D):
                kernel, bias = layer.get_weights()
                side, _, inputs, outputs = kernel.shape
                part = torch.nn.Conv2d(inputs, outputs, side, padding=side // 2)
                part.weight.data = torch.tensor(kernel).permute(3, 2, 0, 1).contiguous()
                part.bias.data = torch.tensor(bias)
                self.parts[layer.name] = part
            elif layer.name == "mean_subtraction":
                mean = torch.tensor(layer.get_weights()[0])
                self.register_buffer("mean", mean[:, None, None])

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        """Return logits (B, C, H, W) of photos (B, 3, H, W), sides multiples of 32."""
        x, pools = photos - self.mean, {}
        for name, part in self.parts.items():
            block, number = re.match(r"block(\d)_conv(\d)|", name).groups()
            if block is None:
                break
            x = functional.relu(part(x))
            if f"block{block}_conv{int(number) + 1}" not in self.parts:
                x = functional.max_pool2d(x, 2)
                if scale := self.scales.get(f"pool{block}_rescaled"):
                    pools[f"pool{block}"] = x * scale
        x = pools["pool5"]
        for name in ("fc6", "fc7"):
            x = functional.relu(self.parts[name](x))
            x = functional.dropout(x, 0.5, self.training)
        scores = self.scored(x, "fc7")
        for source, skip in (("fc7", "pool4"), ("pool4", "pool3")):
            scores = self.enlarged(scores, f"up2_{source}", 2)
            scores = scores + self.scored(pools[skip], skip)
        return self.enlarged(scores, "up8", 8)

    def scored(self, features: torch.Tensor, name: str) -> torch.Tensor:
        """Score every position in float32."""
        with torch.autocast("cpu", enabled=False):
            return self.parts[f"score_{name}"](features.float())

    def enlarged(self, scores: torch.Tensor, name: str, factor: int) -> torch.Tensor:
        """Enlarge scores by the fixed kernel, their edges repeated before."""
        scores = functional.pad(scores, (1, 1, 1, 1), mode="replicate")
        kernel, options = (
            getattr(self, name),
            {"stride": factor, "padding": factor // 2},
        )
        with torch.autocast("cpu", enabled=False):
            scores = functional.conv_transpose2d(scores, kernel, **options)
        return scores[..., factor:-factor, factor:-factor]


def torch_measures(model, images, masks, precision: str) -> dict[str, Callable]:
    """Return functions that do a training step, and a forward pass of one photo."""
    network = FCN8s(model).to(memory_format=torch.channels_last)
    photos = torch.tensor(images).permute(0, 3, 1, 2)
    photos = photos.contiguous(memory_format=torch.channels_last)
    truth = torch.tensor(np.int64(masks))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=4e-3)
    half = precision == "mixed_bfloat16"

    def step() -> float:
        network.train()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = network(photos)
        loss = functional.cross_entropy(logits.float(), truth)
        loss.backward()
        optimizer.step()
        return loss.item()

    def forward() -> np.ndarray:
        network.eval()
        with (
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16, enabled=half),
        ):
            return network(photos[:1]).numpy()

    return {"step": step, "forward": forward}


def product(size: int, dtype: str) -> Callable[[], object]:
    """Return a large matrix product in a precision, by TensorFlow."""
    matrix = tf.cast(tf.random.normal((size, size)), dtype)
    work = tf.function(lambda: tf.reduce_sum(tf.cast((matrix @ matrix), tf.float32)))
    return lambda: work().numpy()


def difference(model: keras.Model, images: np.ndarray) -> float:
    """Return how far the two networks' logits are apart, relative to the largest."""
    ours = model(images, training=False).numpy()
    measures = torch_measures(model, images, np.zeros(images.shape[:3]), "float32")
    theirs = measures["forward"]().transpose(0, 2, 3, 1)
    return float(np.abs(ours[:1] - theirs).max() / np.abs(ours[:1]).max())


def main() -> None:
    arguments = timing.begin(__doc__, size=224, batch=4, runs=5, product=4096)
    if arguments.size % 32:
        sys.exit("error: --size: give a multiple of 32.")
    torch.set_num_threads(os.cpu_count())
    random = np.random.default_rng(0)
    shape = (arguments.batch, arguments.size, arguments.size)
    images = np.float32(random.integers(0, 256, (*shape, 3)))
    masks = random.integers(0, 3, shape)
    found = {}
    for precision in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(precision)
        model = fcn.build("8s", 3, **train_step.SLIM)
        for weight in model.trainable_weights:
            if "score" in weight.path:  # they begin as zeros, whose logits say nothing
                weight.assign(random.normal(0, 0.1, weight.shape))
        if precision == "float32":
            apart = difference(model, images)
            print(f"logits of both differ by {apart:.1e}")
            if not apart < 1e-4:
                sys.exit("error: the two networks are not the same.")
        # As tensors: TensorFlow would compute with arrays in advance.
        photos, truth = tf.constant(images), tf.constant(masks)
        inference = tf.function(functools.partial(model, training=False))
        dtype = precision.removeprefix("mixed_")
        theirs = torch_measures(model, images, masks, precision)
        works = {  # how much is done, the work
            "ours, step": (len(images), train_step.bare(photos, truth)),
            "PyTorch, step": (len(images), theirs["step"]),
            "ours, forward": (1, lambda f=inference, x=photos[:1]: f(x).numpy(), 5),
            "PyTorch, forward": (1, theirs["forward"], 5),
            "product": (2e-9 * arguments.product**3, product(arguments.product, dtype)),
        }
        measures = {name: timing.rate(*work) for name, work in works.items()}
        rates = timing.in_turn(measures, arguments.runs)
        found[precision] = {
            "photos_per_s": {n: timing.summary(v) for n, v in list(rates.items())[:4]},
            "product_gflops": timing.summary(rates["product"]),
            "ours_over_pytorch": {
                kind: timing.ratios(rates[f"ours, {kind}"], rates[f"PyTorch, {kind}"])
                for kind in ("step", "forward")
            },
        }
    about = {"settings": vars(arguments), "pytorch": torch.__version__}
    about |= {"logits_differ_by": apart, "precisions": found}
    print("written:", environment.write_results("pytorch", about).name)


if __name__ == "__main__":
    main()
