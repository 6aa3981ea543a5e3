# Resource policy for a stock Trustee: what is released to which component, by additional evidence.
#
# For hosts whose settings have `[kbs] component_bound = "additional-evidence"`: they name the component in
# the handshake's additional evidence, which the key broker hashes into the report data. README.md beside
# this file says how to set it up, and what this way does not protect.
#
# A key broker has one resource policy. To admit more components, add lines to the two tables.
# `proplet image encrypt --print-kbs-policy additional-evidence` prints this policy with the lines of one
# image.

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

# Two submodules: the CPU's, and the device that carries the text. The device never is affirming: it is of
# Trustee's type for tests, and what counts is that the CPU's report data covers what it says.
cpu := input.submods.cpu0 if {
	count(input.submods) == 2
	is_object(input.submods.gpu0["ear.veraison.annotated-evidence"].sampledevice)
	input.submods.cpu0["ear.status"] == "affirming"
	input.submods.cpu0["ear.appraisal-policy-id"] == "default"
}

evidence := cpu["ear.veraison.annotated-evidence"]

attested if {
	some tee in tees
	is_object(evidence[tee])
}

# The key broker has hashed this text, as received, into what it compared with the CPU's report data. It is
# in tokens unless `verbose_token` is off.
text := evidence.runtime_data_claims["additional-evidence"]

devices := json.unmarshal(text) if json.is_valid(text)

workload := devices.sampledevice.workload if {
	is_object(devices)
	object.keys(devices) == {"sampledevice"}
}

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
