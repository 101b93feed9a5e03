"""The tables of the protocols: clean and Protocol III, I fixed, I random, II."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from protocols.availability import mask_of, name_of
from protocols.conditions import JOINTS, LEVELS
from reports import captions
from reports.floors import Floor
from reports.labels import slug
from reports.measure import UNDEFINED_NOTE, Measure, PublishedValue, Question, rows
from reports.points import Point
from reports.published import Published
from reports.results import Results
from reports.tables import Column, Row, Table
from reports.views import SELECTIONS, view

TRAINED = {"clean": "clean_train", "spectrum": "spectrum_train"}
"""Our regime -> the condition of the paper's Table 5."""

_NOT_STATED = "training not stated"
_PER_RATE = "one model per rate"
_USUAL = ("bernoulli", "uniform_0.7")

Asked = Sequence[tuple[str, tuple[Point, ...]]]
"""Columns of conditions: a heading, and the points that are averaged under it."""


@dataclass(frozen=True)
class Sources:
    """What every table is made of: measured, floors, published."""

    measure: Measure
    floors: Sequence[Floor]
    paper: Published

    @property
    def results(self) -> Results:
        """The results that are measured."""
        return self.measure.results


def robustness_tables(sources: Sources) -> list[Table]:
    """Every table that the records allow, the main one first."""
    results = sources.results
    third = results.variants("III", "noise_rule", "missing_rule", "available")
    tables = [main_table(sources, variant) for variant in third or [()]]
    if results.variants("I", "protocol"):
        tables.append(fixed_table(sources))
        rules = {rule for (rule,) in results.variants("I", "missing_rule")} - {""}
        tables += [random_table(sources, rule) for rule in sorted(rules)]
    return tables + [noise_table(sources, r) for (r,) in results.variants("II", "noise_rule")]


def main_table(sources: Sources, variant: tuple[str, ...]) -> Table:
    """Clean test beside Protocol III, systems by metrics: the shape of the paper's Table 5.

    Args:
        sources: what the table is made of.
        variant: (noise rule, missing rule, joint) of Protocol III; empty where no run has it.
    """
    results, paper = sources.results, sources.paper
    metrics = SELECTIONS[results.task].main
    blocks = [("Clean test", Point("clean", available=full_name(results)))]
    if variant:
        noise, missing, joint = variant
        blocks.append(("Protocol III", Point("III", noise, missing, available=joint)))
    questions = [Question(metric, (point,)) for _, point in blocks for metric in metrics]
    done = {(s.card.title, s.regime.name) for s in results.systems if s.plain}
    titles = dict.fromkeys([*paper.models("table1"), *paper.models("table5")])
    nobody_ran = [(t, r) for t in titles for r in TRAINED if (t, r) not in done]
    value = partial(_main_published, paper)
    made = rows(sources.measure, questions, sources.floors, value, nobody_ran)
    title = "Clean test and Protocol III" if variant else "Clean test"
    joint_sentence = _joint_sentence(variant[2]) if variant else ()
    return Table(
        table_name("protocol-iii" if variant else "clean", *variant),
        title,
        _caption(sources, [point for _, point in blocks], metrics, joint_sentence),
        tuple(Column(view(metric).heading, group) for group, _ in blocks for metric in metrics),
        tuple(made),
        notes=(*undefined_note(made), *_main_sources(sources)),
    )


def _main_published(paper: Published, title: str, regime: str, question: Question) -> float | None:
    name = view(question.metric).paper_name
    if question.points[0].protocol == "clean":
        return paper.value("table1", title, "clean", name) if regime == "clean" else None
    return paper.value("table5", title, TRAINED.get(regime, ""), name)


def _main_sources(sources: Sources) -> tuple[str, ...]:
    if not sources.paper.models("table1"):
        return ()
    where = "Table 1 (aligned features) for the clean test"
    if not sources.paper.models("table5"):
        return captions.published_sentences(sources.results, where)
    return (
        *captions.published_sentences(sources.results, f"{where}, Table 5 for Protocol III"),
        "Read Table 5 with care: its values fit a clean test set, not the same paper's λ×η grid "
        "(Table 8), whose 64 cells have a mean ACC7 of 38.6.",
    )


def _joint_sentence(joint: str) -> tuple[str, ...]:
    top = {str(name): value for name, value in JOINTS.items()}.get(joint)
    drawn = f": λ and η of each sample uniform on [0, {top:g}]" if top is not None else ""
    return (f"Protocol III draws from {joint}{drawn}.",)


def fixed_table(sources: Sources) -> Table:
    """Protocol I with fixed subsets (Table 2): both averages, without and with the full one."""
    names = captions.subset_names(sources.results)
    points = [Point("I", available=name) for name in names]
    asked = [(captions.condition_name(n), (p,)) for n, p in zip(names, points, strict=True)]
    few, every = len(points) - 1, len(points)
    averages = [(f"Avg-{n}", tuple(points[:n])) for n in (few, every) if n > 1]
    sentence = f"Avg-{few} leaves out the complete input, Avg-{every} has it."
    return _by_condition(
        sources,
        ("protocol-i-fixed", "Protocol I: which modalities are available"),
        SELECTIONS[sources.results.task].fixed,
        [*asked, *averages],
        partial(_fixed_published, sources.paper),
        ("table2", _NOT_STATED),
        "The paper does not say how the models of Table 2 were trained; its Avg column mixes "
        "averages over 6 and over 7 subsets, so neither average has a published value here.",
        (sentence,) if averages else (),
    )


