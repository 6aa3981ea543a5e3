//! A table that is read name by name, and in which nothing may be left over.

use std::collections::BTreeSet;
use std::fmt;

use toml::{Table, Value};

use super::error::ReferenceValuesError;
use super::nearest::nearest;

/// What is still to be read of a table, and the names that were asked for.
pub(super) struct Reader {
    path: String,
    rest: Table,
    known: Vec<&'static str>,
}

impl Reader {
    pub(super) fn new(path: String, table: Table) -> Self {
        Self {
            path,
            rest: table,
            known: Vec::new(),
        }
    }

    fn take(&mut self, name: &'static str) -> Option<(String, Value)> {
        self.known.push(name);
        let value = self.rest.remove(name)?;
        Some((self.path_of(name), value))
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// A table within this one.
    pub(super) fn table<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Self) -> Result<T, ReferenceValuesError>,
    ) -> Result<Option<T>, ReferenceValuesError> {
        match self.take(name) {
            None => Ok(None),
            Some((path, Value::Table(table))) => read(Self::new(path, table)).map(Some),
            Some((path, _)) => Err(wrong(&path, format!("write a table [{path}]"))),
        }
    }

    /// A list of tables; none when it is absent.
    pub(super) fn tables<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(Self) -> Result<T, ReferenceValuesError>,
    ) -> Result<Vec<T>, ReferenceValuesError> {
        let (path, values) = match self.take(name) {
            None => return Ok(Vec::new()),
            Some((path, Value::Array(values))) if !values.is_empty() => (path, values),
            Some((path, _)) => return Err(wrong(&path, format!("write tables [[{path}]]"))),
        };
        let tables = values.into_iter().enumerate();
        let tables = tables.map(|(at, value)| match value {
            Value::Table(table) => read(Self::new(format!("{path}[{at}]"), table)),
            _ => Err(wrong(&path, format!("write tables [[{path}]]"))),
        });
        tables.collect()
    }

    /// A list of texts, each of which stands for one thing. `None` when it is absent.
    pub(super) fn list<T: Ord, E: fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<BTreeSet<T>>, ReferenceValuesError> {
        let (path, values) = match self.take(name) {
            None => return Ok(None),
            Some((path, Value::Array(values))) => (path, values),
            Some((path, _)) => return Err(wrong(&path, "write a list of texts")),
        };
        if values.is_empty() {
            return Err(wrong(
                &path,
                "the list is empty: leave it out, or say what is accepted",
            ));
        }
        let mut list = BTreeSet::new();
        for (at, value) in values.iter().enumerate() {
            let path = format!("{path}[{at}]");
            let text = value.as_str().ok_or_else(|| wrong(&path, "write a text"))?;
            let parsed = parse(text).map_err(|error| wrong(&path, error))?;
            if !list.insert(parsed) {
                return Err(wrong(&path, "it is in the list twice"));
            }
        }
        Ok(Some(list))
    }

    /// A text that stands for something.
    pub(super) fn text<T, E: fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ReferenceValuesError> {
        match self.take(name) {
            None => Ok(None),
            Some((path, Value::String(text))) => {
                parse(&text).map(Some).map_err(|error| wrong(&path, error))
            }
            Some((path, _)) => Err(wrong(&path, "write a text")),
        }
    }

    /// A whole number of one byte.
    pub(super) fn byte(&mut self, name: &'static str) -> Result<Option<u8>, ReferenceValuesError> {
        let Some((path, value)) = self.take(name) else {
            return Ok(None);
        };
        let byte = value.as_integer().and_then(|number| number.try_into().ok());
        byte.map(Some)
            .ok_or_else(|| wrong(&path, "write a whole number from 0 to 255"))
    }

    /// True or false; false when it is absent.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, ReferenceValuesError> {
        match self.take(name) {
            None => Ok(false),
            Some((_, Value::Boolean(value))) => Ok(value),
            Some((path, _)) => Err(wrong(&path, "write true or false")),
        }
    }

    /// The error about the table itself.
    pub(super) fn unusable(&self, reason: &str) -> ReferenceValuesError {
        wrong(&self.path, reason)
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self) -> Result<(), ReferenceValuesError> {
        match self.rest.keys().next() {
            None => Ok(()),
            Some(name) => Err(ReferenceValuesError::unknown(
                &self.path_of(name),
                nearest(name, &self.known),
            )),
        }
    }
}

fn wrong(path: &str, reason: impl fmt::Display) -> ReferenceValuesError {
    ReferenceValuesError::value(path, reason)
}

/// As many bytes as there have to be, in hexadecimal, and not all zeros: those stand for "not set".
pub(super) fn bytes<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let refusal = || format!("write {N} bytes in hexadecimal, not all of them zero");
    let bytes = hex::decode(text).map_err(|_| refusal())?;
    let bytes: [u8; N] = bytes.try_into().map_err(|_| refusal())?;
    if bytes == [0; N] {
        return Err(refusal());
    }
    Ok(bytes)
}

/// A list as it is written.
pub(super) fn texts<T>(list: impl IntoIterator<Item = T>, text: impl Fn(T) -> String) -> Value {
    let texts = list.into_iter().map(|item| Value::String(text(item)));
    Value::Array(texts.collect())
}

/// A list of bytes as it is written.
pub(super) fn put_bytes<const N: usize>(
    table: &mut Table,
    name: &str,
    list: Option<&BTreeSet<[u8; N]>>,
) {
    if let Some(list) = list {
        table.insert(name.to_owned(), texts(list, hex::encode));
    }
}
