"""A BERT-base encoder's parameters and operations, by formula: what text features cost before."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BertBase:
    """BERT-base-uncased by its configuration (Devlin et al., 2019): no weights are needed."""

    width: int = 768
    layers: int = 12
    hidden: int = 3072
    vocabulary: int = 30522
    positions: int = 512
    segments: int = 2

    @property
    def parameters(self) -> int:
        """Embeddings, layers and pooler."""
        d, h = self.width, self.hidden
        embeddings = (self.vocabulary + self.positions + self.segments) * d + 2 * d
        attention = 4 * (d * d + d)
        feed_forward = d * h + h + h * d + d
        return embeddings + self.layers * (attention + feed_forward + 4 * d) + d * d + d

    def flops(self, tokens: int) -> int:
        """Of one sequence: projections, scores and mixing, feed-forward, and the pooler."""
        d, h = self.width, self.hidden
        products = 4 * d * d + 2 * d * h
        attention = 2 * tokens * d
        return 2 * (self.layers * tokens * (products + attention) + d * d)
