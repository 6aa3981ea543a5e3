//! Tables that are read whole, and found to be searchable.
//!
//! redb's checksums tell what failed from what was written, and not by whom: whoever has the disk can compute them. And
//! redb searches a table along its order without ever looking whether that holds. So a file can be made in which each
//! record is there when all are read, and the sum over them is right, while a search for one of them ends elsewhere: it
//! would not be found, not be replaced and not be removed. Hence each record that is read has to be behind the one before
//! it, and has to be what a search for its key ends at.

use redb::{Key, ReadableTable, Value};

use crate::trouble::Trouble;

/// Gives each record of a table, in order, as long as the order holds.
pub(super) fn each<K: Key + 'static, V: Value + 'static>(
    table: &impl ReadableTable<K, V>,
    mut with: impl for<'a> FnMut(K::SelfType<'a>, V::SelfType<'a>) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let mut last: Option<Vec<u8>> = None;
    for item in table.iter()? {
        let (key, value) = item?;
        let bytes = K::as_bytes(&key.value()).as_ref().to_vec();
        let is_behind = last
            .as_deref()
            .is_none_or(|last| K::compare(last, &bytes).is_lt());
        let found = table.get(key.value())?;
        let is_found = found.is_some_and(|found| {
            V::as_bytes(&found.value()).as_ref() == V::as_bytes(&value.value()).as_ref()
        });
        if !is_behind || !is_found {
            return Err(Trouble::damaged(
                &"a table in it is out of order, so that searches miss what is there",
            ));
        }
        with(key.value(), value.value())?;
        last = Some(bytes);
    }
    Ok(())
}
