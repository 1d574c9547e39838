"""What stands on screen: text as it is, whatever names and files hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from rich.console import Console
from rich.text import Text

Item = TypeVar("Item")


def printable(text: str) -> str:
    """Text without characters that would steer a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


class Screen(Console):
    """Console to which brackets and colons in names are just that; the stream is stdout."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """Text as it is."""
        return super().render_str(printable(text), **options)


def tracked(items: Iterable[Item], text: str) -> Iterable[Item]:
    """The items, with a bar on a terminal; elsewhere it would leave an empty line."""
    from rich.progress import track

    console = Screen(stderr=True)
    return track(items, text, console=console, transient=True, disable=not console.is_terminal)
