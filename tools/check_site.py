"""Open every page of `build/site/` in Chromium, as a reader would; say what is wrong.

    python -m tools.check_site [04 index]   pages by a part of their path; all without

Each page is opened on a desktop and on a phone, light and dark, with no network but the
server this starts. Faults are: an error in the console, a request that fails or goes
elsewhere, a missing picture or alt text, sideways scroll, something cut off, a formula
that is not typeset, a search that finds nothing, and what axe-core calls serious or
critical. Screenshots go to `build/site-screenshots/`. Exit status 1 with faults, 2 when
nothing could be checked.
"""

import argparse
import base64
import functools
import hashlib
import http.server
import io
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request

import websocket

from tools.build_site import SITE

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHOTS = ROOT / "build" / "site-screenshots"
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
AXE = "axe-core@4.14.1"  # on the npm registry; npm knows where that is
AXE_SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"
SEARCH = "search.html?q=bilinear"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
TALLEST = 16_000  # pixels of a screenshot; Chromium repeats itself below 16,384

READY = """(async () => {
  if (window.MathJax?.startup) await MathJax.startup.promise;
  const end = Date.now() + 5000, found = () => document.querySelector("ul.search li a");
  while (location.search && !found() && Date.now() < end)
    await new Promise(resolve => setTimeout(resolve, 50));
  await new Promise(resolve => requestAnimationFrame(resolve));
})()"""

FAULTS = """(() => {
  const faults = [], page = document.documentElement;
  const article = document.querySelector("article");
  document.querySelectorAll("details").forEach(one => one.open = true);
  for (const image of document.images) {
    if (!image.naturalWidth) faults.push(`missing picture ${image.src}`);
    if (!image.alt.trim()) faults.push(`no alt text for ${image.src}`);
  }
  if (page.scrollWidth > Math.min(page.clientWidth, WIDTH))
    faults.push(`scrolls sideways, ${page.scrollWidth} pixels wide`);
  const scrolls = one => /auto|scroll/.test(getComputedStyle(one).overflowX);
  for (const one of article.querySelectorAll("*")) {
    if (one.getBoundingClientRect().right <= WIDTH + 1) continue;
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
})()"""

AXE_RUN = """axe.run({resultTypes: ["violations"]}).then(result => result.violations
  .filter(one => ["serious", "critical"].includes(one.impact))
  .map(one => `axe ${one.id}, ${one.nodes.length} times: ${one.help}; ` +
              one.nodes[0].html.slice(0, 120)))"""


