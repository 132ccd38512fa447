"""gramhd: 3D-aware image generation with generative radiance manifolds (GRAM, GRAM-HD)."""

__version__ = "0.1.0"
