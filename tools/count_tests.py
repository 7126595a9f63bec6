#!/usr/bin/env python3
"""Counts the test cases of a `bazel test` run and prints "N passed, N failed[, N skipped]".

Usage: count_tests.py LOG STATUS: what Bazel printed, and its exit status, with which this ends.

A test program that ended without a report (it crashed, timed out or did not build) is one failure.
With FARM_TEST_REQUIRE=1 in the environment, where everything is installed that tests need, a skip for
a reason that is not in MAY_SKIP is a failure, too, and this ends with 1.
"""

import os
import re
import sys
import xml.etree.ElementTree

# Of "SUITE.NAME: FILE:LINE REASON"; what a skip may say wherever it is, and why that is right.
MAY_SKIP = [
    # A contract asks each kind of store; these kinds don't do that.
    r".*BlobStoreContract\..*(keeps no files|cannot delete|no way to damage it|lists nothing"
    r"|notes no use|collects nothing)",
    # Kernels and containers differ in what they let a process do; both kinds are run somewhere.
    r".*CgroupTest\..*no cgroups at .*",
    r".*(CgroupTest|CgroupParentTest|SandboxTest|EscapeTest)\..*(cgroup \S+ \(.*\).*|no (memory|pids|device) controller.*)",
    r".*RemoveTreeTest\..*no file flags here",
    r"SandboxTest\.ThrottlingOfCpusIsHidden.*this host does not count it",
    r".*this user namespace has no other user",
    # What is installed by apt in a test needs a mirror, which is none of this machine's.
    r".*(ReproducibleTest|ShapesTest)\..*no Debian mirror: .*",
    r".*ThreadSanitizer allows no threads after a fork",
    # Tests run as root; the case is one of `bazel test --config=unprivileged`.
    r"ContextTest\.AnUnreadableFile.*root may read every file",
]


def may_skip(skip):
    return any(re.fullmatch(pattern, skip) for pattern in MAY_SKIP)


log, status = open(sys.argv[1], errors="replace").read(), int(sys.argv[2])
passed, failed, skipped = 0, 0, {}
for target, outcome in re.findall(r"^(//\S+)\s+(?:\(cached\) )?(PASSED|FAILED|TIMEOUT|NO STATUS)", log, re.M):
    report = os.path.join("bazel-testlogs", target[2:].replace(":", "/"), "test.xml")
    cases_failed = 0
    try:
        cases = xml.etree.ElementTree.parse(report).getroot().iter("testcase")
    except (OSError, xml.etree.ElementTree.ParseError):
        cases = []
    if "BUILD" not in log.partition(target)[2].partition("\n")[0]:
        for case in cases:
            name = "%s.%s" % (case.get("classname"), case.get("name"))
            skip = case.find("skipped")
            if skip is not None:
                skipped[name] = " ".join((skip.get("message") or "").split())
            elif case.find("failure") is not None or case.find("error") is not None:
                cases_failed += 1
            elif case.get("status") != "notrun":
                passed += 1
    failed += cases_failed if outcome == "PASSED" or cases_failed else 1

for name, reason in sorted(skipped.items()):
    text = "%s: %s" % (name, reason)
    if os.environ.get("FARM_TEST_REQUIRE") != "1" or may_skip(text):
        print("skipped: " + text)
        continue
    print("skipped, but has to run here: " + text)
    del skipped[name]
    failed += 1
    status = status or 1
if status != 0 and failed == 0:
    failed = 1  # The build itself failed.
print("%d passed, %d failed%s" % (passed, failed, ", %d skipped" % len(skipped) if skipped else ""))
sys.exit(status)
