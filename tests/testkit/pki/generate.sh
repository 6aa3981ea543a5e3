#!/usr/bin/env bash
# Makes the test PKI of the fake SNP TEE anew: root (ark), intermediate (ask), and three certificates
# for one chip key: VCEKs in the forms of Genoa and Turin, and a VLEK.
#
# The private keys are committed on purpose. Anybody can sign with them: the PKI protects nothing, its
# subjects say so, and no verifier trusts it unless a test hands it these roots. Running this again
# makes other keys; evidence recorded under the old ones no longer verifies.
#
# The shapes follow AMD's KDS interface specification (document 57230): ARK and ASK are RSA-4096,
# every signature is RSASSA-PSS with SHA-384 and a salt of 48 bytes, the chip's key is on P-384, and
# its certificates name the TCB and (VCEK only) the chip in extensions below 1.3.6.1.4.1.3704.1. The TCB
# values and chip ids are those of `proplet_testkit::tee::FakeSnp`; keep both in step. Unlike AMD's, one
# intermediate issues VCEKs and VLEKs both.
#
# Needs the openssl command line tool, version 3.
set -euo pipefail
cd "$(dirname "$0")"

not_before=20200101000000Z
not_after=21200101000000Z
organisation='Proplet TEST PKI that protects nothing'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/issued"

# An INTEGER of one byte in DER: values from 128 on take a leading zero byte.
der_integer() {
    if [ "$1" -lt 128 ]; then printf 'DER:0201%02x' "$1"; else printf 'DER:020200%02x' "$1"; fi
}

# endorsement_extensions <product> <fmc or -> <bootloader> <tee> <snp> <microcode>
endorsement_extensions() {
    printf '1.3.6.1.4.1.3704.1.1 = %s\n' "$(der_integer 1)"
    printf '1.3.6.1.4.1.3704.1.2 = ASN1:IA5STRING:%s\n' "$1"
    if [ "$2" != - ]; then printf '1.3.6.1.4.1.3704.1.3.9 = %s\n' "$(der_integer "$2")"; fi
    printf '1.3.6.1.4.1.3704.1.3.1 = %s\n' "$(der_integer "$3")"
    printf '1.3.6.1.4.1.3704.1.3.2 = %s\n' "$(der_integer "$4")"
    printf '1.3.6.1.4.1.3704.1.3.3 = %s\n' "$(der_integer "$5")"
    printf '1.3.6.1.4.1.3704.1.3.8 = %s\n' "$(der_integer "$6")"
}

# chip <its id as text>
chip() { printf '1.3.6.1.4.1.3704.1.4 = DER:%s\n' "$(printf '%s' "$1" | xxd -p -c 64)"; }

cat >"$work/ca.cnf" <<CNF
[ca]
default_ca = test
[test]
database = $work/index
new_certs_dir = $work/issued
rand_serial = yes
default_md = sha384
policy = any
unique_subject = no
[any]
organizationName = supplied
organizationalUnitName = supplied
commonName = supplied
[req]
distinguished_name = dn
prompt = no
[dn]
[ark]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[ask]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[vcek-genoa]
$(endorsement_extensions Genoa-TEST - 4 1 24 219)
$(chip 'proplet test chip: no hardware stands behind this report. (fake)')
[vcek-turin]
$(endorsement_extensions Turin-TEST 1 2 1 5 80)
$(chip fakechip)
[vlek]
$(endorsement_extensions Genoa-TEST - 4 1 24 219)
1.3.6.1.4.1.3704.1.5 = ASN1:IA5STRING:TEST
CNF
: >"$work/index"

rsa_key() { openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:4096 -out "$1"; }

# request <name> <key> <common name>
request() {
    openssl req -new -config "$work/ca.cnf" -key "$2" -out "$work/$1.csr" \
        -subj "/O=$organisation/OU=Fake SNP/CN=$3"
}

# issue <name> <how to sign, as arguments of openssl ca>
issue() {
    local name=$1
    shift
    openssl ca -batch -notext -config "$work/ca.cnf" -extensions "$name" -in "$work/$name.csr" \
        -startdate "$not_before" -enddate "$not_after" -out "$name.pem" \
        -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:48 -sigopt rsa_mgf1_md:sha384 "$@"
}

rsa_key ark-key.pem
rsa_key ask-key.pem
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out "$work/chip-key.pem"

request ark ark-key.pem ARK-Test
request ask ask-key.pem SEV-Test
issue ark -selfsign -keyfile ark-key.pem
issue ask -cert ark.pem -keyfile ark-key.pem
# The provider sends and signs with DER as it is.
openssl pkcs8 -topk8 -nocrypt -in "$work/chip-key.pem" -outform der -out chip-key.der
for name in vcek-genoa vcek-turin vlek; do
    case $name in vlek) subject=SEV-VLEK ;; *) subject=SEV-VCEK ;; esac
    request "$name" "$work/chip-key.pem" "$subject"
    issue "$name" -cert ask.pem -keyfile ask-key.pem
    openssl x509 -in "$name.pem" -outform der -out "$name.der"
    rm "$name.pem"
done
