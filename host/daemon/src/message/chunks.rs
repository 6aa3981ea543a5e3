//! Chunks of images: one component, put together from messages that come in any order.
//!
//! Whoever may publish on the channel can send chunks, so nothing in one is believed before it is checked, and what is
//! kept is bounded whatever comes.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use thiserror::Error;

/// Chunks of one image, at most. The proxy's have 512 000 bytes each.
const MAX_CHUNKS: u64 = 65_536;

/// A chunk as the image proxy sends it.
#[derive(Debug, Deserialize)]
pub struct Chunk<'a> {
    /// The name that the image was asked for by.
    #[serde(borrow)]
    pub app_name: Cow<'a, str>,
    chunk_idx: u64,
    total_chunks: u64,
    #[serde(borrow)]
    data: Cow<'a, str>,
}

impl<'a> Chunk<'a> {
    /// Reads a message; none when it is not a JSON object with a chunk's members.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// What became of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// More are needed.
    More,
    /// It is the last one: here is the component.
    Whole(Vec<u8>),
    /// It cannot be a part of anything.
    Ignored(&'static str),
}

/// Why nothing comes of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Broken {
    /// Two chunks that cannot both be right.
    #[error("chunks contradict each other")]
    Contradiction,
    /// More bytes than an image may have.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
}

/// The chunks that are there.
#[derive(Debug)]
pub struct Assembly {
    most: u64,
    bytes: u64,
    total: Option<u64>,
    parts: BTreeMap<u64, Vec<u8>>,
}

impl Assembly {
    /// Of an image of this many bytes at most.
    #[must_use]
    pub fn new(most: u64) -> Self {
        Self {
            most,
            bytes: 0,
            total: None,
            parts: BTreeMap::new(),
        }
    }

    /// Adds a chunk. The same one may come any number of times.
    ///
    /// # Errors
    /// [`Broken`]: nothing will come of the image.
    pub fn add(&mut self, chunk: &Chunk<'_>) -> Result<Step, Broken> {
        let (index, total) = (chunk.chunk_idx, chunk.total_chunks);
        if !(1..=MAX_CHUNKS).contains(&total) {
            return Ok(Step::Ignored("it is of no chunks, or of too many"));
        }
        if index >= total {
            return Ok(Step::Ignored("its number is not below their number"));
        }
        let too_large = Broken::TooLarge(self.most);
        // Four characters are three bytes.
        let at_least = (chunk.data.len() as u64 / 4).saturating_mul(3);
        if at_least.saturating_sub(2) > self.most {
            return Err(too_large);
        }
        let Ok(part) = STANDARD.decode(chunk.data.as_bytes()) else {
            return Ok(Step::Ignored("its data is not base64"));
        };
        if self.total.is_some_and(|known| known != total) {
            return Err(Broken::Contradiction);
        }
        if let Some(known) = self.parts.get(&index) {
            return if *known == part {
                Ok(Step::More)
            } else {
                Err(Broken::Contradiction)
            };
        }
        let bytes = self.bytes.saturating_add(part.len() as u64);
        if bytes > self.most {
            return Err(too_large);
        }
        self.total = Some(total);
        self.bytes = bytes;
        self.parts.insert(index, part);
        if (self.parts.len() as u64) < total {
            return Ok(Step::More);
        }
        let mut whole = Vec::with_capacity(usize::try_from(self.bytes).unwrap_or_default());
        for part in std::mem::take(&mut self.parts).into_values() {
            whole.extend(part);
        }
        Ok(Step::Whole(whole))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn message(index: u64, total: u64, data: &[u8]) -> String {
        let data = STANDARD.encode(data);
        json!({"app_name": "a", "chunk_idx": index, "total_chunks": total, "data": data})
            .to_string()
    }

    fn add(assembly: &mut Assembly, text: &str) -> Result<Step, Broken> {
        assembly.add(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn chunks_come_in_any_order_and_any_number_of_times() {
        let mut assembly = Assembly::new(100);
        for (index, data) in [(2, "c"), (0, "a"), (2, "c"), (0, "a")] {
            let step = add(&mut assembly, &message(index, 3, data.as_bytes()));
            assert_eq!(step, Ok(Step::More));
        }
        let whole = add(&mut assembly, &message(1, 3, b"b"));
        assert_eq!(whole, Ok(Step::Whole(b"abc".to_vec())));
    }

    #[test]
    fn what_is_out_of_range_changes_nothing() {
        let mut assembly = Assembly::new(100);
        for (index, total) in [
            (0, 0),
            (1, 1),
            (3, 3),
            (u64::MAX, 3),
            (0, MAX_CHUNKS + 1),
            (0, u64::MAX),
        ] {
            let step = add(&mut assembly, &message(index, total, b"x")).unwrap();
            assert!(matches!(step, Step::Ignored(_)), "{index} of {total}");
        }
        let bad = r#"{"app_name":"a","chunk_idx":0,"total_chunks":1,"data":"%%"}"#;
        let step = add(&mut assembly, bad).unwrap();
        assert!(matches!(step, Step::Ignored(_)));
        let whole = add(&mut assembly, &message(0, 1, b"a"));
        assert_eq!(whole, Ok(Step::Whole(b"a".to_vec())));
    }

    #[test]
    fn two_senders_never_make_one_component() {
        for second in [message(0, 2, b"b"), message(1, 3, b"a")] {
            let mut assembly = Assembly::new(100);
            add(&mut assembly, &message(0, 2, b"a")).unwrap();
            assert_eq!(add(&mut assembly, &second), Err(Broken::Contradiction));
        }
    }

    #[test]
    fn size_is_bounded_in_all_and_in_one() {
        let mut assembly = Assembly::new(10);
        add(&mut assembly, &message(0, 2, &[0; 6])).unwrap();
        let broken = add(&mut assembly, &message(1, 2, &[0; 5]));
        assert_eq!(broken, Err(Broken::TooLarge(10)));
        let mut assembly = Assembly::new(10);
        let broken = add(&mut assembly, &message(0, 1, &[0; 1000]));
        assert_eq!(broken, Err(Broken::TooLarge(10)));
        let mut assembly = Assembly::new(10);
        let fits = add(&mut assembly, &message(0, 1, &[0; 10]));
        assert_eq!(fits, Ok(Step::Whole(vec![0; 10])));
    }

    proptest! {
        #[test]
        fn any_order_gives_the_same_component(
            bytes in proptest::collection::vec(any::<u8>(), 1..200),
            size in 1_usize..50,
            order in any::<u64>(),
        ) {
            let mut parts: Vec<_> = bytes.chunks(size).enumerate().collect();
            let total = parts.len() as u64;
            let turn = usize::try_from(order % total).unwrap();
            parts.rotate_left(turn);
            let mut assembly = Assembly::new(200);
            let mut whole = None;
            for (index, part) in parts {
                match add(&mut assembly, &message(index as u64, total, part)) {
                    Ok(Step::Whole(bytes)) => whole = Some(bytes),
                    other => prop_assert_eq!(other, Ok(Step::More)),
                }
            }
            prop_assert_eq!(whole, Some(bytes));
        }
    }
}
