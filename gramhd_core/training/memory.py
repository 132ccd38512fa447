"""How many pieces a batch must be pushed through in, so that a training step fits a given memory. A model, not a trial.

What a step holds is counted from the config: weights with gradients, two moments and an average; activations that are
kept (networks/fast_fields.py and networks/forgetful.py say when); maps and hits; the discriminator with R1. float32.
Counts are meant to be above what is needed rather than below: `benchmarks/bench_training_step.py` measures it.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from gramhd_core.errors import BadArgument
from gramhd_core.generators.gram import Gram, GramConfig
from gramhd_core.generators.gram_hd import GramHd, GramHdConfig
from gramhd_core.networks import fast_fields, forgetful
from gramhd_core.networks.discriminators import Discriminator, DiscriminatorConfig
from gramhd_core.training.config import RunConfig

PROGRAM = 600 << 20  # bytes of interpreter, torch and compiled code
COPIES = 6  # of every weight: itself, gradient, two moments, average, what an unusable step goes back to
PER_POINT = 40  # numbers per point of a surface that rendering with gradients holds: hits, colours, weights of layers
PER_TEXEL = 24  # numbers per texel and map: maps, their gradients, what they are before the sigmoid
PER_ACTIVATION = 9  # tensors the size of a block's output that one pass of the discriminator holds with gradients
PASSES = 4  # of the discriminator: on fakes and on reals, and the two of R1


def micro_batches(config: RunConfig, gigabytes: float) -> int:
    """The smallest number of pieces of the batch with which a step fits into so many GB (10^9 bytes).

    BadArgument where not even one image at a time does.
    """
    batch = config.train.batch
    for pieces in (count for count in range(1, batch + 1) if batch % count == 0):
        if step_bytes(config, batch // pieces) <= 1e9 * gigabytes:
            return pieces
    raise BadArgument(
        f"--vram {gigabytes:g}",
        expected=f"one image at a time of {config.preset} needs about {step_bytes(config, 1) / 1e9:.1f} GB",
        remedy="choose a smaller preset or a device with more memory",
    )


def fitted(config: RunConfig, gigabytes: float | None) -> RunConfig:
    """The config with as few micro-batches as fit; None leaves it as it is."""
    if gigabytes is None:
        return config
    return replace(config, train=replace(config.train, micro_batches=micro_batches(config, gigabytes)))


def step_bytes(config: RunConfig, images: int) -> int:
    """About the peak memory of a training step of so many images at once."""
    generator = config.generator
    fixed = PROGRAM + 4 * COPIES * _weights(config)
    seen = 4 * PASSES * images * _judged(config.discriminator)
    if isinstance(generator, GramHdConfig):
        return fixed + max(seen, _made_hr(generator, images)) + 4 * images * _judged(config.discriminator)
    return fixed + max(seen, _made_lr(generator, images)) + 4 * images * _judged(config.discriminator)


def _made_lr(c: GramConfig, images: int) -> int:
    """Bytes of a rendering by the field, with gradients."""
    points = images * c.image_size**2 * c.manifolds.count
    total = 4 * points * PER_POINT + min(8 * points * c.field.film_layers * c.field.hidden, fast_fields.KEEP)
    if c.manifolds.predictor == "mlp":
        evaluations = points if c.manifolds.hits == "refined" else points * c.manifolds.samples // c.manifolds.count
        total += 8 * evaluations * c.manifolds.layers * c.manifolds.hidden
    return total


def _made_hr(c: GramHdConfig, images: int) -> int:
    """Bytes of a rendering of super-resolved maps, with gradients."""
    maps, side = images * c.low.manifolds.level_sets, c.low.image_size
    each = forgetful.activation_bytes(c.sr, side, blocks=c.sr.blocks, ups=c.sr.up_channels)
    kept = maps * each if maps * each <= forgetful.ROOM else each
    texels = maps * c.image_size**2
    features = 8 * images * side**2 * c.low.manifolds.count * (4 + c.low.field.features)
    return kept + 4 * texels * PER_TEXEL + features


def _judged(c: DiscriminatorConfig) -> int:
    """Numbers that one pass of the discriminator over an image holds."""
    sides = [c.image_size >> i for i in range(len(c.channels()))]
    return PER_ACTIVATION * sum(side * side * width for side, width in zip(sides, c.channels(), strict=True))


def _weights(config: RunConfig) -> int:
    generator = config.generator
    with torch.device("meta"):
        networks = [
            GramHd(generator) if isinstance(generator, GramHdConfig) else Gram(generator),
            Discriminator(config.discriminator),
        ]
    return sum(p.numel() for network in networks for p in network.parameters())
