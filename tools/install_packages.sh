#!/bin/bash
# Usage: install_packages.sh FILE...
# Installs the Debian packages that each FILE lists, one a line, if any is missing. As root.
set -euo pipefail

packages=$(cat "$@")
# shellcheck disable=SC2086  # One word a package.
if dpkg-query -W -f '${Status}\n' $packages 2> /dev/null | grep -qv '^install ok installed$' ||
  ! dpkg-query -W $packages > /dev/null 2>&1; then
  [[ $(id -u) == 0 ]] || {
    echo "these packages are needed, run as root: apt-get install $(echo $packages)" >&2
    exit 2
  }
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages
fi
