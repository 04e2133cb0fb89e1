"""Chromium, driven as a person drives it; and pictures of what it shows.

Belongs here: what is true of Dagster's pages whatever the test. Does not belong here: the story.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
# Read at import: a test's own environment is cleaned of what begins with MIGRATION_.
_ASKED = os.environ.get("MIGRATION_TEST_SCREENSHOTS")
_PICTURES = Path(_ASKED).resolve() if _ASKED else None
_REQUIRED = bool(os.environ.get("MIGRATION_TEST_REQUIRE_BROWSER"))
# Without these a closed network is asked for Google's hosts, many times at once.
_QUIETLY = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
WIDE, HIGH = 1600, 1000
_PATIENCE = 120_000.0  # ms; two cores that also run the rest of the suite
_GROUND = ((0.6, 0.9), (0.9, 0.15), (0.4, 0.2), (0.7, 0.3), (0.5, 0.8))  # empty, some of it
_BLANK = 10_000  # bytes; an empty page's picture is smaller


def chromium_or_skip() -> None:
    """Skip loudly where there is no browser, unless CI says that there must be one."""
    if not CHROMIUM.exists():
        told = f"NO CHROMIUM at {CHROMIUM}: install Debian's package chromium"
        if _REQUIRED:
            pytest.fail(told)
        pytest.skip(told)


@contextmanager
def browser_page() -> Iterator[Any]:
    """A page of a browser without a past."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - where there is a browser

    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=list(_QUIETLY))
        opened = browser.new_page(viewport={"width": WIDE, "height": HIGH})
        opened.set_default_timeout(_PATIENCE)
        yield opened
        browser.close()


def picture(page: Any, folder: Path, name: str, clip: dict[str, float] | None = None) -> None:
    """A screenshot, once nothing moves any more; to the docs if somebody wants them anew."""
    page.wait_for_timeout(1_500)
    path = (_PICTURES or folder) / f"{name}.png"
    page.screenshot(path=path, clip=clip)
    assert path.stat().st_size > _BLANK


def button(page: Any, label: str) -> Any:
    """The button on which exactly this is written; its icon is part of its accessible name."""
    return page.locator("button").filter(has_text=re.compile(f"^{re.escape(label)}$"))


def choose_in_graph(page: Any, item: str, *, opposite: str) -> None:
    """An item of the menu that a right click on the graph's empty ground opens.

    While the graph is laid out the click does nothing, or the menu closes again: so choose until
    the menu offers the opposite. The same words stand again in a tooltip that nobody sees.
    """
    from playwright.sync_api import TimeoutError as NotYet  # noqa: PLC0415 - as above

    menu = {each: page.get_by_role("menuitem", name=re.compile(each)) for each in (item, opposite)}
    size = page.viewport_size
    for attempt in range(60):
        across, down = _GROUND[attempt % len(_GROUND)]
        page.keyboard.press("Escape")  # the menu of an asset, if there was one where it was clicked
        page.mouse.click(size["width"] * across, size["height"] * down, button="right")
        with suppress(NotYet):
            menu[item].or_(menu[opposite]).first.wait_for(timeout=3_000)
            if menu[opposite].is_visible():
                page.keyboard.press("Escape")
                return
            menu[item].click(timeout=10_000)
    raise AssertionError(f"The graph's menu never came to offer: {opposite}")


def around(page: Any, selector: str, margin: float = 16) -> dict[str, float]:
    """The smallest part of the page that shows everything the selector finds."""
    boxes = [found for each in page.locator(selector).all() if (found := each.bounding_box())]
    left, top = (min(box[side] for box in boxes) - margin for side in ("x", "y"))
    right = max(box["x"] + box["width"] for box in boxes) + margin
    low = max(box["y"] + box["height"] for box in boxes) + margin
    return {"x": left, "y": top, "width": right - left, "height": low - top}
