#!/usr/bin/env python3
"""Checks that the tests which docs/dockerfile.md names are there.

A name in backticks in a column "test" or "beside docker" of a table, or after "Test:" or "Tests:",
is a case in one of CASES, a file of tests, a suite, or a test of one; with a * there must be at
least one. Prints those that are not, and ends with 1.
"""

import fnmatch
import os
import re
import subprocess
import sys

PAGE = "docs/dockerfile.md"
CASES = ("plan/testdata", "dockerfile/testdata", "tests/e2e/differential")
COLUMNS = ("test", "beside docker")


def known_names():
    names = set()
    for directory in CASES:
        names.update(os.listdir(directory))
    files = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout
    for path in files.split("\n"):
        if not path.endswith("_test.cc"):
            continue
        names.add(os.path.basename(path)[:-3])
        names.add(path[:-3])
        with open(path, encoding="utf-8") as source:
            for suite, test in re.findall(r"^TEST(?:_[FP])?\((\w+),\s*(\w+)\)", source.read(), re.M):
                names.update((suite, test))
    return names


def named_tests(lines):
    """(line number, name) of each test that the page names."""
    columns = None
    for number, line in enumerate(lines, 1):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            columns = None
            for text in re.findall(r"\bTests?:((?:[^.]|\.\w)*)", line):
                yield from ((number, name) for name in re.findall(r"`([^`]+)`", text))
        elif columns is None:
            columns = [i for i, cell in enumerate(cells) if cell in COLUMNS]
        else:
            text = " ".join(cells[i] for i in columns if i < len(cells))
            yield from ((number, name) for name in re.findall(r"`([^`]+)`", text))


def main():
    names = known_names()
    status = 0
    with open(PAGE, encoding="utf-8") as page:
        lines = page.read().split("\n")
    for number, name in named_tests(lines):
        if name.startswith("tests/") and os.path.isdir(name):
            continue
        if not fnmatch.filter(names, name):
            print(f"{PAGE}:{number}: there is no test `{name}`")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
