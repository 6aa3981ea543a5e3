#!/usr/bin/env bash
# Builds the confidential VM image and runs it with QEMU. docs/hal.md says how, with every variable.
#
#   qemu.sh [build|run|all|stop|status|console|measure] [--name NAME] [--foreground] [--all]
#
# build    the image, where it is not up to date, and the documents of this VM from the variables
# run      starts the VM, in the background unless --foreground is given
# all      both; what is done without an argument
# stop     presses the power button and waits, then pulls the plug; --all stops every VM of this user
# status   all VMs of this user
# console  what the VM prints, as it prints it; in the debug flavour also its keyboard
# measure  what a verifier must see of this VM
#
# A copy of this file in a folder of its own is a VM of its own. It finds the rest by the folders above it, by
# PROPLET_TREE, or where the last one that was run had found it.
set -euo pipefail

say() { printf '%s\n' "qemu.sh: $*" >&2; }
die() {
    say "$@"
    exit 1
}
usage() {
    sed -n '2,/^set /{ /^set /d; s/^# \{0,1\}//; p; }' "$self"
    exit
}

self=$(realpath "${BASH_SOURCE[0]}")
here=$(dirname "$self")
state=${XDG_STATE_HOME:-${HOME:+$HOME/.local/state}}/proplet
[ "$state" != /proplet ] || die 'neither XDG_STATE_HOME nor HOME is set: one of them says where VMs are kept'
# Else a VM would be found from one current folder and from no other.
[[ $state == /* ]] || die "VMs would be kept in $state, which is no absolute path: see to XDG_STATE_HOME, or HOME"
# What this script calls itself in a command to type, with the VM that is meant.
typed() { printf '%s' "'$0 $1${asked_name:+ --name $asked_name}'"; }

# Whether none but this user, root and the owner of this script can change files and folders. What that owner writes
# is obeyed anyway. A group may write that has nobody in it but the owner: Ubuntu gives each user one.
only_ours() {
    local path owner group mode owner_name group_name members
    for path in "$@"; do
        read -r owner group mode owner_name group_name < <(stat -Lc '%u %g %a %U %G' -- "$path" 2>/dev/null) || return 1
        case $owner in
            "$EUID" | 0 | "$script_owner") ;;
            *) return 1 ;;
        esac
        [ $((8#$mode & 8#002)) -eq 0 ] || return 1
        [ $((8#$mode & 8#020)) -ne 0 ] || continue
        [ "$owner_name" = "$group_name" ] || return 1
        members=$(getent group "$group") || return 1
        members=${members##*:}
        [ -z "$members" ] || [ "$members" = "$owner_name" ] || return 1
    done
}
parts_are_ours() { only_ours "$1" "$1"/{variables,machine,image,vm}.sh; }
tree_is_ours() { only_ours "$1" "$1/hal" "$1/hal/ubuntu" && parts_are_ours "$1/hal/ubuntu/lib"; }
others_may_change() { say "others than you may change $1 or the parts of the script in it, so it is not used; PROPLET_TREE names a tree of sources that is meant"; }

# The tree of the sources, if there is one, and the folder with the other parts of this script. What is only found, and
# was not named, is taken from nobody else: a script in a folder below /tmp has a folder above it where all may write.
find_parts() {
    local folder=$here script_owner
    script_owner=$(stat -c %u -- "$self")
    tree=${PROPLET_TREE:-}
    while [ -z "$tree" ] && [ "$folder" != / ]; do
        if [ -e "$folder/hal/image/builder/Cargo.toml" ]; then
            if ! tree_is_ours "$folder"; then
                others_may_change "$folder"
                break
            fi
            tree=$folder
        fi
        folder=$(dirname "$folder")
    done
    if [ -z "$tree" ] && [ ! -d "$here/lib" ] && [ -r "$state/tree" ]; then
        tree=$(<"$state/tree")
        if ! tree_is_ours "$tree"; then
            others_may_change "$tree"
            tree=
        fi
    fi
    # Paths that stay right in other folders.
    [ -z "$tree" ] || tree=$(realpath -m "$tree")
    if [ -n "${CARGO_TARGET_DIR:-}" ]; then
        CARGO_TARGET_DIR=$(realpath -m "$CARGO_TARGET_DIR")
        export CARGO_TARGET_DIR
    fi
    parts=$(realpath -m "$here/lib")
    is_copy=
    if [ ! -e "$parts/variables.sh" ]; then
        parts=$tree/hal/ubuntu/lib
        is_copy=yes
    elif ! parts_are_ours "$parts"; then
        die "others than you may change $parts, which has the other parts of this script: see to owners and modes (chmod go-w)"
    fi
    [ -e "$parts/variables.sh" ] || die "this copy does not find the rest of it: set PROPLET_TREE to the tree of proplet's sources"
}

find_parts
# shellcheck source=lib/variables.sh
. "$parts/variables.sh"
# shellcheck source=lib/machine.sh
. "$parts/machine.sh"
# shellcheck source=lib/image.sh
. "$parts/image.sh"
# shellcheck source=lib/vm.sh
. "$parts/vm.sh"

read_arguments() {
    command=
    name=
    foreground=
    every=
    while [ $# -gt 0 ]; do
        case $1 in
            build | run | all | stop | status | console | measure)
                [ -z "$command" ] || die "one command, please: $command or $1"
                command=$1
                ;;
            --name)
                # An empty one is a variable that was not set, and not the VM that has no name.
                [ -n "${2:-}" ] || die '--name takes a name'
                name=$2
                shift
                ;;
            --name=*)
                name=${1#*=}
                [ -n "$name" ] || die '--name takes a name'
                ;;
            --foreground) foreground=yes ;;
            --all) every=yes ;;
            -h | --help) usage ;;
            *) die "unknown argument '$1'; commands are build, run, all, stop, status, console and measure" ;;
        esac
        shift
    done
    command=${command:-all}
    if [ -n "$every" ] && [ "$command" != stop ]; then
        die '--all is for stop'
    fi
    [ -z "$every" ] || [ -z "$name" ] || die '--all stops every VM, and --name names one: one of the two, please'
    if [ -n "$foreground" ] && [ "$command" != run ] && [ "$command" != all ]; then
        die '--foreground is for run and all'
    fi
}

# Which problems there are is said at once, and before anything was done.
no_problems() {
    [ "${#problems[@]}" -gt 0 ] || return 0
    local problem
    for problem in "${problems[@]}"; do
        say "$problem"
    done
    exit 1
}

command_build() {
    build_image
    umask 077
    take_lock
    claim_vm
    make_documents "$vm"
    drop_lock
    say "the documents of $name are made; their digest is $(documents_value digest)"
}

command_run() {
    image_is_there
    umask 077
    take_lock
    claim_vm
    ! is_running "$vm" || die "$name runs already; '$0 status' lists what runs, --name starts another one"
    documents_are_there
    choose_ports
    choose_cid
    outbox_disk
    measurement=$(measurement_of)
    [ "$mode" != snp ] || listed "$measurement"
    qemu_arguments
    [ ! -e "$vm/console.log" ] || mv -f "$vm/console.log" "$vm/console.log.1"
    rm -f "$vm/qmp.sock" "$vm/console.sock"
    if [ -n "$foreground" ]; then
        start_in_foreground
    fi
    start_in_background
    drop_lock
    describe
}

command_stop() {
    local folder
    if [ -n "$every" ]; then
        for folder in "$state/vms"/*/; do
            folder=${folder%/}
            [ ! -d "$folder" ] || ! is_running "$folder" || stop_vm "$folder"
        done
        return
    fi
    find_existing_vm
    is_running "$vm" || die "$name does not run; '$0 status' lists what does"
    stop_vm "$vm"
}

command_measure() {
    image_is_there
    find_vm
    printf 'flavour          %s\ncpus             %s %s\n' "$flavour" "$cpus" "$snp_cpu"
    local line measured
    measured=$("$builder" vm measure --cpu "$snp_cpu" --vcpus "$cpus" "$image")
    while IFS= read -r line; do
        printf '%-16s %s\n' "${line%%=*}" "${line#*=}"
    done <<<"$measured"
    listed "$(value <(printf '%s\n' "$measured") snp)"
    if [ -e "$vm/documents" ]; then
        printf '%-16s %s\n' init-data "$(documents_value digest)"
    else
        say "$name has no documents yet, so there is no digest of its init-data: $(typed build) makes them"
    fi
    say "verifiers: proplet verify --init-data $vm/init-data.toml --reference-values $image_folder/reference-values.toml …"
    say "key broker: proplet kbs register-reference-values $image_folder/reference-values.toml …"
}

read_arguments "$@"
problems=()
check_name
case $command in
    build | run | all)
        check_names
        check_values
        check_tools
        find_vm
        # What `build` needs of the variables, `run` may have from an earlier `build`.
        if [ "$command" != run ] || [ ! -e "$vm/documents" ]; then
            check_needed
        fi
        [ "$command" = build ] || detect
        no_problems
        remember_tree
        [ "$command" = run ] || command_build
        [ "$command" = build ] || command_run
        ;;
    measure)
        check_values
        no_problems
        command_measure
        ;;
    stop) command_stop ;;
    status) command_status ;;
    console) command_console ;;
esac
