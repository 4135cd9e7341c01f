"""Gets Flink and Beam's job server from a Maven repository, and compares every file with its pinned checksum."""

import hashlib
import shutil
import subprocess
from pathlib import Path

_HERE = Path(__file__).parent
_TIMEOUT = 1200


class Missing(Exception):
    """Something that the check needs is not there; the message says how to get it."""


def require_tools() -> None:
    """Checks for Java and Maven.

    Raises:
        Missing: One of them is not installed.
    """
    hints = {
        "java": "a Java 17 runtime, on Debian and Ubuntu: apt-get install openjdk-17-jre-headless",
        "mvn": "Maven, on Debian and Ubuntu: apt-get install maven",
    }
    if missing := [hint for tool, hint in hints.items() if not shutil.which(tool)]:
        raise Missing("flink-check needs " + "; and ".join(missing))


def fetch_jars(directory: Path) -> Path:
    """Downloads what `pom.xml` names, with Maven and its settings, so a mirror set there is used.

    Args:
        directory: Keeps the files and Maven's own copies; files that are there already are checked and used.

    Returns:
        The directory of the jars.

    Raises:
        Missing: The repository cannot be reached, or a file differs from its checksum.
    """
    jars = directory / "jars"
    expected = {name: digest for digest, name in map(str.split, (_HERE / "jars.sha256").read_text().splitlines())}
    if {path.name for path in jars.glob("*.jar")} != expected.keys():
        shutil.rmtree(jars, ignore_errors=True)
        command = ["mvn", "-q", "-B", "-f", str(_HERE / "pom.xml"), "dependency:copy-dependencies"]
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={jars}", f"-Dmaven.repo.local={directory / 'maven'}"]
        ended = subprocess.run([*command, *options], capture_output=True, text=True, timeout=_TIMEOUT)
        if ended.returncode:
            raise Missing(
                f"Maven cannot get Flink: {ended.stdout.strip()[:500]}. Name a reachable repository as a mirror in "
                "Maven's settings.xml"
            )
        # The runner also depends on clients of Google's services, which a cluster of one machine does not call. All
        # jars of the job server go to the cluster with every job, so they would cost seconds each time.
        for path in jars.glob("*.jar"):
            if path.name not in expected:
                path.unlink()
    for name, digest in expected.items():
        path = jars / name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise Missing(f"{path} is not the file whose checksum jars.sha256 pins; remove {directory} and run again")
    return jars
