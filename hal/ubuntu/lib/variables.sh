# shellcheck shell=bash disable=SC2034,SC2154 # a part of qemu.sh, and shares its variables
# What the variables say.

# Those that the daemon in the VM gets as they are.
carried=(
    PROPLET_TENANT_ID PROPLET_CHANNEL_ID PROPLET_ENTITY_ID PROPLET_API_KEY PROPLET_MQTT_ADDRESS
    PROPLET_MANAGER_K8S_NAMESPACE PROPLET_DESCRIPTION PROPLET_TAGS PROPLET_LOCATION PROPLET_COLLECT_SYSTEM_INFO
    PROPLET_LIVELINESS_INTERVAL PROPLET_LOG_LEVEL PROPLET_MQTT_QOS PROPLET_MQTT_KEEP_ALIVE
    PROPLET_MQTT_MAX_PACKET_SIZE PROPLET_MQTT_INFLIGHT PROPLET_MQTT_REQUEST_CHANNEL_CAPACITY
    PROPLET_METRICS_INTERVAL PROPLET_ENABLE_MONITORING
)
# Those that name a file of this machine, which the VM gets under a name of its own.
declare -A files=(
    [PROPLET_MQTT_TLS_CA_CERT]=mqtt-ca.pem
    [PROPLET_MQTT_TLS_CLIENT_CERT]=mqtt-client.pem
    [PROPLET_MQTT_TLS_CLIENT_KEY]=mqtt-client-key.pem
)
# Those that are read here: other names of the first ones, and this script's own.
own=(
    PROPLET_DOMAIN_ID PROPLET_CLIENT_ID PROPLET_CLIENT_KEY
    PROPLET_SETTINGS PROPLET_INIT_DATA PROPLET_IMAGE PROPLET_IMAGE_BUILDER PROPLET_TREE
)
# Those of upstream's that do nothing in this VM.
declare -A without_effect=(
    [PROPLET_KBS_URI]='the key broker is in the settings, or in KBS_URL'
    [PROPLET_KBS_URL]='the key broker is in the settings, or in KBS_URL'
    [PROPLET_AA_CONFIG_PATH]='there is no attestation-agent beside the daemon'
    [PROPLET_LAYER_STORE_PATH]='layers of images stay in memory'
    [PROPLET_PULL_CONCURRENT_LIMIT]='an image has one layer'
    [PROPLET_EXTERNAL_WASM_RUNTIME]='components run in the daemon'
    [PROPLET_HAL_ENABLED]='interfaces are linked by what a component imports'
    [PROPLET_USB_ENABLED]='guests have no USB'
    [PROPLET_PLUGIN_DIR]='plugins are [[plugins]] in the settings, and a VM has no file for one'
    [PROPLET_METRICS_PORT]='/health is [health] listen in the settings, and no port leads to it'
    [PROPLET_METRICS_ENABLED]='/health is [health] listen in the settings, and no port leads to it'
    [PROPLET_OTEL_URL]='there is no export of traces'
    [PROPLET_OTEL_TRACE_RATIO]='there is no export of traces'
    [PROPLET_TRACE_RATIO]='there is no export of traces'
    [PROPLET_INSTANCE_ID]='a proplet is known by its entity id'
    [PROPLET_MQTT_TIMEOUT]='there is no such timeout'
    [PROPLET_HTTP_TLS_CA_CERT]='[http] ca_pem is in the settings'
    [PROPLET_HTTP_TLS_INSECURE_SKIP_VERIFY]='certificates are always verified'
    [PROPLET_MQTT_TLS_INSECURE_SKIP_VERIFY]='certificates are always verified'
    [PROPLET_DIRS]='the VM has no folders for tasks'
    [PROPLET_HTTP_ENABLED]='no port of the VM is reached from outside for it'
    [PROPLET_HTTP_PROXY_PORT]='no port of the VM is reached from outside for it'
)
# Those of this repository's tests.
of_tests=(PROPLET_VECTORS PROPLET_ADVISORY_DB PROPLET_SKOPEO PROPLET_KILL_TASKS)

problem() { problems+=("$*"); }

is_one_of() {
    local wanted=$1 found
    shift
    for found in "$@"; do
        [ "$found" != "$wanted" ] || return 0
    done
    return 1
}

# The value of either name, under the first one.
one_of() {
    local new=$1 old=$2
    if [ -n "${!new:-}" ] && [ -n "${!old:-}" ] && [ "${!new}" != "${!old}" ]; then
        problem "$new and $old are two names of one thing and differ: unset one of them"
    elif [ -z "${!new:-}" ] && [ -n "${!old:-}" ]; then
        export "$new=${!old}"
    fi
}

# Names that nobody knows are mistakes, and would else be silently without effect.
check_names() {
    local found
    one_of PROPLET_TENANT_ID PROPLET_DOMAIN_ID
    one_of PROPLET_ENTITY_ID PROPLET_CLIENT_ID
    one_of PROPLET_API_KEY PROPLET_CLIENT_KEY
    while IFS= read -r found; do
        case $found in
            PROPLET_CONFIG_FILE | PROPLET_CONFIG_SECTION | PROPLET_CREDENTIALS_FILE)
                problem "$found is for the daemon itself: name the VM's settings with PROPLET_SETTINGS"
                ;;
            PROPLET_*)
                if [ -n "${without_effect[$found]:-}" ]; then
                    [ -z "${!found}" ] || say "$found has no effect in the VM: ${without_effect[$found]}"
                elif ! is_one_of "$found" "${carried[@]}" "${!files[@]}" "${own[@]}" "${of_tests[@]}"; then
                    problem "$found is no variable of this script; docs/hal.md lists them"
                fi
                ;;
        esac
    done < <(compgen -e)
}

