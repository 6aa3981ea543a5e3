#!/usr/bin/env bash
# Makes a folder with a root file system that has QEMU, a TPM for it, and what builds the firmware: Debian 13, with
# QEMU of its backports, which knows SEV-SNP and TDX. Nothing of the machine is changed. About 2 minutes and 1 GB.
#
#   hal/image/tools.sh FOLDER
#
# The builder takes it as `firmware --tools FOLDER`. Takes mmdebstrap and Debian's keys, and root or a range of user
# ids (/etc/subuid).
set -euo pipefail
umask 022
[ "$#" -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
folder=$1
keys=/usr/share/keyrings/debian-archive-keyring.gpg
if ! command -v mmdebstrap >/dev/null || [ ! -e "$keys" ]; then
    echo 'mmdebstrap or the keys of Debian are missing: apt-get install mmdebstrap debian-archive-keyring' >&2
    exit 1
fi
if [ -e "$folder" ]; then
    echo "$folder is there already: delete it to make it anew" >&2
    exit 1
fi
mode=unshare
[ "$(id -u)" -ne 0 ] || mode=root
mkdir -p "$(dirname "$folder")"

# Whole, or not there: what is broken off is left under another name.
partial=$folder.partial
rm -rf "$partial"
# shellcheck disable=SC2016 # $1 is for mmdebstrap's hook
mmdebstrap --quiet --mode="$mode" --variant=apt --format=directory --keyring="$keys" \
    --aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --setup-hook='mkdir -p "$1/etc/apt/preferences.d"
        printf "Package: qemu-* seabios\nPin: release n=trixie-backports\nPin-Priority: 600\n" \
            >"$1/etc/apt/preferences.d/backports"' \
    --include=qemu-system-x86,swtpm,swtpm-tools,ovmf,gcc,g++,make,nasm,acpica-tools,uuid-dev,python3,patch,xz-utils,libc6-dev \
    trixie "$partial" \
    'deb http://deb.debian.org/debian trixie main' 'deb http://deb.debian.org/debian trixie-backports main'
rm -rf "$partial"/var/cache/apt/archives/*.deb "$partial"/var/lib/apt/lists/*
mv "$partial" "$folder"
