"""Put a finished report beside its runs in MLflow: on the parent run of the newest plan in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmark.records import RunStore
from reports.build import ReportPaths

if TYPE_CHECKING:
    from benchmark.tracking.plan import Plan
    from benchmark.tracking.tracker import Tracker

FOLDER = "report"
SHOWN = "description"
"""The artifact folder of what a run's description shows."""
SHOWN_WIDTH = 1000
"""Pixels: the description does not scale a picture."""


def attach(
    built: ReportPaths, store: RunStore, tracking_uri: str | None, say: Callable[[str], None]
) -> bool:
    """Upload a report's files, in their folders.

    Args:
        built: the report.
        store: the runs that it is about.
        tracking_uri: the MLflow store; None for the default in the runs folder, "none" for none.
        say: told where the report went, or what went wrong. A failing store is no error.

    Returns:
        Whether it was attached: False where tracking is off or no tracked plan has any of the runs.
    """
    if tracking_uri == "none":
        return False
    from benchmark.tracking.plan import PLAN, PLAN_ID, plans

    runs = {record.run_id for record in built.results.records}
    tracked = [p for p in plans(store) if p.kind == PLAN and runs & set(p.run_ids)]
    if not tracked:
        return False
    from benchmark.tracking.tracker import Tracker, default_uri

    uri = tracking_uri or default_uri(store.root)
    for plan in reversed(tracked):
        tracker = Tracker(uri, plan.experiment, store, warn=say)
        done = all(
            tracker.attach(PLAN_ID, plan.plan_id, files, folder)
            for folder, files in _by_folder(built).items()
        )
        if done:
            _illustrate(tracker, plan, built)
            say(f"mlflow   attached to the plan “{plan.title}” in {uri}")
            return True
        if tracker.behind:  # the store fails, and has said so
            break
    return False


def _illustrate(tracker: Tracker, plan: Plan, built: ReportPaths) -> None:
    """Show the landscapes in the description of the plan's run, as wide as that is."""
    from PIL import Image

    from benchmark.tracking.plan import PLAN_ID

    found = [p for p in built.figures if "landscape" in p.name and p.suffix == ".png"]
    with TemporaryDirectory() as folder:
        small = [Path(folder) / path.name for path in found]
        for path, copy in zip(found, small, strict=True):
            with Image.open(path) as picture:
                picture.thumbnail((SHOWN_WIDTH, SHOWN_WIDTH))
                picture.save(copy)
        if tracker.attach(PLAN_ID, plan.plan_id, small, SHOWN):
            tracker.illustrate(plan, [f"{SHOWN}/{path.name}" for path in small])


def _by_folder(built: ReportPaths) -> dict[str, list[Path]]:
    """The page's links are relative, so its files keep their places."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in (built.index, built.answers, *built.figures, *built.tables):
        parts = (FOLDER, *path.parent.relative_to(built.folder).parts)
        found["/".join(parts)].append(path)
    return found
