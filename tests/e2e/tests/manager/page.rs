//! `docs/migrating.md` against the tests that it names.

use std::path::Path;

const PAGE: &str = include_str!("../../../../docs/migrating.md");

/// The weaknesses of upstream that the page must have.
fn numbers() -> Vec<String> {
    let mut numbers: Vec<String> = (1..=21).map(|number| format!("W{number}")).collect();
    numbers.push("W15b".to_owned());
    numbers
}

#[test]
fn every_weakness_has_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for number in numbers() {
        let start = format!("| {number} | ");
        let rows: Vec<&str> = PAGE
            .lines()
            .filter(|line| line.starts_with(&start))
            .collect();
        assert_eq!(rows.len(), 1, "{number} has one row");
        let (_, tests) = rows[0].trim_end_matches(" |").rsplit_once(" | ").unwrap();
        for test in tests.split("; ") {
            let (file, name) = test.split_once(": ").unwrap();
            let source = std::fs::read_to_string(root.join(file.trim_matches('`')));
            let source = source.unwrap_or_else(|error| panic!("{number}, {file}: {error}"));
            let function = format!("fn {}()", name.trim_matches('`'));
            let (before, _) = source
                .split_once(&function)
                .unwrap_or_else(|| panic!("{number}: {file} has no {name}"));
            // The attributes above it, up to the end of what comes before.
            let attributes = before.rsplit("\n\n").next().unwrap_or_default();
            assert!(attributes.contains("test"), "{number}: {name} is no test");
        }
    }
}
