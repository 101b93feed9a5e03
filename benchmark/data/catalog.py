"""What is known of the field's data sets, to compare an import with (``benchmark data check``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from protocols.modalities import Modality, Task

Widths = Mapping[Modality, int]


def _widths(text: int, audio: int, vision: int) -> Widths:
    return {"text": text, "audio": audio, "vision": vision}


@dataclass(frozen=True)
class Variant:
    """A feature package that is in circulation, and the feature widths it is known by."""

    title: str
    widths: Widths


@dataclass(frozen=True)
class Reference:
    """A known data set.

    Attributes:
        key: its usual short name.
        title: its full name.
        tasks: what it is labelled for.
        counts: standard samples per split; empty where there is no single standard.
        totals: number of classes (1 for regression) -> labelled samples in all.
        label_range: of the sentiment, for regression.
        classes: usual numbers of classes, for classification.
        stated: the widths that the paper states, where it does.
        variants: the packages in circulation.
        origin: where a user gets the data.
        remarks: what else to know.
    """

    key: str
    title: str
    tasks: tuple[Task, ...]
    counts: Mapping[str, int]
    totals: Mapping[int, int]
    label_range: tuple[float, float] | None
    classes: tuple[int, ...]
    stated: Widths
    variants: tuple[Variant, ...]
    origin: str
    remarks: str = ""


STATED = _widths(768, 74, 35)
"""BERT, COVAREP and Facet, as the paper states them for all sentiment data."""

_MMSA = (
    "feature packages (aligned_50.pkl, unaligned_50.pkl) through the download links in the README"
    " of GitHub thuiar/MMSA"
)
_SDK = "raw computational sequences through GitHub CMU-MultiComp-Lab/CMU-MultimodalSDK"

REFERENCES = (
    Reference(
        key="mosi",
        title="CMU-MOSI",
        tasks=("regression",),
        counts={"train": 1284, "valid": 229, "test": 686},
        totals={1: 2199},
        label_range=(-3.0, 3.0),
        classes=(),
        stated=STATED,
        variants=(
            Variant("the MMSA package", _widths(768, 5, 20)),
            Variant("the widths that the paper states", STATED),
            Variant("the package of MAG-BERT and C-MIB", _widths(768, 74, 47)),
            Variant("the GloVe package of MulT", _widths(300, 5, 20)),
        ),
        origin=f"{_MMSA}; {_SDK}.",
    ),
    Reference(
        key="mosei",
        title="CMU-MOSEI",
        tasks=("regression",),
        counts={"train": 16326, "valid": 1871, "test": 4659},
        totals={1: 22856},
        label_range=(-3.0, 3.0),
        classes=(),
        stated=STATED,
        variants=(
            Variant("the MMSA package", STATED),
            Variant("the GloVe package of MulT", _widths(300, 74, 35)),
        ),
        origin=f"{_MMSA}; {_SDK}.",
    ),
    Reference(
        key="iemocap",
        title="IEMOCAP",
        tasks=("classification",),
        counts={},
        totals={4: 5531, 6: 7433},
        label_range=None,
        classes=(2, 4, 6),
        stated=STATED,
        variants=(Variant("the GloVe package of MulT", _widths(300, 74, 35)),),
        origin=(
            "the recordings need a signed licence: the release form of USC SAIL. Features are then"
            " extracted by yourself, or taken from a package that your licence covers."
        ),
        remarks="Usual label sets: 5,531 utterances in 4 classes, 7,433 in 6. The mean over four"
        " binary problems is acc_ovr and f1_ovr of a 4-class run.",
    ),
    Reference(
        key="mintrec",
        title="MIntRec",
        tasks=("classification",),
        counts={"train": 1334, "valid": 445, "test": 445},
        totals={20: 2224},
        label_range=None,
        classes=(20,),
        stated={},
        variants=(Variant("the official package", _widths(768, 768, 256)),),
        origin="features and text through GitHub thuiar/MIntRec.",
    ),
    Reference(
        key="mmmo",
        title="ICT-MMMO",
        tasks=("regression",),
        counts={},
        totals={1: 340},
        label_range=(-2.0, 2.0),
        classes=(),
        stated={},
        variants=(Variant("GloVe, COVAREP and Facet", _widths(300, 74, 36)),),
        origin=f"{_SDK}.",
        remarks="Its reviews are rated 1 to 5: subtract 3 before the import.",
    ),
)


def usual_counts(reference: Reference | None, classes: int) -> str:
    """ "1284/229/686", or "5531 in all" where there is no single split; else a dash."""
    if reference is None:
        return "–"
    if reference.counts:
        return "/".join(str(n) for n in reference.counts.values())
    return f"{reference.totals[classes]} in all" if classes in reference.totals else "–"


def find_reference(name: str, counts: Mapping[str, int]) -> Reference | None:
    """The known data set that ``name`` speaks of ("mosi-aligned"), or that has its counts."""
    words = re.split(r"[^a-z]+", name.lower())
    for reference in REFERENCES:
        if reference.key in words:
            return reference
    for reference in REFERENCES:
        if reference.counts and dict(reference.counts) == dict(counts):
            return reference
    return None
