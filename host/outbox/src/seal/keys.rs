//! The keys of one store, and texts under them.
//!
//! A sealed text:
//!
//! | bytes | |
//! | --- | --- |
//! | 1 | 1: sealed, in this form |
//! | 16 | salt of the commit's key |
//! | 12 | nonce |
//! | n | what is sealed |
//! | 16 | tag |
//!
//! Associated data: version (1), kind (0 entry, 1 head), the store's id (16 bytes), number (8 bytes, little endian).
//! Keys are expanded with their use, which ends in a zero byte, the store's id and, those of texts, the salt.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::Prk,
    hmac::{HMAC_SHA256, Key, Tag, sign, verify},
    rand::{SecureRandom as _, SystemRandom},
};
use zeroize::Zeroizing;

use super::{
    breach::{Breach, SealError},
    root::SealingRoot,
};
use crate::database::TaskDigest;

/// Ahead of a sealed text.
pub(crate) const SEALED: u8 = 1;
/// Of this form of header and texts.
const VERSION: u8 = 1;
const ID_BYTES: usize = 16;
const SALT_BYTES: usize = 16;
/// Version, id, and the MAC of both.
const HEADER_BYTES: usize = 1 + ID_BYTES + 32;

const TEXTS: &[u8] = b"proplet outbox: texts\0";
const HEADERS: &[u8] = b"proplet outbox: header\0";
const NAMES: &[u8] = b"proplet outbox: names of ids\0";
const TICKETS: &[u8] = b"proplet outbox: tickets of ids\0";

/// Names a store. It is random.
pub(super) type StoreId = [u8; ID_BYTES];

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Entry,
    Head,
}

/// The keys of one store.
pub(super) struct Keys {
    root: Prk,
    id: StoreId,
    names: Key,
    tickets: Key,
    random: SystemRandom,
}

/// The key of one commit.
pub(super) struct Pen {
    key: LessSafeKey,
    salt: [u8; SALT_BYTES],
}

impl Keys {
    /// Those of a new store.
    pub(super) fn new(root: &SealingRoot) -> Result<Self, SealError> {
        let mut id = [0; ID_BYTES];
        let random = SystemRandom::new();
        random.fill(&mut id).map_err(|_| SealError::Random)?;
        Self::of(root, id).ok_or(SealError::Cipher)
    }

    /// Those of the store with this header.
    pub(super) fn of_header(root: &SealingRoot, header: &[u8]) -> Result<Self, Breach> {
        let (head, tag) = header
            .split_at_checked(1 + ID_BYTES)
            .filter(|_| header.len() == HEADER_BYTES)
            .ok_or(Breach::OtherRoot)?;
        let (version, id) = head.split_first().ok_or(Breach::OtherRoot)?;
        let id = StoreId::try_from(id).map_err(|_| Breach::OtherRoot)?;
        let keys = Self::of(root, id).ok_or(Breach::OtherRoot)?;
        let key = keys.mac_key(HEADERS).ok_or(Breach::OtherRoot)?;
        if *version != VERSION || verify(&key, head, tag).is_err() {
            return Err(Breach::OtherRoot);
        }
        Ok(keys)
    }

    fn of(root: &SealingRoot, id: StoreId) -> Option<Self> {
        let root = root.extracted();
        let names = mac_key(&root, &id, NAMES)?;
        let tickets = mac_key(&root, &id, TICKETS)?;
        Some(Self {
            root,
            id,
            names,
            tickets,
            random: SystemRandom::new(),
        })
    }

    fn mac_key(&self, used_for: &[u8]) -> Option<Key> {
        mac_key(&self.root, &self.id, used_for)
    }

    pub(super) fn id(&self) -> StoreId {
        self.id
    }

    /// What lies in the store in clear.
    pub(super) fn header(&self) -> Result<Vec<u8>, SealError> {
        let key = self.mac_key(HEADERS).ok_or(SealError::Cipher)?;
        let head = [&[VERSION], self.id.as_slice()].concat();
        let tag = sign(&key, &head);
        Ok([head.as_slice(), tag.as_ref()].concat())
    }

    /// Under which name an id that must not run again lies there.
    pub(super) fn name(&self, task: &TaskDigest) -> TaskDigest {
        first_bytes(&sign(&self.names, task))
    }

    /// The ticket of such a name.
    pub(super) fn ticket_of(&self, name: &TaskDigest) -> u128 {
        u128::from_le_bytes(first_bytes(&sign(&self.tickets, name)))
    }

