#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install the Debian packages that building needs; with `test`, those of the tests too. Without root or apt, say exactly which are missing:
# for building that is an error; for tests only where TAPIO_FAST_REQUIRE names what needs them, else those tests skip.
set -euo pipefail

fail() { echo "deps: $*" >&2; exit 1; }

for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    [ -n "$candidate" ] || continue
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }

need gcc gcc
need make make
need ar binutils
need nm binutils
need readelf binutils
need apt-get apt        # fetches the vendored sources
[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
[ -e /usr/include/linux/bpf.h ] || missing+=(linux-libc-dev)
if [ -z "${python:-}" ]; then
    missing+=(python3 python3-venv python3-dev)
else
    "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    "$python" -c 'import os, sysconfig; os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null ||
        missing+=(python3-dev)
fi
to_build=${#missing[@]}

if [ "${1:-}" = test ]; then
    need bpftrace bpftrace  # the live tests' independent witness
    need runc runc          # containers
    need strace strace      # ends or fails a system call at will
    need busybox busybox-static
    need ip iproute2
    need capsh libcap2-bin
    need unshare util-linux
    need dpkg-deb dpkg      # tests/vm: unpacks kernels
    need mkfs.ext4 e2fsprogs
    case "$(uname -m)" in   # the machines of tests/vm
    x86_64) need qemu-system-x86_64 qemu-system-x86 ;;
    esac
fi

if [ ${#missing[@]} -eq 0 ]; then
    echo "deps: all there (python: $python)"
    exit 0
fi
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
# Only tests lack something, and nothing promises that they run: where it cannot be installed they skip, and say why.
if [ "$to_build" -eq 0 ] && ! [[ ",${TAPIO_FAST_REQUIRE:-}," =~ ,(live|runc|strace|vm), ]]; then
    fail() { echo "deps: $*; tests that need them will skip" >&2; exit 0; }
fi
command -v apt-get >/dev/null 2>&1 ||
    fail "these are missing and this machine has no apt-get to install them: ${missing[*]} (Debian's names)"
[ "$(id -u)" -eq 0 ] || fail "these Debian packages are missing; as root run: apt-get install ${missing[*]}"
echo "deps: installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    fail "apt-get could not install ${missing[*]}: its last words are above"
fi
