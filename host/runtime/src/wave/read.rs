//! Reading.

use std::collections::HashSet;

use wasmtime::component::types::Type;
use wasmtime::component::wasm_wave::lex::{Keyword, Lexer, Token};
use wasmtime::component::{Val, wasm_wave};

use super::Failed;
use super::shape::{Node, Record, Shape};
use crate::allowance::Allowance;

/// Bytes that the allocator takes beside what it is asked for, at most.
const OVERHEAD: usize = 32;
/// Bytes of text that count as one step.
const STEP_BYTES: usize = 64;

/// The value of type `ty` that the text says.
///
/// # Errors
/// [`Failed::Invalid`] with what is wrong and where; [`Failed::Passed`] when the task has to end.
pub(crate) fn read(ty: &Type, text: &str, allowance: &mut Allowance<'_>) -> Result<Val, Failed> {
    let node = Node::new(ty.clone());
    let mut reader = Reader {
        lexer: Lexer::new(text),
        text,
        peeked: None,
        at: 0,
        allowance,
    };
    let value = reader.value(&node)?;
    match reader.peek()? {
        None => Ok(value),
        Some(found) => Err(reader.unexpected(&found, "the end")),
    }
}

/// A token and its text.
#[derive(Clone, Copy)]
struct Found<'t> {
    token: Token,
    text: &'t str,
    at: usize,
}

impl Found<'_> {
    fn invalid(&self, what: &str) -> Failed {
        Failed::Invalid(format!("{what} `{}`, at byte {}", self.text, self.at))
    }
}

struct Reader<'t, 'a, 'b> {
    lexer: Lexer<'t>,
    text: &'t str,
    /// A token that was looked at and not taken; none in it is the end of the text.
    peeked: Option<Option<Found<'t>>>,
    at: usize,
    allowance: &'a mut Allowance<'b>,
}

impl<'t> Reader<'t, '_, '_> {
    fn value(&mut self, node: &Node) -> Result<Val, Failed> {
        self.allowance.work(1)?;
        match node.shape(self.allowance)? {
            Shape::Leaf => self.leaf(&node.ty),
            Shape::List(element) => self.list(element),
            Shape::Record(record) => self.record(record),
            Shape::Tuple(elements) => self.tuple(elements),
            Shape::Variant(cases) => {
                let case = self.case()?;
                let Some(payload) = cases.get(case.text) else {
                    return Err(case.invalid("no case"));
                };
                let payload = self.payload(case.text, payload.as_ref())?;
                Ok(Val::Variant(self.name(case.text)?, payload))
            }
            Shape::Enum(names) => {
                let case = self.case()?;
                if !names.contains(case.text) {
                    return Err(case.invalid("no case"));
                }
                Ok(Val::Enum(self.name(case.text)?))
            }
            Shape::Option(some) => match self.keyword()? {
                Some(Keyword::Some) => {
                    self.take()?;
                    Ok(Val::Option(self.payload("some", Some(some))?))
                }
                Some(Keyword::None) => {
                    self.take()?;
                    Ok(Val::Option(None))
                }
                _ if some.is_flattenable() => Ok(Val::Option(Some(self.boxed(some)?))),
                _ => Err(self.expected("`some(…)` or `none`")),
            },
            Shape::Result { ok, err } => match self.keyword()? {
                Some(Keyword::Ok) => {
                    self.take()?;
                    Ok(Val::Result(Ok(self.payload("ok", ok.as_ref())?)))
                }
                Some(Keyword::Err) => {
                    self.take()?;
                    Ok(Val::Result(Err(self.payload("err", err.as_ref())?)))
                }
                _ => match ok {
                    Some(ok) if ok.is_flattenable() => Ok(Val::Result(Ok(Some(self.boxed(ok)?)))),
                    _ => Err(self.expected("`ok` or `err`")),
                },
            },
            Shape::Flags(names) => self.flags(names),
            Shape::Unsupported => Err(self.invalid("a type that text cannot carry".to_owned())),
        }
    }

