//! What the quoting service is asked and answers.
//!
//! A frame is a length (4 bytes, big-endian) and a message: a header of four numbers (little-endian) and the
//! body. The service runs on the host, so its answer is anybody's: lengths are compared with each other and
//! with bounds before they are used.
//!
//! Source: Intel SGX DCAP, `QuoteGeneration/quote_wrapper/qgs_msg_lib/inc/qgs_msg_lib.h`.

use super::error::QuotingError;
use crate::device::TD_REPORT_LEN;

/// Major version of the messages.
const MAJOR: u16 = 1;
/// Minor version that is sent. Answers of any minor version are read.
const MINOR: u16 = 1;
/// The type of a request for a quote.
const REQUEST: u32 = 0;
/// The type of its answer.
const RESPONSE: u32 = 1;
/// Length of the header: major, minor, type, size, error.
const HEADER_LEN: usize = 16;
/// Largest message that is read: the kernel's own buffer for quotes has at most that.
pub(super) const MAX_MESSAGE_LEN: usize = 128 * 1024;

/// The frame that asks for a quote over a TDREPORT.
pub(super) fn request(td_report: &[u8; TD_REPORT_LEN]) -> Vec<u8> {
    const SIZE: u32 = (HEADER_LEN + 8 + TD_REPORT_LEN) as u32;
    let mut frame = Vec::with_capacity(4 + HEADER_LEN + 8 + TD_REPORT_LEN);
    frame.extend(SIZE.to_be_bytes());
    frame.extend(MAJOR.to_le_bytes());
    frame.extend(MINOR.to_le_bytes());
    frame.extend(REQUEST.to_le_bytes());
    frame.extend(SIZE.to_le_bytes());
    frame.extend(0_u32.to_le_bytes());
    frame.extend((TD_REPORT_LEN as u32).to_le_bytes());
    // No list of attestation keys to choose from.
    frame.extend(0_u32.to_le_bytes());
    frame.extend(td_report);
    frame
}

/// The length of the message behind a frame's first four bytes.
pub(super) fn message_len(prefix: [u8; 4]) -> Result<usize, QuotingError> {
    match usize::try_from(u32::from_be_bytes(prefix)) {
        Ok(len) if (HEADER_LEN..=MAX_MESSAGE_LEN).contains(&len) => Ok(len),
        _ => Err(malformed(format!(
            "its frame is said to have {} bytes",
            u32::from_be_bytes(prefix)
        ))),
    }
}

