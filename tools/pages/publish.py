"""Write the repository's address everywhere it belongs.

    python -m tools.pages.publish https://github.com/NAME/learn-fcn
    make publish ADDRESS=https://github.com/NAME/learn-fcn

That is pyproject.toml, CITATION.cff, the READMEs, and in each notebook the setup cell
and, for GitHub, the badges of Colab and Kaggle. No page is executed, none becomes
stale; run again, it changes nothing. `none` as the address takes it away again.
"""

import argparse
import re
import sys

from tools.pages import build, exercises, readme

NONE = "none"
# A host, a port perhaps, two or more folders; all of it safe in a shell and in quotes.
# On GitHub exactly two: what a browser shows may go on with /tree/main.
ADDRESS = (
    r"https://(?:github\.com(?:/\w[\w.-]*){2}"
    r"|(?!(?:www\.)?github\.com)[\w-]+(?:\.[\w-]+)+(?::\d+)?(?:/\w[\w.-]*){2,})"
)
PLACES = {
    "pyproject.toml": 'Repository = "{}"',
    "CITATION.cff": 'repository-code: "{}"',
}


def checked(address: str) -> str:
    """Return an address without what may stand behind it; ValueError for no address."""
    short = address.strip().rstrip("/").removesuffix(".git")
    fits = re.fullmatch(ADDRESS, short, re.ASCII) and "/NAME/" not in short
    if short != NONE and not fits:
        raise ValueError(
            f"{address!r} is no address of a repository; give one such as "
            "https://github.com/NAME/learn-fcn."
        )
    return short


def write(address: str) -> None:
    """Write the address to the two files from which all else is made."""
    if build.main(words=["--check"]) or exercises.main(words=["--check"]):
        raise ValueError("a page is stale, as said above; build it first.")
    for name, line in PLACES.items():
        path = build.ROOT / name
        text = path.read_text(encoding="utf-8")
        start = re.escape(line.partition("{")[0])
        new = f"# {line.format('')}" if address == NONE else line.format(address)
        text, count = re.subn(rf"(?m)^(?:# )?{start}.*$", new, text)
        if count != 1:
            raise ValueError(f"{name} has no line that begins with {line[:10]}.")
        path.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="https://HOST/NAME/REPOSITORY, or none")
    given = parser.parse_args().address
    try:
        write(checked(given))
        for make in (build.main, exercises.main):
            make(words=["--no-execute"])
        return readme.main(words=[])
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
