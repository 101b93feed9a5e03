"""Look at a data set: what is in it, what is odd, whether its files are still what was imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor

from benchmark.data import cards
from benchmark.data.cards import Card, Recognised
from benchmark.data.dataset import SPLITS, Dataset, Split
from benchmark.data.ids import VideoRule, video_rule
from benchmark.data.manifest import Encoding, Manifest, read_manifest
from benchmark.data.registry import find_data_dir, load_dataset, registered
from benchmark.data.store import verify
from protocols.modalities import MODALITIES, Modality

OUTLIER = 30.0
"""Standard deviations from the train mean that make a value worth a line."""


@dataclass(frozen=True)
class SplitFacts:
    """One split: samples, the standard number of samples, label summary, videos.

    Attributes:
        label: (minimum, mean, standard deviation, maximum) of the sentiment; empty otherwise.
        zeros: samples labelled exactly 0, for regression.
        classes: samples per class, for classification.
        videos: what the samples are cut from, where their ids say it.
    """

    name: str
    count: int
    expected: int | None
    label: tuple[float, ...]
    zeros: int
    classes: tuple[int, ...]
    videos: frozenset[str]


@dataclass(frozen=True)
class ModalityFacts:
    """One modality.

    Attributes:
        width, length: d_m and T_m.
        steps: (minimum, mean, maximum) number of real steps over all samples.
        nonfinite: split -> values replaced at import.
        missing: split -> samples that lack it by nature.
        constant: channels that never change (audio and vision).
        largest: largest absolute standardised value (audio and vision; 0 for text).
    """

    modality: Modality
    width: int
    length: int
    steps: tuple[int, float, int]
    nonfinite: Mapping[str, int]
    missing: Mapping[str, int]
    constant: tuple[int, ...]
    largest: float


@dataclass(frozen=True)
class Check:
    """What was found; see :func:`check`.

    Attributes:
        known: the known data set that it is.
        card: the user's own card, else the known set's.
        videos: how the videos are read from the ids, or why they cannot be.
    """

    dataset: str
    sha256: str
    task: str
    synthetic: bool
    source: str
    known: Recognised | None
    card: Card | None
    splits: tuple[SplitFacts, ...]
    modalities: tuple[ModalityFacts, ...]
    oddities: tuple[str, ...]
    notes: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    encoding: Encoding | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    videos: str = ""


def check(data_dir: Path | None, name: str) -> Check:
    """Look at the data set ``name``.

    Raises:
        BenchmarkError: unknown, or a file of it is damaged: its SHA-256 is not the imported one.
    """
    dataset = load_dataset(name, data_dir)
    folder = find_data_dir(data_dir)
    manifest = None
    if name not in registered() and folder is not None:
        manifest = read_manifest(folder / name)
        verify(folder / name, manifest, dataset)
    known = _recognised(dataset, manifest)
    own = manifest.card if manifest is not None else None
    card = own or (known.card if known else None)
    ids = [i for split in dataset.splits.values() for i in split.sample_ids]
    rule = video_rule(ids)
    splits = tuple(_split_facts(s, dataset, card, rule) for s in SPLITS)
    modalities = tuple(_modality_facts(m, dataset, manifest) for m in dataset.spec.present)
    source = "generated from a fixed seed" if dataset.synthetic else "a registered data set"
    if manifest is not None:
        source = f"{manifest.source.name}, {manifest.source.bytes:,} bytes"
    encoding = manifest.encoding if manifest is not None else None
    odd = [] if dataset.synthetic else [*_of_its_name(name, known), *_of_ids(rule, ids)]
    if card is not None:
        odd += _against_card(dataset, card, splits, encoding is not None)
    return Check(
        dataset=name,
        sha256=dataset.sha256,
        task=dataset.spec.task,
        synthetic=dataset.synthetic,
        source=source,
        known=known,
        card=card,
        splits=splits,
        modalities=modalities,
        oddities=(*odd, *_oddities(dataset, splits, modalities)),
        notes=manifest.notes if manifest is not None else (),
        class_names=manifest.class_names if manifest is not None else (),
        encoding=encoding,
        options=manifest.options if manifest is not None else {},
        videos=f"an id's video is {rule.words}: {rule.of(ids[0])!r} of {ids[0]!r}" if rule else "",
    )


def _recognised(dataset: Dataset, manifest: Manifest | None) -> Recognised | None:
    if dataset.synthetic:
        return None
    counts = {name: len(split) for name, split in dataset.splits.items()}
    source = manifest.source.sha256 if manifest is not None else ""
    return cards.recognise(counts, dataset.spec.classes, source)


def _of_its_name(name: str, known: Recognised | None) -> Iterator[str]:
    """A name that says another set than the data are."""
    said = cards.named(name)
    if said is not None and (known is None or known.key != said[0]):
        key, card = said
        counts = "/".join(map(str, card.splits.values())) or str([*card.totals.values()])[1:-1]
        yield (
            f"its name says {card.title}, its samples do not ({card.title} has {counts}):"
            f" it is not taken for it; its card: benchmark data show {key}"
        )


def _of_ids(rule: VideoRule | None, ids: Sequence[str]) -> Iterator[str]:
    if rule is None:
        yield (
            f"the ids ({ids[0]!r}, say) do not tell which video or speaker a sample is from: the"
            " same one on both sides of a split would not be seen"
        )


def _label(split: Split) -> Tensor:
    assert split.samples.label is not None
    return split.samples.label


def _split_facts(
    name: str, dataset: Dataset, card: Card | None, rule: VideoRule | None
) -> SplitFacts:
    split = dataset.splits[name]
    label = _label(split)
    regression = dataset.spec.task == "regression"
    summary: tuple[float, ...] = ()
    if regression:
        spread = label.std(correction=0)
        summary = tuple(x.item() for x in (label.min(), label.mean(), spread, label.max()))
    return SplitFacts(
        name=name,
        count=len(split),
        expected=card.splits.get(name) if card else None,
        label=summary,
        zeros=int((label == 0).sum()) if regression else 0,
        classes=()
        if regression
        else tuple(torch.bincount(label, minlength=dataset.spec.classes).tolist()),
        videos=frozenset(map(rule.of, split.sample_ids)) if rule else frozenset(),
    )


def _modality_facts(m: Modality, dataset: Dataset, manifest: Manifest | None) -> ModalityFacts:
    steps = torch.cat([s.samples.masks[m].sum(1) for s in dataset.splits.values()])
    k = MODALITIES.index(m)
    constant: tuple[int, ...] = ()
    largest = 0.0
    if m != "text":  # standardised: a channel that never changes is zero throughout
        low, high = dataset.splits["train"].samples.features[m].flatten(0, 1).aminmax(dim=0)
        constant = tuple(torch.nonzero((low == 0) & (high == 0)).flatten().tolist())
        ends = [s.samples.features[m].aminmax() for s in dataset.splits.values()]
        largest = max(max(-end.min.item(), end.max.item()) for end in ends)
    return ModalityFacts(
        modality=m,
        width=dataset.spec.widths[m],
        length=dataset.spec.lengths[m],
        steps=(int(steps.min()), steps.float().mean().item(), int(steps.max())),
        nonfinite={s: manifest.nonfinite[s][m] if manifest else 0 for s in SPLITS},
        missing={s: int((~x.samples.available[:, k]).sum()) for s, x in dataset.splits.items()},
        constant=constant,
        largest=largest,
    )


def _oddities(
    dataset: Dataset, splits: tuple[SplitFacts, ...], modalities: tuple[ModalityFacts, ...]
) -> Iterator[str]:
    absent = [m for m in MODALITIES if m not in dataset.spec.present]
    if absent:
        rest = " and ".join(dataset.spec.present)
        yield f"no {' and no '.join(absent)}: every protocol runs over {rest} alone"
    yield from _label_oddities(dataset, splits)
    for one, other in combinations(splits, 2):
        shared = sorted(one.videos & other.videos)
        if shared:
            yield (
                f"{len(shared)} videos are in {one.name} and in {other.name} ({shared[0]!r}, say):"
                " the same speaker on both sides makes results too good"
            )
    for facts in modalities:
        yield from _modality_oddities(facts, sum(s.count for s in splits))


def _against_card(
    dataset: Dataset, card: Card, splits: tuple[SplitFacts, ...], encoded_here: bool
) -> Iterator[str]:
    differing = [s for s in splits if s.expected is not None and s.expected != s.count]
    if differing:
        said = ", ".join(f"{s.name} {s.count} (standard {s.expected})" for s in differing)
        yield f"not {card.title}'s standard split: {said}"
    spec = dataset.spec
    if card.task is not None and spec.task != card.task:
        yield f"{spec.task} labels; {card.title} is commonly used for {card.task}"
    if spec.task == card.task == "classification" and spec.classes not in (card.totals or {0: 0}):
        usual = ", ".join(str(c) for c in card.totals)
        yield f"{spec.classes} classes; usual for {card.title}: {usual}"
    total, usual_total = sum(s.count for s in splits), card.totals.get(spec.classes)
    if usual_total not in (None, total) and not card.splits:
        yield f"{total} samples; {card.title} has {usual_total}"
    if encoded_here or not card.packages:
        return
    widths = {m: spec.widths[m] for m in spec.present}
    match, has = cards.package_of(card, widths), cards.shown(widths)
    if match is None:
        known = "; ".join(f"{cards.shown(p.widths)} {p.title}" for p in card.packages)
        yield (
            f"widths text/audio/vision {has} are of no known package (known: {known});"
            " published numbers are not like for like with numbers on these"
        )
    elif card.stated and not cards.fits(widths, card.stated):
        yield (
            f"widths text/audio/vision {has}: this is {match.title}; the paper"
            f" states {cards.shown(card.stated)}. Published numbers from the other variant are not"
            " comparable one to one"
        )


def _label_oddities(dataset: Dataset, splits: tuple[SplitFacts, ...]) -> Iterator[str]:
    if dataset.spec.task == "regression":
        low, high = min(s.label[0] for s in splits), max(s.label[3] for s in splits)
        if max(-low, high) <= 1:
            yield (
                f"labels lie in [{low:g}, {high:g}]; ACC7 and ACC5 are defined on [-3, 3]: if their"
                " scale is [-1, 1], multiply by 3 (--label-scale 3 --replace at the import)"
            )
        return
    for split in splits:
        empty = [str(k) for k, count in enumerate(split.classes) if count == 0]
        if empty:
            yield f"{split.name} has no sample of class {', '.join(empty)}"


def _modality_oddities(facts: ModalityFacts, total: int) -> Iterator[str]:
    m = facts.modality
    if facts.length == 1:
        yield f"{m} is one step per sample: nothing in it changes over time"
    missing = sum(facts.missing.values())
    if missing:
        said = ", ".join(f"{s} {count}" for s, count in facts.missing.items())
        yield f"{m} is missing by nature in {missing} of {total} samples ({said})"
    nonfinite = sum(facts.nonfinite.values())
    if nonfinite:
        said = ", ".join(f"{s} {count}" for s, count in facts.nonfinite.items())
        yield f"{m}: {nonfinite} values were NaN or infinite and were replaced ({said})"
    if facts.constant:
        listing = ", ".join(str(c) for c in facts.constant[:8])
        more = ", ..." if len(facts.constant) > 8 else ""
        yield f"{m}: {len(facts.constant)} channels never change in train ({listing}{more})"
    if facts.largest > OUTLIER:
        yield (
            f"{m}: the largest value lies {facts.largest:.0f} standard deviations out:"
            " an outlier, or a fault of the extraction"
        )
