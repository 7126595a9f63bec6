#!/bin/bash
# What takes longer than CI may: sanitizers over everything, kills and power cuts at many random
# moments, coverage-guided fuzzing, clang-tidy. On Debian 12 as root.
# Usage: tests/nightly.sh [FUZZ_SECONDS]   (default: 300 for each target)
set -euo pipefail
cd "$(dirname "$0")/.."

fuzz_seconds=${1:-300}
tools/install_packages.sh deploy/apt-packages.txt tests/apt-packages.txt
trap 'bazel shutdown' EXIT
status=0

for sanitizer in asan ubsan tsan; do
  echo "== $sanitizer"
  bazel test --noshow_progress --keep_going --test_output=errors --config="$sanitizer" \
    //... || status=1
done

echo "== random moments"
bazel test --noshow_progress --keep_going --test_output=errors --test_env=FARM_TEST_MOMENTS=20 \
  --test_timeout=1800 //tests/e2e:{coordinator_kill,power_cut,stop}_test || status=1

echo "== fuzzing, ${fuzz_seconds} s a target"
mapfile -t targets < <(bazel query 'kind(cc_test, //tests/fuzz:all)' 2> /dev/null)
for target in "${targets[@]}"; do
  CC=clang bazel build --noshow_progress --define=fuzzer=libfuzzer \
    --copt=-fsanitize=fuzzer-no-link,address --linkopt=-fsanitize=fuzzer,address "$target"
  corpus=$(mktemp -d)
  "bazel-bin/tests/fuzz/${target##*:}" -max_total_time="$fuzz_seconds" -verbosity=0 \
    "$corpus" "tests/fuzz/corpus/${target##*:}" || status=1
  rm -rf "$corpus"
done

echo "== clang-tidy"
bazel build --noshow_progress //...
tools/compile_commands.py
git ls-files '*.cc' | xargs -n1 -P2 clang-tidy -p . --quiet || status=1

exit "$status"
