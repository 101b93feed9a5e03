"""Every figure of a report: its name, its title, its caption, and what draws it.

A *job* draws one figure, or a few that share what they show; it may run in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from benchmark.systems import slug
from reports.figures import alt, said
from reports.figures.curves import MOST_CURVES, curve_groups, curves_figure
from reports.figures.drawing import Drawn, Job
from reports.figures.glance import glance_figure, glance_of
from reports.figures.landscapes import combined_figure, lines_for
from reports.figures.look import PAGE, Look
from reports.figures.routing import routing_figure
from reports.figures.scale import common_scale, differences, in_units, signed_scale
from reports.figures.sensitivity import sensitivity_figure, sweeps
from reports.figures.triangle import uneven_figure
from reports.reliability.figure import has_panel, reliability_figure
from reports.reliability.scores import noise_rules
from reports.results import Results, System
from reports.routing import noise_rules as routed_under
from reports.sources import Sources
from reports.surface import Surfaces
from reports.tables.robustness import table_name, titled
from reports.views import view
from reports.web.page import Picture


def without_intervals(everything: Sources, look: Look = PAGE) -> list[Job]:
    """Figures that no table shares a computation with, to be begun first."""
    results = everything.compared.results
    return [
        *(
            partial(figures, everything.compared, metric, (noise, missing), look)
            for noise, missing in results.variants("grid", "noise_rule", "missing_rule")
            for metric in look.shown_metrics(results)
            for figures in (landscape_figures, difference_figures)
        ),
        *(
            partial(uneven_figures, everything.compared, metric, look)
            for metric in look.shown_metrics(results)
        ),
    ]


def with_intervals(everything: Sources, look: Look = PAGE) -> list[Job]:
    """Figures with intervals: the terms that the tables made before them are shared."""
    sources = everything.compared
    results = sources.results
    shown = results.only(look.shown_systems(results))
    curves = [
        partial(degradation_figures, sources, part, training, variant, look)
        for variant in results.variants("grid", "noise_rule", "missing_rule")
        for training, part in curve_groups(shown)
    ]
    panels = [
        partial(reliability_figures, everything, system, rule, look)
        for rule in noise_rules(results)
        for system in has_panel(shown)
    ]
    return [
        *curves,
        partial(sensitivity_figures, everything, look),
        partial(routing_figures, sources, look),
        *panels,
        partial(glance_figures, sources, look),
    ]


def landscape_figures(
    sources: Sources, metric: str, variant: tuple[str, str], look: Look = PAGE
) -> Iterable[Drawn]:
    """Figures 3 and 6.

    Args:
        sources: the systems.
        metric: what is shown.
        variant: (noise rule, missing rule) of the grid.
        look: which systems are shown, and how.
    """
    results, shown = sources.results, view(metric)
    _, found, few = _landscapes(sources, metric, variant, look)
    if not found:
        return
    title = titled(f"Figures 3 and 6: reliability landscapes, {shown.title}", *variant)
    name = table_name("figures3-6-landscapes", *variant, shown.title)
    headline = metric == look.shown_metrics(results)[0]
    scale = common_scale(metric, found, sources.floors, lines_for(len(found), look))
    yield (
        Picture(name, title, (*few, said.LANDSCAPE), alt.landscapes(found, shown), headline),
        combined_figure(results, found, scale, look=look),
    )


def difference_figures(
    sources: Sources, metric: str, variant: tuple[str, str], look: Look = PAGE
) -> Iterable[Drawn]:
    """The difference of every landscape of :func:`landscape_figures` to the reference's."""
    reference, shown = sources.paper.reference, view(metric)
    every, found, few = _landscapes(sources, metric, variant, look)
    kept = {system.key for system, _ in found}
    beyond = [pair for pair in differences(every, reference) if pair[0].key in kept]
    if not beyond:
        return
    title = f"Difference to {reference}"
    name = table_name("figures3-6-difference", *variant, shown.title)
    words = alt.landscapes(beyond, shown, f"minus {reference}")
    picture = Picture(
        name, titled(f"{title}: {shown.title}", *variant), (*few, said.DIFFERENCE), words
    )
    scale = signed_scale(metric, beyond, lines_for(len(beyond), look))
    yield picture, combined_figure(sources.results, beyond, scale, title, look)


def _landscapes(
    sources: Sources, metric: str, variant: tuple[str, str], look: Look
) -> tuple[Surfaces, Surfaces, tuple[str, ...]]:
    """The landscapes of all systems, those that are shown, and which these are if not all."""
    every = in_units(sources.answers.surface(metric, *variant), metric)
    wanted = look.shown_systems(sources.results)
    have = [system for system, _ in every if system in wanted]
    kept = look.best(have, sources.answers, metric)
    found = [(system, one) for system, one in every if system in kept]
    return every, found, _few(len(found), len(every), sources)


