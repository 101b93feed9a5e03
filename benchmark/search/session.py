"""A search as a person sees it: the headline, the progress, the ranked table, the files."""

from __future__ import annotations

from benchmark.errors import BenchmarkError
from benchmark.execution.events import Event
from benchmark.execution.executor import Execution
from benchmark.execution.progress import Display
from benchmark.execution.session import open_tracker
from benchmark.hygiene import terminal
from benchmark.records import RunStore
from benchmark.screen import of_runs, say_next
from benchmark.search.report import (
    FOLDER,
    rows_of,
    settings_text,
    show,
    tracked_search,
    trial_title,
    write_results,
)
from benchmark.search.request import DEFAULT_TRIALS, SearchRequest
from benchmark.search.search import Search
from benchmark.search.space import grid_of
from benchmark.search.study import Study, Trial
from benchmark.spec import RunSpec
from benchmark.tracking.parents import Plan

WARMUP_SHARE = 1 / 3
"""Of the epochs: before them a trial's curve says too little to prune it."""


class SearchSession:
    """One search: its study, the work on it, and what it prints."""

    def __init__(
        self,
        plan: SearchRequest,
        how: Execution,
        trials: int | None,
        storage: str | None,
        resume: bool,
        tracking_uri: str | None = "none",
        experiment: str | None = None,
    ) -> None:
        """Open the study.

        Args:
            plan: what is searched.
            how: how to carry out runs.
            trials: how many the study is to have; by default a grid's points.
            storage: an Optuna storage URL; None for the journal file.
            resume: whether a study that is there goes on.
            tracking_uri: the tracking store; "none" for no tracking, None for the runs folder's.
            experiment: the tracking experiment; by default the data set's name.

        Raises:
            BenchmarkError: where the study cannot be opened.
        """
        if storage is not None and storage.startswith("sqlite") and how.workers > 1:
            raise BenchmarkError(
                f"--storage {storage}: SQLite lets one process write at a time and fails the others"
                ' with "database is locked", so it is no storage for several workers. Use '
                "--workers 1, leave --storage out (a journal file), or name a database server."
            )
        self.plan, self.how = plan, how
        self.console = terminal(highlight=False)
        self.store = RunStore(how.runs_dir)
        self.store.prepare()
        grid = grid_of(plan.space)
        self.count = trials or (len(grid) if grid is not None else DEFAULT_TRIALS)
        if grid is not None:
            self.count = min(self.count, len(grid))
        epochs = plan_epochs(plan)
        self.study = Study(
            plan.name,
            plan.space,
            plan.objective.minimise,
            storage,
            how.runs_dir,
            resume=resume,
            warmup=round(WARMUP_SHARE * epochs),
        )

        self.tracker = open_tracker(
            tracking_uri, experiment or plan.dataset.name, self.store, self.console
        )
        self.experiment = experiment or plan.dataset.name
        self.folder = how.runs_dir / FOLDER / plan.name

    def carry_out(self) -> bool:
        """Do the trials that are missing, print and write the results. False without any value."""
        before = sum(t.state in ("done", "pruned") for t in self.study.trials())
        kind = "grid" if self.study.grid is not None else "TPE, median pruning"
        aim = "minimising" if self.plan.objective.minimise else "maximising"
        self.console.print(
            f"study {self.plan.name}: {self.count} trials ({kind}), {before} done; "
            f"{aim} {self.plan.objective.title}",
            markup=False,
            soft_wrap=True,
        )
        total = max(0, self.count - before) * len(self.plan.request.seeds)
        with Display({}, self.console, total, self.how.workers, {}) as display:
            specs: dict[str, RunSpec] = {}

            def begun(spec: RunSpec, trial: Trial) -> None:
                specs[spec.run_id] = spec
                seed = f" · seed {spec.seed}" if len(self.plan.request.seeds) > 1 else ""
                settings = settings_text(trial.settings)
                display.add(spec.run_id, f"trial {trial.number}: {settings}{seed}")
                if self.tracker:  # a search that is killed has the runs that it began
                    self.tracker.add(spec.run_id, trial_title(spec, trial.settings))

            def listen(event: Event) -> None:
                display.handle(event)
                if self.tracker:
                    self.tracker.handle(specs[event.run_id], event)

            search = Search(self.plan, self.study, self.count, self.how, begun, listen)
            if self.tracker:
                self.tracker.open(self._tracked(finished=False))
            finished = False
            try:
                search.carry_out(self._say_waiting)
                finished = True
            finally:
                self.study.close()
                best = self._conclude()
                if self.tracker:
                    self._figures()
                    self.tracker.grown(self._tracked(finished))
                    self.tracker.close()
        return best

    def _say_waiting(self, trials: int) -> None:
        self.console.print(f"waiting for {trials} trials of other processes", style="dim")

    def _conclude(self) -> bool:
        trials = self.study.trials()
        rows = rows_of(self.plan, trials, self.store)
        show(rows, self.plan.name, self.console)
        best = write_results(self.plan, trials, rows, self.folder)
        if best is None:
            self.console.print("no trial has a value", style="red")
            return False
        data = ["--data-dir", self.how.data_dir] if self.how.data_dir else []
        runs = of_runs(self.how.runs_dir)
        self.console.print(f"results  {self.folder}", markup=False, soft_wrap=True)
        say_next(
            self.console,
            (["benchmark", "run", "--config", best, *data, *runs], "the best trial, on test"),
            (["benchmark", "list", "runs", *runs], "every trial's run"),
            (["benchmark", "ui", *runs], "curves, and Optuna's figures"),
        )
        return True

    def _tracked(self, finished: bool) -> Plan:
        """The study as tracking shows it, with what its trials and its folder say now."""
        trials = self.study.trials()
        rows = rows_of(self.plan, trials, self.store)
        files = [p.relative_to(self.how.runs_dir) for p in sorted(self.folder.glob("*.*"))]
        return tracked_search(self.plan, self.experiment, trials, rows, files, finished)

    def _figures(self) -> None:
        """Optuna's figures; a study that they cannot show has none."""
        try:
            self.study.draw(self.folder, self.plan.objective.title)
        except (ValueError, TypeError, RuntimeError, ArithmeticError, OSError) as error:
            self.console.print(f"no figures of this study: {error}", style="yellow", markup=False)


def plan_epochs(plan: SearchRequest) -> int:
    """The epochs of a trial where they are not searched."""
    return int(plan.specs({})[0].setting("training.epochs"))
