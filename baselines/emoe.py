"""EMOE: one expert for each modality, and a router that weighs their vectors by sample.

Fang, Huang, Wan, Su, Ye. "EMOE: Modality-Specific Enhanced Dynamic Emotion Experts", CVPR 2025.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.emoe_config import EMOEConfig
from baselines.emoe_loss import distillation_loss, entropy_loss, similarity_loss
from baselines.emoe_router import ORDER, Router
from baselines.kernels import dropout
from baselines.layers import EncoderStack, TemporalProjection
from baselines.positions import last_step
from benchmark.interface import (
    BranchedModel,
    DataSpec,
    Loss,
    ModelCard,
    Output,
    Preset,
    Progress,
    task_loss,
)
from protocols.modalities import MODALITIES, Modalities, Modality

_SURE = 1e-6
_OFFICIAL_TRAINING: Mapping[str, Any] = {
    "epochs": 100, "batch_size": 160, "learning_rate": 1e-4, "weight_decay": 0.0,
    "schedule": "plateau", "plateau_factor": 0.5, "plateau_patience": 5, "clip_norm": None,
}  # fmt: skip


class EMOE(BranchedModel):
    """EMOE (Fang et al., CVPR 2025).

    Each modality is projected to width d by a convolution of its own and one that all share, then
    passes a causal self-attention encoder; its last step is e_m, from which a residual head makes
    p_m and a prediction of its own. A router that reads the raw features gives the weights w, and
    the same kind of head reads the answer off the sum of w_m e_m.

    A zero modality's e_m is one constant vector. A kernel longer than a modality's sequence is
    clipped to it (an absent modality is one step long).
    """

    Config = EMOEConfig
    card = ModelCard(
        title="EMOE",
        citation="Fang, Huang, Wan, Su, Ye. EMOE: Modality-Specific Enhanced Dynamic Emotion "
        "Experts. CVPR 2025.",
        source="official code read",
        version=1,
        deviations=(
            "EMOE without text fine-tuning: frozen text features go straight in.",
            "The router reads each modality's mean over its real steps; the original reads all "
            "steps at once, which makes it the largest part of the model by far. router_input "
            "flat is that, with the layers over time that bring modalities to the text's steps.",
            "Convolutions and alignment layers that the original creates and never uses are left "
            "out.",
            "The steps of a sample's wholly zero stream have position codes: without them its "
            "first gradients are seven orders of magnitude above the others'.",
            "The norm that the router divides by is at least 1e-6, not 1e-12.",
            "A kernel longer than a sequence is clipped to it.",
            "The presets official have a batch of 160 for 10 summed gradients of 16, keep an "
            "epoch's last batch, and end after 100 epochs instead of stopping early.",
            "The reliability shown is the router's weights: they sum to 1 over the modalities.",
            "Classification (not in the original): cross-entropy in place of the absolute and "
            "the squared error.",
            "Dropout rates are exact to 1/65536 on a CPU.",
        ),
    )
    recordable = True
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(),
        "official": Preset(model={"width": 256}, training=_OFFICIAL_TRAINING),
        "official_mosei": Preset(
            model={
                "width": 256, "kernel_audio": 1, "kernel_vision": 3, "text_dropout": 0.3,
                "attention_dropout_text": 0.4, "attention_dropout_audio": 0.0,
                "embedding_dropout": 0.0,
            },
            training=_OFFICIAL_TRAINING,
        ),
    }  # fmt: skip
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.width": (64, 128, 256),
        "model.layers": (2, 4),
        "model.temperature": (0.1, 0.5, 1.0),
        "model.entropy_weight": (0.01, 0.1),
        "model.text_dropout": (0.1, 0.3, 0.5),
        "model.output_dropout": (0.0, 0.1, 0.5),
    }

    def __init__(self, config: EMOEConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config, self.spec = config, spec
        d, outputs = config.width, spec.classes if spec.task == "classification" else 1
        self.router = Router(spec, config.router_input, config.temperature, config.largest_router)
        self.kernels: dict[Modality, int] = {}
        self.project, self.encoder = nn.ModuleDict(), nn.ModuleDict()
        for m in MODALITIES:
            if spec.widths[m] == d:  # as in the original: nothing to project
                self.kernels[m], self.project[m] = 1, nn.Identity()
            else:
                self.kernels[m] = min(getattr(config, f"kernel_{m}"), spec.lengths[m])
                self.project[m] = TemporalProjection(spec.widths[m], d, self.kernels[m])
            self.encoder[m] = self._encoder(getattr(config, f"attention_dropout_{m}"))
        self.shared = nn.Linear(d, d, bias=False)  # the original's convolution of one step
        self.head = nn.ModuleDict(
            {m: ResidualHead(d, outputs, config.output_dropout) for m in MODALITIES}
        )
        fused = d if config.fusion == "sum" else len(ORDER) * d
        self.fused_head = ResidualHead(fused, outputs, config.output_dropout)

    def _encoder(self, attention_dropout: float) -> EncoderStack:
        config = self.config
        return EncoderStack(
            config.width,
            config.heads,
            config.layers,
            attention_dropout=(attention_dropout,),
            relu_dropout=config.relu_dropout,
            residual_dropout=config.residual_dropout,
            embedding_dropout=config.embedding_dropout,
        )

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
        """One expert: "e" and "p", each (B, d), its answer "y" (B, out), and "router" (B, h)."""
        config = self.config
        share = self.router.share(modality, features, mask)  # before the dropout
        if modality == "text":
            features = dropout(features, config.text_dropout, self.training)
        x = self.shared(self.project[modality](features))
        # a step after the convolution is real when the last input step it covers is
        step = last_step(mask[:, self.kernels[modality] - 1 :], config.pool == "last_step")
        e = self.encoder[modality](x[None], step=step[None])[0, :, 0]
        p, y = self.head[modality](e)
        return {"e": e, "p": p, "y": y, "router": share}

    def fuse(self, encoded: Mapping[Modality, Mapping[str, Tensor]]) -> Output:
        """The answer from the experts' vectors and the router's weights.

        The extras: "weights" (B, 3), the experts' "answers" (B, 3, out), both in the order text,
        vision, audio; and what the fused head made of the vectors, "fused", beside the experts'
        own "expected", each (B, d) or (B, 3d).
        """
        e, p, y = (torch.stack([encoded[m][kind] for m in ORDER], 1) for kind in ("e", "p", "y"))
        weights = self.router(sum(encoded[m]["router"] for m in ORDER))
        if self.config.fusion == "sum":
            mixed, expected = (weights[:, None] @ torch.cat([e, p], -1))[:, 0].chunk(2, -1)
        else:
            mixed, expected = ((weights[..., None] * part).flatten(1) for part in (3.0 * e, p))
        fused, answer = self.fused_head(mixed)
        reliability = torch.stack([weights[:, ORDER.index(m)] for m in MODALITIES], 1)
        return Output(
            answer if self.spec.task == "classification" else answer[:, 0],
            reliability=reliability.clamp(_SURE, 1.0 - _SURE),
            extras={"weights": weights, "answers": y, "fused": fused, "expected": expected},
        )

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """The task, the mean of the experts' own, and the three terms with their weights."""
        assert batch.label is not None
        config, extras = self.config, output.extras
        errors, squared = self._expert_errors(extras["answers"], batch.label)
        terms = {
            "task": task_loss(output, batch.label, self.spec.task, "l1"),
            "experts": errors.mean(),
            "entropy": entropy_loss(extras["weights"]),
            "similarity": similarity_loss(extras["weights"], squared),
            "distillation": distillation_loss(extras["fused"], extras["expected"]),
        }
        total = (
            terms["task"]
            + terms["experts"]
            + config.entropy_weight * terms["entropy"]
            + config.similarity_weight * terms["similarity"]
            + config.distillation_weight * terms["distillation"]
        )
        return total, terms

    def _expert_errors(self, answers: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3) of the answers (B, 3, out): as the task counts errors, as the router does."""
        if self.spec.task == "classification":
            each = label[:, None].expand(answers.shape[:2])
            errors = F.cross_entropy(answers.transpose(1, 2), each, reduction="none")
            return errors, errors
        difference = answers[..., 0] - label[:, None]
        return difference.abs(), difference.square()


class ResidualHead(nn.Module):
    """p = e + W' dropout(relu(W e)), and the answer that a linear layer reads off p.

    Args:
        width: d.
        outputs: width of the answer.
        rate: dropout rate.
    """

    def __init__(self, width: int, outputs: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        self.answer = nn.Linear(width, outputs)

    def forward(self, e: Tensor) -> tuple[Tensor, Tensor]:
        """(B, d) to p (B, d) and the answer (B, outputs)."""
        p = e + self.outer(dropout(F.relu(self.inner(e)), self.rate, self.training))
        return p, self.answer(p)
