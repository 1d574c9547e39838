"""What stands on screen: text as it is, whatever names and files hold."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text


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
