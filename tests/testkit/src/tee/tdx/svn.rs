//! The security versions of an up-to-date platform.

/// The CPU's security version of an up-to-date platform.
pub(super) const CPU_SVN_UP_TO_DATE: [u8; 16] = cpu_svn(9);

/// The security version of the provisioning enclave that every level asks for.
pub(super) const PCE_SVN: u16 = 11;

/// The security version of the quoting enclave that is up to date.
pub(super) const QE_SVN: u16 = 4;

/// TEE_TCB_SVN of an up-to-date TDX module: its security version, its major version, and microcode.
pub(super) const TEE_TCB_SVN: [u8; 16] = tee_tcb_svn(5);

pub(super) const fn cpu_svn(first: u8) -> [u8; 16] {
    [first, 9, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0]
}

pub(super) const fn tee_tcb_svn(module: u8) -> [u8; 16] {
    [module, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}
