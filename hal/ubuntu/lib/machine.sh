# shellcheck shell=bash disable=SC2034,SC2154 # a part of qemu.sh, and shares its variables
# What this machine can do, and what of it is asked for.

# Tests put a made-up machine here.
root=${QEMU_SH_ROOT:-}
# The oldest QEMU for each.
snp_qemu=9.1
tdx_qemu=10.1

# QEMU and its version.
find_qemu() {
    local program=${QEMU:-qemu-system-x86_64}
    # It is started in the VM's folder.
    [[ $program != */* ]] || program=$(realpath -ms "$program")
    qemu=("$program")
    if [ -n "${TOOLS:-}" ]; then
        TOOLS=$(realpath -m "$TOOLS")
        # A folder that hal/image/tools.sh made: its QEMU runs with its own libraries.
        qemu=("$TOOLS/lib64/ld-linux-x86-64.so.2" --library-path "$TOOLS/usr/lib/x86_64-linux-gnu"
            "$TOOLS/usr/bin/qemu-system-x86_64" -L "$TOOLS/usr/share/qemu")
    fi
    local said
    if ! said=$("${qemu[@]}" --version 2>&1); then
        if [ -n "${TOOLS:-}" ]; then
            problem "there is no QEMU in TOOLS ($TOOLS): hal/image/tools.sh makes such a folder; unset TOOLS for the QEMU of this machine"
        else
            problem "there is no QEMU (${qemu[0]}): apt-get install qemu-system-x86, or name one with QEMU"
        fi
        qemu_version=
        return
    fi
    if [[ ! $said =~ version\ ([0-9]+\.[0-9]+) ]]; then
        problem "${qemu[0]} does not say which version of QEMU it is: $said"
        qemu_version=
        return
    fi
    qemu_version=${BASH_REMATCH[1]}
}

# Of one that does not say its version that was told already, and nothing is started.
qemu_is_at_least() {
    [ -n "$qemu_version" ] || return 0
    [ "$((10#${qemu_version%.*} * 1000 + 10#${qemu_version#*.}))" -ge "$((10#${1%.*} * 1000 + 10#${1#*.}))" ]
}

# Where newer ones come from, for a message.
qemu_advice='Debian 13 has 10.0 (SEV-SNP), its backports have 11 (SEV-SNP and TDX), Ubuntu 25.10 and later have 10.1; hal/image/tools.sh FOLDER makes a folder with QEMU 11 on other systems, and TOOLS=FOLDER takes it'

has_flag() { [[ " $cpu_flags " == *" $1 "* ]]; }

parameter() {
    local file=$root/sys/module/$1/parameters/$2
    # Y or 1, as the kernel's version has it.
    [ -r "$file" ] && [[ $(<"$file") == [Yy1]* ]]
}

# What of a device is in the way; nothing when nothing is.
device_problem() {
    local device=$1 brings=$2
    if [ ! -e "$root$device" ]; then
        printf '%s' "$device is not there: $brings"
    elif [ ! -r "$root$device" ] || [ ! -w "$root$device" ]; then
        printf '%s' "$device is not open to $(id -un): sudo setfacl -m u:$(id -un):rw $device, or the group that it belongs to"
    fi
}

# Only a CPU that shows it can run KVM; a device alone says nothing.
kvm_problem() {
    if ! has_flag vmx && ! has_flag svm; then
        printf '%s' 'the CPU shows neither vmx nor svm: virtualization is off in the BIOS, or this is a VM without nesting'
    else
        device_problem /dev/kvm 'modprobe kvm_amd or kvm_intel'
    fi
}

add_missing() { [ -z "$1" ] || missing+=("$1"); }

# What a machine lacks for SEV-SNP, all of it.
missing_for_snp() {
    missing=()
    add_missing "$(kvm_problem)"
    has_flag sev_snp || add_missing 'the CPU does not show sev_snp: it takes an EPYC 7003 or later, and in the BIOS SMEE, SEV-SNP support and the RMP table'
    parameter kvm_amd sev_snp || add_missing 'kvm_amd has not SEV-SNP on (/sys/module/kvm_amd/parameters/sev_snp): it takes Linux 6.11 or later with IOMMU and RMP table; dmesg | grep -i -e sev -e rmp says why not'
    add_missing "$(device_problem /dev/sev 'modprobe ccp')"
    qemu_is_at_least "$snp_qemu" || add_missing "QEMU is $qemu_version, and SEV-SNP takes $snp_qemu: $qemu_advice"
}

# The same for TDX.
missing_for_tdx() {
    missing=()
    add_missing "$(kvm_problem)"
    has_flag tdx_host_platform || add_missing 'the CPU does not show tdx_host_platform: it takes a Xeon that has TDX (5th generation, some 4th), and in the BIOS TME, TME-MT, TDX, the SEAM loader and TDX keys'
    parameter kvm_intel tdx || add_missing 'kvm_intel has not TDX on (/sys/module/kvm_intel/parameters/tdx): it takes Linux 6.16 or later and the module parameter tdx=1; dmesg | grep -i tdx says why not'
    qemu_is_at_least "$tdx_qemu" || add_missing "QEMU is $qemu_version, and TDX takes $tdx_qemu: $qemu_advice"
}

refuse_mode() {
    local line words=$1
    for line in "${missing[@]}"; do
        words+=$'\n'"  - $line"
    done
    problem "$words"
}

# Sets mode (snp, tdx, none) and accel (kvm, tcg).
detect() {
    cpu_flags=$(grep -m 1 '^flags' "$root/proc/cpuinfo" 2>/dev/null) || cpu_flags=
    cpu_flags=${cpu_flags#*:}
    find_qemu
    mode=$enable
    local by=asked
    if [ "$mode" = auto ]; then
        by=found
        if parameter kvm_amd sev_snp; then
            mode=snp
        elif parameter kvm_intel tdx; then
            mode=tdx
        else
            mode=none
        fi
    fi
    accel=kvm
    case $mode in
        snp | tdx)
            "missing_for_$mode"
            local title=SEV-SNP
            [ "$mode" = snp ] || title=TDX
            if [ "${#missing[@]}" -gt 0 ]; then
                # Going on without is for somebody to decide.
                [ "$by" = asked ] || title="$title, which this machine has (ENABLE_CVM=none goes on without),"
                refuse_mode "$title cannot be used:"
                [ "${ENABLE_CVM:-}" != sev ] || problem 'ENABLE_CVM=sev means SEV-SNP: a guest of plain SEV or SEV-ES has no report of what it is, so no key would be released to it'
            fi
            ;;
        none)
            [ "$by" = asked ] || explain_none
            local why
            why=$(kvm_problem)
            if [ -n "$why" ]; then
                accel=tcg
                say "no KVM, so QEMU emulates the CPU, which is slow: $why"
            fi
            ;;
    esac
    if [ "$mode" = snp ] && [ "${#problems[@]}" -eq 0 ]; then
        find_cbitpos
    fi
}

explain_none() {
    say 'no confidential VM: this machine has neither SEV-SNP nor TDX on; encrypted tasks will be refused'
    if has_flag sev_snp; then
        say 'its CPU has SEV-SNP: ENABLE_CVM=snp says what is missing'
    elif has_flag tdx_host_platform; then
        say 'its CPU has TDX: ENABLE_CVM=tdx says what is missing'
    elif has_flag sev || parameter kvm_amd sev; then
        say 'it has plain SEV, which is not used: its guests have no report of what they are'
    fi
}

# Which bit of an address says that it is encrypted: QEMU refuses a wrong one.
find_cbitpos() {
    cbitpos=
    local said
    said=$(printf '%s\n' '{"execute":"qmp_capabilities"}' '{"execute":"query-sev-capabilities"}' '{"execute":"quit"}' |
        timeout 30 "${qemu[@]}" -nodefaults -no-user-config -display none -machine none,accel=kvm -qmp stdio 2>&1) || true
    if [[ $said =~ \"cbitpos\":\ *([0-9]+) ]]; then
        cbitpos=${BASH_REMATCH[1]}
    elif find_builder && cbitpos=$("$builder" vm cbitpos 2>/dev/null); then
        :
    else
        problem "neither QEMU nor the CPU says which bit of an address means encrypted (cbitpos): $(tail -n 3 <<<"$said")"
    fi
}
