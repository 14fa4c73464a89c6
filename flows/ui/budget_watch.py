"""News of a run's budget while it works: how much is spent, 80 % of a cap, a cap that is reached."""

from __future__ import annotations

from flows.ui.events import budget_reached
from flows.ui.run_log import Log
from tasks.core.run import Run
from tasks.upstream.budget import CapUse, read_budget

__all__ = ["BudgetWatch"]


_NEARLY = 0.8


class BudgetWatch:
    """The budget as last reported; one per run, in its parent process, not in each shard."""

    def __init__(self, run: Run, log: Log) -> None:
        self._run = run
        self._log = log
        self._warned: set[str] = set()
        self._reached: set[str] = set()

    def look(self) -> str:
        """Tell what is new, once for each cap; the fullest cap in words, empty without a budget."""
        uses = read_budget(self._run.ledger, self._run.run_id, self._run.settings.budget)
        for use in uses:
            self._tell(use)
        return max(uses, key=lambda use: use.share).sentence() if uses else ""

    def _tell(self, use: CapUse) -> None:
        name = use.cap.name
        if use.reached and name not in self._reached:
            self._reached.add(name)
            self._log.warning(
                "the budget is spent, %s: no more calls; what is missing fails as over_budget, and "
                "a run with a larger budget, or the next one, asks it",
                use.sentence(),
            )
            budget_reached(self._run.run_id, name, use.sentence())
        elif use.share >= _NEARLY and name not in self._warned:
            self._log.warning("%.0f %% of the budget is spent, %s", use.share * 100, use.sentence())
        if use.share >= _NEARLY or use.reached:
            self._warned.add(name)
