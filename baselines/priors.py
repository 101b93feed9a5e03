"""Feature priors: the centres of k-means over what an encoder gave."""

from __future__ import annotations

import torch
from torch import Tensor

_STEPS = 50


def centres_of(points: Tensor, count: int, seed: int = 0) -> Tensor:
    """The (count, h) centres of (N, h) points: k-means++ and 50 of Lloyd's steps, on the CPU.

    With fewer points than centres, each is the points' mean; without any, zero. The draws come
    from a generator of their own.
    """
    points = points.detach().cpu()
    if len(points) < count:
        mean = points.sum(0, keepdim=True) / max(1, len(points))
        return mean.expand(count, -1).clone()
    centres = _spread(points, count, torch.Generator().manual_seed(seed))
    for _ in range(_STEPS):
        nearest = torch.cdist(points, centres).argmin(1)
        members = torch.nn.functional.one_hot(nearest, count).to(points.dtype)
        sizes = members.sum(0)[:, None]
        centres = torch.where(sizes > 0, members.T @ points / sizes.clamp_min(1), centres)
    return centres


def _spread(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """k-means++: each next centre is a point, likelier the farther it is from those before."""
    chosen = [points[torch.randint(len(points), (1,), generator=generator)]]
    distance = torch.full((len(points),), torch.inf)
    while len(chosen) < count:
        distance = torch.minimum(distance, (points - chosen[-1]).square().sum(1))
        odds = distance.clamp_min(torch.finfo(distance.dtype).tiny)  # all points may be alike
        chosen.append(points[torch.multinomial(odds, 1, generator=generator)])
    return torch.cat(chosen)


class Reservoir(torch.nn.Module):
    """The first rows of each of M modalities that it is shown, in buffers.

    Args:
        modalities: M.
        size: rows kept of each.
        width: h.
    """

    rows: Tensor
    filled: Tensor

    def __init__(self, modalities: int, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        # one row more takes what is left out, so that nothing waits for a device to count
        self.register_buffer("rows", torch.zeros(modalities, size + 1, width))
        self.register_buffer("filled", torch.zeros(modalities, dtype=torch.long))

    @torch.no_grad()
    def add(self, z: Tensor, there: Tensor) -> None:
        """Append those of (B, M, h) rows that are (B, M) there, as long as there is room."""
        place = self.filled + there.cumsum(0) - 1
        place = torch.where(there & (place < self.size), place, self.size)
        for number, rows in enumerate(self.rows):
            rows.index_copy_(0, place[:, number], z[:, number].to(rows.dtype))
        self.filled.add_(there.sum(0)).clamp_(max=self.size)

    def centres(self, count: int) -> Tensor:
        """(M, count, h) centres of what was kept."""
        kept = zip(self.rows, self.filled.tolist(), strict=True)
        return torch.stack([centres_of(rows[:number], count) for rows, number in kept])
