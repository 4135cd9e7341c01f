"""Makes the HTML of a page: one file, without a network."""

import functools
import hashlib
from importlib import resources

import jinja2
from markupsafe import Markup

from components.run_report.page import Cell, Column, Page

_TEMPLATES = resources.files("components.run_report").joinpath("templates")
_FILES = ("page.html", "page.css", "page.js")
UNKNOWN = "–"  # noqa: RUF001 (an en dash, as tables have it)


def render(page: Page) -> str:
    """The HTML of a page."""
    return _template().render(page=page, css=Markup(_text("page.css")), js=Markup(_text("page.js")), Markup=Markup)


@functools.cache
def _template() -> jinja2.Template:
    """The compiled template. A local run renders two pages: that of the component, and the same with the data flow."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cell"] = shown
    return environment.get_template("page.html")


def templates_hash() -> str:
    """SHA-256 of what `render` reads besides the page."""
    return hashlib.sha256("\0".join(map(_text, _FILES)).encode()).hexdigest()


def shown(value: Cell, column: Column) -> str:
    """A cell as the page shows it."""
    if value is None:
        return UNKNOWN
    if isinstance(value, str):
        return value
    if column.percent:
        return f"{value:.{column.digits or 0}%}"
    return f"{value:,.{column.digits or 0}f}"


def _text(name: str) -> str:
    return _TEMPLATES.joinpath(name).read_text(encoding="utf-8")
