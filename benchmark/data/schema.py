"""The words of a feature package: its keys, and what else the field calls them."""

from __future__ import annotations

import re
from difflib import get_close_matches

from protocols.modalities import MODALITIES, Modality, Task

LABEL_KEYS: dict[Task, str] = {
    "regression": "regression_labels",
    "classification": "classification_labels",
}
PLAIN_LABELS = "labels"
"""MulT's key, and MultiBench's: sentiment, classes or yes-or-no answers."""
LENGTH_KEYS: dict[Modality, str] = {m: f"{m}_lengths" for m in MODALITIES}
KNOWN_KEYS = {"id", "raw_text", *MODALITIES, *LABEL_KEYS.values(), *LENGTH_KEYS.values()}

_AUDIO = ("speech", "acoustic", "sound", "voice", "wav", "covarep", "wav2vec", "hubert", "mfcc")
_VISION = ("video", "visual", "image", "images", "img", "frames", "face", "facial", "facet")
_TEXT = ("language", "words", "transcript", "linguistic", "texts", "glove", "bert", "roberta")
NAMES: dict[str, Modality] = {
    **dict.fromkeys(("audio", *_AUDIO), "audio"),
    **dict.fromkeys(("vision", "openface", *_VISION), "vision"),
    **dict.fromkeys(("text", *_TEXT), "text"),
}
"""What people call the modalities -> ours."""
LETTERS: dict[str, Modality] = {"t": "text", "l": "text", "a": "audio", "v": "vision"}

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("valid", "val", "dev", "devel", "validation"), "valid"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
"""What else people call the splits -> ours."""


def meant_by(key: object) -> Modality | None:
    """The modality that a key names in other words: "video", "audio_feats", "feature_T"."""
    if not isinstance(key, str) or key in KNOWN_KEYS or "len" in key or key == "text_bert":
        return None
    words = re.findall(r"[a-z0-9]+", key.lower())
    if words and (len(words) == 1 or words[0].startswith("feat")) and words[-1] in LETTERS:
        return LETTERS[words[-1]]
    near = get_close_matches(key.lower(), NAMES, 1, 0.8) if key.isalpha() else []
    return next((NAMES[word] for word in [*words, *near] if word in NAMES), None)
