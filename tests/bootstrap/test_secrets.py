import subprocess

from bootstrap.secrets import Finding, files_of_repository, files_of_runs, find_secrets

AWS = "AKIA" + "ABCDEFGHIJKLMNOP"
TOKEN = "ghp_" + "a1B2" * 9
URL = "https://me:" + "hunter22@host/data.csv"


def test_secrets_are_named_by_file_and_line_and_not_printed(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text(f"start\nkey {AWS}\nnothing\nfrom {URL}\ntoken {TOKEN}\n-----BEGIN RSA " + "PRIVATE KEY-----\n")
    found = [(each.line, each.kind) for each in find_secrets([log])]
    assert found == [
        (2, "AWS Access Key"),
        (4, "Basic Auth Credentials"),
        (5, "GitHub Token"),
        (6, "Private Key"),
    ]
    assert AWS not in repr(Finding(log, 2, "AWS Access Key"))


def test_checksums_words_and_allowed_lines_are_no_secrets(tmp_path):
    file = tmp_path / "summary.json"
    file.write_text(f'{{"sha256": "{"0123456789abcdef" * 4}", "password": "x"}}\n{AWS}  # pragma: allowlist secret\n')
    assert not list(find_secrets([file]))


def test_binary_and_missing_files_are_left_out(tmp_path):
    (tmp_path / "a").write_bytes(f"\0{AWS}".encode())
    assert not list(find_secrets([tmp_path / "a", tmp_path / "b"]))


def test_logs_and_summaries_of_runs_and_the_files_of_the_repository_are_scanned(tmp_path):
    for name in ("runs/runs/1/log.txt", "runs/runs/1/summary.json", "runs/serving/clicks/3/summary.json"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(AWS)
    assert len(files_of_runs(tmp_path)) == 3
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text("runs/\n")
    (tmp_path / "ä b.py").touch()
    assert {file.name for file in files_of_repository(tmp_path)} == {".gitignore", "ä b.py"}
