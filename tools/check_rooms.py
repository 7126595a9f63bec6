#!/usr/bin/env python3
"""Checks which room includes which (docs/architecture.md, "Layout"), and a few rules of the style.

Prints FILE:LINE: what is wrong. Exit status 1 if anything is.
"""

import re
import subprocess
import sys

# A room may include the rooms named here. `proto` and `base` may be included by all.
MAY_USE = {
    "base": [],
    "dockerfile": [],
    "rpc": [],
    "cas": ["rpc"],
    "layer": [],
    "oci": ["cas"],
    "plan": ["dockerfile", "layer", "oci", "cas"],
    "coordinator": ["plan", "dockerfile", "layer", "oci", "cas", "rpc"],
    "worker": ["layer", "oci", "cas", "rpc"],
    "cli": ["plan", "dockerfile", "layer", "oci", "cas", "rpc"],
}
# Headers of libraries that have one home (a regular expression of the files that may include them).
HOMES = {
    r"rocksdb/": r"^cas/rocksdb_index",
    r"archive(_entry)?\.h": r"^(layer|oci)/",
    r"seccomp\.h": r"^worker/",
    r"libmnl/|nftables/": r"^worker/",
    r"curl/": r"^oci/|^cli/",
}

problems = []
for name in subprocess.check_output(["git", "ls-files", "*.cc", "*.h"], text=True).split():
    room = name.split("/")[0]
    lines = open(name, encoding="utf-8").read().split("\n")
    for number, line in enumerate(lines, 1):
        match = re.match(r'#include ["<]([^">]+)[">]', line)
        if not match:
            if re.match(r"\s*using namespace (?!farm\b)", line):
                problems.append("%s:%d: `using namespace`" % (name, number))
            continue
        included = match.group(1)
        other = included.split("/")[0]
        if room in MAY_USE and other in MAY_USE and other != room and other != "base":
            if other not in MAY_USE[room] and "/testing/" not in included and not name.endswith("_test.cc"):
                problems.append("%s:%d: %s/ may not use %s/" % (name, number, room, other))
        for header, home in HOMES.items():
            if re.match(header, included) and room in MAY_USE and not re.match(home, name):
                problems.append("%s:%d: %s has another home" % (name, number, included))
    if name.endswith(".h"):
        guard = "FARM_%s_" % re.sub(r"[^A-Z0-9]", "_", name.upper())
        if "#ifndef " + guard not in lines:
            problems.append("%s:1: include guard %s is missing" % (name, guard))

print("\n".join(problems))
sys.exit(1 if problems else 0)
