"""Networks with layer normalisation in each position: vision transformers and ConvNeXt."""

from __future__ import annotations

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from kipax.pixels import check_preprocessed
from kipax.students.layers import Conv, Dense, Outputs

__all__ = ["VIT_SIZES", "ConvNeXt", "VisionTransformer"]

_conv = functools.partial(Conv, parameterisation="lecun")
_dense = functools.partial(Dense, parameterisation="lecun")
_norm = functools.partial(nn.LayerNorm, epsilon=1e-6)
_gelu = functools.partial(nn.gelu, approximate=False)

VIT_SIZES = {"ti": (192, 3), "s": (384, 6), "b": (768, 12)}  # features and heads


class VisionTransformer(nn.Module):
    """Vision transformer: patches as tokens, a class token, learned positions, twelve layers.

    Attributes:
        classes: number of outputs.
        width: features of a token.
        heads: heads of attention, which divide the features.
        patch: side of a patch in pixels, which divides the sides of an image.
        depth: number of layers.

    Features: ``layer1``, ``layer2``, ..., tokens ``(n, tokens, width)``, the class token first.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929; ``ti`` and ``s``: Touvron et al. 2021,
    arXiv:2012.12877.
    """

    classes: int
    width: int = 768
    heads: int = 12
    patch: int = 16
    depth: int = 12

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Outputs:
        """Returns the `Outputs` of preprocessed images ``(n, H, W, C)``."""
        check_preprocessed(x, "a student")
        x = _conv(self.width, size=self.patch, stride=self.patch, padding=0, name="patches")(x)
        x = x.reshape(len(x), -1, self.width)
        first = self.param("class_token", nn.initializers.zeros, (1, 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(first, (len(x), 1, self.width)), x], axis=1)
        x += self.param("positions", nn.initializers.normal(0.02), (1, *x.shape[1:]))
        features: dict[str, jax.Array] = {}
        for layer in range(self.depth):
            x += self._attention(_norm(name=f"l{layer}_norm1")(x), f"l{layer}")
            y = _dense(4 * self.width, name=f"l{layer}_mlp1")(_norm(name=f"l{layer}_norm2")(x))
            x += _dense(self.width, name=f"l{layer}_mlp2")(_gelu(y))
            features[f"layer{layer + 1}"] = x
        penultimate = _norm(name="last_norm")(x)[:, 0]
        return Outputs(_dense(self.classes, name="head")(penultimate), penultimate, features)

    def _attention(self, x: jax.Array, name: str) -> jax.Array:
        """Returns the output of a layer's attention for tokens ``(n, tokens, width)``."""
        n, tokens, width = x.shape
        size = width // self.heads
        joint = _dense(3 * width, name=f"{name}_qkv")(x)
        query, key, value = jnp.moveaxis(joint.reshape(n, tokens, 3, self.heads, size), 2, 0)
        scores = jnp.einsum("nqhd,nkhd->nhqk", query, key) / math.sqrt(size)
        mixed = jnp.einsum("nhqk,nkhd->nqhd", nn.softmax(scores), value)
        return _dense(width, name=f"{name}_out")(mixed.reshape(n, tokens, width))


class ConvNeXt(nn.Module):
    """ConvNeXt, without stochastic depth; images of 32 pixels or more.

    Attributes:
        classes: number of outputs.
        widths: channels of each stage.
        depths: number of blocks of each stage; the defaults are ConvNeXt-T.

    Features: ``stage1`` to ``stage4``.

    Source: Liu et al. 2022, arXiv:2201.03545.
    """

    classes: int
    widths: tuple[int, ...] = (96, 192, 384, 768)
    depths: tuple[int, ...] = (3, 3, 9, 3)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Outputs:
        """Returns the `Outputs` of preprocessed images ``(n, H, W, C)``."""
        check_preprocessed(x, "a student")
        features: dict[str, jax.Array] = {}
        for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
            if stage:
                x = _norm(name=f"s{stage}_norm")(x)
            side = 2 if stage else 4
            x = _conv(width, size=side, stride=side, padding=0, name=f"s{stage}_down")(x)
            if not stage:
                x = _norm(name="s0_norm")(x)
            for block in range(depth):
                name = f"s{stage}b{block}"
                y = _conv(width, size=7, padding=3, groups=width, name=f"{name}_depth")(x)
                y = _dense(4 * width, name=f"{name}_mlp1")(_norm(name=f"{name}_norm")(y))
                y = _dense(width, name=f"{name}_mlp2")(_gelu(y))
                scale = self.param(f"{name}_scale", nn.initializers.constant(1e-6), (width,))
                x += scale * y
            features[f"stage{stage + 1}"] = x
        penultimate = _norm(name="last_norm")(jnp.mean(x, axis=(1, 2)))
        return Outputs(_dense(self.classes, name="head")(penultimate), penultimate, features)
