#!/bin/bash
# Installs what is needed, builds everything and runs all tests, on Debian 12 as root.
# Usage: tests/run.sh [BAZEL_TEST_ARGUMENT...]   (default: //...)
# Ends with "N passed, N failed", and ", N skipped" with the reasons before it, counting test cases.
# With FARM_TEST_REQUIRE=1 only what tools/count_tests.py lists may be skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/install_packages.sh deploy/apt-packages.txt tests/apt-packages.txt

# Bazel's keys don't know /usr/include: name the versions of the libraries in them.
versions=$(xargs dpkg-query -W < deploy/apt-packages.txt | sha256sum | cut -c 1-16)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
targets=("$@")
[[ $# -gt 0 ]] || targets=(//...)
bazel test --color=no --noshow_progress --keep_going --test_output=errors \
  --action_env=FARM_PACKAGES="$versions" "${targets[@]}" |& tee "$log" || status=$?
tools/count_tests.py "$log" "$status"
