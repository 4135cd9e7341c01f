"""Looks for secrets in the repository's files and in the logs and summaries of runs: `python -m bootstrap.secrets`.

Keys and tokens of known services have a form that hardly any other text has. Nothing is sent anywhere to verify them.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from detect_secrets.core.plugins.initialize import from_plugin_classname
from detect_secrets.plugins.base import BasePlugin

_ROOT = Path(__file__).parent.parent
# Without those that take any random text, such as checksums, or any word behind `password`, for a secret.
_PLUGINS = (
    "AWSKeyDetector", "ArtifactoryDetector", "AzureStorageKeyDetector", "BasicAuthDetector", "CloudantDetector",
    "DiscordBotTokenDetector", "GitHubTokenDetector", "GitLabTokenDetector", "IbmCloudIamDetector", "JwtTokenDetector",
    "MailchimpDetector", "NpmDetector", "OpenAIDetector", "PrivateKeyDetector", "PypiTokenDetector",
    "SendGridDetector", "SlackDetector", "SquareOAuthDetector", "StripeDetector", "TwilioKeyDetector",
)  # fmt: skip
# What runs leave behind and people pass on.
_OF_RUNS = ("runs/*/log.txt", "runs/*/summary.json", "serving/*/*/summary.json", "log.txt")
# In a comment on a line that holds an invented secret.
_ALLOWED = "pragma: allowlist secret"
_LARGEST_BYTES = 16 << 20


@dataclass(frozen=True)
class Finding:
    """A line that holds a secret.

    Attributes:
        file: Path.
        line: From 1.
        kind: Of the secret.
    """

    file: Path
    line: int
    kind: str


def find_secrets(files: Iterable[Path]) -> Iterator[Finding]:
    """Scans text files; those that are no text or larger than 16 MB are left out, as are lines that say so."""
    detectors = [from_plugin_classname(name) for name in _PLUGINS]
    for file in files:
        if not file.is_file() or file.stat().st_size > _LARGEST_BYTES:
            continue
        content = file.read_bytes()
        if b"\0" in content:
            continue
        text = content.decode("utf-8", "replace")
        if any(True for detector in detectors for _ in detector.analyze_string(text)):
            yield from _in_lines(file, text, detectors)


def _in_lines(file: Path, text: str, detectors: Sequence[BasePlugin]) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), start=1):
        if _ALLOWED not in line:
            for detector in detectors:
                if any(True for _ in detector.analyze_string(line)):
                    yield Finding(file, number, detector.secret_type)


def files_of_repository(root: Path) -> list[Path]:
    """The files that git knows."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True).stdout
    return [root / name for name in names.split("\0") if name and name != "uv.lock"]


def files_of_runs(root: Path) -> list[Path]:
    """Logs and summaries below the directory `runs`."""
    return sorted(file for pattern in _OF_RUNS for file in (root / "runs").glob(pattern))


def main() -> None:
    """Prints the findings without the secrets and exits with 1 if there are any."""
    files = [*files_of_repository(_ROOT), *files_of_runs(_ROOT)]
    found = list(find_secrets(files))
    for each in found:
        print(f"{each.file}:{each.line}: {each.kind}; take it out, and revoke it if it is real", file=sys.stderr)
    print(f"secrets: {len(files)} files, {len(found)} findings")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
