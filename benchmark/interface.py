"""The contract between the harness and a model.

A plain model is one file with ``forward`` and ``loss``; everything else here has a default.
See README, "Add a model".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from protocols.modalities import Modalities, Modality, Task
from protocols.settings import Settings


@dataclass(frozen=True)
class DataSpec:
    """What a model must know of the data to build itself. Never a constant in a model.

    Attributes:
        widths: modality -> feature width d_m (1 for a modality that the data set lacks).
        lengths: modality -> number of steps T_m, padding included (1 for an absent modality).
        present: the modalities that the data set has, in the order t, a, v.
        task: regression of a sentiment in [-3, 3], or classification.
        classes: the number of classes; 1 for regression.
    """

    widths: Mapping[Modality, int]
    lengths: Mapping[Modality, int]
    present: tuple[Modality, ...]
    task: Task = "regression"
    classes: int = 1


@dataclass(frozen=True)
class Progress:
    """Where training stands: 0-based epoch and step, and their totals."""

    epoch: int
    epochs: int
    step: int
    steps: int


@dataclass(frozen=True)
class Output:
    """What a model returns for a batch of B samples.

    Attributes:
        prediction: (B,) sentiment, or (B, C) logits.
        log_variance: (B,) log of the predicted error variance, where the model has one.
        reliability: (B, 3) r_t, r_a, r_v in (0, 1), where the model has them.
        routing: (B, 3, N) weights of N experts per modality, where the model has them.
        extras: anything that the model's own loss needs.
    """

    prediction: Tensor
    log_variance: Tensor | None = None
    reliability: Tensor | None = None
    routing: Tensor | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)


Loss = tuple[Tensor, dict[str, Tensor]]
"""The scalar to minimise, and its named terms (detached by the trainer) for the curves."""

Relation = tuple[Modality, ...]
"""Two modalities, in the order t, a, v."""

Encodings = Mapping[Any, Mapping[str, Tensor]]
"""A modality, or a relation -> named (B, ...) tensors. A model without relations has a
``Mapping[Modality, Mapping[str, Tensor]]``, and may say so."""


class ModelConfig(Settings):
    """Base of every model's settings: typed, frozen, unknown keys refused.

    The defaults are the ``paper`` preset, and a changed default is a new version of the model;
    each field says its source in its description.
    """


SourceQuality = Literal[
    "official code read",
    "re-implementation read",
    "paper read",
    "seen through a third party",
    "reconstruction",
    "evaluated from outside",
]


@dataclass(frozen=True)
class ModelCard:
    """Who made the method, how well its source is known, and where we depart from it.

    Attributes:
        title: the name as the tables print it.
        citation: authors, title, venue, year.
        source: how well the original is known. "reconstruction" and "seen through a third party"
            are shown wherever a number is; "evaluated from outside" is of a model that was trained
            elsewhere and only asked here.
        version: raised whenever the same settings and weights would give another prediction, loss
            or training; part of a run's identity. None counts as 1, and the hash of the class's
            source file then stands for what the number would say.
        deviations: each departure from the original, and why.
        reads_availability: whether the method uses ``batch.available`` (COMMON's fairness rule).
        reads_clean: whether its training sees the clean batch beside the degraded one: cleaner
            targets than other methods get.
        dear: what an answer costs, of a method whose answers to degraded inputs are too dear for a
            CPU: there it is asked for Protocol I alone, unless ``evaluation.dear`` is set.
    """

    title: str
    citation: str
    source: SourceQuality
    version: int | None = None
    deviations: tuple[str, ...] = ()
    reads_availability: bool = False
    reads_clean: bool = False
    dear: str = ""


@dataclass(frozen=True)
class Preset:
    """A named set of departures from the defaults of the model and of the training.

    ``card`` stands in place of the model's where the preset is another one's version of the
    method, with another source; its version is the model's.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    card: ModelCard | None = None


@dataclass(frozen=True)
class Phase:
    """One pass over the training set per epoch, with an optimiser of its own.

    Attributes:
        name: prefix of the phase's terms in the curves.
        groups: optimiser parameter groups, as torch takes them; "lr_scale" multiplies the
            training's learning rate, "weight_decay" overrides its weight decay.
        loss: (degraded batch, progress) -> loss; runs the forward pass itself.
        active: whether the phase runs in an epoch; its schedule counts the epochs in which it does.
        needs_clean: whether ``loss`` is also given the same samples before degradation, as
            ``clean=``. The card then says ``reads_clean``.
    """

    name: str
    groups: Sequence[Mapping[str, Any]]
    loss: Callable[..., Loss]
    active: Callable[[Progress], bool] = lambda progress: True
    needs_clean: bool = False


class MultimodalModel(nn.Module, ABC):
    """The base class of every model in the suite.

    Contract: finite outputs and gradients when any of the modalities is zero for the whole batch;
    a prediction does not depend on the sample's batch neighbours in eval mode; no data loading,
    no corruption, no device placement, no tracking.
    """

    Config: ClassVar[type[ModelConfig]]
    card: ClassVar[ModelCard]
    recordable: ClassVar[bool] = False
    """Whether a GPU may record a training step, once per phase and epoch, and replay it.

    True promises that the losses wait for nothing on the device, give the same terms at every step,
    draw nothing on the CPU, and after an epoch's first step neither read ``progress.step`` nor
    change anything but tensors, in place.
    """
    presets: ClassVar[Mapping[str, Preset]] = {"paper": Preset()}
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4)
    }
    usual: ClassVar[bool] = False
    """Whether `benchmark run` trains it where no model is named: strong for what it costs."""
    trial: ClassVar[Mapping[str, Any]] = {}
    """Settings that make it small, where checking its contract at its own size would take hours."""

    @abstractmethod
    def __init__(self, config: Any, spec: DataSpec) -> None:
        """Raises ValueError, with what to change, where the settings do not fit the data."""
        super().__init__()

    @abstractmethod
    def forward(self, batch: Modalities) -> Output:
        """Predict for a batch; see :class:`Output` for the shapes."""

    @abstractmethod
    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """The training loss; ``batch.label`` is set."""

    def begin_epoch(self, progress: Progress) -> None:
        """Called once before each epoch, for what a method resets there (a memory, say)."""

    def first_selectable(self, epochs: int) -> int:
        """The 0-based epoch, of ``epochs``, from which on a checkpoint may be kept as the best.

        A method with pre-training says where it ends: a pre-training epoch is never the best.
        """
        return 0

    def expert_shares(self) -> Mapping[str, float]:
        """Name of a submodule that holds experts -> the share of them that one input is routed to.

        A dense implementation may compute all of them; the efficiency table states both.
        """
        return {}

    def phases(self) -> Sequence[Phase]:
        """The passes of an epoch; by default one, over all parameters, with :meth:`loss`."""
        return [Phase("train", [{"params": list(self.parameters())}], self.training_loss)]

    def training_loss(self, batch: Modalities, progress: Progress) -> Loss:
        """Forward and loss in one."""
        return self.loss(self(batch), batch, progress)


