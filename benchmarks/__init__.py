"""Commands that measure speed."""

import sys

if sys.argv[0] == "-m":  # a command, while Python looks for its module
    import utils  # noqa: F401  it says in a sentence which backend is missing
