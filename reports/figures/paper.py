"""Figures of the paper beside the landscapes themselves: differences, Figure 4, Figure 5."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.figure import Figure

from reports.figures.landscapes import combined_figure, differences, signed_scale, surfaces
from reports.figures.routing import routed, routing_figure
from reports.figures.sensitivity import sensitivity_figure, sweeps
from reports.labels import slug
from reports.tables.robustness import Sources, table_name
from reports.views import SELECTIONS, view
from reports.web.page import Picture

Drawn = tuple[Picture, Figure]


def difference_figures(sources: Sources) -> Iterable[Drawn]:
    """Every model's landscape minus the reference's, for each metric and variant of the grid."""
    results, reference = sources.results, sources.paper.reference
    for variant in results.variants("grid", "noise_rule", "missing_rule"):
        for metric in SELECTIONS[results.task].grid:
            found = differences(surfaces(results, metric, *variant), reference)
            if found:
                title = f"Difference to {reference}"
                shown = view(metric).title
                name = table_name("figures3-6-difference", *variant, shown)
                picture = Picture(name, f"{title}: {shown}", DIFFERENCE_CAPTION)
                yield picture, combined_figure(results, found, signed_scale(metric, found), title)


def sensitivity_figures(everything: Sources) -> Iterable[Drawn]:
    """Figure 4, and the same of any other number of the settings that was varied."""
    results = everything.results
    third = results.variants("III", "noise_rule", "missing_rule", "available")
    for sweep in sweeps(results):
        base = "figure4-active-experts" if sweep.name == "topk" else f"settings-{slug(sweep.name)}"
        for variant in third or [()]:
            name = table_name(base, *variant, sweep.plain.key)
            title = f"Sensitivity to {sweep.name}: {sweep.plain.label}"
            picture = Picture(name, title, SENSITIVITY_CAPTION)
            yield picture, sensitivity_figure(results, sweep, variant)


def routing_figures(sources: Sources) -> Iterable[Drawn]:
    """Figure 5 for each system that routes, and each noise rule."""
    results = sources.results
    rules = sorted({rule for (rule,) in results.variants("II", "noise_rule")})
    rules = rules or sorted({rule for (rule,) in results.variants("grid", "noise_rule")})
    for rule in rules:
        for system in routed(results):
            drawn = routing_figure(results, system, rule)
            if drawn is not None:
                name = table_name("figure5-routing", rule, system.key)
                yield Picture(name, f"Routing: {system.label}", ROUTING_CAPTION), drawn


DIFFERENCE_CAPTION = (
    "The system's mean minus that of the reference model under the same training, at each (λ, η). "
    "Purple: better than the reference; orange: worse; the thick line is no difference. Whether a "
    "difference is more than chance is in the tables of paired differences."
)
SENSITIVITY_CAPTION = (
    "Means over seeds; bars are 95 % bootstrap intervals over test samples and seeds, points the "
    "single seeds. Every other setting is the preset's."
)
ROUTING_CAPTION = (
    "The mean routing weight of each expert (across) for each modality, under conditions of the "
    "input (down); a row sums to 1. One training, the first seed: experts have no order that two "
    "trainings share. A missing modality reaches the router as zeros."
)
