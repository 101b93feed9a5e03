"""What happens to a transcript before its encoder reads it: words lost, characters wrong, tokens
unknown.

The other families act on features. These act on the words, so that the states of all tokens change
with those that are hit; the states are made ahead of an evaluation, where the encoder is
(``benchmark data rewrite``). Random numbers are keyed by sample as everywhere
(:mod:`protocols.draws`), drawn once and compared with λ: what is hit at one λ is hit at every
higher one, and λ = 0 is the transcript as it is.
"""

from __future__ import annotations

import re
import string
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from protocols.draws import keyed_generator
from protocols.rules import NoiseRule

CHARACTER_SHARE = 0.2
"""The chance that a character is wrong at λ = 1."""

Key = tuple[int, str, str]
"""(draw seed, split, sample id)."""


def rewrite(rule: NoiseRule, text: str, level: float, key: Key) -> str:
    """A transcript as the encoder is given it; ``unk`` leaves it (:func:`with_unknown`)."""
    if rule == "words":
        return lose_words(text, level, key)
    return change_characters(text, level, key) if rule == "characters" else text


def lose_words(text: str, level: float, key: Key) -> str:
    """Each word lost with chance λ, but for the one that is hit last: an empty transcript would be
    a missing modality."""
    words = text.split()
    u = _uniforms(key, "words", (len(words),))
    last = u.max(initial=0.0)
    kept = [word for word, own in zip(words, u, strict=True) if own >= min(level, last)]
    return " ".join(kept)


def change_characters(text: str, level: float, key: Key) -> str:
    """Each letter or digit wrong with chance λ/5: left out, doubled, or another letter.

    The first is never left out.
    """
    u = _uniforms(key, "characters", (len(text), 3))
    first = next((place for place, c in enumerate(text) if c.isalnum()), None)
    changed = []
    for place, (character, (hit, how, other)) in enumerate(zip(text, u.tolist(), strict=True)):
        if not character.isalnum() or hit >= level * CHARACTER_SHARE:
            changed.append(character)
        elif how < 1 / 3:
            changed.append(character if place == first else "")
        elif how < 2 / 3:
            changed.append(character * 2)
        else:
            letter = string.ascii_lowercase[int(other * len(string.ascii_lowercase))]
            changed.append(letter.upper() if character.isupper() else letter)
    return re.sub(r"\s+", " ", "".join(changed)).strip() if level > 0 else text


def with_unknown(
    tokens: Sequence[int], unknown: int, special: Collection[int], level: float, key: Key
) -> list[int]:
    """Each token ``unknown`` with chance λ, but for the ``special`` ones that frame a text."""
    u = _uniforms(key, "unk", (len(tokens),))
    return [
        unknown if own < level and token not in special else token
        for token, own in zip(tokens, u, strict=True)
    ]


def _uniforms(key: Key, purpose: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    draw_seed, split, sample_id = key
    return keyed_generator(draw_seed, split, sample_id, "text", purpose).random(shape)
