#!/usr/bin/env python3
"""vm-measure.py FOLDER: computes the launch digests of an image's measurements.json with sev-snp-measure, which is
other people's program, and compares. Needs that package of PyPI."""
import json, pathlib, sys

from sevsnpmeasure import guest, vcpu_types
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vmm_types import VMMType

folder = pathlib.Path(sys.argv[1])
entries = json.loads((folder / 'measurements.json').read_text())['snp']
known = [entry for entry in entries if entry['cpu'] in vcpu_types.CPU_SIGS]
if not known:
    sys.exit('vm-measure: sev-snp-measure knows none of the types of CPU')
for entry in known:
    digest = guest.calc_launch_digest(
        SevMode.SEV_SNP, entry['vcpus'], vcpu_types.CPU_SIGS[entry['cpu']], str(folder / 'OVMF.amdsev.fd'),
        str(folder / 'proplet.efi'), '', '', 1, '', VMMType.QEMU).hex()
    if digest != entry['measurement']:
        sys.exit(f'vm-measure: {entry} is {digest} by sev-snp-measure')
unknown = sorted({entry['cpu'] for entry in entries} - {entry['cpu'] for entry in known})
print(f'{len(known)} launch digests equal; types of CPU that sev-snp-measure does not know: {unknown or "none"}')
