#!/usr/bin/env python3
"""Writes compile_commands.json, for clangd and clang-tidy.

Build //... first: what the commands include is in part what Bazel generates.
"""

import json
import os
import subprocess

# GCC's own, which clang would warn of.
GCC_FLAGS = {"-fno-canonical-system-headers", "-Wno-free-nonheap-object", "-Wunused-but-set-parameter"}

workspace = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def bazel(*args):
    return subprocess.run(
        ["bazel", *args], cwd=workspace, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


external = bazel("info", "output_base").strip() + "/external/"
commands = []
for action in json.loads(bazel("aquery", "--output=jsonproto", 'mnemonic("CppCompile", //...)'))["actions"]:
    arguments = [
        external + argument[len("external/") :] if argument.startswith("external/") else argument
        for argument in action["arguments"]
        if argument not in GCC_FLAGS
    ]
    source = arguments[arguments.index("-c") + 1]
    commands.append({"directory": workspace, "file": source, "arguments": arguments})

with open(os.path.join(workspace, "compile_commands.json"), "w") as out:
    json.dump(commands, out, indent=1)
