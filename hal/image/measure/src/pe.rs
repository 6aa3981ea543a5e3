//! The parts of a PE file that measuring takes: its sections, and the digest that firmware measures it by.
//!
//! Source: Microsoft, "PE Format"; "Windows Authenticode Portable Executable Signature Format", which says which
//! bytes the digest leaves out.

use crate::MeasureError;
use crate::bytes::{index, slice, u16_at, u32_at};

/// Sections that are read. The format allows 65535; an image has about ten.
const MAX_SECTIONS: u16 = 96;
/// Length of a section's header.
pub const SECTION_HEADER: usize = 40;
/// Magic number of 64-bit files.
const PE32_PLUS: u16 = 0x20b;

/// Where things are in a 64-bit PE file.
#[derive(Debug, Clone)]
pub struct Pe<'a> {
    file: &'a [u8],
    optional_header: usize,
    section_table: usize,
    sections: Vec<Section>,
}

/// A section's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its name without the zeros at its end.
    pub name: Vec<u8>,
    /// Its length in memory.
    pub virtual_len: u32,
    /// Its place in memory.
    pub virtual_address: u32,
    /// Its length in the file.
    pub raw_len: u32,
    /// Its place in the file.
    pub raw_offset: u32,
}

impl<'a> Pe<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// [`MeasureError::Image`].
    pub fn parse(file: &'a [u8]) -> Result<Self, MeasureError> {
        let cut = || MeasureError::Image("it ends before its headers do");
        if !file.starts_with(b"MZ") {
            return Err(MeasureError::Image("it does not begin with MZ"));
        }
        let at = index(u32_at(file, 0x3c).ok_or_else(cut)?);
        if slice(file, at, 4).ok_or_else(cut)? != b"PE\0\0" {
            return Err(MeasureError::Image("it has no PE header"));
        }
        // All further places are above this one, and the slices above showed that they do not overflow.
        let count = u16_at(file, at + 6).ok_or_else(cut)?;
        let optional_len = usize::from(u16_at(file, at + 20).ok_or_else(cut)?);
        let optional_header = at + 24;
        if u16_at(file, optional_header) != Some(PE32_PLUS) {
            return Err(MeasureError::Image("it is not a 64-bit PE file"));
        }
        if count > MAX_SECTIONS {
            return Err(MeasureError::Image("it has more than 96 sections"));
        }
        let section_table = optional_header + optional_len;
        let sections = (0..usize::from(count))
            .map(|number| {
                let header = slice(
                    file,
                    section_table + number * SECTION_HEADER,
                    SECTION_HEADER,
                )?;
                let name = slice(header, 0, 8)?;
                Some(Section {
                    name: name.split(|byte| *byte == 0).next()?.to_vec(),
                    virtual_len: u32_at(header, 8)?,
                    virtual_address: u32_at(header, 12)?,
                    raw_len: u32_at(header, 16)?,
                    raw_offset: u32_at(header, 20)?,
                })
            })
            .collect::<Option<_>>()
            .ok_or_else(cut)?;
        Ok(Self {
            file,
            optional_header,
            section_table,
            sections,
        })
    }

    /// Where the optional header begins.
    #[must_use]
    pub fn optional_header(&self) -> usize {
        self.optional_header
    }

    /// Where the headers of the sections begin.
    #[must_use]
    pub fn section_table(&self) -> usize {
        self.section_table
    }

    /// The sections in the order of their headers.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// What a section holds: the bytes that are in memory when the file was loaded. The first one of the
    /// name counts.
    ///
    /// # Errors
    /// When its bytes are not in the file.
    pub fn contents(&self, name: &str) -> Result<Option<&'a [u8]>, MeasureError> {
        let Some(section) = self
            .sections
            .iter()
            .find(|section| section.name == name.as_bytes())
        else {
            return Ok(None);
        };
        if section.virtual_len > section.raw_len {
            return Err(MeasureError::Image(
                "a section is longer in memory than in the file",
            ));
        }
        slice(
            self.file,
            index(section.raw_offset),
            index(section.virtual_len),
        )
        .map(Some)
        .ok_or(MeasureError::Image("a section is not in the file"))
    }

    /// The bytes that its digest is over, in their order: all but the checksum, the entry of the certificate
    /// table and the certificates themselves.
    ///
    /// # Errors
    /// When its headers contradict its length.
    pub fn authenticode(&self) -> Result<Vec<&'a [u8]>, MeasureError> {
        let cut = || MeasureError::Image("its headers do not fit its length");
        let range = |from: usize, to: usize| self.file.get(from..to).ok_or_else(cut);
        let optional = self.optional_header;
        let checksum = optional + 64;
        // The fifth directory: certificates. It is there when the optional header names five at least.
        let directories = u32_at(self.file, optional + 108).ok_or_else(cut)?;
        if directories < 5 || optional + 112 + 40 > self.section_table {
            return Err(MeasureError::Image("it has no certificate directory"));
        }
        let certificates = optional + 112 + 32;
        let certificates_len = index(u32_at(self.file, certificates + 4).ok_or_else(cut)?);
        let headers_len = index(u32_at(self.file, optional + 60).ok_or_else(cut)?);
        let mut parts = vec![
            range(0, checksum)?,
            range(checksum + 4, certificates)?,
            range(certificates + 8, headers_len)?,
        ];
        let mut sections: Vec<_> = self
            .sections
            .iter()
            .filter(|section| section.raw_len > 0)
            .collect();
        sections.sort_by_key(|section| section.raw_offset);
        let mut summed = headers_len;
        for section in sections {
            let (at, len) = (index(section.raw_offset), index(section.raw_len));
            parts.push(slice(self.file, at, len).ok_or_else(cut)?);
            summed = summed.checked_add(len).ok_or_else(cut)?;
        }
        let end = self
            .file
            .len()
            .checked_sub(certificates_len)
            .ok_or_else(cut)?;
        if summed < end {
            parts.push(range(summed, end)?);
        }
        Ok(parts)
    }
}

#[cfg(test)]
pub(crate) mod tests;
