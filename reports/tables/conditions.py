"""Conditions across: Protocol I fixed and random (Tables 2 and 3), Protocol II (Table 4)."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.questions import Question, fixed_questions, noise_questions, random_questions
from reports import captions
from reports.beside import NOT_STATED, TRAINED
from reports.sources import Sources
from reports.specialists import PER_INTENSITY, PER_RATE, Degradation
from reports.subjects import Subject
from reports.tables.robustness import caption, table_name
from reports.tables.rows import Average, rows
from reports.tables.table import Column, Row, Table
from reports.views import SELECTIONS, view

Asked = Sequence[tuple[str, tuple[Question, ...]]]
"""Columns of conditions: a heading, and the questions that are averaged under it."""


def condition_tables(sources: Sources) -> list[Table]:
    """Tables 2, 3 and 4, as far as the records allow; 3 and 4 for each rule of theirs."""
    results = sources.results
    tables = []
    if results.compared.variants("I", "protocol"):
        tables.append(fixed_table(sources.compared))
    rules = {rule for (rule,) in results.variants("I", "missing_rule")} - {""}
    tables += [random_table(sources, rule) for rule in sorted(rules)]
    return tables + [noise_table(sources, rule) for (rule,) in results.variants("II", "noise_rule")]


def fixed_table(sources: Sources) -> Table:
    """Protocol I with fixed subsets (Table 2): both averages, without and with the full one."""
    questions = fixed_questions(sources.results.present)
    asked = [(captions.condition_name(q.available), (q,)) for q in questions]
    few, every = len(questions) - 1, len(questions)
    averages = [(f"Avg-{n}", tuple(questions[:n])) for n in (few, every) if n > 1]
    sentence = f"Avg-{few} leaves out the complete input, Avg-{every} has it."
    return _by_condition(
        sources,
        ("table2-protocol-i-fixed", "Table 2: Protocol I, which modalities are available"),
        sources.results.systems,
        SELECTIONS[sources.results.task].fixed,
        [*asked, *averages],
        ("table2", NOT_STATED),
        "The paper does not say how the models of Table 2 were trained; its Avg column mixes "
        "averages over 6 and over 7 subsets, so neither average has a published value here.",
        (sentence,) if averages else (),
    )


def random_table(sources: Sources, missing_rule: str) -> Table:
    """Protocol I with a missing rate η (Table 3): specialists, and single checkpoints."""
    questions = random_questions(missing_rule)
    asked = [(f"η = {q.rate:g}", (q,)) for q in questions]
    return _by_condition(
        sources,
        (
            table_name("table3-protocol-i-random", missing_rule),
            f"Table 3: Protocol I, random missing modalities ({missing_rule})",
        ),
        _with_specialists(sources, "missing", missing_rule),
        SELECTIONS[sources.results.task].random,
        [*asked, ("Avg η > 0", tuple(questions[1:]))],
        ("table3", PER_RATE),
        "Table 3 trains one model for each missing rate and tests it at that rate: its values "
        "stand beside such models only.",
        _SPECIALISTS,
    )


def noise_table(sources: Sources, noise_rule: str) -> Table:
    """Protocol II (Table 4), noise of intensity λ: specialists, and single checkpoints."""
    questions = noise_questions(noise_rule, sources.results.present)
    asked = [(f"λ = {q.intensity:g}", (q,)) for q in questions]
    return _by_condition(
        sources,
        (
            table_name("table4-protocol-ii", noise_rule),
            f"Table 4: Protocol II, noise ({noise_rule})",
        ),
        _with_specialists(sources, "noise", noise_rule),
        SELECTIONS[sources.results.task].noise,
        [*asked, ("Avg λ > 0", tuple(questions[1:]))],
        ("table4", NOT_STATED),
        "The paper says neither which noise rule nor which training is behind Table 4.",
        _SPECIALISTS,
    )


_SPECIALISTS = (
    "A row of one model per level holds several trainings: each answers at the level that it was "
    "trained for, at 0 the clean-trained one.",
)


def _with_specialists(sources: Sources, degradation: Degradation, rule: str) -> list[Subject]:
    """The compared systems, and below them the specialists."""
    found = sources.answers.measured.specialists
    own = [one for one in found if (one.degradation, one.rule) == (degradation, rule)]
    return [*sources.compared.results.systems, *own]


def _by_condition(
    sources: Sources,
    name_and_title: tuple[str, str],
    subjects: Sequence[Subject],
    metrics: Sequence[str],
    asked: Asked,
    nobody_ran: tuple[str, str],
    note: str,
    more_caption: tuple[str, ...] = (),
) -> Table:
    """A table of conditions across, and one section of systems for each metric.

    Args:
        sources: what the table is made of.
        name_and_title: of the table.
        subjects: the rows of a section.
        metrics: the sections.
        asked: the columns.
        nobody_ran: (table of the paper, name for its training) for models that are not among the
            runs; a model that is, under a training that the numbers stand beside, has no such row.
        note: what to know of the published numbers.
        more_caption: sentences of this table only.
    """
    results, (source, training) = sources.results, nobody_ran
    beside = (PER_RATE,) if training == PER_RATE else (*TRAINED, PER_INTENSITY)
    done = {s.title for s in subjects if s.plain and s.training in beside}
    titles = [title for title in sources.paper.models(source) if title not in done]
    made: list[Row] = []
    for metric in metrics:
        made += rows(
            sources.answers,
            subjects,
            [Average(metric, questions) for _, questions in asked],
            [(title, training) for title in titles],
            section=view(metric).heading,
        )
    has_published = bool(sources.paper.models(source))
    where = f"Table {source.removeprefix('table')}"
    notes = (*captions.published_sentences(results, where), note) if has_published else ()
    questions = [question for _, questions in asked for question in questions]
    return Table(
        *name_and_title,
        caption(sources, subjects, questions, metrics, more_caption),
        tuple(Column(heading) for heading, _ in asked),
        tuple(made),
        notes=notes,
    )
