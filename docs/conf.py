"""The site of these pages, by Sphinx: `make docs`.

The index is the navigation: each of its sections is a part of the sidebar, with the pages it links to in their order.
Pages that it does not name come last, so a new page is never lost. Nothing is loaded from a network, fonts neither.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.builders.html import StandaloneHTMLBuilder

project = "planner"
extensions = ["myst_parser"]
exclude_patterns = ["schemas"]
myst_heading_anchors = 4
highlight_language = "none"  # of blocks that name none
html_theme = "furo"
html_title = "planner"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_show_search_summary = False  # summaries are fetched, which browsers refuse from disk
smartquotes = False  # -- begins a flag here and is no dash

OTHERS = "More pages"


def navigation(index: str, pages: set[str]) -> dict[str, list[str]]:
    """Caption -> pages, from the index's sections; a page counts where it is first linked."""
    parts: dict[str, list[str]] = {}
    left = pages - {"index"}
    for section in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        caption, _, text = section.partition("\n")
        named = [name for name in re.findall(r"\]\(([\w.-]+)\.md[)#]", text) if name in left]
        parts[caption] = list(dict.fromkeys(named))
        left -= set(named)
    return {caption: named for caption, named in {**parts, OTHERS: sorted(left)}.items() if named}


class Site(StandaloneHTMLBuilder):
    """Sphinx's page of search results goes to find.html, because search.html is one of our pages."""

    def handle_page(self, pagename: str, addctx: dict[str, Any], templatename: str = "page.html", **rest: Any) -> None:
        super().handle_page("find" if templatename == "search.html" else pagename, addctx, templatename, **rest)


def setup(app: Any) -> None:
    def add_navigation(app: Any, page: str, source: list[str]) -> None:
        source[0] = source[0].replace("](../README.md)", "](index.md)")  # the README is the index of the repository
        source[0] = re.sub(r"\[([^]]*)\]\(\.\./[A-Z]+(?:\.md)?\)", r"\1", source[0])  # beside it, and not of the site
        if page == "index":
            for caption, named in navigation(source[0], set(app.env.found_docs)).items():
                source[0] += "\n".join(["\n```{toctree}", ":hidden:", f":caption: {caption}", *named, "```\n"])

    def complete(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:  # noqa: ARG001
        path_to = context["pathto"]
        context["pathto"] = lambda name, *rest: path_to("find" if name == "search" else name, *rest)  # the search form
        if page.endswith(".zh"):  # a screen reader's voice follows it
            context["language"] = "zh-CN"

    app.connect("source-read", add_navigation)
    app.connect("html-page-context", complete)
    app.add_builder(Site, override=True)
