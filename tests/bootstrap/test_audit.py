import io
import json
import zipfile
from datetime import date

import pytest

from bootstrap import audit
from bootstrap.audit import Advisory, advisories_of, locked_versions, refresh, stored_advisories

RECORD = {
    "id": "PYSEC-1",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "Py_Arrow"},
            "ranges": [
                {"type": "GIT", "events": [{"introduced": "abc"}]},
                {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.5"}, {"introduced": "2.0"}]},
                {"type": "ECOSYSTEM", "events": [{"introduced": "1.7"}, {"last_affected": "1.8"}]},
            ],
            "versions": ["1.0"],
        },
        {"package": {"ecosystem": "PyPI", "name": "other"}, "versions": ["1.0"]},
        {"package": {"ecosystem": "npm", "name": "py-arrow"}, "versions": ["1.0"]},
        {"package": {"ecosystem": "PyPI", "name": "listed"}, "versions": ["3.1", "3.2"]},
    ],
}
PACKAGES = {"py-arrow": "1.6", "listed": "3.2"}


def test_ranges_of_locked_packages_are_taken_from_records():
    found = list(advisories_of(RECORD, PACKAGES))
    assert found == [
        Advisory("PYSEC-1", "py-arrow", (">=0,<1.5", ">=2.0", ">=1.7,<=1.8")),
        Advisory("PYSEC-1", "listed", ("==3.1", "==3.2")),
    ]
    versions = {
        version: found[0].affects(version) for version in ("1.4.9", "1.5", "1.7", "1.8", "1.9", "2.0", "2.1rc1")
    }
    assert versions == {
        "1.4.9": True,
        "1.5": False,
        "1.7": True,
        "1.8": True,
        "1.9": False,
        "2.0": True,
        "2.1rc1": True,
    }
    assert not list(advisories_of(RECORD | {"withdrawn": "2024-01-01"}, PACKAGES))


def test_the_stored_list_is_made_from_an_archive(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("PYSEC-1.json", json.dumps(RECORD))
    with zipfile.ZipFile(packed) as archive:
        content = refresh(archive, PACKAGES, date(2026, 1, 2))
    (tmp_path / "stored.json").write_text(json.dumps(content))
    when, advisories = stored_advisories(tmp_path / "stored.json")
    assert when == date(2026, 1, 2)
    assert advisories == list(advisories_of(RECORD, PACKAGES))


@pytest.mark.parametrize(("version", "code"), [("14.0.0", 1), ("14.0.1", 0)])
def test_a_locked_package_with_a_known_vulnerability_fails(tmp_path, monkeypatch, capsys, version, code):
    lock = tmp_path / "uv.lock"
    lock.write_text(f'[[package]]\nname = "PyArrow"\nversion = "{version}"\n')
    monkeypatch.setattr(audit, "LOCK", lock)
    monkeypatch.setattr("sys.argv", ["audit"])
    with pytest.raises(SystemExit) as end:
        audit.main()
    assert end.value.code == code
    assert (f"pyarrow {version}: PYSEC-2023-238 affects" in capsys.readouterr().err) == bool(code)


def test_the_lock_of_this_repository_is_read():
    assert "tensorflow" in locked_versions(audit.LOCK)
