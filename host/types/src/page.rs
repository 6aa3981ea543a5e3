//! `docs/codes.md`, for the tests that hold it against the enums.

/// Where the codes end and the checks begin.
const CHECKS: &str = "\n## Checks of a verification\n";

/// The cells of every row that lists a code.
pub(crate) fn codes() -> Vec<Vec<String>> {
    rows(parts().0)
}

/// The cells of every row that lists a check.
pub(crate) fn checks() -> Vec<Vec<String>> {
    rows(parts().1)
}

fn parts() -> (&'static str, &'static str) {
    include_str!("../../../docs/codes.md")
        .split_once(CHECKS)
        .expect("the page has its section on checks")
}

/// Rows begin with the code or check, which loses its backticks.
fn rows(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"))
        .map(|row| {
            row.replacen('`', "", 1)
                .split(" | ")
                .map(str::to_owned)
                .collect()
        })
        .collect()
}
