"""Reads Dockerfiles: just enough to check ours and to run the steps that need no container."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction; continued lines are joined.

    Attributes:
        keyword: In capitals, as `RUN`.
        argument: All that follows.
    """

    keyword: str
    argument: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.argument)

    @property
    def sources(self) -> list[str]:
        """What a `COPY` takes from the build context; nothing if it copies from another image or stage."""
        if self.keyword != "COPY" or self.words[0].startswith("--from"):
            return []
        return self.words[:-1]


@dataclass(frozen=True)
class Stage:
    """A `FROM` and what follows it.

    Attributes:
        base: Another stage or an image.
        name: After `AS`; empty if it has none.
        instructions: Without the `FROM`.
    """

    base: str
    name: str
    instructions: tuple[Instruction, ...]


def read_stages(file: Path) -> list[Stage]:
    """All stages of a file, in their order."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    stages: list[Stage] = []
    for line in filter(str.strip, joined.splitlines()):
        keyword, _, argument = line.strip().partition(" ")
        if keyword.upper() == "FROM":
            base, _, name = re.sub(r"(?i) as ", " AS ", argument).partition(" AS ")
            stages.append(Stage(base.strip(), name.strip(), ()))
        elif stages:
            last = stages[-1]
            added = Instruction(keyword.upper(), argument.strip())
            stages[-1] = Stage(last.base, last.name, (*last.instructions, added))
    return stages
