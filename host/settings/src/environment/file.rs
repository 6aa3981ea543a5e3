//! Environment files, as compose, systemd and shells read them.

use super::Environment;
use crate::error::SettingsError;

impl Environment {
    /// The variables of an environment file: lines of `NAME=VALUE`, with or without `export` before them. A value
    /// may stand in single or double quotes; a `#` at the start of a line, or after a space outside of quotes, begins
    /// a comment, and so does a `;` at the start of a line, as systemd has it. Of a name that stands there twice, the
    /// last counts.
    ///
    /// # Errors
    /// [`SettingsError::EnvironmentFile`] with the line, for a line that is no such thing, and for a value that
    /// refers to another variable: it is not known here. No value is repeated.
    pub fn from_file(text: &str) -> Result<Self, SettingsError> {
        // Some editors begin a file with a mark of its encoding.
        let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
        let variables = lines.filter_map(|(number, line)| {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                return None;
            }
            let read = variable(line).map_err(|why| SettingsError::EnvironmentFile {
                line: number.saturating_add(1),
                why,
            });
            Some(read)
        });
        let variables: Result<Vec<_>, _> = variables.collect();
        Ok(variables?.into_iter().collect())
    }
}

fn variable(line: &str) -> Result<(String, String), &'static str> {
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let Some((name, value)) = line.split_once('=') else {
        return Err("write NAME=VALUE");
    };
    let name = name.trim_end();
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        return Err("a name has letters, digits and underscores only");
    }
    Ok((name.to_owned(), self::value(value.trim())?))
}

fn value(text: &str) -> Result<String, &'static str> {
    const REFERENCE: &str = "the value refers to another variable (${…}): write what it stands for";
    let (value, rest) = match text.chars().next() {
        Some('\'') => {
            let (value, rest) = text
                .get(1..)
                .and_then(|rest| rest.split_once('\''))
                .ok_or("the quote is not closed")?;
            (value.to_owned(), rest)
        }
        Some('"') => double_quoted(text.get(1..).unwrap_or_default())?,
        _ => {
            let end = text.find(" #").unwrap_or(text.len());
            let (value, _) = text.split_at(end);
            let value = value.trim_end();
            if value.contains("${") {
                return Err(REFERENCE);
            }
            (value.to_owned(), "")
        }
    };
    let rest = rest.trim_start();
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err("there is more after the closing quote");
    }
    if text.starts_with('"') && value.contains("${") {
        return Err(REFERENCE);
    }
    Ok(value)
}

/// The value before the closing quote, and what is after it.
fn double_quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match next {
            '"' => return Ok((value, rest.as_str())),
            '\\' => match rest.next() {
                Some(escaped @ ('"' | '\\' | '$' | '`')) => value.push(escaped),
                Some(other) => value.extend(['\\', other]),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err("the quote is not closed")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<String> {
        Environment::from_file(text)
            .unwrap()
            .text(&["PROPLET_TAGS"])
    }

    #[test]
    fn values_are_read_as_shells_and_compose_read_them() {
        for (text, wanted) in [
            ("PROPLET_TAGS=a,b", "a,b"),
            ("  export PROPLET_TAGS = a,b  ", "a,b"),
            ("PROPLET_TAGS=a,b # two", "a,b"),
            ("PROPLET_TAGS=a#b", "a#b"),
            ("PROPLET_TAGS=\"a b\" # two", "a b"),
            ("PROPLET_TAGS='a ${B} \"c\"'", "a ${B} \"c\""),
            (r#"PROPLET_TAGS="a \"b\" \\ \x""#, r#"a "b" \ \x"#),
            ("\u{feff}# one\r\n; two\r\nPROPLET_TAGS='a'\r\n", "a"),
            ("\u{feff}PROPLET_TAGS=a", "a"),
            ("# one\n\nPROPLET_TAGS=a\nPROPLET_TAGS=b\n", "b"),
            ("PROPLET_TAGS=a=b$c", "a=b$c"),
        ] {
            assert_eq!(read(text).as_deref(), Some(wanted), "{text}");
        }
        assert_eq!(read("PROPLET_TAGS="), None);
        assert_eq!(read("PROPLET_TAGS=\"\""), None);
    }

    #[test]
    fn what_is_no_variable_is_refused_with_its_line_and_without_its_value() {
        for line in [
            "hunter2",
            "=hunter2",
            "A B=hunter2",
            "1A=hunter2",
            "PROPLET_API_KEY=\"hunter2",
            "PROPLET_API_KEY='hunter2",
            "PROPLET_API_KEY='hunter2' hunter2",
            "PROPLET_API_KEY=\"hunter2\\",
            "PROPLET_API_KEY=${HUNTER}hunter2",
            "PROPLET_API_KEY=\"${HUNTER}hunter2\"",
        ] {
            let error = Environment::from_file(&format!("A=b\n{line}\n")).err();
            let error = error
                .unwrap_or_else(|| panic!("{line} was read"))
                .to_string();
            assert!(error.contains("line 2"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,200}|[A-Z]{1,3}=[\"'$\\\\{}a #]{0,20}") {
            let _ = Environment::from_file(&text);
        }

        #[test]
        fn what_is_quoted_comes_back(value in "[ -~]{1,30}") {
            prop_assume!(!value.trim().is_empty() && !value.contains("${"));
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let text = format!("PROPLET_TAGS=\"{escaped}\"");
            prop_assert_eq!(read(&text), Some(value));
        }
    }
}
