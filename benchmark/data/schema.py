"""The words of a feature package: its keys, and what else the field calls them."""

from __future__ import annotations

from protocols.modalities import MODALITIES, Modality, Task

LABEL_KEYS: dict[Task, str] = {
    "regression": "regression_labels",
    "classification": "classification_labels",
}
PLAIN_LABELS = "labels"
"""MulT's key, and MultiBench's: sentiment, classes or yes-or-no answers."""
LENGTH_KEYS: dict[Modality, str] = {m: f"{m}_lengths" for m in MODALITIES}
KNOWN_KEYS = {"id", "raw_text", *MODALITIES, *LABEL_KEYS.values(), *LENGTH_KEYS.values()}

OTHER_NAMES: dict[str, Modality] = {
    **dict.fromkeys(("speech", "acoustic", "sound", "voice", "wav", "covarep"), "audio"),
    **dict.fromkeys(("video", "visual", "image", "images", "face", "facial", "facet"), "vision"),
    **dict.fromkeys(("language", "words", "transcript", "linguistic", "texts", "glove"), "text"),
}
"""What else people call the modalities -> ours."""

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "dev", "devel", "validation"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What else people call the splits -> ours."""
