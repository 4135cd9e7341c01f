"""Parses the syntax of the product's own Dockerfiles."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction; continued lines are joined.

    Attributes:
        keyword: Keyword in capitals, as in `RUN`.
        argument: Text after the keyword.
    """

    keyword: str
    argument: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.argument)

    @property
    def sources(self) -> list[str]:
        """Files that a `COPY` reads from the build context; empty if it copies from another image or stage."""
        if self.keyword != "COPY" or self.words[0].startswith("--from"):
            return []
        return self.words[:-1]


@dataclass(frozen=True)
class Stage:
    """A build stage.

    Attributes:
        base: Another stage or an image.
        name: Name after `AS`; empty if the stage has none.
        instructions: Instructions after `FROM`.
    """

    base: str
    name: str
    instructions: tuple[Instruction, ...]


def read_stages(file: Path) -> list[Stage]:
    """Returns all stages of a file in order."""
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