    fn leaf(&mut self, ty: &Type) -> Result<Val, Failed> {
        let found = self.take()?;
        if matches!(ty, Type::String) {
            // The parts between escapes are collected before they are joined.
            self.allowance.allocate(found.text.len() * 2 + OVERHEAD)?;
        }
        let value = wasm_wave::from_str::<Val>(ty, found.text);
        // A leaf is one token; what else the library would read from one is not of these types.
        value.map_err(|error| self.invalid(error.to_string()))
    }

    fn list(&mut self, element: &Node) -> Result<Val, Failed> {
        self.expect(Token::BracketOpen, "`[`")?;
        let mut values = Vec::new();
        while !self.closes(Token::BracketClose, values.is_empty())? {
            // Twice, because a vector that grows is there twice for a moment.
            self.allowance.allocate(2 * size_of::<Val>())?;
            values.push(self.value(element)?);
        }
        Ok(Val::List(values))
    }

    fn tuple(&mut self, elements: &[Node]) -> Result<Val, Failed> {
        self.expect(Token::ParenOpen, "`(`")?;
        let mut values = Vec::new();
        let mut types = elements.iter();
        while !self.closes(Token::ParenClose, values.is_empty())? {
            let Some(element) = types.next() else {
                return Err(self.invalid(format!("more than {} elements", elements.len())));
            };
            self.allowance.allocate(2 * size_of::<Val>())?;
            values.push(self.value(element)?);
        }
        if values.len() < elements.len() {
            return Err(self.invalid(format!("{} elements of {}", values.len(), elements.len())));
        }
        Ok(Val::Tuple(values))
    }

    /// Whether the list ends here, between its elements.
    fn closes(&mut self, close: Token, first: bool) -> Result<bool, Failed> {
        if !first {
            let found = self.take()?;
            if found.token == close {
                return Ok(true);
            }
            if found.token != Token::Comma {
                return Err(self.unexpected(&found, "a comma or the end of the list"));
            }
        }
        if self.peek()?.is_some_and(|found| found.token == close) {
            self.take()?;
            return Ok(true);
        }
        Ok(false)
    }

    fn record(&mut self, record: &Record) -> Result<Val, Failed> {
        self.allowance.work(record.fields.len())?;
        self.allowance.allocate(record.bytes)?;
        let mut values: Vec<Option<Val>> = Vec::new();
        values.resize_with(record.fields.len(), || None);
        self.expect(Token::BraceOpen, "`{`")?;
        if self
            .peek()?
            .is_some_and(|found| found.token == Token::Colon)
        {
            self.take()?;
            self.expect(Token::BraceClose, "`}`")?;
        } else {
            loop {
                let field = self.label("a field's name")?;
                self.expect(Token::Colon, "`:`")?;
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
                if self.ends_braces()? {
                    break;
                }
            }
        }
        let mut fields = Vec::with_capacity(values.len());
        for ((name, node), value) in record.fields.iter().zip(values) {
            let value = match (value, &node.ty) {
                (Some(value), _) => value,
                (None, Type::Option(_)) => Val::Option(None),
                (None, _) => return Err(self.invalid(format!("field `{name}` is missing"))),
            };
            fields.push((name.clone(), value));
        }
        Ok(Val::Record(fields))
    }

    fn flags(&mut self, names: &HashSet<String>) -> Result<Val, Failed> {
        self.expect(Token::BraceOpen, "`{`")?;
        let mut flags = Vec::new();
        let mut seen = HashSet::new();
        if self
            .peek()?
            .is_some_and(|found| found.token == Token::BraceClose)
        {
            self.take()?;
            return Ok(Val::Flags(flags));
        }
        loop {
            let flag = self.label("a flag's name")?;
            let Some(known) = names.get(flag.text) else {
                return Err(flag.invalid("no flag"));
            };
            if !seen.insert(known) {
                return Err(flag.invalid("a second flag"));
            }
            self.allowance.allocate(4 * size_of::<&String>())?;
            flags.push(self.name(flag.text)?);
            if self.ends_braces()? {
                return Ok(Val::Flags(flags));
            }
        }
    }

