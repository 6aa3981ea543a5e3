# shellcheck shell=bash disable=SC2034,SC2154 # a part of qemu.sh, and shares its variables
# VMs of this user: a folder each under the state folder, and the one lock for choosing names, ports and numbers.

no_state() { die "VMs are kept in $state, which cannot be written: see to its owner and to the room that there is, or name another place with XDG_STATE_HOME"; }
take_lock() {
    { mkdir -p "$state/vms" && : >>"$state/lock"; } || no_state
    exec 9>"$state/lock"
    # Somebody who starts a VM holds it until that VM has what it chose.
    flock --wait 300 9 || die "another qemu.sh holds $state/lock"
}
drop_lock() { exec 9>&-; }

check_name() {
    asked_name=$name
    [ -n "$name" ] || return 0
    [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$ ]] ||
        die "'$name' is no name: letters, digits, - and _, at most 32, the first a letter or digit"
}

# The VM that is meant, and its folder. A copy of this script is a VM of its own, known by where the copy is: of several
# folders with one name, each gets a name with a number.
find_vm() {
    if [ -z "$name" ] && [ -z "$is_copy" ]; then
        name=proplet
    fi
    vm=$state/vms/$name
    [ -z "$name" ] || return 0
    local base number=1
    base=$(basename "$here" | tr -c 'A-Za-z0-9_\n-' -)
    # As --name takes them.
    base=${base#"${base%%[A-Za-z0-9]*}"}
    base=${base:0:24}
    base=${base:-vm}
    name=$base
    while vm=$state/vms/$name && [ -e "$vm/origin" ] && [ "$(<"$vm/origin")" != "$here" ]; do
        number=$((number + 1))
        name=$base-$number
    done
}

# The same, under the lock: from then on the name is taken.
claim_vm() {
    # What was found before the lock may have been taken since.
    name=$asked_name
    find_vm
    mkdir -p "$vm"
    [ -n "$asked_name" ] || [ -z "$is_copy" ] || printf '%s\n' "$here" >"$vm/origin"
}

find_existing_vm() {
    find_vm
    [ -d "$vm" ] || die "there is no VM $name; '$0 status' lists them"
}

# value FILE NAME: of a file with lines NAME=VALUE.
value() {
    local line
    while IFS= read -r line; do
        [ "${line%%=*}" != "$2" ] || { printf '%s' "${line#*=}" && return 0; }
    done <"$1"
}
documents_value() { value "$vm/documents" "$1"; }

# A process is known by its number and the time it began, since numbers come again.
began() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # Behind the name, which may hold anything.
    set -f
    # shellcheck disable=SC2086 # words are what is wanted
    set -- ${stat##*) }
    set +f
    [ "${1:-}" != Z ] && printf '%s' "${20:-}"
}

is_running() {
    [ -r "$1/vm" ] || return 1
    local pid since
    pid=$(value "$1/vm" pid)
    since=$(value "$1/vm" began)
    [ -n "$pid" ] && [ -n "$since" ] && [ "$(began "$pid")" = "$since" ]
}

# --- documents

# Both disks, into a folder. Values go to the builder by its environment, where nothing changes them.
make_documents() {
    local folder=$1 arguments=(vm documents --out "$1") name
    [ -z "${PROPLET_SETTINGS:-}" ] || arguments+=(--settings "$PROPLET_SETTINGS")
    [ -z "${PROPLET_INIT_DATA:-}" ] || arguments+=(--init-data "$PROPLET_INIT_DATA")
    [ -z "${KBS_URL:-}" ] || arguments+=(--kbs-url "$KBS_URL")
    [ -z "$disk" ] || arguments+=(--outbox-disk)
    for name in "${carried[@]}"; do
        [ -z "${!name:-}" ] || arguments+=(--variable "$name")
    done
    for name in "${!files[@]}"; do
        [ -z "${!name:-}" ] || arguments+=(--file "${files[$name]}=$name=${!name}")
    done
    [ -z "${SSH_AUTHORIZED_KEYS:-}" ] || arguments+=(--file "authorized_keys==$SSH_AUTHORIZED_KEYS")
    local made
    made=$("$builder" "${arguments[@]}") || return
    # Whole or not at all: what is started and what is measured is said by it.
    printf '%s\n' "$made" >"$folder/documents.new" && mv -f "$folder/documents.new" "$folder/documents" || return
    [ "$flavour" != debug ] || [ -n "${SSH_AUTHORIZED_KEYS:-}" ] ||
        say 'SSH_AUTHORIZED_KEYS is not set: nobody gets in by ssh; the console has a shell'
    [ "$(value "$folder/documents" key_broker)" = yes ] ||
        say 'no key broker is named (KBS_URL, or [kbs] in PROPLET_SETTINGS): encrypted tasks will be refused'
}

# Those that `build` made, or such as the variables say now.
documents_are_there() {
    # What a call that was killed left.
    rm -rf "$vm/now"
    if [ ! -e "$vm/documents" ]; then
        make_documents "$vm"
        return
    fi
    # Variables that changed since are not taken in silently, nor left out silently.
    problems=()
    check_needed
    [ "${#problems[@]}" -eq 0 ] || return 0
    # They hold what the documents hold, so they are kept where those are, and no longer than they are looked at.
    local now=$vm/now
    trap 'rm -rf "$vm/now"' EXIT
    mkdir "$now"
    if make_documents "$now" 2>/dev/null && ! { cmp -s "$now/operator.img" "$vm/operator.img" && cmp -s "$now/initdata.img" "$vm/initdata.img"; }; then
        say "the variables or settings are others than when 'build' made the documents of $name: the VM is started with those; $(typed build) makes them anew"
    fi
    rm -rf "$now"
    trap - EXIT
}

# --- what no two VMs may have both

# Values of a name in all VMs that run.
taken() {
    local folder
    for folder in "$state/vms"/*/; do
        folder=${folder%/}
        ! is_running "$folder" || printf ' %s ' "$(value "$folder/vm" "$1")"
    done
}

# A port that was asked for must be free; else the next free one from a number on.
choose_port() {
    local asked=$1 from=$2 port in_use
    in_use="$(taken ssh)$(taken agent)"
    for ((port = ${asked:-$from}; port <= 65535; port++)); do
        if [[ $in_use != *" $port "* ]] && ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            printf '%s' "$port"
            return
        fi
        [ -z "$asked" ] || die "port $port of 127.0.0.1 is in use"
    done
    die "no port from $from on is free"
}

choose_ports() {
    ssh=
    agent=
    [ "$flavour" != debug ] || ssh=$(choose_port "${SSH_PORT:-}" 2222)
    # Where the measured settings say so in so many words.
    evidence_port=$(documents_value evidence_port)
    if [ -n "$evidence_port" ]; then
        agent=$(choose_port "${AGENT_PORT:-}" 50010)
        [ "$agent" != "$ssh" ] || die "SSH_PORT and AGENT_PORT are both $ssh"
    elif [ -n "${AGENT_PORT:-}" ]; then
        die 'AGENT_PORT is set, and the settings have no [agent] evidence_from_outside = true: nobody outside the VM gets evidence'
    fi
}

# Numbers of VMs on vsock are the machine's, not the user's, so one by chance of many.
choose_cid() {
    cid=
    [ "$mode" = tdx ] || return 0
    local why in_use
    why=$(device_problem /dev/vhost-vsock 'modprobe vhost_vsock')
    if [ -n "$why" ]; then
        say "no vsock in the VM, so its quotes go by QEMU's own socket alone: $why"
        return 0
    fi
    in_use=$(taken cid)
    while [ -z "$cid" ] || [[ $in_use == *" $cid "* ]]; do
        cid=$((0x1000 + (RANDOM << 15 | RANDOM)))
    done
}

# The disk of the outbox, which is kept from start to start, where the measured settings name it.
outbox_disk() {
    local file=$vm/outbox.img bytes
    outbox=
    if [ "$(documents_value outbox_disk)" != yes ]; then
        [ -z "$disk" ] ||
            die "DISK_SIZE is set, and the documents of $name name no disk for the outbox: $(typed build) makes them anew"
        return 0
    fi
    if [ -z "$disk" ]; then
        [ -e "$file" ] || die "the settings of $name name a disk for the outbox, and it has none: set DISK_SIZE"
    else
        bytes=$((disk * 1024 * 1024))
        if [ -e "$file" ] && [ "$(stat -c %s "$file")" -gt "$bytes" ]; then
            die "DISK_SIZE is $DISK_SIZE, and $file is larger already: unset it, or delete the file and the outbox on it"
        fi
        truncate -s "$bytes" "$file"
    fi
    outbox=yes
}

# --- QEMU

# What of this VM stands in its evidence.
measurement_of() {
    local measured
    measured=$("$builder" vm measure --cpu "$snp_cpu" --vcpus "$cpus" "$image") || return
    case $mode in
        snp) value <(printf '%s\n' "$measured") snp ;;
        tdx) value <(printf '%s\n' "$measured") mrtd ;;
        none) printf none ;;
    esac
}

# The VM's folder is QEMU's current one, so that no name of a folder stands where QEMU takes commas for its own.
qemu_arguments() {
    local modern=disable-legacy=on,iommu_platform=on forwards='' serial
    # Of this machine alone. Nobody can reach a port of the sealed image.
    [ -z "$ssh" ] || forwards=,hostfwd=tcp:127.0.0.1:$ssh-:2222
    [ -z "$agent" ] || forwards+=,hostfwd=tcp:127.0.0.1:$agent-:$evidence_port
    arguments=(-name "$name" -nodefaults -no-user-config -display none -no-reboot -smp "$cpus" -m "${ram}M" -kernel "$image")
    if [ -n "$foreground" ]; then
        arguments+=(-chardev 'stdio,id=con,signal=off,logfile=console.log')
    elif [ "$flavour" = debug ]; then
        arguments+=(-chardev 'socket,id=con,path=console.sock,server=on,wait=off,logfile=console.log')
    else
        # Without a keyboard: the sealed image reads none.
        arguments+=(-chardev 'file,id=con,path=console.log')
    fi
    arguments+=(-serial chardev:con)
    arguments+=(-netdev "user,id=n0,ipv6=off$forwards" -device "virtio-net-pci,netdev=n0,romfile=,$modern")
    for serial in initdata operator; do
        arguments+=(-drive "if=none,id=$serial,file=$serial.img,format=raw,readonly=on"
            -device "virtio-blk-pci,drive=$serial,serial=$serial,$modern")
    done
    # A full file system of this machine is for the outbox to handle, not a reason to pause the VM.
    [ -z "$outbox" ] || arguments+=(-drive 'if=none,id=outbox,file=outbox.img,format=raw,werror=report,rerror=report'
        -device "virtio-blk-pci,drive=outbox,serial=outbox,$modern")
    [ -z "$cid" ] || arguments+=(-device "vhost-vsock-pci,guest-cid=$cid,$modern")
    arguments+=(-qmp 'unix:qmp.sock,server=on,wait=off')
    arguments+=(-sandbox 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny')
    case $mode in
        snp)
            arguments+=(-accel kvm -cpu "$snp_cpu" -bios "$image_folder/OVMF.amdsev.fd"
                -machine 'q35,confidential-guest-support=sev0,memory-backend=ram1,kernel-irqchip=split,vmport=off'
                -object "memory-backend-memfd,id=ram1,size=${ram}M,share=true,prealloc=false"
                -object "sev-snp-guest,id=sev0,cbitpos=$cbitpos,reduced-phys-bits=1,policy=0x30000,kernel-hashes=on,host-data=$(documents_value host_data)")
            ;;
        tdx)
            arguments+=(-accel kvm -cpu 'host,pmu=off' -bios "$image_folder/OVMF.inteltdx.fd"
                -machine 'q35,confidential-guest-support=tdx0,kernel-irqchip=split,hpet=off,vmport=off'
                -object "{\"qom-type\":\"tdx-guest\",\"id\":\"tdx0\",\"mrconfigid\":\"$(documents_value mrconfigid)\",\"quote-generation-socket\":{\"type\":\"vsock\",\"cid\":\"2\",\"port\":\"4050\"}}")
            ;;
        none)
            # The firmware for SNP starts no kernel without SNP.
            local cpu=host
            [ "$accel" = kvm ] || cpu=max
            arguments+=(-accel "$accel" -cpu "$cpu" -bios "$image_folder/OVMF.inteltdx.fd" -machine 'q35,vmport=off')
            ;;
    esac
}

# The name of a socket may have 107 bytes, and a folder's any number, so it is spoken to from the VM's folder.
qmp() { (cd "$1" && "$builder" vm qmp qmp.sock "$2"); }

record() {
    cat >"$vm/vm" <<END
pid=$1
began=$(began "$1")
mode=$mode
accel=$accel
flavour=$flavour
cpus=$cpus
ram=${ram}M
ssh=$ssh
agent=$agent
cid=$cid
measurement=$measurement
digest=$(documents_value digest)
since=$(date +%s)
END
}

start_in_foreground() {
    describe
    record $$
    cd "$vm" || die "there is no $vm"
    unset "${!PROPLET_@}"
    exec "${qemu[@]}" "${arguments[@]}" 9>&-
}

start_in_background() {
    # Keys are for the documents alone.
    (cd "$vm" && unset "${!PROPLET_@}" && exec setsid "${qemu[@]}" "${arguments[@]}" </dev/null >qemu.log 2>&1 9>&-) &
    local pid=$! until=$((SECONDS + 120)) code=0
    # A VM that is on no record would be one that nobody stops.
    if ! record "$pid"; then
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
        rm -f "$vm/vm"
        no_state
    fi
    # Whoever has its control socket has its ports.
    while ! qmp "$vm" query-status >/dev/null 2>&1; do
        if ! began "$pid" >/dev/null || [ "$SECONDS" -ge "$until" ]; then
            kill -KILL "$pid" 2>/dev/null || true
            wait "$pid" || code=$?
            rm -f "$vm/vm"
            say "QEMU did not start $name (exit code $code):"
            cat "$vm/qemu.log" >&2
            exit 1
        fi
        sleep 0.1
    done
}

describe() {
    local how=$mode
    [ "$mode" != none ] || how="no confidential VM, $accel"
    say "$name: $how, $cpus CPUs, ${ram}M, flavour $flavour"
    [ "$mode" = none ] || say "$name: launch measurement $measurement"
    say "$name: init-data $(documents_value digest)"
    [ "$flavour" != debug ] || say "$name: THIS IS THE DEBUG FLAVOUR: ssh -p $ssh root@127.0.0.1"
    [ -z "$agent" ] || say "$name: evidence and TEE type for everybody on this machine at 127.0.0.1:$agent"
    [ -n "$foreground" ] || say "$name: '$0 console --name $name' shows what it prints, '$0 stop --name $name' ends it"
}

stop_vm() {
    local folder=$1 pid seconds=${STOP_SECONDS:-90} until name
    name=$(basename "$1")
    [[ $seconds =~ ^[0-9]{1,5}$ ]] || die "STOP_SECONDS is a number of seconds: $seconds"
    find_builder || die "there is no proplet-image-builder: set PROPLET_IMAGE_BUILDER"
    pid=$(value "$folder/vm" pid)
    qmp "$folder" system_powerdown >/dev/null ||
        say "$name does not hear the power button"
    until=$((SECONDS + seconds))
    while is_running "$folder"; do
        if [ "$SECONDS" -ge "$until" ]; then
            say "$name did not power off within $seconds s (STOP_SECONDS): pulling the plug"
            kill -KILL "$pid" 2>/dev/null || true
            until=$((SECONDS + 10))
            seconds=10
        fi
        sleep 0.1
    done
    say "$name is off"
}

command_status() {
    local folder state_word mode ssh agent cid age now
    now=$(date +%s)
    printf '%-16s %-8s %-9s %-8s %4s %7s %6s %6s %10s %6s %s\n' NAME STATE MODE FLAVOUR CPUS RAM SSH AGENT CID AGE MEASUREMENT
    for folder in "$state/vms"/*/; do
        folder=${folder%/}
        [ -d "$folder" ] || continue
        if [ ! -r "$folder/vm" ]; then
            printf '%-16s %-8s\n' "$(basename "$folder")" new
            continue
        fi
        # Of a VM that is off nothing is taken.
        state_word=off age=- ssh='' agent='' cid=''
        if is_running "$folder"; then
            state_word=running
            ssh=$(value "$folder/vm" ssh)
            agent=$(value "$folder/vm" agent)
            cid=$(value "$folder/vm" cid)
            age=$(age_in_words $((now - $(value "$folder/vm" since))))
        fi
        mode=$(value "$folder/vm" mode)
        [ "$mode" != none ] || mode=none/$(value "$folder/vm" accel)
        printf '%-16s %-8s %-9s %-8s %4s %7s %6s %6s %10s %6s %s\n' "$(basename "$folder")" "$state_word" "$mode" \
            "$(value "$folder/vm" flavour)" "$(value "$folder/vm" cpus)" "$(value "$folder/vm" ram)" \
            "${ssh:--}" "${agent:--}" "${cid:--}" "$age" "$(value "$folder/vm" measurement)"
        # Why a VM switched itself off is the last that it said.
        if [ "$state_word" = off ] && [ -r "$folder/console.log" ]; then
            tail -c 65536 "$folder/console.log" | tr -cd '[:print:]\n' | grep 'POWER OFF' | tail -n 1 | sed 's/^/    /' || true
        fi
    done
}

age_in_words() {
    if [ "$1" -lt 120 ]; then
        printf '%ss' "$1"
    elif [ "$1" -lt 7200 ]; then
        printf '%sm' $(($1 / 60))
    else
        printf '%sh' $(($1 / 3600))
    fi
}

command_console() {
    find_existing_vm
    [ -e "$vm/console.log" ] || die "$name was never started"
    if is_running "$vm" && [ -S "$vm/console.sock" ]; then
        command -v socat >/dev/null || die 'the console of the debug flavour takes socat: apt-get install socat'
        say 'Ctrl-] leaves the console'
        cd "$vm" || die "there is no $vm"
        exec socat STDIO,raw,echo=0,escape=0x1d UNIX-CONNECT:console.sock
    fi
    if is_running "$vm"; then
        exec tail -n +1 -f --pid="$(value "$vm/vm" pid)" "$vm/console.log"
    fi
    exec cat "$vm/console.log"
}
