"""`StudySource`: what a command line, or a call from Python, says about which study it means. Data only.

`loading.py` reads it. A study is named by its path, or described by a model and a card; never both, and never found by
chance where one is described.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySource:
    """The seven options that say which study is meant; None is what was not said."""

    study: Path | None = None
    """A study.yaml or its folder."""
    model: str | None = None
    """Model directory, config.json or name."""
    gpu: str | None = None
    num_gpus: int | None = None
    interconnect: str | None = None
    version: str | None = None
    """Version of vLLM, or `latest`."""
    name: str | None = None
    """Name of the study; its results go to studies/NAME."""

    @property
    def is_described(self) -> bool:
        """Whether a model and a card describe the study, instead of a file."""
        return self.study is None and (self.model is not None or self.gpu is not None)

    @property
    def said(self) -> list[str]:
        """The options that were given besides a study's path, as a person types them."""
        options = {
            "--model": self.model,
            "--gpu": self.gpu,
            "--num-gpus": self.num_gpus,
            "--interconnect": self.interconnect,
            "--vllm-version": self.version,
            "--name": self.name,
        }
        return [option for option, value in options.items() if value is not None]
