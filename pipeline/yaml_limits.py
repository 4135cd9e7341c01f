"""Limits of YAML documents, which a few lines with anchors can blow up to gigabytes."""

import os

import yaml

from trainer_module.errors import ConfigError

MAX_NODES_VARIABLE = "RECSPAN_MAX_YAML_NODES"

_MAX_NODES = 100_000
_MAX_DEPTH = 50


def check_limits(text: str, where: str) -> None:
    """Checks a document's size and depth before it is built; an alias counts as all that it stands for.

    Args:
        text: The document.
        where: Names its source; begins the message.

    Raises:
        ConfigError: It is too large or too deep, or an anchor holds itself. What is no YAML is left to the parser.
    """
    limit = int(os.environ.get(MAX_NODES_VARIABLE, _MAX_NODES))
    sizes: dict[str, int] = {}
    open_sections: list[tuple[str | None, int]] = []
    counts = [0]
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.CollectionStartEvent):
                open_sections.append((event.anchor, event.start_mark.line + 1))
                counts.append(1)
                if len(open_sections) > _MAX_DEPTH:
                    raise ConfigError(
                        f"{where}, line {event.start_mark.line + 1}: nested too deeply, more than {_MAX_DEPTH} "
                        "sections or lists inside each other; expected a few levels of keys and lists"
                    )
                continue
            if isinstance(event, yaml.CollectionEndEvent):
                (anchor, _), size = open_sections.pop(), counts.pop()
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor in (anchor for anchor, _ in open_sections):
                    raise ConfigError(f"{where}, line {event.start_mark.line + 1}: *{event.anchor} holds itself")
                anchor, size = None, sizes.get(event.anchor, 1)
            elif isinstance(event, yaml.ScalarEvent):
                anchor, size = event.anchor, 1
            else:
                continue
            counts[-1] += size
            if anchor:
                sizes[anchor] = size
            if counts[-1] > limit:
                raise ConfigError(
                    f"{where}, line {event.start_mark.line + 1}: more than {limit:,} values, counting those that "
                    f"aliases stand for. If that is right, set the environment variable {MAX_NODES_VARIABLE}"
                )
    except yaml.YAMLError:
        return
