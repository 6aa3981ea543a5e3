#!/usr/bin/env bash
# Makes the keys and the root certificate of the fake TDX TEE anew: root, PCK platform CA, PCK (the key that
# signs quoting enclaves) and the signer of TCB info and QE identities. The certificates below the root,
# the revocation lists and the collateral are made by `proplet_testkit::tee::TdxPki` as a test wants
# them, so only what has to stay the same is a file.
#
# The private keys are committed on purpose. Anybody can sign with them: the PKI protects nothing, its
# subjects say so, and no verifier trusts it unless a test hands it the root. Running this again makes
# other keys; evidence recorded under the old ones no longer verifies.
#
# The shapes follow Intel's PCK certificate and CRL profile specification: every key is on P-256, every
# signature ECDSA with SHA-256. The subject is that of `TdxPki`; keep both in step.
#
# Needs the openssl command line tool, version 3.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/issued"

cat >"$work/ca.cnf" <<CNF
[ca]
default_ca = test
[test]
database = $work/index
new_certs_dir = $work/issued
rand_serial = yes
default_md = sha256
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
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
CNF
: >"$work/index"

for name in root ca pck tcb; do
    openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/$name.pem"
    openssl pkcs8 -topk8 -nocrypt -in "$work/$name.pem" -outform der -out "tdx-$name-key.der"
done
openssl req -new -utf8 -config "$work/ca.cnf" -key "$work/root.pem" -out "$work/root.csr" \
    -subj '/O=Proplet TEST PKI that protects nothing/OU=Fake TDX/CN=TEST SGX Root CA'
openssl ca -batch -notext -config "$work/ca.cnf" -extensions root -in "$work/root.csr" -selfsign \
    -keyfile "$work/root.pem" -startdate 20200101000000Z -enddate 21200101000000Z -out tdx-root.pem