def stop(sentence: str) -> None:
    """End with status 2: nothing was found out about the site."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


def axe() -> str:
    """Return axe-core's script: fetched once by npm, checked, kept in `data/cache/`."""
    kept = ROOT / "data" / "cache" / f"{AXE.replace('@', '-')}.min.js"
    if not kept.is_file():
        cure = (
            f"put package/axe.min.js of {AXE} at {kept.relative_to(ROOT)}, or try "
            "again with npm and a network"
        )
        npm = shutil.which("npm")
        if npm is None:
            stop(f"axe-core could not be fetched (no npm on PATH); {cure}")
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [npm, "pack", "--silent", AXE],
                cwd=folder,
                capture_output=True,
                text=True,
            )
            found = list(pathlib.Path(folder).glob("*.tgz"))
            if done.returncode or not found:
                reason = (done.stderr.strip() or "npm does not say why").splitlines()[0]
                stop(f"axe-core could not be fetched ({reason}); {cure}")
            archive = found[0].read_bytes()
        if hashlib.sha256(archive).hexdigest() != AXE_SHA256:
            stop(f"{AXE} is not the archive it was: its checksum differs")
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            script = tar.extractfile("package/axe.min.js").read()
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(script)
    return kept.read_text()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and logs nothing: the browser reports what fails."""

    def log_message(self, *_):
        pass


class Tab:
    """One page of a headless Chromium, driven over the DevTools protocol."""

    def __init__(self, browser: str, profile: str):
        command = [browser, "--headless", f"--user-data-dir={profile}"]
        command += ["--remote-debugging-port=0", "--disable-gpu", "--no-first-run"]
        command += ["--disable-background-networking", "--no-proxy-server"]
        command += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:  # its sandbox refuses root
            command.append("--no-sandbox")
        self.process = subprocess.Popen(
            [*command, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.socket = websocket.create_connection(
                self._address(pathlib.Path(profile)), timeout=60, suppress_origin=True
            )
        except BaseException:
            self.close()
            raise
        self.numbers, self.events = itertools.count(1), []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _address(self, profile: pathlib.Path) -> str:
        """Return the address of the first tab, once Chromium has written its port."""
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            try:
                port = (profile / "DevToolsActivePort").read_text().split()[0]
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                    tabs = json.load(answer)
                return next(t for t in tabs if t["type"] == "page")[
                    "webSocketDebuggerUrl"
                ]
            except (OSError, IndexError, StopIteration):
                time.sleep(0.1)
        stop("Chromium did not start; does `chromium --headless` work here?")

    def _receive(self) -> dict:
        message = json.loads(self.socket.recv())
        if "method" in message:
            self.events.append(message)
        return message

    def call(self, method: str, **parameters) -> dict:
        """Send a command and return its result; events meanwhile are kept."""
        number = next(self.numbers)
        command = {"id": number, "method": method, "params": parameters}
        self.socket.send(json.dumps(command))
        while (message := self._receive()).get("id") != number:
            pass
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']['message']}")
        return message["result"]

    def evaluate(self, script: str):
        """Return the value of a JavaScript expression, promises awaited."""
        result = self.call(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
        )
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"]["description"])
        return result["result"].get("value")

    def show(self, url: str, size: str, scheme: str) -> None:
        """Open a page and wait until pictures, formulas and results are there."""
        width, height = SIZES[size]
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=size == "phone",
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.events.clear()
        self.call("Page.navigate", url=url)
        while all(event["method"] != "Page.loadEventFired" for event in self.events):
            self._receive()
        self.evaluate(READY)

    def screenshot(self, path: pathlib.Path) -> None:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "scale": 1}
        clip["height"] = min(size["height"], TALLEST)
        shot = self.call(
            "Page.captureScreenshot", clip=clip, captureBeyondViewport=True
        )
        path.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self, home: str) -> list[str]:
        """Return what console and network said since the page was opened."""
        found = []
        for event in self.events:
            name, said = event["method"], event["params"]
            if name == "Runtime.exceptionThrown":
                about = said["exceptionDetails"]
                what = about.get("exception", {}).get("description", "")
                found.append(f"exception: {about['text']} {what.split(chr(10))[0]}")
            elif name == "Runtime.consoleAPICalled" and said["type"] == "error":
                found.append(f"console: {said['args'][0].get('value')}")
            elif name == "Log.entryAdded" and said["entry"]["level"] == "error":
                found.append(f"console: {said['entry']['text']}")
            elif name == "Network.requestWillBeSent":
                url = said["request"]["url"]
                if not url.startswith((home, "data:", "blob:")):
                    found.append(f"asks for {url}")
            elif name == "Network.loadingFailed" and not said.get("canceled"):
                found.append(f"a request failed: {said['errorText']}")
        return found

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)


def check(tab: Tab, home: str, page: str, script: str) -> list[str]:
    """Return the faults of one page in all sizes and colour schemes, each once."""
    found = {}
    for size, scheme in itertools.product(SIZES, ("light", "dark")):
        tab.show(home + page, size, scheme)
        stem = page.split(".")[0].replace("/", "-")
        tab.screenshot(SHOTS / f"{stem}-{size}-{scheme}.png")
        faults = tab.evaluate(FAULTS.replace("WIDTH", str(SIZES[size][0])))
        tab.evaluate(script)
        faults += tab.evaluate(AXE_RUN) + tab.complaints(home)
        for fault in faults:
            found.setdefault(fault, []).append(f"{size} {scheme}")
    return [f"{fault} ({', '.join(where)})" for fault, where in found.items()]


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the site in Chromium.")
    parser.add_argument("only", nargs="*", help="parts of paths, such as 04")
    only = parser.parse_args().only
    pages = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html"))
    if not pages:
        stop("there is no build/site; build it first: make site")
    pages = [SEARCH if page == "search.html" else page for page in pages]
    pages = [p for p in pages if not only or any(part in p for part in only)]
    if not pages:
        stop(f"no page has {' or '.join(only)} in its path")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        stop(
            f"no Chromium on PATH ({', '.join(BROWSERS)}); on Debian: "
            "apt-get install chromium"
        )
    script = axe()
    SHOTS.mkdir(parents=True, exist_ok=True)
    handler = functools.partial(Quiet, directory=str(SITE))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{server.server_port}/"
    count = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        tab = Tab(browser, profile)
        try:
            for page in pages:
                faults = check(tab, home, page, script)
                print(f"{page}: {len(faults) or 'no'} faults", flush=True)
                print("".join(f"  {fault}\n" for fault in faults), end="")
                count += len(faults)
        finally:
            tab.close()
    print(f"{len(pages)} pages, {count} faults; screenshots in build/site-screenshots/")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
