"""What the makers of Kafka, MinIO and Helm publish, at the versions that we run, kept outside the checkout."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from docqa.embedded import children
from docqa.service import last_words

from tests.engines.missing import EngineMissing

KAFKA = "4.3.0"  # the same stands in kafka_jars/pom.xml
KAFKA_POM = Path(__file__).parent / "kafka_jars" / "pom.xml"
JAVA_AT_LEAST = 17

MINIO_MODULE = "github.com/minio/minio"
MINIO = "v0.0.0-20260212201848-7aac2a2c5b7c"
"""A commit, because MinIO's release tags are not versions that Go could fetch."""

HELM_MODULE = "helm.sh/helm/v3/cmd/helm"
HELM = "v3.22.0"

FETCH_SECONDS = 600.0  # MinIO takes three minutes on two idle cores


def cache() -> Path:
    """Where what was fetched or built stays."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home).absolute() / "docqa" / "engines"


def java() -> Path:
    """A Java that runs Kafka. Raises `EngineMissing`."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        raise EngineMissing("Kafka", f"there is no Java ({JAVA_AT_LEAST} or newer is needed)")
    told = _output([found, "-XshowSettings:properties", "-version"])
    version = next(
        (line.split("=")[1].strip() for line in told.splitlines() if "java.specification.version" in line), ""
    )
    if not version.isdigit() or int(version) < JAVA_AT_LEAST:
        raise EngineMissing("Kafka", f"Java {JAVA_AT_LEAST} or newer is needed, {found} is {version or 'unknown'}")
    return Path(found)


async def kafka_jars() -> Path:
    """The folder with Kafka's jars, fetched from Maven Central the first time. Raises `EngineMissing`."""

    async def fetch(folder: Path) -> None:
        maven = _program("Kafka", "mvn", "there is no Maven (mvn) to fetch its jars")
        _announce("Kafka's jars")
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        await _run("Kafka", [maven, "-q", "-B", "--strict-checksums", "-f", str(KAFKA_POM), *goal])

    return await _kept(f"kafka-{KAFKA}", fetch)


async def minio_program() -> Path:
    """MinIO's server, built from its module the first time. Raises `EngineMissing`."""
    return await _built("MinIO", MINIO_MODULE, MINIO) / "minio"


async def helm_program() -> Path:
    """Helm, built from its module the first time. Raises `EngineMissing`."""
    return await _built("Helm", HELM_MODULE, HELM) / "helm"


async def _built(name: str, module: str, version: str) -> Path:
    """The folder with the program that Go makes of a module."""

    async def build(folder: Path) -> None:
        go = _program(name, "go", "there is no Go to build it")
        _announce(f"{name}, which takes some minutes")
        here = {"GOBIN": str(folder), "CGO_ENABLED": "0", "GOOS": "", "GOARCH": ""}
        await _run(name, [go, "install", f"{module}@{version}"], **here)

    return await _kept(f"{name.lower()}-{version}", build)


async def _kept(name: str, make: Callable[[Path], Awaitable[None]]) -> Path:
    """The folder of that name in the cache; there whole or not at all, even if two make it at once."""
    folder = cache() / name
    if folder.is_dir():
        return folder
    cache().mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=cache()))
    try:
        await make(draft)
        _put(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _put(draft: Path, folder: Path) -> None:
    draft.chmod(0o755)
    try:
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _program(engine: str, name: str, otherwise: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise EngineMissing(engine, otherwise)
    return found


def _announce(what: str) -> None:
    sys.stderr.write(f"Getting {what}, once; it stays in {cache()} …\n")


async def _run(engine: str, command: list[str], **environment: str) -> None:
    """A child that ends with us, and with whoever stops waiting for it."""
    with tempfile.TemporaryDirectory(prefix="docqa-fetching-") as folder:
        log = Path(folder) / "log"
        child = children.start(engine, command, environment={**os.environ, **environment}, log=log)
        try:
            if await child.ended(FETCH_SECONDS) != 0:
                raise EngineMissing(engine, f"{Path(command[0]).name} could not get it: {last_words(log, lines=3)}")
        except TimeoutError:
            raise EngineMissing(engine, f"{Path(command[0]).name} took longer than {FETCH_SECONDS:.0f} s") from None
        finally:
            child.kill()


def _output(command: list[str]) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return ended.stdout + ended.stderr
