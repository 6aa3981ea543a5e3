#!/usr/bin/env bash
# Builds both firmwares from edk2's sources, unpacked in the folder that is mounted at /mnt: edk2's output depends on
# the path of its sources, so the path is fixed. The image builder runs this; by hand:
#
#   unshare --mount bash -c 'mount --bind SOURCES /mnt && hal/image/firmware/build.sh'
#
# SOURCES holds edk2/ (the upstream tarball) and edk2/debian/ (Debian's). What comes out: /mnt/OVMF.amdsev.fd and
# /mnt/OVMF.inteltdx.fd.
set -euo pipefail
umask 022
for program in gcc g++ make nasm iasl python3 patch; do
    command -v "$program" >/dev/null || {
        echo "$program is missing: apt-get install gcc g++ make nasm acpica-tools uuid-dev python3 patch" >&2
        exit 1
    }
done
cd /mnt/edk2

# AmdSev's firmware checks the hashes of kernel, initrd and command line. Upstream's brings GRUB, to which it falls back when
# it was given no kernel: left out, so that there is nothing to fall back to.
if [ ! -e .prepared ]; then
    grep -v '^#' debian/patches/series | while read -r name; do
        [ -z "$name" ] || patch --silent --strip=1 <"debian/patches/$name"
    done
    sed -i '/PREBUILD.*grub.sh/d; /AmdSev\/Grub\/Grub.inf/d' OvmfPkg/AmdSev/AmdSevX64.dsc
    sed -i '/AmdSev\/Grub\/Grub.inf/d' OvmfPkg/AmdSev/AmdSevX64.fdf
    touch .prepared
fi

export PYTHON3_ENABLE=TRUE PYTHON_COMMAND=python3 WORKSPACE=$PWD SOURCE_DATE_EPOCH=1740000000 LC_ALL=C TZ=UTC
jobs=$(nproc)
make --silent -C BaseTools -j"$jobs" >/dev/null
set --
set +eu
# shellcheck disable=SC1091 # of edk2
. ./edksetup.sh >/dev/null
set -eu
for firmware in AmdSev IntelTdx; do
    build -q -n "$jobs" -a X64 -t GCC5 -b RELEASE -p "OvmfPkg/$firmware/${firmware}X64.dsc"
    cp "Build/$firmware/RELEASE_GCC5/FV/OVMF.fd" "/mnt/OVMF.${firmware,,}.fd"
done
sha256sum /mnt/OVMF.*.fd
