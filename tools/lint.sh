#!/bin/bash
# Format and rules that need no build: C++ by clang-format, shell by shellcheck, the rooms
# (tools/check_rooms.py), and the tests that docs name (tools/check_docs.py). clang-tidy takes
# minutes: tests/nightly.sh runs it.
set -euo pipefail
cd "$(dirname "$0")/.."

git ls-files '*.cc' '*.h' | xargs -P2 -n32 clang-format --dry-run -Werror
git ls-files '*.sh' .ci/run ':!tests/e2e/differential' | xargs shellcheck -S warning
tools/check_rooms.py
tools/check_docs.py
