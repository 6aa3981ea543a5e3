//! As much of DER as Intel's certificate extension needs.

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const ENUMERATED: u8 = 0x0a;
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// 1.2.840.113741.1.13.1, Intel's arc for the contents of PCK certificates.
const SGX_ARC: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];

/// A value of any type. Its contents have fewer than 64 KiB.
pub(super) fn value(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u16::try_from(contents.len()).unwrap_or(u16::MAX) {
        length @ 0..=0x7f => out.push(length.to_be_bytes()[1]),
        length @ 0x80..=0xff => out.extend([0x81, length.to_be_bytes()[1]]),
        length => {
            out.push(0x82);
            out.extend(length.to_be_bytes());
        }
    }
    out.extend(contents);
    out
}

/// An INTEGER.
pub(super) fn integer(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    match (high, low) {
        (0, 0..=0x7f) => value(INTEGER, &[low]),
        (0, _) | (1..=0x7f, _) => value(INTEGER, &[high, low]),
        _ => value(INTEGER, &[0, high, low]),
    }
}

/// A SEQUENCE of these parts.
pub(super) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    value(SEQUENCE, &parts.concat())
}

/// `SEQUENCE { OID below Intel's arc, value }`, the form of every entry of the extension.
pub(super) fn entry(below: &[u8], contents: Vec<u8>) -> Vec<u8> {
    let oid = value(OBJECT_IDENTIFIER, &[&SGX_ARC[..], below].concat());
    sequence(&[oid, contents])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_numbers_have_their_shortest_form() {
        assert_eq!(integer(5), [2, 1, 5]);
        assert_eq!(integer(0xff), [2, 2, 0, 0xff]);
        assert_eq!(integer(0x8000), [2, 3, 0, 0x80, 0]);
        assert_eq!(value(4, &[7; 0x7f])[..2], [4, 0x7f]);
        assert_eq!(value(4, &[7; 0x80])[..3], [4, 0x81, 0x80]);
        assert_eq!(value(4, &[7; 0x100])[..4], [4, 0x82, 1, 0]);
    }
}
