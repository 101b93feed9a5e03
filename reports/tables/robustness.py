"""Systems by metrics: Tables 1 and 7 (clean), Table 5 (clean test beside Protocol III)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from benchmark.efficiency.kept import Efficiency
from benchmark.questions import Question, clean_question
from benchmark.systems import slug
from protocols.availability import mask_of, name_of
from protocols.conditions import JOINTS
from reports import captions
from reports.floors import Floor, floors
from reports.published import Published, published
from reports.results import Results
from reports.tables.measure import Average, Measure, PublishedValue, rows
from reports.tables.table import Column, Table
from reports.views import SELECTIONS, view

TRAINED = {"clean": "clean_train", "spectrum": "spectrum_train"}
"""Our regime -> the condition of the paper's Table 5."""

_USUAL = ("bernoulli", "uniform_0.7")

Block = tuple[str, Question]
"""A group of columns: its heading, and the condition that its metrics are measured under."""


@dataclass(frozen=True)
class Sources:
    """What every table is made of: measured, floors, published."""

    measure: Measure
    floors: Sequence[Floor]
    paper: Published
    efficiency: Sequence[Efficiency] = ()

    @staticmethod
    def of(results: Results, efficiency: Sequence[Efficiency] = ()) -> Sources:
        """The sources of one data set's results, and of what was measured of its models' cost."""
        about = [one for one in efficiency if one.dataset == results.dataset]
        return Sources(Measure(results), floors(results), published(results.dataset), about)

    @property
    def results(self) -> Results:
        """The results that are measured."""
        return self.measure.results

    @cached_property
    def compared(self) -> Sources:
        """The sources of tables that compare models: without variants and specialists."""
        return Sources(Measure(self.results.compared), self.floors, self.paper)


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
    titles = dict.fromkeys([*paper.models("table1"), *paper.models("table5")])
    return block_table(
        sources,
        table_name("table5-protocol-iii" if variant else "clean", *variant),
        "Table 5: clean against spectrum training, clean test and Protocol III"
        if variant
        else "Clean test",
        blocks_of(results, variant),
        partial(_main_published, paper),
        [(t, r) for t in titles for r in TRAINED if (t, r) not in done],
        _main_sources(sources),
    )


def _main_published(paper: Published, title: str, regime: str, average: Average) -> float | None:
    name = view(average.metric).paper_name
    if average.questions[0].protocol == "clean":
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


def clean_tables(everything: Sources) -> list[Table]:
    """Table 1 of aligned features, or Table 7 of unaligned ones: clean training, clean test."""
    compared = everything.compared
    systems = [s for s in compared.results.systems if s.regime.kind == "clean"]
    if not systems:
        return []
    aligned = compared.results.aligned
    number, kind = (7, "unaligned") if aligned is False else (1, "aligned")
    source, paper = f"table{number}", compared.paper
    where = f"Table {number} ({kind} features)"
    unknown = ("These records do not say whether the features are aligned.",)
    sources = Sources(Measure(compared.results, systems), compared.floors, paper)
    done = {system.title for system in systems if system.plain}
    return [
        block_table(
            sources,
            f"{source}-clean",
            f"Table {number}: clean training, clean test",
            blocks_of(compared.results, ())[:1],
            lambda title, _, average: paper.value(
                source, title, "clean", view(average.metric).paper_name
            ),
            [(title, "clean") for title in paper.models(source) if title not in done],
            captions.published_sentences(compared.results, where) if paper.models(source) else (),
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
    name: str,
    title: str,
    blocks: Sequence[Block],
    published_value: PublishedValue,
    nobody_ran: Sequence[tuple[str, str]] = (),
    notes: tuple[str, ...] = (),
    more_caption: tuple[str, ...] = (),
) -> Table:
    """Rows by metrics, a group of columns for each block.

    Args:
        sources: what the table is made of; its measure's subjects are the rows.
        name: the file name.
        title: the heading.
        blocks: the groups of columns.
        published_value: the number beside a cell.
        nobody_ran: (model title, training) of rows that are only published.
        notes: where the published numbers are from.
        more_caption: sentences of this table only.
    """
    metrics = SELECTIONS[sources.results.task].main
    averages = [Average(metric, (question,)) for _, question in blocks for metric in metrics]
    made = rows(sources.measure, averages, sources.floors, published_value, nobody_ran)
    joints = (question.joint for _, question in blocks if question.joint)
    sentences = tuple(text for joint in joints for text in _joint_sentence(joint))
    questions = [question for _, question in blocks]
    return Table(
        name,
        title,
        caption(sources, questions, metrics, (*sentences, *more_caption)),
        tuple(Column(view(metric).heading, group) for group, _ in blocks for metric in metrics),
        tuple(made),
        notes=notes,
    )


def _joint_sentence(joint: str) -> tuple[str, ...]:
    top = {str(name): value for name, value in JOINTS.items()}.get(joint)
    drawn = f": λ and η of each sample uniform on [0, {top:g}]" if top is not None else ""
    return (f"Protocol III draws from {joint}{drawn}.",)


def caption(
    sources: Sources, questions: Iterable[Question], metrics: Sequence[str], more: tuple[str, ...]
) -> tuple[str, ...]:
    """The sentences under a table: common ones, its own, and what its marks mean."""
    asked = list(questions)
    return (
        *captions.common(_shown(sources, asked), asked),
        *more,
        *captions.metric_note(metrics),
        *captions.floor_note(bool(sources.floors)),
        captions.MARKS if len(sources.measure.subjects) > 1 else captions.ONE_SYSTEM,
    )


def full_name(results: Results) -> str:
    """The name of the complete input: "tav" where the data set has all three modalities."""
    return name_of(mask_of(results.present))


def table_name(base: str, *variant: str) -> str:
    """A file name: the variant's parts without those that are usual."""
    return slug(" ".join([base, *(part for part in variant if part not in _USUAL)]))


def _shown(sources: Sources, questions: Sequence[Question]) -> Results:
    """The results of the systems that answer for a row of the table."""
    subjects = sources.measure.subjects
    runs = {
        run.run_id for one in subjects for question in questions for run in one.runs_at(question)
    }
    every = sources.results
    return every.only([s for s in every.systems if runs & {r.run_id for r in s.records}])