    /// A ticket for an entry.
    pub(super) fn ticket(&self) -> Result<u128, SealError> {
        self.random_bytes().map(u128::from_le_bytes)
    }

    /// The key of a new commit.
    pub(super) fn pen(&self) -> Result<Pen, SealError> {
        let salt = self.random_bytes()?;
        self.pen_of(salt).ok_or(SealError::Cipher)
    }

    fn pen_of(&self, salt: [u8; SALT_BYTES]) -> Option<Pen> {
        let info = [TEXTS, &self.id, &salt];
        let key = UnboundKey::from(self.root.expand(&info, &AES_256_GCM).ok()?);
        Some(Pen {
            key: LessSafeKey::new(key),
            salt,
        })
    }

    /// Seals a text, given in parts.
    pub(super) fn seal(
        &self,
        pen: &Pen,
        (kind, number): (Kind, u64),
        parts: &[&[u8]],
    ) -> Result<Vec<u8>, SealError> {
        let nonce: [u8; NONCE_LEN] = self.random_bytes()?;
        let front = [&[SEALED], pen.salt.as_slice(), &nonce].concat();
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut sealed = Vec::with_capacity(front.len() + length + AES_256_GCM.tag_len());
        sealed.extend(&front);
        for part in parts {
            sealed.extend(*part);
        }
        let (_, text) = sealed
            .split_at_mut_checked(front.len())
            .ok_or(SealError::Cipher)?;
        let tag = pen
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                self.bound_to(kind, number),
                text,
            )
            .map_err(|_| SealError::Cipher)?;
        sealed.extend(tag.as_ref());
        Ok(sealed)
    }

    /// Opens a sealed text.
    pub(super) fn open(
        &self,
        (kind, number): (Kind, u64),
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Breach> {
        let opened = || {
            let (form, rest) = sealed.split_first()?;
            let (salt, rest) = rest.split_at_checked(SALT_BYTES)?;
            let (nonce, text) = rest.split_at_checked(NONCE_LEN)?;
            let pen = self.pen_of(salt.try_into().ok()?)?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut text = Zeroizing::new(text.to_vec());
            let bound_to = self.bound_to(kind, number);
            let length = pen
                .key
                .open_in_place(nonce, bound_to, &mut text)
                .ok()?
                .len();
            text.truncate(length);
            (*form == SEALED).then_some(text)
        };
        opened().ok_or(Breach::Altered)
    }

    fn bound_to(&self, kind: Kind, number: u64) -> Aad<[u8; 2 + ID_BYTES + 8]> {
        let kind = match kind {
            Kind::Entry => 0,
            Kind::Head => 1,
        };
        let mut all = [0; 2 + ID_BYTES + 8];
        let parts = [&[VERSION, kind], self.id.as_slice(), &number.to_le_bytes()].concat();
        for (to, from) in all.iter_mut().zip(parts) {
            *to = from;
        }
        Aad::from(all)
    }

    fn random_bytes<const N: usize>(&self) -> Result<[u8; N], SealError> {
        let mut bytes = [0; N];
        let filled = self.random.fill(&mut bytes);
        filled.map(|()| bytes).map_err(|_| SealError::Random)
    }
}

fn mac_key(root: &Prk, id: &StoreId, used_for: &[u8]) -> Option<Key> {
    root.expand(&[used_for, id], HMAC_SHA256)
        .ok()
        .map(Key::from)
}

