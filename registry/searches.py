"""A search for parameters in MLflow: a parent run a study, a child a trial."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from core.processes import ProcessId
from registry.runs import NAME_TAG, PARENT_TAG, PROCESS_TAG, STAGE_TAG, close_abandoned, code_version
from registry.store import experiment_id, open_client, store_errors
from registry.tracker import MlflowTracker

EXPERIMENT = "adloom-tuning"
STUDY_TAG = "adloom.study"


class SearchRecord:
    """What MLflow keeps of one study; a search that goes on is kept in the run that it began."""

    def __init__(self, root: Path, study: str) -> None:
        """Open the study's run.

        Args:
            root: the project's folder.
            study: its name.

        Raises:
            RegistryError: the store refuses.
        """
        self._root = root
        self._client = open_client(root)
        self._experiment = experiment_id(self._client, EXPERIMENT, root)
        with store_errors(root):
            close_abandoned(self._client, self._experiment)
            found = self._client.search_runs([self._experiment], f"tags.`{STUDY_TAG}` = '{study}' and tags.`{STAGE_TAG}` = 'search'")
            tags = {NAME_TAG: study, STUDY_TAG: study, STAGE_TAG: "search", PROCESS_TAG: str(ProcessId.of()), **code_version()}
            self.run_id = str((found[0] if found else self._client.create_run(self._experiment, tags=tags)).info.run_id)
            self._client.update_run(self.run_id, status="RUNNING")
            self._client.set_tag(self.run_id, PROCESS_TAG, str(ProcessId.of()))
        self.study = study

    @contextmanager
    def trial(self, number: int, values: Mapping[str, object]) -> Iterator[MlflowTracker]:
        """The run of one trial.

        Args:
            number: the trial's.
            values: what is tried.

        Yields:
            Where the trial reports.

        Raises:
            RegistryError: the store refuses.
        """
        me = str(ProcessId.of())
        tags = {NAME_TAG: f"trial {number}", PARENT_TAG: self.run_id, STUDY_TAG: self.study, STAGE_TAG: "trial", PROCESS_TAG: me}
        with store_errors(self._root):
            run = self._client.create_run(self._experiment, tags=tags)
        tracker = MlflowTracker(self._client, run.info.run_id, root=self._root)
        tracker.log_params(values)
        status = "FAILED"
        try:
            yield tracker
            status = "FINISHED"
        finally:
            tracker.flush()
            with store_errors(self._root):
                self._client.set_terminated(run.info.run_id, status)

    def finish(self, metrics: Mapping[str, float], fragment: Path | None) -> None:
        """Close the study's run.

        Args:
            metrics: what the best trial is worth.
            fragment: the best values as YAML, kept beside.

        Raises:
            RegistryError: the store refuses.
        """
        tracker = MlflowTracker(self._client, self.run_id, root=self._root)
        tracker.log_metrics(metrics)
        tracker.flush()
        if fragment is not None:
            tracker.log_artifact(fragment)
        with store_errors(self._root):
            self._client.set_terminated(self.run_id)