# What a VM cannot do without. Settings may have it too, and then the builder looks into them.
check_needed() {
    [ -z "${PROPLET_SETTINGS:-}${PROPLET_INIT_DATA:-}" ] || return 0
    local pair new present
    for pair in PROPLET_TENANT_ID:PROPLET_DOMAIN_ID PROPLET_ENTITY_ID:PROPLET_CLIENT_ID \
        PROPLET_API_KEY:PROPLET_CLIENT_KEY PROPLET_CHANNEL_ID: PROPLET_MQTT_ADDRESS:; do
        new=${pair%%:*}
        # White space alone is nothing; bytes that are no text are something, which the builder refuses as such.
        present=${!new:-}
        if [ -z "${present//[[:space:]]/}" ]; then
            [ -z "${pair#*:}" ] || new="$new (or ${pair#*:})"
            problem "$new is not set, or empty"
        fi
    done
    case ${KBS_URL:-} in
        '' | https://*) ;;
        http://*)
            problem "KBS_URL is plain http: anybody on the way can pose as the key broker. If that is meant, write so into settings of your own and name them with PROPLET_SETTINGS (and unset KBS_URL):
[kbs]
url = \"$KBS_URL\"
allow_http = true"
            ;;
        *) problem "KBS_URL is no address of the form https://…: $KBS_URL" ;;
    esac
}

# A number with a unit, in MiB; nothing when it is none, or more than 64 TiB.
mebibytes() {
    local number=${1%[MGTmgt]}
    [[ $number =~ ^[1-9][0-9]{0,8}$ ]] || return 0
    case $1 in
        *[Gg]) number=$((number * 1024)) ;;
        *[Tt]) number=$((number * 1024 * 1024)) ;;
    esac
    [ "$number" -gt $((64 * 1024 * 1024)) ] || printf '%s' "$number"
}

# Whether a text is a number from 1 to another one.
is_number() { [[ $1 =~ ^[1-9][0-9]{0,4}$ ]] && [ "$1" -le "$2" ]; }

check_port() {
    [ -n "${!1:-}" ] || return 0
    is_number "${!1}" 65535 || problem "$1 is no port: ${!1}"
}

check_file() {
    [ -n "${!1:-}" ] || return 0
    [ -f "${!1}" ] && [ -r "${!1}" ] && return 0
    problem "$1: there is no file ${!1}, or it cannot be read"
}

check_values() {
    cpus=${CPU:-4}
    is_number "$cpus" 512 || problem "CPU is the number of CPUs, 1 to 512: $cpus"
    ram=$(mebibytes "${RAM:-4G}")
    if [ -z "$ram" ]; then
        problem "RAM is a size such as 4096M or 4G: $RAM"
    elif [ "$ram" -lt 256 ]; then
        problem "RAM is less than 256M, with which the VM does not start: $RAM"
    fi
    disk=
    if [ -n "${DISK_SIZE:-}" ]; then
        disk=$(mebibytes "$DISK_SIZE")
        if [ -z "$disk" ]; then
            problem "DISK_SIZE is a size such as 1G: $DISK_SIZE"
        elif [ "$disk" -lt 8 ]; then
            problem "DISK_SIZE is less than 8M, on which no outbox fits: $DISK_SIZE"
        fi
    fi
    snp_cpu=${CPU_MODEL:-EPYC-Milan}
    [[ $snp_cpu =~ ^[A-Za-z0-9-]+$ ]] || problem "CPU_MODEL is a type of CPU such as EPYC-Milan or EPYC-Genoa: $snp_cpu"
    flavour=${FLAVOUR:-sealed}
    case $flavour in
        sealed)
            for variable in SSH_PORT SSH_AUTHORIZED_KEYS; do
                [ -z "${!variable:-}" ] || problem "$variable is for FLAVOUR=debug: nobody can log in to the sealed image"
            done
            ;;
        debug) ;;
        *) problem "FLAVOUR is sealed or debug: $flavour" ;;
    esac
    enable=${ENABLE_CVM:-auto}
    case $enable in
        auto | none | tdx | snp) ;;
        sev) enable=snp ;;
        *) problem "ENABLE_CVM is auto, tdx, sev (which means SEV-SNP), snp or none: $enable" ;;
    esac
    check_port SSH_PORT
    check_port AGENT_PORT
    [ -z "${PROPLET_SETTINGS:-}" ] || [ -z "${PROPLET_INIT_DATA:-}" ] ||
        problem 'PROPLET_SETTINGS and PROPLET_INIT_DATA both give the settings: unset one of them'
    for variable in PROPLET_SETTINGS PROPLET_INIT_DATA SSH_AUTHORIZED_KEYS "${!files[@]}"; do
        check_file "$variable"
    done
}