/// The first bytes of a MAC, which has 32.
fn first_bytes<const N: usize>(tag: &Tag) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn root(byte: u8) -> SealingRoot {
        SealingRoot::new(&[byte; 32]).unwrap()
    }

    fn keys() -> Keys {
        Keys::new(&root(1)).unwrap()
    }

    #[test]
    fn a_header_is_of_its_root() {
        let keys = keys();
        let header = keys.header().unwrap();
        assert_eq!(header.len(), HEADER_BYTES);
        let same = Keys::of_header(&root(1), &header).unwrap();
        let pen = keys.pen().unwrap();
        let sealed = keys.seal(&pen, (Kind::Entry, 1), &[b"text"]).unwrap();
        assert_eq!(*same.open((Kind::Entry, 1), &sealed).unwrap(), b"text");
        assert_eq!(same.name(&[1; 32]), keys.name(&[1; 32]));
        let other = Keys::of_header(&root(2), &header).err();
        assert_eq!(other, Some(Breach::OtherRoot));
        for length in [0, 1, HEADER_BYTES - 1] {
            let short = Keys::of_header(&root(1), &header[..length]).err();
            assert_eq!(short, Some(Breach::OtherRoot), "{length}");
        }
        for at in 0..HEADER_BYTES {
            let mut changed = header.clone();
            changed[at] ^= 1;
            let changed = Keys::of_header(&root(1), &changed).err();
            assert_eq!(changed, Some(Breach::OtherRoot), "{at}");
        }
        let longer = [header.as_slice(), &[0]].concat();
        assert!(Keys::of_header(&root(1), &longer).is_err());
    }

    #[test]
    fn a_text_opens_where_it_was_sealed_for_and_nowhere_else() {
        let keys = keys();
        let pen = keys.pen().unwrap();
        let sealed = keys
            .seal(&pen, (Kind::Entry, 5), &[b"in ", b"parts"])
            .unwrap();
        let opened = |keys: &Keys, kind, number| keys.open((kind, number), &sealed);
        assert_eq!(*opened(&keys, Kind::Entry, 5).unwrap(), b"in parts");
        for (kind, number) in [(Kind::Entry, 6), (Kind::Head, 5), (Kind::Entry, u64::MAX)] {
            assert_eq!(opened(&keys, kind, number).unwrap_err(), Breach::Altered);
        }
        // Another store of the same root, and another root.
        for other in [Keys::new(&root(1)), Keys::new(&root(2))] {
            let other = opened(&other.unwrap(), Kind::Entry, 5);
            assert_eq!(other.unwrap_err(), Breach::Altered);
        }
    }

    #[test]
    fn nothing_is_sealed_the_same_twice() {
        let keys = keys();
        let pen = keys.pen().unwrap();
        let seal = |pen: &Pen| keys.seal(pen, (Kind::Entry, 5), &[b"text"]).unwrap();
        let (first, second, third) = (seal(&pen), seal(&pen), seal(&keys.pen().unwrap()));
        // One commit has one salt, and each text a nonce of its own.
        let salt = |sealed: &[u8]| sealed[1..=SALT_BYTES].to_vec();
        assert_eq!(salt(&first), salt(&second));
        assert_ne!(salt(&first), salt(&third));
        let nonce = |sealed: &[u8]| sealed[1 + SALT_BYTES..][..NONCE_LEN].to_vec();
        assert_ne!(nonce(&first), nonce(&second));
        assert_ne!(keys.ticket(), keys.ticket());
    }

    #[test]
    fn names_of_ids_are_the_stores_own() {
        let (keys, other) = (keys(), keys());
        let task = [9; 32];
        assert_ne!(keys.name(&task), task);
        assert_ne!(keys.name(&task), other.name(&task));
        assert_ne!(keys.name(&task), keys.name(&[8; 32]));
        let name = keys.name(&task);
        assert_ne!(keys.ticket_of(&name), other.ticket_of(&name));
        // Who sees a name does not have its ticket.
        assert_ne!(keys.ticket_of(&name).to_le_bytes(), name[..16]);
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened_and_any_change_is_noticed(
            text in proptest::collection::vec(any::<u8>(), 0..200),
            number in any::<u64>(),
            at in any::<proptest::sample::Index>(),
            bit in 0_u8..8,
            cut in any::<proptest::sample::Index>(),
        ) {
            let keys = keys();
            let pen = keys.pen().unwrap();
            let place = (Kind::Entry, number);
            let sealed = keys.seal(&pen, place, &[&text]).unwrap();
            prop_assert_eq!(sealed.len(), 1 + SALT_BYTES + NONCE_LEN + text.len() + 16);
            prop_assert_eq!(&*keys.open(place, &sealed).unwrap(), &text);
            let mut changed = sealed.clone();
            changed[at.index(sealed.len())] ^= 1 << bit;
            prop_assert_eq!(keys.open(place, &changed).unwrap_err(), Breach::Altered);
            let cut = &sealed[..cut.index(sealed.len())];
            prop_assert_eq!(keys.open(place, cut).unwrap_err(), Breach::Altered);
        }

        #[test]
        fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let keys = keys();
            prop_assert_eq!(keys.open((Kind::Entry, 1), &bytes).unwrap_err(), Breach::Altered);
            prop_assert!(Keys::of_header(&root(1), &bytes).is_err());
        }
    }
}
