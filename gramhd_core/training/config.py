"""What a training run is told: generator, discriminator and schedule, typed and overridable field by field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from gramhd_core.configs import at_least, to_dict
from gramhd_core.errors import BadConfig
from gramhd_core.generators.gram import GramConfig
from gramhd_core.generators.gram_hd import GramHdConfig
from gramhd_core.networks.discriminators import DiscriminatorConfig
from gramhd_core.networks.encoders import EncoderConfig

FREE = (  # fields of TrainConfig that may change between the sittings of one run
    *("images", "max_minutes", "micro_batches", "workers", "log_every", "sample_every", "save_every"),
    *("keep", "keep_every", "bad_steps", "returns"),
)


@dataclass(frozen=True)
class TrainConfig:
    """Schedule and weights of one stage. Defaults: the numbers of GRAM-HD's reference config for GRAM64.

    Learning rates, Adam betas (0.0, 0.9); r1_weight is that of a step with R1 every step: with r1_every = k the term
    is computed on every k-th step and multiplied by k.
    """

    images: int = 6_400_000  # real images to show in total (100,000 steps of 64)
    batch: int = 64
    micro_batches: int = 1  # the batch is pushed through the networks in this many pieces
    g_lr: float = 2e-5
    d_lr: float = 2e-4
    clip: float = 0.3  # L2 norm of all gradients of one network
    pose_fake: float = 15.0
    pose_real: float = 15.0
    r1_weight: float = 1.0
    r1_every: int = 1
    r1_patch: bool = False
    patch_weight: float = 0.0
    consistency_weight: float = 0.0
    consistency_maps: bool = True  # the consistency loss also compares maps (published); False: only the image
    fresh_fakes: bool = (
        True  # the generator's step draws new latents (published); False: it reuses the fakes D just saw
    )
    reconstruction: float = 0.0  # weight of the difference to the photographs themselves; 0: adversary only (published)
    reconstruction_lr: float = 1e-3  # of encoder and generator in it, with betas (0.9, 0.99)
    divergence: float = 3e-5  # weight of the latent prior in it, per nat
    adversary: bool = True  # False: photographs are all it learns from
    discriminator_from: int = 0  # images shown before D learns, and
    adversarial_from: int = 0  # before G learns from it; both need reconstruction
    grow_discriminator: bool = False  # begin with the discriminator of the run that --lr-ckpt or --start names
    cooldown: int = 0  # images before the end over which all learning rates fall to a twentieth
    ema: float = 0.999
    mirror: bool = True
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = 0
    log_every: int = 10  # steps
    sample_every: int = 32_000  # images
    save_every: int = 320_000  # images
    keep: int = 3  # newest checkpoints kept
    keep_every: int = 0  # images; the model of the first checkpoint after every so many is kept as well; 0: none
    bad_steps: int = 10  # in a row with numbers that are not finite, before the run goes back to its last checkpoint
    returns: int = 2  # at most, each with halved learning rates
    max_minutes: float = 0.0  # stop, with a checkpoint, after this long; 0: no limit
    workers: int = 2

    def __post_init__(self) -> None:
        at_least(self, 1, "images", "batch", "micro_batches", "r1_every", "log_every", "sample_every", "save_every")
        at_least(self, 1, "keep", "workers", "bad_steps")
        at_least(self, 0, "keep_every", "returns", "cooldown")
        waits = max(self.discriminator_from, self.adversarial_from) > 0
        if (waits or not self.adversary) and not self.reconstruction:
            raise BadConfig(
                f"train.adversary={self.adversary}, discriminator_from={self.discriminator_from} and "
                f"adversarial_from={self.adversarial_from}",
                expected="without a discriminator there is nothing to learn from but the photographs",
                remedy="set train.reconstruction=1 as well",
            )
        if not 0 <= self.ema < 1:
            raise BadConfig(f"train.ema={self.ema}", expected="a decay from 0 to below 1 is needed", remedy="try 0.999")
        if not (self.g_lr > 0 and self.d_lr > 0 and self.clip > 0):
            raise BadConfig(
                f"train.g_lr={self.g_lr}, d_lr={self.d_lr}, clip={self.clip}",
                expected="learning rates and the gradient norm to clip at are positive",
                remedy="raise the one that is not",
            )


@dataclass(frozen=True)
class RunConfig:
    """A preset after overrides. `published`: scores of the paper with their source, for configs that have them."""

    preset: str
    stage: Literal["lr", "hr"]
    generator: GramConfig | GramHdConfig
    discriminator: DiscriminatorConfig
    train: TrainConfig
    published: dict[str, Any] = field(default_factory=dict)
    encoder: EncoderConfig = EncoderConfig()  # used with train.reconstruction

    def __post_init__(self) -> None:
        t = self.train
        if self.discriminator.image_size != self.generator.image_size:
            raise BadConfig(
                f"discriminator.image_size={self.discriminator.image_size}",
                expected=f"the generator makes images of {self.generator.image_size} pixels",
                remedy="set both to the same size",
            )
        if t.batch % t.micro_batches:
            raise BadConfig(
                f"train.batch={t.batch} with train.micro_batches={t.micro_batches}",
                expected="the batch must be a multiple of the number of micro-batches",
                remedy="choose sizes that divide",
            )

    def describe(self) -> dict[str, Any]:
        """Plain JSON-able dict of everything."""
        return to_dict(self)

    def identity(self) -> dict[str, Any]:
        """What must not change between the sittings of one run."""
        whole = self.describe()
        whole["train"] = {name: value for name, value in whole["train"].items() if name not in FREE}
        return {name: whole[name] for name in ("stage", "generator", "discriminator", "train", "encoder")}
