# shellcheck shell=bash disable=SC2034,SC2154 # a part of qemu.sh, and shares its variables
# The image: building it, and finding one that was built.

# The folder of the image that this flavour has, and the program that builds it.
find_image() {
    local suffix=
    [ "$flavour" = sealed ] || suffix=-$flavour
    image_folder=${PROPLET_IMAGE:-${tree:+${CARGO_TARGET_DIR:-$tree/target}/image$suffix}}
    image=
    [ -z "$image_folder" ] || image=$(realpath -m "$image_folder")/proplet$suffix.efi
    image_folder=${image%/*}
}

find_builder() {
    if [ -n "${PROPLET_IMAGE_BUILDER:-}" ]; then
        builder=$PROPLET_IMAGE_BUILDER
    else
        builder=${CARGO_TARGET_DIR:-$tree/target}/release/proplet-image-builder
        if [ -z "$tree" ] || [ ! -x "$builder" ]; then
            builder=$(command -v proplet-image-builder) || return 1
        fi
    fi
    # It is called from other folders, too.
    builder=$(realpath -ms "$builder")
    [ -x "$builder" ]
}

# Whether there is an image to take as it is.
takes_given_image() { [ -n "${PROPLET_IMAGE:-}" ] || [ -z "$tree" ]; }

# What building takes, before it begins.
check_tools() {
    find_image
    [ "$command" != run ] || return 0
    if takes_given_image; then
        [ -n "$image" ] || problem 'there is no tree of sources here to build from: set PROPLET_TREE to one, or PROPLET_IMAGE to a folder with an image'
        find_builder || problem 'there is no proplet-image-builder: set PROPLET_IMAGE_BUILDER to it, or PROPLET_TREE to the tree of sources'
        return 0
    fi
    command -v cargo >/dev/null || problem 'there is no cargo, which builds the program: install Rust from https://rustup.rs'
    local tools=() tool
    if [ -z "${TOOLS:-}" ] && ! firmware_is_there; then
        for tool in gcc g++ make nasm iasl python3 patch; do
            command -v "$tool" >/dev/null || tools+=("$tool")
        done
        if [ "${#tools[@]}" -gt 0 ]; then
            problem "${tools[*]} not found, which build the firmware: apt-get install gcc g++ make nasm acpica-tools uuid-dev python3 patch, or set TOOLS to a folder that hal/image/tools.sh made"
        fi
    fi
}

firmware_folder() { printf '%s' "${CARGO_TARGET_DIR:-$tree/target}/image/firmware"; }

# Firmware is built once for a lock file and a script.
firmware_is_there() {
    local folder stamp
    folder=$(firmware_folder)
    stamp=$(firmware_stamp)
    [ -e "$folder/OVMF.inteltdx.fd" ] && [ -e "$folder/stamp" ] && [ "$(<"$folder/stamp")" = "$stamp" ]
}

firmware_stamp() { cat "$tree/hal/image/image.lock" "$tree/hal/image/firmware/build.sh" | sha256sum; }

build_image() {
    if takes_given_image; then
        image_is_there
        say "taking the image in $image_folder as it is"
        return
    fi
    # What is measured must not depend on it.
    umask 022
    local target=${CARGO_TARGET_DIR:-$tree/target}
    say 'building the builder'
    (cd "$tree" && cargo build --release --locked --quiet -p proplet-image-builder)
    find_builder || die "cargo built no $target/release/proplet-image-builder"
    local program
    program=$("$builder" program --tree "$tree" --target-dir "$target")
    local folder with_tools=() with_parts=(--lock "$tree/hal/image/image.lock")
    folder=$(firmware_folder)
    [ -z "${BUILD_PROXY:-}" ] || with_parts+=(--proxy "$BUILD_PROXY")
    [ -z "${TOOLS:-}" ] || with_tools=(--tools "$TOOLS")
    if ! firmware_is_there; then
        "$builder" firmware "${with_parts[@]}" "${with_tools[@]}" --out "$folder"
        firmware_stamp >"$folder/stamp"
    fi
    local with_flavour=()
    [ "$flavour" = sealed ] || with_flavour=(--flavour "$flavour")
    "$builder" build "${with_parts[@]}" --tree "$tree" --program "$program" --firmware "$folder" \
        "${with_flavour[@]}" --out "$image_folder"
    image_is_there
}

# A whole image of this flavour.
image_is_there() {
    find_image
    find_builder || die "there is no proplet-image-builder: '$0 build' makes it, or set PROPLET_IMAGE_BUILDER"
    local file
    for file in "$image" "$image_folder/OVMF.amdsev.fd" "$image_folder/OVMF.inteltdx.fd" "$image_folder/measurements.json"; do
        [ -r "$file" ] || die "${file:-the image} is not there: '$0 build' makes it, or set PROPLET_IMAGE to a folder with an image"
    done
    # The name of a file is anybody's; what the builder measured is what it is.
    local found=sealed
    ! grep -qE '"flavour": *"debug"' "$image_folder/measurements.json" || found=debug
    [ "$found" = "$flavour" ] || die "the image in $image_folder is of the $found flavour, and FLAVOUR is $flavour"
}

# What admits the image has launch digests of SEV-SNP for the usual numbers and types of CPUs, not for all.
listed() {
    local values=$image_folder/reference-values.toml
    [ -e "$values" ] && ! grep -qF "$1" "$values" || return 0
    say "$values admits no SEV-SNP VM with CPU=$cpus and CPU_MODEL=$snp_cpu, so it would have no key: take those that are in measurements.json, or write $1 into its [snp] measurements"
}

remember_tree() {
    [ -n "$tree" ] && [ -e "$tree/hal/ubuntu/lib/variables.sh" ] || return 0
    (umask 077 && mkdir -p "$state" && printf '%s\n' "$tree" >"$state/tree") || no_state
}