    /// Whether a record or flags end here. A comma between their parts may be left out.
    fn ends_braces(&mut self) -> Result<bool, Failed> {
        if self
            .peek()?
            .is_some_and(|found| found.token == Token::Comma)
        {
            self.take()?;
        }
        match self.peek()? {
            Some(found) if found.token == Token::BraceClose => {
                self.take()?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The name of a case. A word that means something by itself is one only after `%`.
    fn case(&mut self) -> Result<Found<'t>, Failed> {
        if self.keyword()?.is_some() {
            return Err(self.expected("the name of a case (a keyword needs a `%` before it)"));
        }
        self.label("the name of a case")
    }

    fn label(&mut self, what: &str) -> Result<Found<'t>, Failed> {
        let found = self.take()?;
        if found.token != Token::LabelOrKeyword {
            return Err(self.unexpected(&found, what));
        }
        Ok(Found {
            text: found.text.strip_prefix('%').unwrap_or(found.text),
            ..found
        })
    }

    /// What follows the name of a case, in parentheses.
    fn payload(&mut self, case: &str, payload: Option<&Node>) -> Result<Option<Box<Val>>, Failed> {
        let open = self
            .peek()?
            .is_some_and(|found| found.token == Token::ParenOpen);
        match (payload, open) {
            (None, false) => Ok(None),
            (None, true) => Err(self.invalid(format!("`{case}` has no payload"))),
            (Some(_), false) => {
                Err(self.invalid(format!("`{case}` has a payload, in parentheses")))
            }
            (Some(payload), true) => {
                self.take()?;
                let value = self.boxed(payload)?;
                self.expect(Token::ParenClose, "`)`")?;
                Ok(Some(value))
            }
        }
    }

    fn boxed(&mut self, node: &Node) -> Result<Box<Val>, Failed> {
        self.allowance.allocate(size_of::<Val>() + OVERHEAD)?;
        Ok(Box::new(self.value(node)?))
    }

    fn name(&mut self, name: &str) -> Result<String, Failed> {
        self.allowance
            .allocate(2 * size_of::<String>() + name.len() + OVERHEAD)?;
        Ok(name.to_owned())
    }

    /// The keyword that comes next; it stays.
    fn keyword(&mut self) -> Result<Option<Keyword>, Failed> {
        Ok(self
            .peek()?
            .filter(|found| found.token == Token::LabelOrKeyword)
            .and_then(|found| Keyword::decode(found.text)))
    }

    fn expect(&mut self, token: Token, what: &str) -> Result<(), Failed> {
        let found = self.take()?;
        if found.token == token {
            Ok(())
        } else {
            Err(self.unexpected(&found, what))
        }
    }

    fn take(&mut self) -> Result<Found<'t>, Failed> {
        let found = self.peek()?;
        self.peeked = None;
        found.ok_or_else(|| self.invalid("the text ends too early".to_owned()))
    }

    fn peek(&mut self) -> Result<Option<Found<'t>>, Failed> {
        if let Some(found) = self.peeked {
            return Ok(found);
        }
        let token = self.lexer.next();
        let span = self.lexer.span();
        self.allowance
            .work(span.end.saturating_sub(self.at) / STEP_BYTES + 1)?;
        self.at = span.start;
        let found = match token {
            None => None,
            Some(Ok(token)) => Some(Found {
                token,
                text: self.text.get(span.clone()).unwrap_or_default(),
                at: span.start,
            }),
            Some(Err(_)) => {
                return Err(self.invalid("no WAVE text".to_owned()));
            }
        };
        self.peeked = Some(found);
        Ok(found)
    }

    fn expected(&self, what: &str) -> Failed {
        self.invalid(format!("{what} is expected"))
    }

    fn unexpected(&self, found: &Found<'_>, what: &str) -> Failed {
        Failed::Invalid(format!("{what} is expected at byte {}", found.at))
    }

    fn invalid(&self, reason: String) -> Failed {
        Failed::Invalid(format!("{reason}, at byte {}", self.at))
    }
}
