# Resource policy for a stock Trustee: what is released to which component, by passport.
#
# For hosts whose settings have `[kbs] component_bound = "passport"`: they ask the attestation service for a
# token about each component, and show it to the key broker. README.md beside this file says how to set both
# up, and what this way does not protect.
#
# A key broker has one resource policy. To admit more components, add lines to the two tables.
# `proplet image encrypt --print-kbs-policy passport` prints this policy with the lines of one image.

package policy

import rego.v1

default allow := false

# The key of an image, and the digest of the image's manifest that it is for. No component is known yet when
# it is asked for: it is inside.
image_keys := {
	["default/key/classify", "sha256:0000000000000000000000000000000000000000000000000000000000000000"],
}

# A secret, and the digest of the component that it is for.
secrets := {
	["default/model/iris", "sha256:0000000000000000000000000000000000000000000000000000000000000000"],
}

# The TEEs whose evidence counts. `sample` is nobody's: everybody can write its evidence.
tees := {"snp", "tdx"}

# One submodule, the CPU's, and nothing else. Whoever asks the attestation service chooses how many pieces of
# evidence it looks at, of which TEE, and by which appraisal policy: a policy that searched all submodules
# would take the digests from one piece and the genuineness from another.
cpu := input.submods.cpu0 if {
	count(input.submods) == 1
	input.submods.cpu0["ear.status"] == "affirming"
	input.submods.cpu0["ear.appraisal-policy-id"] == "default"
}

evidence := cpu["ear.veraison.annotated-evidence"]

attested if {
	some tee in tees
	is_object(evidence[tee])
}

# The attestation service has hashed this object and compared the hash with the report data.
workload := evidence.runtime_data_claims.workload

path := concat("/", data["resource-path"])

# A request for a key names the image alone: a component that runs already has no business with it.
allow if {
	data.plugin == "resource"
	attested
	not workload.component_digest
	[path, workload.image_digest] in image_keys
}

allow if {
	data.plugin == "resource"
	attested
	[path, workload.component_digest] in secrets
}
