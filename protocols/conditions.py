"""Which degraded inputs each protocol asks about: the rows of the prediction table.

Every protocol asks what a checkpoint predicts for a sample at noise intensity λ when only the
modalities S are available. A condition is one such (λ, S) for one corruption draw. Two collapses
keep the table small: without noise the draw does not matter, and with nothing available neither
the draw nor λ does (unless the rule says what stands in for a missing modality). With 3
modalities, 8 levels and one draw that leaves 7 x 8 + 1 = 57 rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from protocols.availability import mask_of, name_of, subsets
from protocols.modalities import Modality
from protocols.rules import FAMILIES, RULE_VERSIONS, NoiseRule, family_version

Protocol = Literal["I", "II", "III", "grid"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
PROTOCOL_TITLES: dict[Protocol, str] = {
    "I": "Protocol I: missing modalities, no noise",
    "II": "Protocol II: noise, nothing missing",
    "III": "Protocol III: stochastic mixture, (λ, η) drawn per sample",
    "grid": "The λ x η grid: noise intensity x missing rate",
}
PROTOCOL_VERSIONS: dict[str, int] = {"I": 1, "II": 1, "III": 1, "grid": 1}
"""What the numbers mean, by version: those of I, II and the grid are about how a number is read off
a table; Protocol III's is also about its rows, which are at levels of their own."""

LEVELS: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""The grid points of both λ and η (Table 8)."""

Joint = Literal["uniform_0.7", "uniform_1"]
JOINTS: dict[Joint, float] = {"uniform_0.7": 0.7, "uniform_1": 1.0}
"""Protocol III's P_env(λ, η) (A17): per sample, λ and η independent and uniform from 0 to this."""

NO_RULE = "none"
JOINT_LEVEL = -1.0


class Condition(NamedTuple):
    """One row of the prediction table.

    Attributes:
        noise_rule: the noise rule; "none" for a row without noise or without any modality.
        draw: the corruption draw seed; 0 where ``noise_rule`` is "none".
        intensity: λ; -1 for a row of Protocol III, where each sample has its own.
        joint: the joint distribution of a row of Protocol III, else "".
        mask: S as a bit mask.
    """

    noise_rule: str
    draw: int
    intensity: float
    joint: str
    mask: int

    def __str__(self) -> str:
        """For people: "λ = 0.3 (seed_a1, draw 0), {ta} available"."""
        shown = f"{{{name_of(self.mask)}}} available" if self.mask else "nothing available"
        if self.noise_rule == NO_RULE:
            return f"no noise, {shown}"
        level = f"λ of {self.joint}" if self.joint else f"λ = {self.intensity:g}"
        return f"{level} ({self.noise_rule}, draw {self.draw}), {shown}"


def version_of(condition: Condition) -> str:
    """The versions of all that makes a row of this condition what it is.

    A row without noise depends only on what zeroing a modality is; noise adds its formula and its
    draw, and Protocol III the levels that are drawn. A row of another version is out of date.
    """
    parts = {"zeroing": RULE_VERSIONS["zeroing"]}
    if condition.noise_rule != NO_RULE:
        parts |= family_version(condition.noise_rule)  # type: ignore[arg-type]
    if condition.joint:
        parts["III"] = PROTOCOL_VERSIONS["III"]
    return ", ".join(f"{name} {version}" for name, version in parts.items())


def versions_of(conditions: Sequence[Condition]) -> tuple[str, ...]:
    """:func:`version_of` of each: it is that of their noise rule and joint, of which few differ."""
    kinds = {(c.noise_rule, c.joint): c for c in conditions}
    found = {kind: version_of(c) for kind, c in kinds.items()}
    return tuple(found[c.noise_rule, c.joint] for c in conditions)


def draws_of(conditions: Iterable[Condition]) -> Mapping[tuple[str, str], int]:
    """(noise rule, joint) -> the number of corruption draws; the joint of a level's row is ""."""
    found: dict[tuple[str, str], int] = defaultdict(int)
    for c in conditions:
        found[c.noise_rule, c.joint] = max(found[c.noise_rule, c.joint], c.draw + 1)
    return found


def in_every_draw(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    """The conditions, each in every draw that some condition of its rule and joint has.

    The number of draws is a property of (noise rule, joint): were some cells means over one draw
    and others over three, a table would depend on what was asked of it first.
    """
    given = set(conditions)
    draws = draws_of(given)
    return tuple(
        sorted({c._replace(draw=d) for c in given for d in range(draws[c.noise_rule, c.joint])})
    )


def at_level(noise_rule: NoiseRule, draw: int, intensity: float, mask: int) -> Condition:
    """The condition (λ, S) of a draw, collapsed where draw or λ do not matter."""
    if intensity == 0 or (mask == 0 and not FAMILIES[noise_rule].fills):
        return Condition(NO_RULE, 0, 0.0, "", mask)
    return Condition(noise_rule, draw, intensity, "", mask)


def at_joint(noise_rule: NoiseRule, draw: int, joint: Joint, mask: int) -> Condition:
    """The condition of Protocol III under S, collapsed for the empty S unless the rule fills it."""
    if mask == 0 and not FAMILIES[noise_rule].fills:
        return Condition(NO_RULE, 0, 0.0, "", 0)
    return Condition(noise_rule, draw, JOINT_LEVEL, joint, mask)


def conditions_of(
    protocols: Iterable[Protocol],
    present: tuple[Modality, ...],
    noise_rules: Sequence[NoiseRule],
    draws: int,
    joint: Joint,
) -> tuple[Condition, ...]:
    """Every condition that the protocols need, each once, in canonical order.

    Args:
        protocols: the protocols asked for. The clean row is always among the conditions.
        present: the modalities that the data set has: with fewer there are fewer subsets.
        noise_rules: what noise is; one set of rows for each.
        draws: the number of corruption draws, seeded 0, 1, ...; one where a rule is not random.
        joint: the joint distribution of Protocol III.
    """
    full = mask_of(present)
    masks = subsets(present)
    found = {at_level("seed_a1", 0, 0.0, full)}
    for protocol in protocols:
        if protocol == "I":
            found |= {at_level("seed_a1", 0, 0.0, mask) for mask in masks}
            continue
        for rule in noise_rules:
            for draw in range(draws if FAMILIES[rule].random else 1):
                if protocol == "II":
                    found |= {at_level(rule, draw, level, full) for level in LEVELS}
                elif protocol == "III":
                    found |= {at_joint(rule, draw, joint, mask) for mask in masks}
                else:
                    found |= {at_level(rule, draw, x, mask) for x in LEVELS for mask in masks}
    return tuple(sorted(found))
