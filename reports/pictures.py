"""Every figure of a report: its name, its title, its caption, and what draws it.

A *job* draws one figure, or a few that share what they show; it may run in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from benchmark.systems import slug
from reports import captions
from reports.figures.curves import curve_groups, curves_figure
from reports.figures.drawing import Drawn, Job
from reports.figures.landscapes import (
    combined_figure,
    common_scale,
    differences,
    in_units,
    signed_scale,
)
from reports.figures.routing import routing_figure
from reports.figures.sensitivity import sensitivity_figure, sweeps
from reports.figures.triangle import uneven_figure
from reports.reliability.figure import has_panel, reliability_figure
from reports.reliability.scores import noise_rules
from reports.results import Results, System
from reports.routing import noise_rules as routed_under
from reports.sources import Sources
from reports.surface import Surfaces
from reports.tables.robustness import table_name
from reports.views import SELECTIONS, view
from reports.web.page import Picture


def without_intervals(everything: Sources) -> list[Job]:
    """Figures that no table shares a computation with, to be begun first."""
    sources = everything.compared
    return [
        partial(landscape_figures, sources, metric, variant, in_units(found, metric))
        for (metric, *variant), found in sources.answers.surfaces.items()
    ]


def with_intervals(everything: Sources) -> list[Job]:
    """Figures with intervals: the terms that the tables made before them are shared."""
    sources = everything.compared
    results = sources.results
    curves = [
        partial(degradation_figures, sources, part, training, variant)
        for variant in results.variants("grid", "noise_rule", "missing_rule")
        for training, part in curve_groups(results)
    ]
    panels = [
        partial(reliability_figures, everything, system, rule)
        for rule in noise_rules(results)
        for system in has_panel(results)
    ]
    return [
        *curves,
        partial(uneven_figures, sources),
        partial(sensitivity_figures, everything),
        partial(routing_figures, sources),
        *panels,
    ]


def landscape_figures(
    sources: Sources, metric: str, variant: Sequence[str], found: Surfaces
) -> Iterable[Drawn]:
    """Figures 3 and 6, and every model's difference to the reference's.

    Args:
        sources: the systems.
        metric: what is shown.
        variant: (noise rule, missing rule) of the grid.
        found: the surfaces.
    """
    results, reference, shown = sources.results, sources.paper.reference, view(metric).title
    title = f"Figures 3 and 6: reliability landscapes, {shown}"
    name = table_name("figures3-6-landscapes", *variant, shown)
    headline = metric == SELECTIONS[results.task].grid[0]
    scale = common_scale(metric, found, sources.floors)
    yield (
        Picture(name, title, LANDSCAPE_CAPTION, headline),
        combined_figure(results, found, scale),
    )
    beyond = differences(found, reference)
    if beyond:
        title = f"Difference to {reference}"
        name = table_name("figures3-6-difference", *variant, shown)
        picture = Picture(name, f"{title}: {shown}", DIFFERENCE_CAPTION)
        yield picture, combined_figure(results, beyond, signed_scale(metric, beyond), title)


def degradation_figures(
    sources: Sources, part: Results, training: str, variant: tuple[str, ...]
) -> Iterable[Drawn]:
    """The curves of some systems along λ and along η.

    Args:
        sources: the answers.
        part: the systems.
        training: what they share; empty where they are all.
        variant: (noise rule, missing rule).
    """
    name = table_name("degradation", *variant, *([training] if training else []))
    title = f"Degradation curves{': ' if training else ''}{training}"
    yield (
        Picture(name, title, CURVES_CAPTION),
        curves_figure(sources.answers, part, *variant),
    )


def uneven_figures(sources: Sources) -> Iterable[Drawn]:
    """The triangle of uneven sensors for each headline metric."""
    for metric in SELECTIONS[sources.results.task].grid:
        drawn = uneven_figure(sources.results, metric)
        if drawn is not None:
            shown = view(metric).title
            name = table_name("uneven-sensors", shown)
            yield Picture(name, f"Uneven sensors: {shown}", UNEVEN_CAPTION), drawn


def sensitivity_figures(everything: Sources) -> Iterable[Drawn]:
    """Figure 4, and the same of any other number of the settings that was varied."""
    results = everything.results
    third = results.variants("III", "noise_rule", "missing_rule", "joint")
    for sweep in sweeps(results):
        base = "figure4-active-experts" if sweep.name == "topk" else f"settings-{slug(sweep.name)}"
        for variant in third or [()]:
            name = table_name(base, *variant, sweep.plain.key)
            title = f"Sensitivity to {sweep.name}: {sweep.plain.label}"
            picture = Picture(name, title, SENSITIVITY_CAPTION)
            yield picture, sensitivity_figure(everything, sweep, variant)


def routing_figures(sources: Sources) -> Iterable[Drawn]:
    """Figure 5 for each system that routes, and each noise rule."""
    results = sources.results
    for rule in routed_under(results):
        for system in results.systems:
            drawn = routing_figure(sources, system, rule)
            if drawn is not None:
                name = table_name("figure5-routing", rule, system.key)
                yield Picture(name, f"Routing: {system.label}", ROUTING_CAPTION), drawn


def reliability_figures(everything: Sources, system: System, noise_rule: str) -> Iterable[Drawn]:
    """The reliability panel of one system; nothing where its runs allow none."""
    drawn = reliability_figure(everything, system, noise_rule)
    if drawn is not None:
        name = table_name("reliability", noise_rule, system.key)
        yield Picture(name, f"Reliability: {system.label}", RELIABILITY_CAPTION), drawn


LANDSCAPE_CAPTION = (
    "Mean over seeds at noise intensity λ and missing rate η. Along η the values are exact at "
    "every rate (the expectation over what is missing); along λ they are exact at 0, 0.1, …, 0.7 "
    "and interpolated between (monotone cubic). The star is at λ = 0.3, η = 0.2. All systems "
    "share one colour scale for each metric; bright is good. A dashed line, where there is one, "
    "is where the system is only as good as the best constant prediction."
)
DIFFERENCE_CAPTION = (
    "The system's mean minus that of the reference model under the same training, at each (λ, η). "
    "Purple: better than the reference; orange: worse; the thick line is no difference. Whether a "
    "difference is more than chance is in the tables of paired differences."
)
UNEVEN_CAPTION = (
    "Every point is a set of missing rates (η_t, η_a, η_v) that sums to 1, so on average one "
    "modality is lost: at a corner always the same one, in the middle each as often. Without "
    "noise. The values are exact expectations over what is missing, means over seeds; between "
    "points the colour is interpolated. All systems share one colour scale; bright is good."
)
SENSITIVITY_CAPTION = (
    "Means over seeds; bars are 95 % intervals, points the single seeds. Every other setting is "
    f"the preset's. {captions.INTERVAL_OF}"
)
ROUTING_CAPTION = (
    "The mean routing weight of each expert (across) for each modality, under conditions of the "
    "input (down); a row sums to 1. One training, the first seed: experts have no order that two "
    "trainings share. A missing modality reaches the router as zeros."
)
RELIABILITY_CAPTION = (
    "Scores under noise: r_m with everything available. Scores by availability: without noise, "
    "over the subsets that have modality m and those that lack it. Risk–coverage: the error of "
    "the samples that are kept as the least certain by the log-variance are refused, beside the "
    "best possible and a random order. Calibration: ten bins of equal weight for each seed; on "
    "the dotted line predicted and observed error agree. Gate on − off: against the same model "
    "trained without the gate, where there is one; purple is where the gate helps, and a sign "
    "stands where a 95 % band over all cells at once excludes zero for new test samples and new "
    "trainings (never with fewer than three seeds)."
)
CURVES_CAPTION = (
    "Left: noise intensity λ with nothing missing. Right: missing rate η without noise (the "
    "expectation over what is missing). Lines are means over seeds, bars 95 % intervals, "
    f"the dotted line is the best constant prediction. {captions.INTERVAL_OF}"
)