class BranchedModel(MultimodalModel):
    """A model of which parts do not see all modalities: the table runs each once for what it sees.

    A branch sees one modality, and is run 9 times per draw (8 levels and zeroed) instead of 57; a
    relation sees two, and is run 25 times. ``forward`` is ``fuse`` of both.
    """

    relations: ClassVar[Sequence[Relation]] = ()
    """What :meth:`relate` gives before fusion; by default branches meet only there."""

    @abstractmethod
    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
        """One branch: (B, T_m, d_m) features and (B, T_m) mask to named (B, ...) tensors."""

    def relate(self, wanted: Sequence[Relation], encoded: Encodings) -> Encodings:
        """Each wanted relation, from the encodings of its two modalities alone."""
        return {}

    @abstractmethod
    def fuse(self, encoded: Encodings) -> Output:
        """The three encodings and the relations, ``encoded["text", "audio"]``, to the output."""

    def with_relations(self, encoded: Encodings) -> Encodings:
        """The three encodings, and all relations between them: what ``fuse`` takes."""
        return {**encoded, **self.relate(self.relations, encoded)}

    def with_reliability(
        self, encoded: Mapping[Modality, Mapping[str, Tensor]], reliability: Tensor
    ) -> Mapping[Modality, Mapping[str, Tensor]] | None:
        """The three encodings as they would be, had the reliability scores been these.

        ``fuse`` of them says what the scores are worth to the prediction.

        Args:
            encoded: of B samples.
            reliability: (B, 3) in [0, 1].

        Returns:
            None where scores decide nothing, or cannot be given: the default.
        """
        return None

    def forward(self, batch: Modalities) -> Output:
        """Encode each modality, relate them, then fuse."""
        encoded = {m: self.encode(m, x, batch.masks[m]) for m, x in batch.features.items()}
        return self.fuse(self.with_relations(encoded))


def count_parameters(module: nn.Module) -> int:
    """The number of trainable parameters, shared ones counted once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def task_loss(output: Output, label: Tensor, task: Task, regression: Literal["l1", "l2"]) -> Tensor:
    """The plain supervised loss: mean absolute or squared error, or cross-entropy."""
    if task == "classification":
        return nn.functional.cross_entropy(output.prediction, label)
    difference = output.prediction - label
    return difference.abs().mean() if regression == "l1" else difference.square().mean()
