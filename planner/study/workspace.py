"""Where a study lives on disk: its folder, storage, logs and lock. Also finds a study if none is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from planner.errors import InputError
from planner.files import held

STUDY_FILE = "study.yaml"
STUDIES_FOLDER = "studies"
CALIBRATION_FILE = "calibration.json"
LADDER_FILE = "ladder.yaml"


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths of one study's results. Simulated results have a folder of their own, so none can pass for measured."""

    study_folder: Path
    simulated: bool

    @property
    def folder(self) -> Path:
        return self.study_folder / "simulated" if self.simulated else self.study_folder

    @property
    def default_storage(self) -> str:
        return f"sqlite:///{self.folder / 'study.db'}"

    @property
    def log_dir(self) -> Path:
        return self.folder / "logs"

    @property
    def compile_cache_dir(self) -> Path:
        """Folder for compiled code with the process backend; containers use a volume instead."""
        return self.folder / "compile-cache"

    @property
    def calibration_path(self) -> Path:
        return self.folder / CALIBRATION_FILE

    @property
    def ladder_path(self) -> Path:
        return self.folder / LADDER_FILE

    @property
    def page_path(self) -> Path:
        """The page that `report --html` writes."""
        return self.folder / "report.html"

    @property
    def lock_path(self) -> Path:
        """The file that a planner holds locked while it runs this study."""
        return self.folder / ".lock"

    @property
    def session_path(self) -> Path:
        """What the latest `tune` says of itself while it runs: its plan, its stage, its last lines."""
        return self.folder / "session.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the study's lock: one planner at a time. Raises BackendError if another one has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with held(self.lock_path, f"{self.folder}: another planner (pid {{pid}}) is running this study"):
            yield


def is_study_near(given: Path | None) -> bool:
    """Whether `find_study` would find a study: given, in the working folder, or the only one under studies/."""
    return given is not None or Path(STUDY_FILE).exists() or len(study_folders()) == 1


def study_folders() -> list[str]:
    """Folders of the studies under studies/."""
    return sorted(str(path.parent) for path in Path(STUDIES_FOLDER).glob(f"*/{STUDY_FILE}"))


def find_study(given: Path | None) -> Path:
    """The study's file: the one given, the one in the working folder, or the only one under studies/.

    Raises InputError.
    """
    if given is not None:
        return given / STUDY_FILE if given.is_dir() else given
    here = Path(STUDY_FILE)
    if here.exists():
        return here
    found = study_folders()
    if len(found) == 1:
        return Path(found[0]) / STUDY_FILE
    if found:
        raise InputError(f"several studies: {', '.join(found)}; name one")
    raise InputError("no study.yaml here; name a study, or describe one with --model and --gpu")