def _fixed_published(paper: Published, title: str, regime: str, question: Question) -> float | None:
    if len(question.points) > 1 or regime not in (*TRAINED, _NOT_STATED):
        return None
    condition = question.points[0].available
    return paper.value("table2", title, condition, view(question.metric).paper_name)


def random_table(sources: Sources, missing_rule: str) -> Table:
    """Protocol I with a missing rate η (Table 3)."""
    points = [Point("I", "", missing_rule, rate=rate) for rate in LEVELS]
    asked = [(f"η = {rate:g}", (p,)) for rate, p in zip(LEVELS, points, strict=True)]
    return _by_condition(
        sources,
        (table_name("protocol-i-random", missing_rule), "Protocol I: random missing modalities"),
        SELECTIONS[sources.results.task].random,
        [*asked, ("Avg η > 0", tuple(points[1:]))],
        partial(_random_published, sources.paper),
        ("table3", _PER_RATE),
        "Table 3 trains one model for each missing rate and tests it at that rate: its values "
        "stand beside a run only at the rate that it was trained with.",
    )


def _random_published(
    paper: Published, title: str, regime: str, question: Question
) -> float | None:
    name = view(question.metric).paper_name
    if len(question.points) > 1:
        return paper.value("table3", title, "Avg", name) if regime == _PER_RATE else None
    rate = f"{question.points[0].rate:g}"
    matches = regime in (_PER_RATE, f"missing-{rate}")
    return paper.value("table3", title, rate, name) if matches else None


def noise_table(sources: Sources, noise_rule: str) -> Table:
    """Protocol II (Table 4): noise intensity λ with everything available."""
    full = full_name(sources.results)
    points = [Point("II", noise_rule, intensity=level, available=full) for level in LEVELS]
    asked = [(f"λ = {level:g}", (p,)) for level, p in zip(LEVELS, points, strict=True)]
    return _by_condition(
        sources,
        (table_name("protocol-ii", noise_rule), f"Protocol II: noise ({noise_rule})"),
        SELECTIONS[sources.results.task].noise,
        [*asked, ("Avg λ > 0", tuple(points[1:]))],
        partial(_noise_published, sources.paper),
        ("table4", _NOT_STATED),
        "The paper says neither which noise rule nor which training is behind Table 4.",
    )


def _noise_published(paper: Published, title: str, regime: str, question: Question) -> float | None:
    name = view(question.metric).paper_name
    if regime not in (*TRAINED, _NOT_STATED):
        return None
    condition = "Avg" if len(question.points) > 1 else f"{question.points[0].intensity:g}"
    return paper.value("table4", title, condition, name)


def _by_condition(
    sources: Sources,
    name_and_title: tuple[str, str],
    metrics: Sequence[str],
    asked: Asked,
    published: PublishedValue,
    nobody_ran: tuple[str, str],
    note: str,
    more_caption: tuple[str, ...] = (),
) -> Table:
    """A table of conditions across, and one section of systems for each metric.

    Args:
        sources: what the table is made of.
        name_and_title: of the table.
        metrics: the sections.
        asked: the columns.
        published: the number beside a cell.
        nobody_ran: (table of the paper, name for its training) for models that are not among the
            runs; a model that is, under a training that the numbers stand beside, has no such row.
        note: what to know of the published numbers.
        more_caption: sentences of this table only.
    """
    results, (source, training) = sources.results, nobody_ran
    done = {s.card.title for s in results.systems if s.plain and s.regime.kind in TRAINED}
    titles = [t for t in sources.paper.models(source) if training == _PER_RATE or t not in done]
    made: list[Row] = []
    for metric in metrics:
        made += rows(
            sources.measure,
            [Question(metric, points) for _, points in asked],
            sources.floors,
            published,
            [(title, training) for title in titles],
            section=view(metric).heading,
        )
    has_published = bool(sources.paper.models(source))
    where = f"Table {source.removeprefix('table')}"
    notes = (*captions.published_sentences(results, where), note) if has_published else ()
    points = [point for _, points in asked for point in points]
    return Table(
        *name_and_title,
        _caption(sources, points, metrics, more_caption),
        tuple(Column(heading) for heading, _ in asked),
        tuple(made),
        notes=notes,
    )


def _caption(
    sources: Sources, points: Iterable[Point], metrics: Sequence[str], more: tuple[str, ...]
) -> tuple[str, ...]:
    return (
        *captions.common(sources.results, points),
        *more,
        *captions.metric_note(metrics),
        *captions.floor_note(bool(sources.floors)),
        captions.MARKS if len(sources.results.systems) > 1 else captions.ONE_SYSTEM,
    )


def undefined_note(made: Sequence[Row]) -> tuple[str, ...]:
    """The note behind the flag of an undefined correlation, where some cell has it."""
    return (UNDEFINED_NOTE,) if any(c.flag for row in made for c in row.cells) else ()


def full_name(results: Results) -> str:
    """The name of the complete input: "tav" where the data set has all three modalities."""
    return name_of(mask_of(results.present))


def table_name(base: str, *variant: str) -> str:
    """A file name: the variant's parts without those that are usual."""
    return slug(" ".join([base, *(part for part in variant if part not in _USUAL)]))
