//! What an OVMF image says of itself: the table of GUIDs at its end, and the memory that it wants measured.
//!
//! The table is read from its end towards its beginning, as edk2 writes it (`OvmfPkg/ResetVector`): each entry
//! is its data, its length with all of itself, and its GUID; the last one is the footer with the length of the
//! whole table.

use crate::MeasureError;
use crate::bytes::{array, index, slice, u16_at, u32_at, u64_at};

/// `96b582de-1fb2-45f7-baea-a366c55a082d`: the footer.
const FOOTER: [u8; 16] = guid(0x96b5_82de, 0x1fb2, 0x45f7, 0xbaea_a366_c55a_082d);
/// `7255371f-3a3b-4b04-927b-1da6efa8d454`: where the hashes of the kernel go.
const HASH_TABLE: [u8; 16] = guid(0x7255_371f, 0x3a3b, 0x4b04, 0x927b_1da6_efa8_d454);
/// `00f771de-1a7e-4fcb-890e-68c77e2fb44e`: where further CPUs begin.
const RESET_BLOCK: [u8; 16] = guid(0x00f7_71de, 0x1a7e, 0x4fcb, 0x890e_68c7_7e2f_b44e);
/// `dc886566-984a-4798-a75e-5585a7bf67cc`: where the list for SNP is.
const SEV_METADATA: [u8; 16] = guid(0xdc88_6566, 0x984a, 0x4798, 0xa75e_5585_a7bf_67cc);
/// `e47a6535-984a-4798-865e-4685a7bf8ec2`: where the list for TDX is.
const TDX_METADATA: [u8; 16] = guid(0xe47a_6535, 0x984a, 0x4798, 0x865e_4685_a7bf_8ec2);

/// The table ends this far before the end of the image.
const BELOW_END: usize = 32;
/// Length of an entry without its data.
const ENTRY: usize = 18;
/// Entries of a list of memory that are read.
const MAX_SECTIONS: u32 = 64;
/// The end of the image in the guest's memory.
const FOUR_GIB: u64 = 1 << 32;

/// A GUID as it is stored: the first three groups little-endian.
const fn guid(a: u32, b: u16, c: u16, d: u64) -> [u8; 16] {
    let ([a0, a1, a2, a3], [b0, b1], [c0, c1]) =
        (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
    let [d0, d1, d2, d3, d4, d5, d6, d7] = d.to_be_bytes();
    [
        a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7,
    ]
}

/// An OVMF image.
#[derive(Debug, Clone, Copy)]
pub struct Firmware<'a> {
    image: &'a [u8],
    table: &'a [u8],
}

/// What a piece of memory is for, in firmware for SNP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnpUse {
    /// Memory that is zero.
    Zero,
    /// The page with the guest's secrets.
    Secrets,
    /// The page with CPUID values.
    Cpuid,
    /// The page with the kernel's hashes.
    KernelHashes,
}

/// Memory that firmware for SNP wants prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnpSection {
    /// Where it begins.
    pub address: u32,
    /// Its length in bytes.
    pub len: u32,
    /// What it is for.
    pub purpose: SnpUse,
}

/// Memory that firmware for TDX wants prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdxSection<'a> {
    /// What comes from the image.
    pub data: &'a [u8],
    /// Where it begins.
    pub address: u64,
    /// Its length in bytes; beyond the data it is zero.
    pub len: u64,
    /// Its contents go into MRTD.
    pub is_measured: bool,
    /// It is added while the VM runs, so that not even its address goes into MRTD.
    pub is_late: bool,
}

impl<'a> Firmware<'a> {
    /// Finds the table.
    ///
    /// # Errors
    /// [`MeasureError::Firmware`].
    pub fn parse(image: &'a [u8]) -> Result<Self, MeasureError> {
        let broken = MeasureError::Firmware;
        if image.len() as u64 > FOUR_GIB {
            return Err(broken("it is larger than 4 GiB"));
        }
        let footer = image
            .len()
            .checked_sub(BELOW_END + ENTRY)
            .ok_or(broken("it is too short"))?;
        if array(image, footer + 2) != Some(FOOTER) {
            return Err(broken("there is no footer"));
        }
        let len = u16_at(image, footer).map_or(0, usize::from);
        let start = (footer + ENTRY)
            .checked_sub(len)
            .ok_or(broken("it is longer than the file"))?;
        let table = image
            .get(start..footer)
            .ok_or(broken("its length is wrong"))?;
        Ok(Self { image, table })
    }

