"""Looks at a page as a browser and a screen reader would: balance, ids, names, order.

Belongs here: reading HTML. Does not belong here: claims about the report.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "input", "br", "link", "img", "hr", "col"}


@dataclass
class Element:
    """An element, its attributes, its text, and where it stands."""

    name: str
    attributes: dict[str, str | None]
    children: "list[Element]" = field(default_factory=list)
    text: str = ""

    def every(self, *names: str) -> Iterator["Element"]:
        """All elements of these names below, in order; of any name, if none is given."""
        for each in self.children:
            if not names or each.name in names:
                yield each
            yield from each.every(*names)

    @property
    def all_text(self) -> str:
        """The text of the element and of everything in it."""
        return " ".join([self.text, *(each.all_text for each in self.children)])


class Page(HTMLParser):
    """A parsed page; a tag that closes another than the open one is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self._open = [self.root]
        self.feed(text)
        self.close()
        assert len(self._open) == 1, [each.name for each in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element, unless it never has content."""
        made = Element(tag, dict(attrs))
        assert len(made.attributes) == len(attrs), f"an attribute of {tag} twice"
        self._open[-1].children.append(made)
        if tag not in _VOID:
            self._open.append(made)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element that closes itself."""
        self._open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the element that is open."""
        assert self._open[-1].name == tag, (tag, self._open[-1].name)
        self._open.pop()

    def handle_data(self, data: str) -> None:
        """Text, of the element that is open."""
        self._open[-1].text += data
