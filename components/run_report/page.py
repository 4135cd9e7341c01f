"""What a page consists of, as plain data that travels as JSON. Free of TensorFlow and of HTML."""

from typing import Annotated, Literal

from pydantic import Field

from trainer_module.frozen import Frozen

Cell = str | float | None
Tone = Literal["", "good", "bad", "warn"]


class Tile(Frozen):
    """A number that stands out.

    Attributes:
        label: What it is.
        value: As shown.
        note: A line below it.
        tone: Its colour; never the only carrier of its meaning.
    """

    label: str
    value: str
    note: str = ""
    tone: Tone = ""


class Tiles(Frozen):
    """A row of tiles."""

    kind: Literal["tiles"] = "tiles"
    tiles: tuple[Tile, ...]


class Text(Frozen):
    """A paragraph.

    Attributes:
        text: Plain text.
        tone: Its colour.
    """

    kind: Literal["text"] = "text"
    text: str
    tone: Tone = ""


class Facts(Frozen):
    """Names with values.

    Attributes:
        title: Above them; may be empty.
        facts: Pairs.
    """

    kind: Literal["facts"] = "facts"
    title: str = ""
    facts: tuple[tuple[str, str], ...]


class Column(Frozen):
    """A column of a table.

    Attributes:
        name: Its head.
        digits: Digits behind the point of its numbers; None marks a column of texts.
        percent: Whether its numbers are shares.
    """

    name: str
    digits: int | None = None
    percent: bool = False


class Table(Frozen):
    """A table whose rows a reader may sort.

    Attributes:
        title: Above it.
        columns: Heads.
        rows: Cells, one per column; None is unknown.
        pinned: Number of first rows that sorting leaves where they are.
        note: Below it.
        sorted_by: Number of the column by which rows are sorted at first; None means none.
        descending: Whether they are sorted from large to small.
    """

    kind: Literal["table"] = "table"
    title: str = ""
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    pinned: int = 0
    note: str = ""
    sorted_by: int | None = None
    descending: bool = False


class Bar(Frozen):
    """A bar of a chart of bars.

    Attributes:
        label: Its name.
        value: Its length.
        text: Behind it.
        muted: Whether it is drawn in the background's tone.
    """

    label: str
    value: float
    text: str
    muted: bool = False


class Bars(Frozen):
    """Horizontal bars.

    Attributes:
        title: Above them.
        bars: The first on top.
    """

    kind: Literal["bars"] = "bars"
    title: str
    bars: tuple[Bar, ...]


class Chart(Frozen):
    """A drawing.

    Attributes:
        title: Above it.
        svg: Its elements; colours are the page's variables.
        description: What it shows, for people who do not see it.
        note: Below it.
        wide: Whether it takes the whole width.
    """

    kind: Literal["chart"] = "chart"
    title: str
    svg: str
    description: str
    note: str = ""
    wide: bool = False


class Code(Frozen):
    """Text in a fixed width that is folded away.

    Attributes:
        title: Of the fold.
        text: Its content.
    """

    kind: Literal["code"] = "code"
    title: str
    text: str


Block = Annotated[Tiles | Text | Facts | Table | Bars | Chart | Code, Field(discriminator="kind")]


class Section(Frozen):
    """A part of the page.

    Attributes:
        id: Anchor, unique on the page.
        title: Its heading.
        blocks: In the order in which they are read.
    """

    id: str
    title: str
    blocks: tuple[Block, ...]


class Page(Frozen):
    """A whole page.

    Attributes:
        title: Of the window and of the page.
        subtitle: Below the title.
        sections: In the order in which they are read.
    """

    title: str
    subtitle: str
    sections: tuple[Section, ...]

    def with_section(self, section: Section, *before: str) -> "Page":
        """The page with another section.

        Args:
            section: The section.
            before: Ids of sections; it precedes the first of them that is on the page, and is the last one if none is.
        """
        places = {each.id: place for place, each in enumerate(self.sections)}
        place = next((places[each] for each in before if each in places), len(self.sections))
        sections = (*self.sections[:place], section, *self.sections[place:])
        return self.model_copy(update={"sections": sections})
