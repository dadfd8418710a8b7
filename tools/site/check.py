"""Open every page of `build/site/` in Chromium, as a reader would; say what is wrong.

    python -m tools.site.check

Each page is opened on a desktop and on a phone, light and dark, with no network but the
server this starts. Faults are: an error in the console, a request that fails or goes
elsewhere, a missing picture or alt text, sideways scroll, something cut off, a formula
that is not typeset, a search that finds nothing, and what axe-core calls serious or
critical. Screenshots go to `build/site-screenshots/`. Exit status 1 with faults, 2 when
nothing could be checked.
"""

import functools
import http.server
import importlib.resources
import itertools
import shutil
import sys
import threading

from tools.pages.build import ROOT
from tools.site.build import SITE

SHOTS = ROOT / "build" / "site-screenshots"
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
SEARCH = "search.html?q=bilinear"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
TALLEST = 16_000  # pixels of a screenshot; Chromium repeats itself below 16,384

READY = """async () => {
  if (window.MathJax?.startup) await MathJax.startup.promise;
  const end = Date.now() + 5000, found = () => document.querySelector("ul.search li a");
  while (location.search && !found() && Date.now() < end)
    await new Promise(resolve => setTimeout(resolve, 50));
  await new Promise(resolve => requestAnimationFrame(resolve));
  return document.documentElement.scrollHeight;
}"""

FAULTS = """width => {
  const faults = [], page = document.documentElement;
  const article = document.querySelector("article") ?? document.body;
  document.querySelectorAll("details").forEach(one => one.open = true);
  for (const image of document.images) {
    if (!image.naturalWidth) faults.push(`missing picture ${image.src}`);
    if (!image.alt.trim()) faults.push(`no alt text for ${image.src}`);
  }
  if (page.scrollWidth > Math.min(page.clientWidth, width))
    faults.push(`scrolls sideways, ${page.scrollWidth} pixels wide`);
  const scrolls = one => /auto|scroll/.test(getComputedStyle(one).overflowX);
  for (const one of article.querySelectorAll("*")) {
    if (one.getBoundingClientRect().right <= width + 1) continue;
    let box = one.parentElement;
    while (box !== article && !scrolls(box)) box = box.parentElement;
    if (box === article) faults.push(`cut off: ${one.outerHTML.slice(0, 80)}`);
  }
  for (const formula of document.querySelectorAll(".math"))
    if (!formula.querySelector("mjx-container svg"))
      faults.push(`not typeset: ${formula.textContent}`);
  for (const error of document.querySelectorAll("mjx-merror, [data-mjx-error]"))
    faults.push(`formula with an error: ${error.textContent}`);
  const walk = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode, inCode = text.parentElement.closest("pre, code");
    if (!inCode && /\\$[^$]+\\$|\\\\[(\\[]/.test(text.data))
      faults.push(`raw formula: ${text.data.trim().slice(0, 80)}`);
  }
  if (location.search && !document.querySelector("ul.search li a"))
    faults.push("the search finds nothing");
  return faults;
}"""

AXE = """() => axe.run({resultTypes: ["violations"]}).then(result => result.violations
  .filter(one => ["serious", "critical"].includes(one.impact))
  .map(one => `axe ${one.id}, ${one.nodes.length} times: ${one.help}; ` +
              one.nodes[0].html.slice(0, 120)))"""


def stop(sentence: str) -> None:
    """End with status 2: nothing was found out about the site."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


def axe() -> str:
    """Return axe-core's script, which an installed package carries."""
    # The package's own module reads it as the locale says, and fails in an ASCII one.
    folder = importlib.resources.files("axe_playwright_python")
    return (folder / "axe.min.js").read_text(encoding="utf-8")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and logs nothing: the browser reports what fails."""

    def log_message(self, *_):
        pass


def complaints(messages: list, errors: list, requests: list, home: str) -> list[str]:
    """Return what is wrong of what a tab's console and network said."""
    ours = (home, "data:", "blob:")
    found = [f"console: {one.text}" for one in messages if one.type == "error"]
    found += [f"exception: {one.message}" for one in errors]
    found += [f"asks for {r.url}" for r in requests if not r.url.startswith(ours)]
    failures = {one.failure for one in requests}
    failures -= {None, "net::ERR_ABORTED"}  # sound; the page itself let go of it
    return found + [f"a request failed: {failure}" for failure in sorted(failures)]


def check(browser, home: str, page: str, script: str) -> list[str]:
    """Return the faults of one page in all sizes and colour schemes, each once."""
    found = {}
    for size, scheme in itertools.product(SIZES, ("light", "dark")):
        width, height = SIZES[size]
        view, mobile = {"width": width, "height": height}, size == "phone"
        tab = browser.new_page(viewport=view, is_mobile=mobile, color_scheme=scheme)
        heard = {"console": [], "pageerror": [], "request": []}
        for event, kept in heard.items():
            tab.on(event, lambda one, kept=kept: kept.append(one))
        tab.goto(home + page)
        tall = min(tab.evaluate(READY), TALLEST)
        stem = page.split(".")[0].replace("/", "-")
        shot = SHOTS / f"{stem}-{size}-{scheme}.png"
        clip = {"x": 0, "y": 0, "width": width, "height": tall}
        tab.screenshot(path=shot, full_page=True, clip=clip)
        faults = tab.evaluate(FAULTS, width)
        tab.evaluate(script)
        faults += tab.evaluate(AXE)
        for fault in faults + complaints(*heard.values(), home):
            found.setdefault(fault, []).append(f"{size} {scheme}")
        tab.close()
    return [f"{fault} ({', '.join(where)})" for fault, where in found.items()]


def main() -> int:
    pages = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html"))
    if not pages:
        stop("there is no build/site; build it first: make site")
    pages = [SEARCH if page == "search.html" else page for page in pages]
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        stop("no Chromium on PATH; on Debian: apt-get install chromium")
    try:
        from playwright.sync_api import Error, sync_playwright

        script = axe()
    except ImportError:
        stop("playwright is not installed here; `make check-site` installs it")
    handler = functools.partial(Quiet, directory=str(SITE))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{server.server_port}/"
    count = 0
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=chromium,
                args=["--no-proxy-server", OFFLINE],
                ignore_default_args=["--hide-scrollbars"],  # readers have them
            )
        except Error as error:
            stop(f"{chromium} did not start: {error.message.splitlines()[0]}")
        for page in pages:
            faults = check(browser, home, page, script)
            print(f"{page}: {len(faults) or 'no'} faults", flush=True)
            print("".join(f"  {fault}\n" for fault in faults), end="")
            count += len(faults)
    print(f"{len(pages)} pages, {count} faults; screenshots in build/site-screenshots/")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
