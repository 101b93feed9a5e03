"""A search as a person sees it: the headline, the progress, the ranked table, the files."""

from __future__ import annotations

from rich.console import Console

from benchmark.errors import BenchmarkError
from benchmark.executor import Execution
from benchmark.progress import Display
from benchmark.records import RunStore
from benchmark.search import DEFAULT_TRIALS, Search, SearchPlan
from benchmark.search_report import FOLDER, rows_of, settings_text, show, write_results
from benchmark.space import grid_of
from benchmark.spec import RunSpec
from benchmark.study import Study, Trial

WARMUP_SHARE = 1 / 3
"""Of the epochs: before them a trial's curve says too little to prune it."""


class SearchSession:
    """One search: its study, the work on it, and what it prints."""

    def __init__(
        self,
        plan: SearchPlan,
        how: Execution,
        trials: int | None,
        storage: str | None,
        resume: bool,
    ) -> None:
        """Open the study. Raises BenchmarkError where that is impossible."""
        if storage is not None and storage.startswith("sqlite") and how.workers > 1:
            raise BenchmarkError(
                f"--storage {storage}: SQLite lets one process write at a time and fails the others"
                ' with "database is locked", so it is no storage for several workers. Use '
                "--workers 1, leave --storage out (a journal file), or name a database server."
            )
        self.plan, self.how = plan, how
        self.console = Console(highlight=False)
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
        with Display([], self.console, total) as display:

            def begun(spec: RunSpec, trial: Trial) -> None:
                seed = f" · seed {spec.seed}" if len(self.plan.request.seeds) > 1 else ""
                display.add(spec, f"trial {trial.number}: {settings_text(trial.settings)}{seed}")

            search = Search(self.plan, self.study, self.count, self.how, begun, display.handle)
            try:
                search.carry_out(self._say_waiting)
            finally:
                self.study.close()
        return self._conclude()

    def _say_waiting(self, trials: int) -> None:
        self.console.print(f"waiting for {trials} trials of other processes", style="dim")

    def _conclude(self) -> bool:
        trials = self.study.trials()
        rows = rows_of(self.plan, trials, self.store)
        show(rows, self.plan.name, self.console)
        folder = self.how.runs_dir / FOLDER / self.plan.name
        best = write_results(self.plan, trials, rows, folder)
        if best is None:
            self.console.print("no trial has a value", style="red")
            return False
        data = f" --data-dir {self.how.data_dir}" if self.how.data_dir else ""
        self.console.print(
            f"results: {folder}   next: benchmark run --config {best}{data} "
            f"--runs-dir {self.how.runs_dir}",
            markup=False,
            soft_wrap=True,
        )
        return True


def plan_epochs(plan: SearchPlan) -> int:
    """The epochs of a trial where they are not searched."""
    return int(plan.specs({})[0].training["epochs"])
