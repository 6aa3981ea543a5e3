#!/usr/bin/env bash
# Makes the test PKI of the fake SNP TEE anew: ark, ask and vcek, keys and certificates.
#
# The private keys are committed on purpose. Anybody can sign with them: the PKI protects nothing, its
# subjects say so, and no verifier trusts it unless a test hands it these roots. Running this again
# makes other keys; evidence recorded under the old ones no longer verifies.
#
# The shapes follow AMD's KDS interface specification (document 57230): ARK and ASK are RSA-4096,
# every signature is RSASSA-PSS with SHA-384 and a salt of 48 bytes, the VCEK is on P-384 and names
# the TCB and the chip in extensions below 1.3.6.1.4.1.3704.1. The TCB values and the chip id are
# those of `proplet_testkit::tee::FakeSnp`; keep both in step.
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

# bootloader 4, tee 1, snp 24, microcode 219: a TCB that Genoa machines report.
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
[vcek]
1.3.6.1.4.1.3704.1.1 = $(der_integer 0)
1.3.6.1.4.1.3704.1.2 = ASN1:IA5STRING:Genoa-TEST
1.3.6.1.4.1.3704.1.3.1 = $(der_integer 4)
1.3.6.1.4.1.3704.1.3.2 = $(der_integer 1)
1.3.6.1.4.1.3704.1.3.4 = $(der_integer 0)
1.3.6.1.4.1.3704.1.3.5 = $(der_integer 0)
1.3.6.1.4.1.3704.1.3.6 = $(der_integer 0)
1.3.6.1.4.1.3704.1.3.7 = $(der_integer 0)
1.3.6.1.4.1.3704.1.3.3 = $(der_integer 24)
1.3.6.1.4.1.3704.1.3.8 = $(der_integer 219)
1.3.6.1.4.1.3704.1.4 = DER:$(printf 'proplet test chip: no hardware stands behind this report. (fake)' | xxd -p -c 64)
CNF
: >"$work/index"

rsa_key() { openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:4096 -out "$1"; }

# request <name> <common name>
request() {
    openssl req -new -config "$work/ca.cnf" -key "$1-key.pem" -out "$work/$1.csr" \
        -subj "/O=$organisation/OU=Fake SNP/CN=$2"
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
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out vcek-key.pem

request ark ARK-Test
request ask SEV-Test
request vcek SEV-VCEK
issue ark -selfsign -keyfile ark-key.pem
issue ask -cert ark.pem -keyfile ark-key.pem
issue vcek -cert ask.pem -keyfile ask-key.pem
# The provider sends and signs with these as they are.
openssl x509 -in vcek.pem -outform der -out vcek.der
openssl pkcs8 -topk8 -nocrypt -in vcek-key.pem -outform der -out vcek-key.der
rm vcek.pem vcek-key.pem
