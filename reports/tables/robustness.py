"""Systems by metrics: Tables 1 and 7 (clean), Table 5 (clean test beside Protocol III)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.questions import Question, clean_question
from benchmark.systems import slug
from protocols.availability import mask_of, name_of
from protocols.conditions import JOINTS
from reports import captions
from reports.beside import TRAINED, table_of
from reports.results import Results
from reports.sources import Sources
from reports.subjects import Subject
from reports.tables.rows import Average, Beside, rows
from reports.tables.table import Column, Table
from reports.views import SELECTIONS, view

_USUAL = ("bernoulli", "uniform_0.7")

Block = tuple[str, Question]
"""A group of columns: its heading, and the condition that its metrics are measured under."""


def main_tables(everything: Sources) -> list[Table]:
    """Table 5 for each variant of Protocol III, or the clean test where no run has it."""
    sources = everything.compared
    third = sources.results.variants("III", "noise_rule", "missing_rule", "joint")
    return [main_table(sources, variant) for variant in third or [()]]


def main_table(sources: Sources, variant: tuple[str, ...]) -> Table:
    """Clean test beside Protocol III, systems by metrics: the shape of the paper's Table 5.

    Args:
        sources: what the table is made of.
        variant: (noise rule, missing rule, joint) of Protocol III; empty where no run has it.
    """
    results, paper = sources.results, sources.paper
    done = {(s.title, s.regime.name) for s in results.systems if s.plain}
    clean = table_of([clean_question(results.present)], results.aligned)
    titles = dict.fromkeys([*paper.models(clean), *paper.models("table5")])
    return block_table(
        sources,
        results.systems,
        table_name("table5-protocol-iii" if variant else "clean", *variant),
        titled("Table 5: clean against spectrum training, clean test and Protocol III", *variant)
        if variant
        else "Clean test",
        blocks_of(results, variant),
        [(t, r) for t in titles for r in TRAINED if (t, r) not in done],
        _main_sources(sources),
    )


def _main_sources(sources: Sources) -> tuple[str, ...]:
    where = _clean_source(sources.results.aligned)
    if not sources.paper.models("table1"):
        return ()
    if not sources.paper.models("table5"):
        return captions.published_sentences(sources.results, f"{where} for the clean test")
    where += " for the clean test, Table 5 for Protocol III"
    return (
        *captions.published_sentences(sources.results, where),
        "Read Table 5 with care: its values fit a clean test set, not the same paper's λ×η grid "
        "(Table 8), whose 64 cells have a mean ACC7 of 38.6.",
    )


def _clean_source(aligned: bool | None) -> str:
    return "Table 7 (unaligned features)" if aligned is False else "Table 1 (aligned features)"


def clean_tables(everything: Sources) -> list[Table]:
    """Table 1 of aligned features, or Table 7 of unaligned ones: clean training, clean test."""
    sources = everything.compared
    systems = [s for s in sources.results.systems if s.regime.kind == "clean"]
    if not systems:
        return []
    aligned, paper = sources.results.aligned, sources.paper
    number = 7 if aligned is False else 1
    models = paper.models(f"table{number}")
    unknown = ("These records do not say whether the features are aligned.",)
    done = {system.title for system in systems if system.plain}
    where = _clean_source(aligned)
    return [
        block_table(
            sources,
            systems,
            f"table{number}-clean",
            f"Table {number}: clean training, clean test",
            blocks_of(sources.results, ())[:1],
            [(title, "clean") for title in models if title not in done],
            captions.published_sentences(sources.results, where) if models else (),
            unknown if aligned is None else (),
        )
    ]


def blocks_of(results: Results, variant: tuple[str, ...]) -> list[Block]:
    """The clean test, and Protocol III where there is a variant of it; headed as in the overview,
    so that of several variants each says which it is."""
    asked = [clean_question(results.present)]
    if variant:
        noise, missing, joint = variant
        asked.append(Question("III", noise, missing, joint=joint))
    titles = {q: headline.title for headline in results.overview for q in headline.questions}
    return [(titles[question], question) for question in asked]


def block_table(
    sources: Sources,
    subjects: Sequence[Subject],
    name: str,
    title: str,
    blocks: Sequence[Block],
    nobody_ran: Sequence[tuple[str, str]] = (),
    notes: tuple[str, ...] = (),
    more_caption: tuple[str, ...] = (),
    beside: Beside = "answer",
) -> Table:
    """Rows by metrics, a group of columns for each block.

    Args:
        sources: what the table is made of.
        subjects: the rows.
        name: the file name.
        title: the heading.
        blocks: the groups of columns.
        nobody_ran: (model title, training) of rows that are only published.
        notes: where the published numbers are from.
        more_caption: sentences of this table only.
        beside: the published numbers that stand beside the rows.
    """
    metrics = SELECTIONS[sources.results.task].main
    averages = [
        Average(metric, (question,), beside=beside) for _, question in blocks for metric in metrics
    ]
    made = rows(sources.answers, subjects, averages, nobody_ran)
    joints = (question.joint for _, question in blocks if question.joint)
    sentences = tuple(text for joint in joints for text in _joint_sentence(joint))
    questions = [question for _, question in blocks]
    return Table(
        name,
        title,
        caption(sources, subjects, questions, metrics, (*sentences, *more_caption)),
        tuple(Column(view(metric).heading, group) for group, _ in blocks for metric in metrics),
        tuple(made),
        notes=notes,
    )


def _joint_sentence(joint: str) -> tuple[str, ...]:
    top = {str(name): value for name, value in JOINTS.items()}.get(joint)
    drawn = f": λ and η of each sample uniform on [0, {top:g}]" if top is not None else ""
    return (f"Protocol III draws from {joint}{drawn}.",)


def caption(
    sources: Sources,
    subjects: Sequence[Subject],
    questions: Iterable[Question],
    metrics: Sequence[str],
    more: tuple[str, ...],
) -> tuple[str, ...]:
    """The sentences under a table: common ones, its own, and what its marks mean."""
    asked = list(questions)
    return (
        *captions.common(_shown(sources.results, subjects, asked), asked),
        *more,
        *captions.metric_note(sources.results, metrics),
        *captions.floor_note(bool(sources.floors)),
        captions.MARKS if len(subjects) > 1 else captions.ONE_SYSTEM,
    )


def full_name(results: Results) -> str:
    """The name of the complete input: "tav" where the data set has all three modalities."""
    return name_of(mask_of(results.present))


def table_name(base: str, *variant: str) -> str:
    """A file name: the variant's parts without those that are usual."""
    return slug(" ".join([base, *(part for part in variant if part not in _USUAL)]))


def titled(base: str, *variant: str) -> str:
    """A title that says its variant, by the parts that are in the file's name."""
    own = ", ".join(part for part in variant if part not in _USUAL)
    return f"{base} ({own})" if own else base


def _shown(every: Results, subjects: Sequence[Subject], questions: Sequence[Question]) -> Results:
    """The results of the systems that answer for a row of the table."""
    runs = {
        run.run_id for one in subjects for question in questions for run in one.runs_at(question)
    }
    return every.only([s for s in every.systems if runs & {r.run_id for r in s.records}])
