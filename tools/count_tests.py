#!/usr/bin/env python3
"""Counts the test cases of a `bazel test` run and prints "N passed, N failed[, N skipped]".

Usage: count_tests.py LOG STATUS: what Bazel printed, and its exit status, with which this ends.

A test program that ended without a report (it crashed, timed out or did not build) is one failure.
"""

import os
import re
import sys
import xml.etree.ElementTree

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

if status != 0 and failed == 0:
    failed = 1  # The build itself failed.
for name, reason in sorted(skipped.items()):
    print("skipped: %s: %s" % (name, reason))
print("%d passed, %d failed%s" % (passed, failed, ", %d skipped" % len(skipped) if skipped else ""))
sys.exit(status)
