//! Reading.

use std::collections::HashSet;

use wasmtime::component::types::Type;
use wasmtime::component::wasm_wave::lex::{Keyword, Token};
use wasmtime::component::{Val, wasm_wave};

use super::failed::Failed;
use super::shape::{Node, Record, Shape};
use super::tokens::Tokens;
use crate::allowance::Allowance;

/// Bytes that the allocator takes beside what it is asked for, at most.
const OVERHEAD: usize = 32;

/// The value of type `ty` that the text says.
///
/// # Errors
/// [`Failed::Invalid`] with what is wrong and where; [`Failed::Passed`] when the task has to end.
pub(crate) fn read(ty: &Type, text: &str, allowance: &mut Allowance<'_>) -> Result<Val, Failed> {
    let node = Node::new(ty.clone());
    let mut reader = Reader {
        tokens: Tokens::new(text, allowance),
    };
    let value = reader.value(&node)?;
    match reader.tokens.peek()? {
        None => Ok(value),
        Some(found) => Err(reader.tokens.unexpected(&found, "the end")),
    }
}

/// Reads values from tokens.
struct Reader<'t, 'a, 'b> {
    tokens: Tokens<'t, 'a, 'b>,
}

impl Reader<'_, '_, '_> {
    fn value(&mut self, node: &Node) -> Result<Val, Failed> {
        self.tokens.allowance.work(1)?;
        match node.shape(self.tokens.allowance)? {
            Shape::Leaf => self.leaf(&node.ty),
            Shape::List(element) => self.list(element),
            Shape::Record(record) => self.record(record),
            Shape::Tuple(elements) => self.tuple(elements),
            Shape::Variant(cases) => {
                let case = self.tokens.case()?;
                let Some(payload) = cases.get(case.text) else {
                    return Err(case.invalid("no case"));
                };
                let payload = self.payload(case.text, payload.as_ref())?;
                Ok(Val::Variant(self.name(case.text)?, payload))
            }
            Shape::Enum(names) => {
                let case = self.tokens.case()?;
                if !names.contains(case.text) {
                    return Err(case.invalid("no case"));
                }
                Ok(Val::Enum(self.name(case.text)?))
            }
            Shape::Option(some) => match self.tokens.keyword()? {
                Some(Keyword::Some) => {
                    self.tokens.take()?;
                    Ok(Val::Option(self.payload("some", Some(some))?))
                }
                Some(Keyword::None) => {
                    self.tokens.take()?;
                    Ok(Val::Option(None))
                }
                _ if some.is_flattenable() => Ok(Val::Option(Some(self.boxed(some)?))),
                _ => Err(self.tokens.expected("`some(…)` or `none`")),
            },
            Shape::Result { ok, err } => match self.tokens.keyword()? {
                Some(Keyword::Ok) => {
                    self.tokens.take()?;
                    Ok(Val::Result(Ok(self.payload("ok", ok.as_ref())?)))
                }
                Some(Keyword::Err) => {
                    self.tokens.take()?;
                    Ok(Val::Result(Err(self.payload("err", err.as_ref())?)))
                }
                _ => match ok {
                    Some(ok) if ok.is_flattenable() => Ok(Val::Result(Ok(Some(self.boxed(ok)?)))),
                    _ => Err(self.tokens.expected("`ok` or `err`")),
                },
            },
            Shape::Flags(names) => self.flags(names),
            Shape::Unsupported => Err(self
                .tokens
                .invalid("a type that text cannot carry".to_owned())),
        }
    }

    fn leaf(&mut self, ty: &Type) -> Result<Val, Failed> {
        let found = self.tokens.take()?;
        if matches!(ty, Type::String) {
            // The parts between escapes are collected before they are joined.
            self.tokens
                .allowance
                .allocate(found.text.len() * 2 + OVERHEAD)?;
        }
        let value = wasm_wave::from_str::<Val>(ty, found.text);
        // A leaf is one token; what else the library would read from one is not of these types.
        value.map_err(|error| self.tokens.invalid(error.to_string()))
    }

    fn list(&mut self, element: &Node) -> Result<Val, Failed> {
        self.tokens.expect(Token::BracketOpen, "`[`")?;
        let mut values = Vec::new();
        while !self.tokens.closes(Token::BracketClose, values.is_empty())? {
            // Twice, because a vector that grows is there twice for a moment.
            self.tokens.allowance.allocate(2 * size_of::<Val>())?;
            values.push(self.value(element)?);
        }
        Ok(Val::List(values))
    }

    fn tuple(&mut self, elements: &[Node]) -> Result<Val, Failed> {
        self.tokens.expect(Token::ParenOpen, "`(`")?;
        let mut values = Vec::new();
        let mut types = elements.iter();
        while !self.tokens.closes(Token::ParenClose, values.is_empty())? {
            let Some(element) = types.next() else {
                return Err(self
                    .tokens
                    .invalid(format!("more than {} elements", elements.len())));
            };
            self.tokens.allowance.allocate(2 * size_of::<Val>())?;
            values.push(self.value(element)?);
        }
        if values.len() < elements.len() {
            return Err(self.tokens.invalid(format!(
                "{} elements of {}",
                values.len(),
                elements.len()
            )));
        }
        Ok(Val::Tuple(values))
    }

    fn record(&mut self, record: &Record) -> Result<Val, Failed> {
        self.tokens.allowance.work(record.fields.len())?;
        self.tokens.allowance.allocate(record.bytes)?;
        let mut values: Vec<Option<Val>> = Vec::new();
        values.resize_with(record.fields.len(), || None);
        self.tokens.expect(Token::BraceOpen, "`{`")?;
        if self
            .tokens
            .peek()?
            .is_some_and(|found| found.token == Token::Colon)
        {
            self.tokens.take()?;
            self.tokens.expect(Token::BraceClose, "`}`")?;
        } else {
            loop {
                let field = self.tokens.label("a field's name")?;
                self.tokens.expect(Token::Colon, "`:`")?;
                let index = record.index.get(field.text).copied();
                let Some(((_, node), place)) =
                    index.and_then(|index| record.fields.get(index).zip(values.get_mut(index)))
                else {
                    return Err(field.invalid("no field"));
                };
                if place.is_some() {
                    return Err(field.invalid("a second field"));
                }
                *place = Some(self.value(node)?);
                if self.tokens.ends_braces()? {
                    break;
                }
            }
        }
        let mut fields = Vec::with_capacity(values.len());
        for ((name, node), value) in record.fields.iter().zip(values) {
            let value = match (value, &node.ty) {
                (Some(value), _) => value,
                (None, Type::Option(_)) => Val::Option(None),
                (None, _) => return Err(self.tokens.invalid(format!("field `{name}` is missing"))),
            };
            fields.push((name.clone(), value));
        }
        Ok(Val::Record(fields))
    }

    fn flags(&mut self, names: &HashSet<String>) -> Result<Val, Failed> {
        self.tokens.expect(Token::BraceOpen, "`{`")?;
        let mut flags = Vec::new();
        let mut seen = HashSet::new();
        if self
            .tokens
            .peek()?
            .is_some_and(|found| found.token == Token::BraceClose)
        {
            self.tokens.take()?;
            return Ok(Val::Flags(flags));
        }
        loop {
            let flag = self.tokens.label("a flag's name")?;
            let Some(known) = names.get(flag.text) else {
                return Err(flag.invalid("no flag"));
            };
            if !seen.insert(known) {
                return Err(flag.invalid("a second flag"));
            }
            self.tokens.allowance.allocate(4 * size_of::<&String>())?;
            flags.push(self.name(flag.text)?);
            if self.tokens.ends_braces()? {
                return Ok(Val::Flags(flags));
            }
        }
    }

    /// What follows the name of a case, in parentheses.
    fn payload(&mut self, case: &str, payload: Option<&Node>) -> Result<Option<Box<Val>>, Failed> {
        let open = self
            .tokens
            .peek()?
            .is_some_and(|found| found.token == Token::ParenOpen);
        match (payload, open) {
            (None, false) => Ok(None),
            (None, true) => Err(self.tokens.invalid(format!("`{case}` has no payload"))),
            (Some(_), false) => Err(self
                .tokens
                .invalid(format!("`{case}` has a payload, in parentheses"))),
            (Some(payload), true) => {
                self.tokens.take()?;
                let value = self.boxed(payload)?;
                self.tokens.expect(Token::ParenClose, "`)`")?;
                Ok(Some(value))
            }
        }
    }

    fn boxed(&mut self, node: &Node) -> Result<Box<Val>, Failed> {
        self.tokens
            .allowance
            .allocate(size_of::<Val>() + OVERHEAD)?;
        Ok(Box::new(self.value(node)?))
    }

    fn name(&mut self, name: &str) -> Result<String, Failed> {
        self.tokens
            .allowance
            .allocate(2 * size_of::<String>() + name.len() + OVERHEAD)?;
        Ok(name.to_owned())
    }
}
