#!/bin/bash
# From a clone to a first image, on Debian 12 as root: installs what is needed, builds optimised
# programs, installs them under PREFIX (/usr/local), starts the local farm and builds an example.
# Run again, it does only what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=${PREFIX:-/usr/local}
say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { printf '\n$ %s\n' "$*" && "$@"; }

[[ $(id -u) == 0 ]] || { echo "run as root: steps run in namespaces and on overlay mounts" >&2; exit 2; }

say "Installing packages"
tools/install_packages.sh deploy/apt-packages.txt deploy/quickstart-packages.txt

say "Building farm (a few minutes the first time)"
bazel build --noshow_progress --config=release //cli:farm //coordinator:farm-coordinator \
  //worker:farm-worker //worker:farm-sandbox
for program in cli/farm coordinator/farm-coordinator worker/farm-worker worker/farm-sandbox; do
  install -D -m 755 "bazel-bin/$program" "$prefix/bin/$(basename "$program")"
done
bazel shutdown
export PATH=$prefix/bin:$PATH

say "Making a Debian root file system and importing it as debian:12"
if ! farm images -q debian:12 | grep -q .; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mmdebstrap --quiet --variant=minbase --include=gcc,libc6-dev bookworm "$work/debian.tar"
  show farm import "$work/debian.tar" debian:12
fi

say "Building deploy/example: a compiler stage, and the program alone in a second one"
show farm build -t hello deploy/example

say "The image and its history"
show farm images
show farm history hello

say "The same build again: nothing runs"
show farm build -t hello deploy/example

say "Taking the program out of the image and running it"
out=$(mktemp -d)
show farm build -o "type=local,dest=$out" deploy/example
show "$out/hello"
rm -rf "$out"

cat <<END

The local farm stays warm for 15 minutes. Next:

  cd YOUR/PROJECT && farm build -t app .     build an own Dockerfile (FROM debian:12, or any registry's)
  farm build --explain -t app .              see why a step ran again
  farm push REGISTRY/app                     after: farm tag app REGISTRY/app
  farm build --help                          all flags; they are docker's
  farm local status                          what runs, and where it keeps its state
END