def _few(shown: int, every: int, sources: Sources) -> tuple[str, ...]:
    """Where not all systems are on a figure, which are."""
    if shown == every:
        return ()
    by = sources.results.overview[-1].title
    return (
        f"{shown} of {every} systems: the best by {by}, or those asked for with --models; the page "
        "has the landscapes and numbers of all.",
    )


def degradation_figures(
    sources: Sources, part: Results, training: str, variant: tuple[str, ...], look: Look = PAGE
) -> Iterable[Drawn]:
    """The curves of some systems along λ and along η.

    Args:
        sources: the answers.
        part: the systems.
        training: what they share; empty where they are all.
        variant: (noise rule, missing rule).
        look: which systems and metrics are shown, and how.
    """
    name = table_name("degradation", *variant, *([training] if training else []))
    title = titled(f"Degradation curves{': ' if training else ''}{training}", *variant)
    metrics = look.shown_metrics(part)
    kept = look.best(part.systems, sources.answers, metrics[0], MOST_CURVES)
    caption = (*_few(len(kept), len(part.systems), sources), said.CURVES)
    words = alt.curves(sources.answers, kept, part, metrics, variant)
    noise, missing = variant
    yield (
        Picture(name, title, caption, words),
        curves_figure(sources.answers, part.only(kept), noise, missing, metrics, look),
    )


def uneven_figures(sources: Sources, metric: str, look: Look = PAGE) -> Iterable[Drawn]:
    """The triangle of uneven sensors."""
    results, shown = sources.results, view(metric)
    kept = look.best(look.shown_systems(results), sources.answers, metric)
    drawn = uneven_figure(results, metric, kept, look)
    if drawn is not None:
        name = table_name("uneven-sensors", shown.title)
        caption = (*_few(len(kept), len(results.systems), sources), said.UNEVEN)
        words = (
            f"{shown.unit} of {', '.join(s.label for s in kept)} where on average one modality is "
            "lost, always the same or now one and now another; the numbers are in the table of "
            "uneven sensors."
        )
        yield Picture(name, f"Uneven sensors: {shown.title}", caption, words), drawn


def sensitivity_figures(everything: Sources, look: Look = PAGE) -> Iterable[Drawn]:
    """Figure 4, and the same of any other number of the settings that was varied."""
    results = everything.results
    third = results.variants("III", "noise_rule", "missing_rule", "joint")
    shown = look.shown_systems(results)
    for sweep in (one for one in sweeps(results) if one.plain in shown):
        base = "figure4-active-experts" if sweep.name == "topk" else f"settings-{slug(sweep.name)}"
        for variant in third or [()]:
            name = table_name(base, *variant, sweep.plain.key)
            title = titled(f"Sensitivity to {sweep.name}: {sweep.plain.label}", *variant)
            values = ", ".join(f"{value:g}" for value in sweep.systems)
            words = (
                f"{sweep.plain.label} with {sweep.name} at {values}: clean test and Protocol III; "
                "the numbers are in the table of settings."
            )
            picture = Picture(name, title, (said.SENSITIVITY,), words)
            yield picture, sensitivity_figure(everything, sweep, variant, look)


def routing_figures(sources: Sources, look: Look = PAGE) -> Iterable[Drawn]:
    """Figure 5 for each system that routes, and each noise rule."""
    results = sources.results
    for rule in routed_under(results):
        for system in look.shown_systems(results):
            drawn = routing_figure(sources, system, rule, look)
            if drawn is not None:
                name = table_name("figure5-routing", rule, system.key)
                words = alt.routing(sources, system, rule)
                title = titled(f"Routing: {system.label}", rule)
                picture = Picture(name, title, (said.ROUTING,), words)
                yield picture, drawn


def reliability_figures(
    everything: Sources, system: System, noise_rule: str, look: Look = PAGE
) -> Iterable[Drawn]:
    """The reliability panel of one system; nothing where its runs allow none."""
    drawn = reliability_figure(everything, system, noise_rule, look)
    if drawn is not None:
        name = table_name("reliability", noise_rule, system.key)
        words = (
            f"What {system.label} says of the quality of its input, panel by panel; the numbers "
            "are in the tables of the mechanism."
        )
        title = titled(f"Reliability: {system.label}", noise_rule)
        yield Picture(name, title, (said.RELIABILITY,), words), drawn


def glance_figures(sources: Sources, look: Look = PAGE) -> Iterable[Drawn]:
    """What a clean score hides: one picture for who sees only one."""
    metric = look.shown_metrics(sources.results)[0]
    glance = glance_of(sources.answers, look.shown_systems(sources.results), metric)
    if glance is not None:
        picture = Picture("at-a-glance", "At a glance", (said.GLANCE,), glance.words)
        yield picture, glance_figure(sources, glance, look)
