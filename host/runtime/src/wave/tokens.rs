//! The tokens of a text, counted as they are taken.

use wasmtime::component::wasm_wave::lex::{Keyword, Lexer, Token};

use super::failed::Failed;
use crate::allowance::Allowance;

/// Bytes of text that count as one step.
const STEP_BYTES: usize = 64;

/// A token and its text.
#[derive(Clone, Copy)]
pub(super) struct Found<'t> {
    pub(super) token: Token,
    pub(super) text: &'t str,
    at: usize,
}

impl Found<'_> {
    pub(super) fn invalid(&self, what: &str) -> Failed {
        Failed::Invalid(format!("{what} `{}`, at byte {}", self.text, self.at))
    }
}

/// The tokens that are left of a text.
pub(super) struct Tokens<'t, 'a, 'b> {
    lexer: Lexer<'t>,
    text: &'t str,
    /// A token that was looked at and not taken; none in it is the end of the text.
    peeked: Option<Option<Found<'t>>>,
    at: usize,
    pub(super) allowance: &'a mut Allowance<'b>,
}

impl<'t, 'a, 'b> Tokens<'t, 'a, 'b> {
    pub(super) fn new(text: &'t str, allowance: &'a mut Allowance<'b>) -> Self {
        Self {
            lexer: Lexer::new(text),
            text,
            peeked: None,
            at: 0,
            allowance,
        }
    }

    /// Whether the list ends here, between its elements.
    pub(super) fn closes(&mut self, close: Token, first: bool) -> Result<bool, Failed> {
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

    /// Whether a record or flags end here. A comma between their parts may be left out.
    pub(super) fn ends_braces(&mut self) -> Result<bool, Failed> {
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
    pub(super) fn case(&mut self) -> Result<Found<'t>, Failed> {
        if self.keyword()?.is_some() {
            return Err(self.expected("the name of a case (a keyword needs a `%` before it)"));
        }
        self.label("the name of a case")
    }

    pub(super) fn label(&mut self, what: &str) -> Result<Found<'t>, Failed> {
        let found = self.take()?;
        if found.token != Token::LabelOrKeyword {
            return Err(self.unexpected(&found, what));
        }
        Ok(Found {
            text: found.text.strip_prefix('%').unwrap_or(found.text),
            ..found
        })
    }

    /// The keyword that comes next; it stays.
    pub(super) fn keyword(&mut self) -> Result<Option<Keyword>, Failed> {
        Ok(self
            .peek()?
            .filter(|found| found.token == Token::LabelOrKeyword)
            .and_then(|found| Keyword::decode(found.text)))
    }

    pub(super) fn expect(&mut self, token: Token, what: &str) -> Result<(), Failed> {
        let found = self.take()?;
        if found.token == token {
            Ok(())
        } else {
            Err(self.unexpected(&found, what))
        }
    }

    pub(super) fn take(&mut self) -> Result<Found<'t>, Failed> {
        let found = self.peek()?;
        self.peeked = None;
        found.ok_or_else(|| self.invalid("the text ends too early".to_owned()))
    }

    pub(super) fn peek(&mut self) -> Result<Option<Found<'t>>, Failed> {
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

    pub(super) fn expected(&self, what: &str) -> Failed {
        self.invalid(format!("{what} is expected"))
    }

    pub(super) fn unexpected(&self, found: &Found<'_>, what: &str) -> Failed {
        Failed::Invalid(format!("{what} is expected at byte {}", found.at))
    }

    pub(super) fn invalid(&self, reason: String) -> Failed {
        Failed::Invalid(format!("{reason}, at byte {}", self.at))
    }
}