/// The quote in an answer.
pub(super) fn quote(message: &[u8]) -> Result<Vec<u8>, QuotingError> {
    let mut rest = message;
    let short = || malformed(format!("it has {} bytes only", message.len()));
    let major = u16::from_le_bytes(take(&mut rest).ok_or_else(short)?);
    let _minor: [u8; 2] = take(&mut rest).ok_or_else(short)?;
    let kind = u32::from_le_bytes(take(&mut rest).ok_or_else(short)?);
    let size = u32::from_le_bytes(take(&mut rest).ok_or_else(short)?);
    let error = u32::from_le_bytes(take(&mut rest).ok_or_else(short)?);
    if major != MAJOR {
        return Err(malformed(format!("it is of the version {major}")));
    }
    if kind != RESPONSE {
        return Err(malformed(format!("it is of the type {kind}")));
    }
    if usize::try_from(size) != Ok(message.len()) {
        return Err(malformed(format!(
            "it is said to have {size} bytes and has {}",
            message.len()
        )));
    }
    if error != 0 {
        return Err(QuotingError::Refused { error });
    }
    let mut length = || {
        let length = u32::from_le_bytes(take(&mut rest).ok_or_else(short)?);
        usize::try_from(length).map_err(|_| short())
    };
    let (id_len, quote_len) = (length()?, length()?);
    if id_len.checked_add(quote_len) != Some(rest.len()) {
        return Err(malformed(format!(
            "a key id of {id_len} bytes and a quote of {quote_len} are said to fill {}",
            rest.len()
        )));
    }
    match rest.get(id_len..) {
        None | Some([]) => Err(QuotingError::Empty),
        Some(quote) => Ok(quote.to_vec()),
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

fn malformed(reason: String) -> QuotingError {
    QuotingError::Malformed { reason }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer as the service writes it, without the frame's prefix.
    pub(crate) fn answer(error: u32, id: &[u8], quote: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        message.extend(1_u16.to_le_bytes());
        message.extend(0_u16.to_le_bytes());
        message.extend(1_u32.to_le_bytes());
        message.extend(
            u32::try_from(24 + id.len() + quote.len())
                .unwrap()
                .to_le_bytes(),
        );
        message.extend(error.to_le_bytes());
        message.extend(u32::try_from(id.len()).unwrap().to_le_bytes());
        message.extend(u32::try_from(quote.len()).unwrap().to_le_bytes());
        message.extend(id);
        message.extend(quote);
        message
    }

    #[test]
    fn the_request_is_laid_out_as_specified() {
        let frame = request(&[0xab; TD_REPORT_LEN]);
        // 1048 bytes: header 16, two lengths, the report.
        let head = "00000418\
                    0100010000000000180400000000000000040000\
                    00000000";
        assert_eq!(hex::encode(&frame[..28]), head);
        assert_eq!(frame[28..], [0xab; TD_REPORT_LEN]);
    }

    #[test]
    fn the_quote_is_behind_the_key_id() {
        assert_eq!(quote(&answer(0, b"", b"quote")).unwrap(), b"quote");
        assert_eq!(quote(&answer(0, b"key id", b"quote")).unwrap(), b"quote");
        assert_eq!(quote(&answer(0, b"key id", b"")), Err(QuotingError::Empty));
    }

    #[test]
    fn errors_of_the_service_are_told() {
        let refused = Err(QuotingError::Refused { error: 0x1_2001 });
        assert_eq!(quote(&answer(0x1_2001, b"", b"")), refused);
        // A service may leave out what it has not.
        let mut short = answer(0x1_2001, b"", b"")[..HEADER_LEN].to_vec();
        short[8] = 16;
        assert_eq!(quote(&short), refused);
    }

    #[test]
    fn answers_whose_lengths_disagree_are_refused() {
        let good = answer(0, b"id", b"quote");
        for (at, value) in [(0, 2), (4, 0), (8, 16), (16, 3), (16, 0), (20, 4), (23, 1)] {
            let mut message = good.clone();
            message[at] = value;
            let error = quote(&message).unwrap_err();
            assert!(
                matches!(error, QuotingError::Malformed { .. }),
                "{at}: {error}"
            );
        }
        for len in [0, 1, 15, 16, 23, good.len() - 1] {
            assert!(quote(&good[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn frames_are_bounded() {
        for len in [0, 15, MAX_MESSAGE_LEN as u32 + 1, u32::MAX] {
            assert!(message_len(len.to_be_bytes()).is_err(), "{len}");
        }
        assert_eq!(message_len([0, 0, 0, 16]), Ok(16));
        assert_eq!(message_len([0, 2, 0, 0]), Ok(MAX_MESSAGE_LEN));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(
            message in proptest::collection::vec(any::<u8>(), 0..100),
            id in proptest::collection::vec(any::<u8>(), 0..9),
            made in proptest::collection::vec(any::<u8>(), 1..50),
            change in (0_usize..40, any::<u8>()),
        ) {
            let _ = quote(&message);
            let good = answer(0, &id, &made);
            prop_assert_eq!(quote(&good).unwrap(), made);
            let mut changed = good;
            if let Some(byte) = changed.get_mut(change.0) {
                *byte = change.1;
            }
            if let Ok(quote) = quote(&changed) {
                prop_assert!(quote.len() < changed.len());
            }
        }
    }
}
