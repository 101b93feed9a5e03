"""Put a finished report beside its runs in MLflow: on the parent run of the newest plan in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.files import scratch
from benchmark.records import RunStore

if TYPE_CHECKING:
    from reports.write import ReportPaths

SHOWN_WIDTH = 1000
"""Pixels: the description of a run does not scale a picture."""


def attach(
    built: ReportPaths, store: RunStore, tracking_uri: str | None, say: Callable[[str], None]
) -> bool:
    """Upload a report's files, in their folders; the landscapes are shown in the description.

    Args:
        built: the report.
        store: the runs that it is about.
        tracking_uri: the MLflow store; None for the default in the runs folder, "none" for none.
        say: told where the report went.

    Returns:
        Whether it was attached: False where tracking is off or no tracked plan has any of the runs.

    Raises:
        StoreError: where the store fails.
    """
    if tracking_uri == "none":
        return False
    from benchmark.tracking.parents import PLAN, plans
    from benchmark.tracking.place import default_uri

    runs = {record.run_id for record in built.results.records}
    tracked = [p for p in reversed(plans(store)) if p.kind == PLAN and runs & set(p.run_ids)]
    if not tracked:
        return False
    from benchmark.tracking.mirror import REPORT_FOLDER, SHOWN_FOLDER
    from benchmark.tracking.sync import attach as upload

    uri = tracking_uri or default_uri(store.root)
    with scratch() as folder:
        folders = _by_folder(built, REPORT_FOLDER)
        folders[SHOWN_FOLDER] = _small_landscapes(built, folder)
        plan = upload(store, uri, tracked, folders)
    if plan is not None:
        say(f"mlflow   attached to the plan “{plan.title}” in {uri}")
    return plan is not None


def _small_landscapes(built: ReportPaths, folder: Path) -> list[Path]:
    from PIL import Image

    found = [p for p in built.figures if "landscape" in p.name and p.suffix == ".png"]
    for path in found:
        with Image.open(path) as picture:
            picture.thumbnail((SHOWN_WIDTH, SHOWN_WIDTH))
            picture.save(folder / path.name)
    return [folder / path.name for path in found]


def _by_folder(built: ReportPaths, top: str) -> dict[str, list[Path]]:
    """The page's links are relative, so its files keep their places."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in (built.index, built.answers, *built.figures, *built.tables):
        parts = (top, *path.parent.relative_to(built.folder).parts)
        found["/".join(parts)].append(path)
    return found
