"""The version of planner, and the name under which it is installed; both are written nowhere else."""

__version__ = "0.1.0"
DISTRIBUTION = "vllm-planner"
"""Name on the package index. The import package and the command are `planner`; that name on the index is another's."""


def install_hint(extra: str) -> str:
    """Command that adds the packages of an extra of pyproject.toml: `pip install 'vllm-planner[hub]'`."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"
