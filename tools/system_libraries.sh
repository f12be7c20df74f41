#!/bin/sh
# Sees to the system libraries of off-screen rendering (EGL and Mesa's software driver).
# Installs them when it may (root or password-less sudo, with apt); otherwise prints the one command to run.
set -eu

present() {
    for library in libEGL.so.1 libGL.so.1; do
        ldconfig -p 2>/dev/null | grep -q "$library" || return 1
    done
    [ -e /dev/nvidia0 ] && return 0
    for driver in /usr/lib*/dri/*_dri.so /usr/lib/*/dri/*_dri.so /usr/lib/*/libgallium-*.so; do
        [ -e "$driver" ] && return 0
    done
    return 1
}

PATH="$PATH:/sbin:/usr/sbin"
packages="libegl1 libgl1 libgl1-mesa-dri"
if [ "$(uname)" != Linux ] || present; then
    exit 0
fi
if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then
        as_root=""
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root="sudo"
    else
        as_root="none"
    fi
    if [ "$as_root" != none ]; then
        echo "Installing $packages for off-screen rendering"
        # A stale index is no reason to stop: the install itself tells.
        $as_root apt-get update -qq || true
        # shellcheck disable=SC2086
        if DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $packages >/dev/null; then
            exit 0
        fi
    fi
fi
echo "Off-screen rendering needs system libraries. Run this once, then repeat the command:" >&2
echo "    sudo apt-get install -y $packages" >&2
exit 1
