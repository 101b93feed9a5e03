"""Which runs a report is about, and where their records and their MLflow pages are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmark.errors import BenchmarkError, unknown
from benchmark.planfile import named_plan, plan_names
from benchmark.records import RunStore
from benchmark.tracking.parents import plans
from reports.sources import Links

Only = Mapping[str, str]
"""The runs that a report is about -> what is known to be wrong with a run, or ""."""


def of_experiment(store: RunStore, name: str, dataset: str | None = None) -> Only:
    """The runs of an experiment, or of a plan by its name, title or identity.

    Args:
        store: where the plans are kept.
        name: what is asked for.
        dataset: only what was planned on it, where anything was.

    Raises:
        BenchmarkError: where no plan that was run is called so.
    """
    made = plans(store)
    wanted = names_of(name)
    kept = [plan for plan in made if wanted & {plan.experiment, plan.title, plan.plan_id}]
    if not kept:
        known = [other for other in plan_names() if names_of(other) & {p.title for p in made}]
        known += [name for plan in made for name in (plan.experiment, plan.title)]
        raise unknown("experiment", name, dict.fromkeys(known), f"Plans are kept in {store.root}.")
    kept = [plan for plan in kept if plan.tags.get("dataset") == dataset] or kept
    return dict.fromkeys((run_id for plan in kept for run_id in plan.run_ids), "")


def names_of(name: str) -> set[str]:
    """What a user's name of an experiment or plan may be recorded as."""
    try:
        return {name, str(named_plan(name).get("title", name))}
    except BenchmarkError:
        return {name}


def from_mlflow(
    uri: str, name: str | None, store: RunStore, say: Callable[[str], None]
) -> tuple[Only, Links]:
    """Fetch the records of a tracking store's runs, or of those of one experiment or plan.

    Returns:
        The runs, and what says their addresses.

    Raises:
        BenchmarkError: where the store fails, or has no such experiment or no runs.
    """
    from benchmark.tracking.fetch import addresses, chosen, fetch, remote_runs

    found = remote_runs(uri)
    if not found:
        raise BenchmarkError(f"the tracking store {uri} has no runs of this suite")
    if name is not None:
        found = chosen(found, names_of(name), name)
    problems = fetch(uri, found, store, say)
    where = addresses(uri, found)
    return {one.run_id: problems.get(one.run_id, "") for one in found}, lambda: where


def links_of(store: RunStore, tracking_uri: str | None) -> Links:
    """What asks the store that the runs were tracked in for their addresses. It may raise
    StoreError, and takes seconds.

    Raises:
        BenchmarkError: where the store's address is none.
    """
    if tracking_uri == "none":
        return dict
    from benchmark.tracking.place import check_uri, default_uri, sqlite_path

    uri = tracking_uri or default_uri(store.root)
    check_uri(uri)
    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        return dict

    def ask() -> Mapping[str, str]:
        from benchmark.tracking.fetch import addresses, remote_runs  # MLflow

        return addresses(uri, remote_runs(uri))

    return ask
