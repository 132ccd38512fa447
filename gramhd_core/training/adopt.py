"""Beginning with the weights of an earlier stage-1 model: for stage 2, or for the same field on larger images."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from gramhd_core.checkpoints.checkpoint import Checkpoint, check_fit, find_checkpoint
from gramhd_core.checkpoints.training_state import load_state
from gramhd_core.errors import BadCheckpoint
from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.networks.discriminators import Discriminator
from gramhd_core.networks.encoders import Encoder
from gramhd_core.training.prior import LatentPrior

MAY_DIFFER = ("features", "fp32_phases", "view_dependence")  # a colour layer more or less shows in the shapes
HEADS = "field.output_feature"  # new in stage 2: not in a stage-1 checkpoint


def adopt_discriminator(discriminator: Discriminator, start: Path) -> None:
    """Let `discriminator` grow out of the one that the run `start` trained. BadCheckpoint if its state is not there."""
    model = find_checkpoint(start)
    state = model.with_suffix(".state.safetensors")
    if not state.exists():
        raise BadCheckpoint(
            f"{model} stands alone",
            expected=f"the discriminator to grow from is in {state.name} beside it",
            remedy="give the whole run folder, or set train.grow_discriminator=false",
        )
    discriminator.grow_from(load_state(state)["discriminator"])


def adopt_encoder(encoder: Encoder, start: Path) -> None:
    """Go on with the encoder of the run `start`, if it trained one of the same shape; otherwise a new one learns.

    It is brought to the latents of the published model, with N(0, 1) as their prior.
    """
    state = find_checkpoint(start).with_suffix(".state.safetensors")
    known = load_state(state).get("reconstruction", {}) if state.exists() else {}
    ours = encoder.state_dict()
    if not known or {n: t.shape for n, t in known["encoder"].items()} != {n: t.shape for n, t in ours.items()}:
        return
    encoder.load_state_dict(known["encoder"])
    prior = LatentPrior(encoder.z_dim)
    prior.restore(known["prior"])
    prior.fold_into_encoder(encoder)


def adopt_low(generator: Gram | GramHd, start: Path) -> dict[str, Any]:
    """Copy the weights of the stage-1 model `start`; feature heads stay new. Returns its provenance.

    Raises BadCheckpoint if it is no stage-1 model, or one with other shapes, manifolds or modulation constants. How its
    colours were directed and its precision may differ: an imported model can be trained on with locked directions.
    """
    low = generator.low if isinstance(generator, GramHd) else generator
    parent = Checkpoint.load(find_checkpoint(start))
    if parent.family != "gram":
        raise BadCheckpoint(
            f"{start} is a {parent.family} model",
            expected="a stage-1 (gram) checkpoint is needed to start from",
            remedy="give the run folder of gramhd train-lr",
        )
    wanted = {name: t for name, t in low.state_dict().items() if not name.startswith(HEADS)}
    given = {name: t for name, t in parent.weights.items() if not name.startswith(HEADS)}
    check_fit(wanted, given, where=f"the LR checkpoint {start}")
    differing = _differing(low.config.manifolds, parent.config.manifolds) + _differing(
        low.config.field, parent.config.field
    )
    if differing:
        raise BadCheckpoint(
            f"the LR checkpoint {start} was trained with another field or other manifolds ({'; '.join(differing)})",
            expected="levels, box and modulation constants must stay the same",
            remedy="choose the preset that belongs to it, or override these fields",
        )
    low.load_state_dict(given, strict=False)
    if isinstance(generator, GramHd):
        generator.forget_geometry()
    return {"step": parent.step, "images_seen": parent.images_seen, **parent.provenance}


def _differing(ours: Any, theirs: Any) -> list[str]:
    """`name a here, b there` for every field of two configs of one kind that must agree and does not."""
    names = [field.name for field in dataclasses.fields(ours) if field.name not in MAY_DIFFER]
    pairs = [(name, getattr(ours, name), getattr(theirs, name)) for name in names]
    return [f"{name} {a} here, {b} there" for name, a, b in pairs if a != b]
