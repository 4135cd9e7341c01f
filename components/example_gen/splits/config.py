"""The section `data.split`: the config of one of the protocols, chosen by `by`."""

from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import BeforeValidator, Field

from components.example_gen.splits.protocol import Split
from components.example_gen.splits.protocols import PROTOCOLS


def _random_unless_named(value: Any) -> Any:
    if isinstance(value, str):
        return {"by": value}
    return {"by": "random"} | value if isinstance(value, dict) else value


if TYPE_CHECKING:
    # A type checker cannot know which modules are found.
    SplitConfig = Split
else:
    SplitConfig = Annotated[
        Annotated[Union[tuple(dict.fromkeys(PROTOCOLS.values()))], Field(discriminator="by")],  # noqa: UP007
        BeforeValidator(_random_unless_named),
    ]
