"""A picture that goes into another without a seam: its colours meet the other's at the edge.

Legend: N images, C channels, R side.
"""

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu
from torch import Tensor


def seamless(outer: Tensor, inner: Tensor, hole: Tensor) -> Tensor:
    """The outer images (N, C, R, R), and inside the hole the inner ones, without a seam.

    The difference of both at the hole's edge is carried inwards by a membrane, so that the inner
    picture keeps its gradients ("Poisson Image Editing", Perez et al. 2003, equation 4).

    hole: (N, 1, R, R), inside where it is above 0.
    """
    inside = hole > 0
    offset = membrane(outer - inner, inside)
    return torch.where(inside, inner + offset, outer)


def membrane(values: Tensor, hole: Tensor) -> Tensor:
    """The values (N, C, R, R), and inside the hole (N, 1, R, R) bool the solution of Laplace's
    equation with the values around it; at the picture's border nothing flows. 0 in a hole that is
    the whole picture."""
    filled = [
        _fill(x, inside)
        for x, inside in zip(
            values.detach().cpu().double().numpy(), hole[:, 0].cpu().numpy(), strict=True
        )
    ]
    return torch.from_numpy(np.stack(filled)).to(values)


def _fill(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """values: (C, R, R); inside: (R, R) bool."""
    if inside.all():
        return np.zeros_like(values)
    if not inside.any():
        return values
    count = int(inside.sum())
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(count)
    flat = values.reshape(len(values), -1)
    rows, columns, weights = [], [], []
    degree, known = np.zeros(count), np.zeros((count, len(values)))
    places = np.arange(inside.size).reshape(inside.shape)
    for one, other in _neighbours():
        here, there = number[one], number[other]
        pixel = here >= 0
        degree += np.bincount(here[pixel], minlength=count)
        both = pixel & (there >= 0)
        rows.append(here[both])
        columns.append(there[both])
        weights.append(np.full(int(both.sum()), -1.0))
        edge = pixel & (there < 0)
        np.add.at(known, here[edge], flat[:, places[other][edge]].T)
    rows.append(np.arange(count))
    columns.append(np.arange(count))
    weights.append(degree)
    entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    laplacian = coo_array(entries, shape=(count, count)).tocsc()
    filled = flat.copy()
    filled[:, inside.ravel()] = splu(laplacian).solve(known).T
    return filled.reshape(values.shape)


def _neighbours() -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """For each of four directions the pixels that have a neighbour there, and the neighbours."""
    all_, first, last = slice(None), slice(None, -1), slice(1, None)
    down = ((first, all_), (last, all_))
    right = ((all_, first), (all_, last))
    return [down, down[::-1], right, right[::-1]]
