"""A saved scene as a generator of one identity, so that whatever takes a checkpoint takes a scene file as well."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from gramhd_core.errors import BadArgument, BadScene
from gramhd_core.generators.generator import Generator, Latent
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.scene_files import SceneHeader
from gramhd_core.scenes.surfaces import HeightFields

TRUNCATION = 0.7  # of models, where none is asked for
LONGEST = 65536  # numbers in a z that a file is believed to need


class SavedScene(nn.Module):
    """The Generator protocol without a network: every latent is the one head. `config` is the header of the file.

    Raises BadScene if the scene has several identities.
    """

    family: ClassVar[str] = "scene"

    def __init__(self, scene: RadianceManifolds, header: SceneHeader):
        super().__init__()
        if len(scene.maps) != 1:
            raise BadScene(
                f"the scene file holds {len(scene.maps)} identities",
                expected="commands take one at a time",
                remedy="save each of them to its own file",
            )
        assert isinstance(scene.surfaces, HeightFields)
        self.config = header
        self.register_buffer("z", scene.surfaces.z)
        self.register_buffer("maps", scene.maps)
        self.register_buffer("background", scene.background)
        self.z: Tensor
        self.maps: Tensor
        self.background: Tensor

    @property
    def latent_dim(self) -> int:
        """Length of the z its maker drew, 0 if the file does not say. It is drawn from the seed again and ignored, so
        that whatever else follows in the seed's stream (the camera of `rand`) is the same."""
        length = self.config.provenance.get("latent_dim")
        return length if isinstance(length, int) and 0 <= length <= LONGEST else 0

    @property
    def cameras(self) -> CameraPrior:
        """How the head is meant to be looked at."""
        return self.config.cameras

    @property
    def image_size(self) -> int:
        """Side of the pictures its maker was trained for, pixels."""
        return self.config.image_size

    @property
    def seed(self) -> int:
        """The seed it was made from; 0 if the file does not say."""
        seed = self.config.provenance.get("seed")
        return seed if isinstance(seed, int) and 0 <= seed < 2**63 else 0

    @property
    def truncation(self) -> float:
        """The truncation it was made with, in [0, 1]; 1 if the file does not say."""
        truncation = self.config.provenance.get("truncation")
        return float(truncation) if isinstance(truncation, (int, float)) and 0 <= truncation <= 1 else 1.0

    def latent(self, z: Tensor, truncation: float = 1.0) -> Latent:
        """z [N, any] -> the empty latent."""
        return Latent(self.maps.new_zeros(len(z), 0, 2, 0), self.maps.new_zeros(len(z), 0))

    def scene(self, latent: Latent, view_from: Camera | None = None) -> RadianceManifolds:
        """The saved scene, for each of N latents."""
        n = len(latent)
        return self.config.scene(
            self.z, self.maps.expand(n, *self.maps.shape[1:]), self.background.expand(n, *self.background.shape[1:])
        )


class Identities(NamedTuple):
    """Which heads, and how far from the average."""

    seeds: tuple[int, ...]
    truncation: float


def identities(generator: Generator, seeds: Iterable[int] | None, truncation: float | None) -> Identities:
    """What a user asks for, with the defaults (None): seed 0 at 0.7 of a model, the head it is of a saved scene.

    BadArgument where other seeds or another truncation are asked of a saved scene.
    """
    asked = None if seeds is None else tuple(dict.fromkeys(seeds))
    if not isinstance(generator, SavedScene):
        return Identities((0,) if asked is None else asked, TRUNCATION if truncation is None else truncation)
    own = Identities((generator.seed,), generator.truncation)
    if asked not in (None, own.seeds):
        names = ", ".join(map(str, asked[:5])) + (", ..." if len(asked) > 5 else "")
        raise BadArgument(
            f"a saved scene was asked for {'seed' if len(asked) == 1 else 'seeds'} {names}",
            expected=f"it holds one head, seed {generator.seed}",
            remedy="drop the seeds or use the checkpoint that made the scene",
        )
    if truncation not in (None, own.truncation):
        raise BadArgument(
            f"a saved scene was asked for a truncation of {truncation:g}",
            expected=f"it is finished, with {own.truncation:g}",
            remedy="drop --trunc or use the checkpoint that made the scene",
        )
    return own
