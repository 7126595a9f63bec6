#!/bin/bash
# What takes longer than CI may: sanitizers over everything, kills and power cuts at many random
# moments, a farm that builds for long, coverage-guided fuzzing, clang-tidy. On Debian 12 as root.
# Usage: tests/nightly.sh [FUZZ_SECONDS]   (default: 300 for each target)
# Ends with the parts that failed; each run of tests ends as tests/run.sh does.
set -euo pipefail
cd "$(dirname "$0")/.."

fuzz_seconds=${1:-300}
tools/install_packages.sh deploy/apt-packages.txt tests/apt-packages.txt
trap 'bazel shutdown' EXIT
export FARM_TEST_REQUIRE=1
failed=()

# Runs a part under its name and goes on.
part() {
  local name=$1
  shift
  echo "== $name"
  "$@" || failed+=("$name")
}

part "address and undefined-behaviour sanitizers" tests/run.sh --config=asan --config=ubsan //...
part "thread sanitizer" tests/run.sh --config=tsan --build_tests_only //...
part "random moments" tests/run.sh --test_env=FARM_TEST_MOMENTS=20 --test_timeout=1800 \
  //tests/e2e:{coordinator_kill,power_cut,stop}_test
part "soak" tests/run.sh --test_env=FARM_TEST_SOAK_SECONDS=1200 --test_timeout=3600 \
  //tests/e2e:soak_test

# A target on the corpus and beyond it; what it prints, if it finds anything.
fuzz() {
  local corpus log status=0
  corpus=$(mktemp -d)
  log=$(mktemp)
  "bazel-bin/tests/fuzz/$1" -max_total_time="$fuzz_seconds" -verbosity=0 "$corpus" \
    "tests/fuzz/corpus/$1" &> "$log" || status=1
  echo "$1: $([[ $status -eq 0 ]] && echo "no finding" || cat "$log")"
  rm -rf "$corpus" "$log"
  return "$status"
}
fuzz_all() {
  local targets
  mapfile -t targets < <(bazel query 'kind(cc_test, //tests/fuzz:all)' 2> /dev/null)
  # Clang's C driver links no run time for the checks of virtual tables and of functions' types.
  CC=clang bazel build --noshow_progress --define=fuzzer=libfuzzer \
    --copt=-fsanitize=fuzzer-no-link,address,undefined --copt=-fno-sanitize=vptr,function \
    --copt=-fno-sanitize-recover=undefined --linkopt=-fsanitize=fuzzer,address,undefined \
    "${targets[@]}" || return
  export -f fuzz
  export fuzz_seconds
  printf '%s\n' "${targets[@]##*:}" | xargs -P 2 -I {} bash -c 'fuzz {}'
}
part "fuzzing, ${fuzz_seconds} s a target" fuzz_all

tidy() {
  bazel build --noshow_progress //... || return
  tools/compile_commands.py || return
  git ls-files '*.cc' | xargs -n1 -P2 clang-tidy -p . --quiet
}
part "clang-tidy" tidy

[[ ${#failed[@]} -eq 0 ]] && exit
printf 'failed: %s\n' "${failed[@]}"
exit 1
