"""Compares the locked packages with a stored list of known vulnerabilities; works without a network.

    python -m bootstrap.audit                      compare uv.lock with bootstrap/advisories.json
    python -m bootstrap.audit --refresh            download OSV's advisories for PyPI and store those of locked packages
    python -m bootstrap.audit --refresh all.zip    the same from a copy at hand

The stored list may be an excerpt: `covers` in bootstrap/advisories.json then says of which packages and advisories, and
that nothing is found for any other package means nothing. A refreshed list is whole and has no `covers`.

With a network, `uv audit --frozen` asks OSV directly and knows the latest advisories.
"""

import argparse
import io
import json
import sys
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

_ROOT = Path(__file__).parent.parent
LOCK = _ROOT / "uv.lock"
STORED = _ROOT / "bootstrap" / "advisories.json"
# All advisories for PyPI, one JSON document each; see https://google.github.io/osv.dev/data/.
OSV = "https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip"
_OLD_DAYS = 90


@dataclass(frozen=True)
class Advisory:
    """A known vulnerability.

    Attributes:
        id: Of the advisory, as in `PYSEC-2023-238`.
        package: Its normalized name.
        affected: Ranges of versions, as in `>=0.14.0,<14.0.1`.
    """

    id: str
    package: str
    affected: tuple[str, ...]

    def affects(self, version: str) -> bool:
        """Whether a version is vulnerable."""
        return any(SpecifierSet(each).contains(version, prereleases=True) for each in self.affected)


def locked_versions(lock: Path) -> dict[str, str]:
    """Version by normalized name of all locked packages."""
    packages = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]
    return {canonicalize_name(package["name"]): package["version"] for package in packages}


def stored_advisories(file: Path) -> tuple[date, list[Advisory]]:
    """The date of the stored list, and its advisories."""
    content = json.loads(file.read_text(encoding="utf-8"))
    advisories = [Advisory(each["id"], each["package"], tuple(each["affected"])) for each in content["advisories"]]
    return date.fromisoformat(content["date"]), advisories


def advisories_of(record: Mapping[str, Any], packages: Mapping[str, str]) -> Iterator[Advisory]:
    """The parts of an OSV record that concern locked packages."""
    if "withdrawn" in record:
        return
    for affected in record.get("affected", ()):
        name = canonicalize_name(affected.get("package", {}).get("name", ""))
        if affected.get("package", {}).get("ecosystem") != "PyPI" or name not in packages:
            continue
        ranges = [each for each in affected.get("ranges", ()) if each["type"] == "ECOSYSTEM"]
        specifiers = [specifier for each in ranges for specifier in _specifiers(each["events"])]
        if not ranges:
            specifiers = [f"=={version}" for version in affected.get("versions", ())]
        if specifiers:
            yield Advisory(record["id"], name, tuple(specifiers))


def refresh(archive: zipfile.ZipFile, packages: Mapping[str, str], today: date) -> dict[str, Any]:
    """The content of the stored list, from all of OSV's advisories for PyPI."""
    found = [
        advisory
        for name in sorted(archive.namelist())
        for advisory in advisories_of(json.loads(archive.read(name)), packages)
    ]
    return {"date": today.isoformat(), "source": OSV, "advisories": [asdict(each) for each in found]}


def _specifiers(events: list[dict[str, str]]) -> Iterator[str]:
    """Ranges from a list of events, each of which introduces, fixes or last affects."""
    introduced = None
    for event in events:
        if "introduced" in event:
            introduced = event["introduced"]
        elif introduced is not None:
            end = f"<{event['fixed']}" if "fixed" in event else f"<={event['last_affected']}"
            yield f">={introduced},{end}"
            introduced = None
    if introduced is not None:
        yield f">={introduced}"


def main() -> None:
    """Prints the findings and exits with 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refresh", metavar="ZIP", nargs="?", const=OSV, help="file or URL of OSV's advisories")
    source = parser.parse_args().refresh
    packages = locked_versions(LOCK)
    if source:
        if "://" in source:
            with urllib.request.urlopen(source, timeout=60) as answer:
                content = io.BytesIO(answer.read())
        else:
            content = io.BytesIO(Path(source).read_bytes())
        with zipfile.ZipFile(content) as archive:
            text = json.dumps(refresh(archive, packages, datetime.now(UTC).date()), indent=2)
        STORED.write_text(text + "\n", encoding="utf-8")
    when, advisories = stored_advisories(STORED)
    found = [each for each in advisories if each.package in packages and each.affects(packages[each.package])]
    for each in found:
        print(
            f"{each.package} {packages[each.package]}: {each.id} affects {' and '.join(each.affected)}", file=sys.stderr
        )
    age = (datetime.now(UTC).date() - when).days
    print(f"audit: {len(packages)} locked packages, {len(advisories)} advisories of {when}, {len(found)} affect them")
    if age > _OLD_DAYS:
        print(f"audit: the list is {age} days old; with a network, `make audit` knows the latest advisories")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
