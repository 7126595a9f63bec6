#!/bin/bash
# Shows that a fresh machine is enough: makes a minimal Debian 12 root with a copy of HEAD in it, and
# runs deploy/quickstart.sh and tests/run.sh there, with nothing else of the host than its kernel,
# network and package mirrors. As root, with mmdebstrap; takes more than half an hour.
# Usage: tests/fresh_root.sh [COMMAND [ARGUMENT...]]   (a COMMAND is run in the copy instead)
# Prints how long each took. Ends with 0 if each did and tests/run.sh said that 0 failed. Nothing is
# left: processes and mounts have namespaces of their own, and the root is removed.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root

echo "== A fresh root"
apt-config dump | grep '^Acquire::' > "$work/apt.conf" || true
mapfile -t sources < <(grep -ls bookworm /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources})
mmdebstrap --quiet --variant=minbase --aptopt="$work/apt.conf" bookworm "$root" "${sources[@]}"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
mkdir "$root/farm"
git archive HEAD | tar -x -C "$root/farm"

# Runs a command in the copy, and all that it starts only for so long.
in_root() {
  # shellcheck disable=SC2016  # Expanded there.
  env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    unshare --mount --pid --fork --kill-child bash -euc '
      root=$1
      shift
      mount --bind "$root" "$root"
      mount -t proc proc "$root/proc"
      for name in sys dev; do mount --rbind "/$name" "$root/$name"; done
      cd "$root"
      pivot_root . mnt
      umount -l /mnt
      cd /farm
      # A local farm removes its control groups, which no namespace ends with, when it stops.
      status=0
      "$@" || status=$?
      if command -v farm > /dev/null; then farm local stop || status=1; fi
      exit "$status"' bash "$root" "$@"
}

status=0
# The same under its name and time.
timed() {
  echo "== $*"
  local start=$SECONDS result=0
  in_root "$@" |& tee "$work/log" || result=$?
  echo "== $*: exit status $result after $((SECONDS - start)) s"
  [[ $result -eq 0 ]] || status=1
}

if [[ $# -gt 0 ]]; then
  timed "$@"
else
  timed deploy/quickstart.sh
  timed tests/run.sh
  grep -q ', 0 failed' "$work/log" || status=1
fi
exit "$status"
