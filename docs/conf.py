"""How Sphinx draws the site; `tools/site/build.py` prepares the pages and calls it."""

import re

from tools.pages.build import ROOT, address

project = html_title = "Learn FCN"
language = "en"
root_doc = "index"
extensions = [
    "myst_nb",
    "sphinx.ext.mathjax",
    "sphinx.ext.githubpages",  # .nojekyll: GitHub would hide _static without it
    "sphinx_copybutton",
]

nb_execution_mode = "off"  # outputs are those in git
myst_enable_extensions = ["dollarmath", "attrs_inline", "attrs_block", "html_image"]
myst_heading_anchors = 4  # the same anchors as on GitHub
mathjax_path = "tex-svg.js"
copybutton_selector = "div:not(.output) > div.highlight > pre"  # cells, not outputs

html_theme = "furo"
html_static_path = ["static", str(ROOT / "build" / "site-work" / "static")]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_favicon = "static/favicon.svg"
html_use_index = False
html_copy_source = False
html_show_copyright = False
SOURCE = {"name": "Source code", "url": address(), "html": "Source code"}
html_theme_options = {
    "top_of_page_buttons": [],
    "footer_icons": [SOURCE] if address() else [],
}
highlight_language = "text"  # fences without a language; cells have theirs
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def mend(app, pagename, templatename, context, doctree):
    """Correct what theme and notebook reader write, in the finished HTML of a page."""
    if pagename.startswith("README."):  # a translation of the index page
        context["language"] = pagename.removeprefix("README.")
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace(
        'role="heading"', 'role="heading" aria-level="2"'
    )
    body = context.get("body", "").replace(' aria-label="Toggle hidden content"', "")
    # A figure of a cell leads to itself, to be enlarged on a phone.
    figure = r'<img [^>]*src="([^"]*/[0-9a-f]{64}\.\w+)"[^>]*>'
    context["body"] = re.sub(figure, r'<a class="figure" href="\1">\g<0></a>', body)


def setup(app):
    """Let `mend` have the last word, after the theme's own changes."""
    app.connect("html-page-context", mend, priority=900)
