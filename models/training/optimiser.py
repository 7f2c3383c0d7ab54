"""Muon for matrices, AdamW for the embedding, biases and norms, over one float32 array (`models.training.weights`).

Muon (Jordan and others, 2024) replaces the momentum of a matrix by its nearest orthogonal one; scaled to AdamW's usual
size of a step (Liu and others, 2025), so that one learning rate serves both.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from models.training.weights import Weights

MOMENTUM = 0.95
BETAS = (0.9, 0.98)
EPSILON = 1e-9
WEIGHT_DECAY = 0.01
CLIP = 1.0
ADAMW_SHARE = 0.5  # of the learning rate: an embedding moves in few of its rows a step, and far
# Amsel and others, 2025, "The Polar Express": the best polynomial of each step.
POLYNOMIALS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
)


def orthogonalise(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """About ``U V'`` of ``U S V'``, float32: singular values of 0.001 and more of the norm become 0.44 to 1.56."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(dtype)
    x = x / (x.norm() * 1.01 + 1e-7)
    for a, b, c in POLYNOMIALS:
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).float()


class Optimiser:
    """State and update.

    Attributes:
        state: Float arrays, for checkpoints: ``first`` and ``second`` moments, the latter only where AdamW works.
    """

    def __init__(self, weights: Weights, dtype: torch.dtype, every: int = 4) -> None:
        """With `every` N, each matrix is updated every N-th step, N times as far: less time spent orthogonalising."""
        self._weights, self._dtype, self._every = weights, dtype, every
        self.state = {
            "first": torch.zeros_like(weights.master),
            "second": torch.zeros_like(weights.master[: weights.vectors_end]),
        }

    def update(self, step: int, rate: float) -> float:
        """One step, from 0, with a learning rate; returns the norm of the gradient of what AdamW optimises."""
        weights = self._weights
        end = weights.vectors_end
        gradient = weights.vector_gradient()
        norm = float(gradient.norm())
        self._adamw(gradient.mul_(min(1.0, CLIP / (norm + 1e-6))), step, rate * ADAMW_SHARE)
        self.state["first"][end:].mul_(MOMENTUM).add_(weights.gradient[end:])
        names = [name for name in weights.specs if weights.spans[name].start >= end]
        for index, name in enumerate(names):
            if (index + step) % self._every == 0:
                self._muon(name, rate * self._every)
        weights.refresh(weights.master)
        return norm

    def _adamw(self, gradient: Tensor, step: int, rate: float) -> None:
        end = len(gradient)
        torch._fused_adamw_(
            [self._weights.master[:end]],
            [gradient],
            [self.state["first"][:end]],
            [self.state["second"]],
            [],
            [torch.tensor(float(step + 1))],
            lr=rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def _muon(self, name: str, rate: float) -> None:
        weights = self._weights
        span, spec = weights.spans[name], weights.specs[name]
        look_ahead = self.state["first"][span].mul(MOMENTUM).add_(weights.gradient[span]).view(spec.shape)
        master = weights.master[span].view(spec.shape)
        master.mul_(1 - rate * WEIGHT_DECAY)
        for part, change in zip(master.chunk(spec.parts), look_ahead.chunk(spec.parts), strict=True):
            part.sub_(orthogonalise(change, self._dtype), alpha=rate * 0.2 * math.sqrt(max(part.shape)))
