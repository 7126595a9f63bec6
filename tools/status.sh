#!/bin/sh
# Names this build for `bazel build --config=release`.
echo "STABLE_FARM_VERSION $(git describe --tags --always --dirty 2>/dev/null || echo unknown)"
