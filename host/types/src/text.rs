//! Text of strangers, made fit for whoever reads it.
//!
//! Registries, key brokers, Managers, guests and images are not trusted, and what they say ends on
//! terminals, in logs and in error messages. A terminal obeys escape sequences, a log is read line by
//! line, and a server may echo the credential that it was sent. Everything of theirs goes through one of
//! these functions on its way to a reader; nothing else in the workspace cleans text.

/// Text for a terminal: what a terminal would obey, and what shows text in another order than it has, is
/// replaced by U+FFFD. Line ends and tabs stay.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if is_obeyed(c) {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// Whether [`printable`] would leave this text as it is.
#[must_use]
pub fn is_printable(text: &str) -> bool {
    !text.chars().any(is_obeyed)
}

/// The text of a JSON value with `\u` escapes for what [`printable`] would replace, which can only stand in
/// its strings: the same value, fit for a terminal.
#[must_use]
pub fn escaped_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_obeyed(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// As [`printable`], on one line: for errors at a terminal. Lines are joined by `; `.
#[must_use]
pub fn line(text: &str) -> String {
    let text = printable(text);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines.join("; ").replace('\t', " ")
}

/// As [`line()`], of at most `max_chars` characters of `text`: for logs and for errors that others see.
#[must_use]
pub fn short_line(text: &str, max_chars: usize) -> String {
    let end = text.char_indices().nth(max_chars);
    match end.and_then(|(end, _)| text.get(..end)) {
        Some(start) => line(start) + "...",
        None => line(text),
    }
}

/// Longest id of a task or an invocation, in bytes. The Manager's are UUIDs of 36.
pub const MAX_ID_BYTES: usize = 256;

/// True for text that can serve as an id: neither empty nor long, and safe to log.
#[must_use]
pub fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_ID_BYTES && !text.chars().any(char::is_control)
}

/// The longest text that [`server_words`] gives, in characters, without the dots that end a longer one.
pub const MAX_SERVER_WORDS: usize = 256;

/// A run of this many token characters is taken for a credential and left out.
const CREDENTIAL_RUN: usize = 32;

/// What a server says about an error, fit for a message: one line of printable ASCII, short, and without
/// anything that looks like a token, a cookie or a key.
#[must_use]
pub fn server_words(text: &str) -> String {
    let mut clean = String::new();
    let mut run = String::new();
    let flush = |run: &mut String, clean: &mut String| {
        if run.len() >= CREDENTIAL_RUN {
            clean.push_str("[redacted]");
        } else {
            clean.push_str(run);
        }
        run.clear();
    };
    for c in text.chars().take(8 * MAX_SERVER_WORDS) {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '=' | '.') {
            run.push(c);
            continue;
        }
        flush(&mut run, &mut clean);
        clean.push(if c == ' ' || c.is_ascii_graphic() {
            c
        } else {
            '?'
        });
    }
    flush(&mut run, &mut clean);
    let mut short: String = clean.trim().chars().take(MAX_SERVER_WORDS).collect();
    if short.len() < clean.trim().len() {
        short.push_str("...");
    }
    if short.is_empty() {
        "no details given".to_owned()
    } else {
        short
    }
}

/// Whether a terminal does something else with this character than show it.
fn is_obeyed(c: char) -> bool {
    let reorders = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    // Line and paragraph separators, interlinear annotations, and tags, which are not shown at all.
    let hides = matches!(
        c,
        '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    reorders || hides || (c.is_control() && !matches!(c, '\n' | '\t'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_short_and_holds_no_line_ends() {
        for id in ["a", "grün \u{1f600}", "x".repeat(MAX_ID_BYTES).as_str()] {
            assert!(is_id(id), "{id}");
        }
        for text in ["", "a\nb", "\u{1b}", "x".repeat(MAX_ID_BYTES + 1).as_str()] {
            assert!(!is_id(text), "{text:?}");
        }
    }

    #[test]
    fn escapes_do_not_reach_a_terminal() {
        assert_eq!(
            printable("a\u{1b}[31mb\n\tc\r"),
            "a\u{fffd}[31mb\n\tc\u{fffd}"
        );
        assert_eq!(printable("\u{202e}x"), "\u{fffd}x");
        assert_eq!(printable("a\u{2028}b\u{200f}"), "a\u{fffd}b\u{fffd}");
        assert_eq!(printable("grün \u{1f600}"), "grün \u{1f600}");
        assert!(is_printable("two\nlines"));
        assert!(!is_printable("\u{9b}31m"));
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(line("one\n  two\n\n"), "one; two");
        assert_eq!(line("a\tb\u{85}c"), "a b\u{fffd}c");
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({
            "a\u{9b}31m": ["\u{7f}\u{202e}\u{e0041}", "\u{1b}[1m\n\t", "ä"],
        });
        let text = escaped_json(&format!("{value:#}"));
        assert!(is_printable(&text), "{text:?}");
        assert!(text.contains('ä'));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }

    #[test]
    fn a_strangers_text_stays_on_one_line() {
        assert_eq!(short_line("a\nb\x1b[31m", 1024), "a; b\u{fffd}[31m");
        assert_eq!(short_line(&"x".repeat(5000), 1024).len(), 1024 + 3);
        assert_eq!(short_line("grün", 3), "grü...");
        assert_eq!(short_line("grün", 4), "grün");
        assert_eq!(short_line("", 0), "");
    }

    #[test]
    fn words_of_a_server_are_cut_and_cleaned() {
        assert_eq!(
            server_words("Plugin internal error"),
            "Plugin internal error"
        );
        assert_eq!(server_words("a\r\nb\x1b[31m\u{202e}c"), "a??b?[31m?c");
        assert_eq!(server_words(" \n "), "?");
        assert_eq!(server_words(""), "no details given");
        assert_eq!(
            server_words(&"ab ".repeat(1000)).chars().count(),
            MAX_SERVER_WORDS + 3
        );
    }

    #[test]
    fn echoed_credentials_are_left_out() {
        let token = format!("eyJhbGciOiJFUzI1NiJ9.{}.{}", "a".repeat(40), "b".repeat(86));
        let text = server_words(&format!(
            "bad token {token}, cookie kbs-session-id={}",
            "0".repeat(32)
        ));
        assert_eq!(text, "bad token [redacted], cookie [redacted]");
    }

    proptest! {
        #[test]
        fn lines_have_nothing_to_obey(text in "(\\PC|.|[\\x00-\\x1f\\x7f-\\x9f]){0,80}", max in 0usize..100) {
            let line = short_line(&text, max);
            prop_assert!(is_printable(&line));
            prop_assert!(!line.contains(['\n', '\r', '\t']));
            prop_assert!(is_printable(&printable(&text)));
        }

        #[test]
        fn words_of_a_server_are_plain_and_short(text in "\\PC{0,400}|.{0,400}") {
            let clean = server_words(&text);
            prop_assert!(clean.chars().count() <= MAX_SERVER_WORDS + 3);
            prop_assert!(clean.chars().all(|c| c == ' ' || c.is_ascii_graphic()));
        }
    }
}