    /// The whole image.
    #[must_use]
    pub fn image(&self) -> &'a [u8] {
        self.image
    }

    /// Where the image begins in the guest's memory.
    #[must_use]
    pub fn address(&self) -> u64 {
        FOUR_GIB - self.image.len() as u64
    }

    /// The data of an entry of the table.
    fn entry(&self, guid: &[u8; 16]) -> Option<&'a [u8]> {
        let mut end = self.table.len();
        while let Some(head) = end.checked_sub(ENTRY) {
            let len = usize::from(u16_at(self.table, head)?);
            let start = end.checked_sub(len)?;
            let data = self.table.get(start..head)?;
            if array(self.table, head + 2) == Some(*guid) {
                return Some(data);
            }
            end = start;
        }
        None
    }

    /// Where QEMU puts the hashes of the kernel, its initrd and its command line.
    #[must_use]
    pub fn hash_table_address(&self) -> Option<u32> {
        let address = u32_at(self.entry(&HASH_TABLE)?, 0)?;
        (address != 0).then_some(address)
    }

    /// Where CPUs after the first begin.
    #[must_use]
    pub fn reset_address(&self) -> Option<u32> {
        u32_at(self.entry(&RESET_BLOCK)?, 0)
    }

    /// A list that an entry of the table leads to: its bytes after the header, and the number of its items.
    fn list(&self, guid: &[u8; 16], signature: &[u8; 4]) -> Option<(&'a [u8], u32)> {
        let back = index(u32_at(self.entry(guid)?, 0)?);
        let at = self.image.len().checked_sub(back)?;
        let header = slice(self.image, at, 16)?;
        let is_known = header.starts_with(signature) && u32_at(header, 8) == Some(1);
        let count = u32_at(header, 12).filter(|count| *count <= MAX_SECTIONS)?;
        is_known.then_some((self.image.get(at + 16..)?, count))
    }

    /// The memory that it wants prepared in an SNP VM, in the order in which QEMU measures it.
    ///
    /// # Errors
    /// When there is no such list, or an item of it is not known.
    pub fn snp_sections(&self) -> Result<Vec<SnpSection>, MeasureError> {
        let missing = |missing| MeasureError::NotFor {
            tee: "SNP",
            missing,
        };
        let (list, count) = self
            .list(&SEV_METADATA, b"ASEV")
            .ok_or(missing("it has no list of memory for SNP"))?;
        let cut = || missing("its list of memory is cut off");
        (0..index(count))
            .map(|number| {
                let item = slice(list, number * 12, 12).ok_or_else(cut)?;
                let word = |at| u32_at(item, at).ok_or_else(cut);
                let purpose = match word(8)? {
                    // The memory of an SVSM's calling area is zero, too.
                    1 | 4 => SnpUse::Zero,
                    2 => SnpUse::Secrets,
                    3 => SnpUse::Cpuid,
                    0x10 => SnpUse::KernelHashes,
                    _ => return Err(missing("its list of memory has an item that is not known")),
                };
                Ok(SnpSection {
                    address: word(0)?,
                    len: word(4)?,
                    purpose,
                })
            })
            .collect()
    }

    /// The memory that it wants prepared in a TDX VM, in the order in which QEMU adds it.
    ///
    /// # Errors
    /// When there is no such list, or it leads outside the image.
    pub fn tdx_sections(&self) -> Result<Vec<TdxSection<'a>>, MeasureError> {
        let missing = |missing| MeasureError::NotFor {
            tee: "TDX",
            missing,
        };
        let (list, count) = self
            .list(&TDX_METADATA, b"TDVF")
            .ok_or(missing("it has no list of memory for TDX"))?;
        let cut = || missing("its list of memory is cut off");
        (0..index(count))
            .map(|number| {
                let item = slice(list, number * 32, 32).ok_or_else(cut)?;
                let word = |at| u32_at(item, at).ok_or_else(cut);
                let long = |at| u64_at(item, at).ok_or_else(cut);
                let attributes = word(28)?;
                Ok(TdxSection {
                    data: slice(self.image, index(word(0)?), index(word(4)?))
                        .ok_or(missing("its list of memory leads outside the file"))?,
                    address: long(8)?,
                    len: long(16)?,
                    is_measured: attributes & 1 != 0,
                    is_late: attributes & 2 != 0,
                })
            })
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests;
