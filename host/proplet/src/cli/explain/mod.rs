//! `proplet verify --explain` and `--html`: everything that a verification says, for somebody who reads it.
//!
//! A tree of four parts: what was decided, the chain from the result to the vendor's root, every check with what was
//! found and expected, and what the evidence says. Both ways to show it are made from the same tree, so they
//! cannot say different things. Words of strangers in it are cleaned where they enter ([`Node::new`]).

mod chain;
mod facts;
mod html;
mod node;
mod snp;
mod tdx;

use proplet_results::verify::{CheckOutcome, Checked, Expectations, ExpectedMeasurement, Report};
use proplet_types::Check;

pub(super) use self::html::page;
use self::node::{Mark, Node};

/// The tree of a verification in which nothing failed.
pub(super) fn tree(report: &Report, expectations: &Expectations) -> Vec<Node> {
    vec![
        verdict(report),
        Node::new("Chain", "from what was given to what vouches for it").with(chain::of(report)),
        Node::new("Checks", "what was looked at, and against what")
            .with(checks(report, expectations)),
        Node::new("Evidence", "what it says").with(facts::of(report)),
    ]
}

fn verdict(report: &Report) -> Node {
    let open = report.not_verified_checks().count();
    let (mark, text) = match (open, report.warnings.len()) {
        (0, 0) => (
            Mark::Holds,
            "every check that applies was made, and holds".to_owned(),
        ),
        (open, warnings) => {
            let text = format!(
                "what was checked holds; {open} checks were not made, and there are {warnings} warnings"
            );
            (Mark::Open, text)
        }
    };
    let warnings = report.warnings.iter();
    let warnings = warnings.map(|warning| Node::new("", warning).marked(Mark::Warning));
    Node::new("Verdict", text)
        .marked(mark)
        .with(warnings.collect())
}

fn checks(report: &Report, expectations: &Expectations) -> Vec<Node> {
    let checks = report.checks.iter();
    let node = |Checked { check, outcome }: &Checked| match outcome {
        CheckOutcome::Verified => {
            let expected = expected(*check, expectations);
            let text = expected.map_or_else(
                || "holds".to_owned(),
                |expected| format!("holds: it is the expected {expected}"),
            );
            Node::new(check.as_str(), text).marked(Mark::Holds)
        }
        CheckOutcome::NotVerified(why) => {
            Node::new(check.as_str(), format!("NOT CHECKED: {why}")).marked(Mark::Open)
        }
    };
    checks.map(node).collect()
}

/// What a check compared with, if it did with something of the reader's.
fn expected(check: Check, expectations: &Expectations) -> Option<String> {
    let digest = |digest: &Option<proplet_types::Digest>| digest.as_ref().map(ToString::to_string);
    let several = |values: Vec<String>| (!values.is_empty()).then(|| values.join(" or "));
    match check {
        Check::Measurement => match &expectations.measurement {
            ExpectedMeasurement::OneOf(good) => several(good.iter().map(hex::encode).collect()),
            ExpectedMeasurement::Any => None,
        },
        Check::InitData if expectations.init_data.is_some() => {
            expectations.init_data.as_ref().map(hex::encode)
        }
        Check::Challenge => expectations.challenge.as_ref().map(hex::encode),
        Check::Settings => digest(&expectations.settings),
        Check::Component => digest(&expectations.component),
        Check::Image => digest(&expectations.image),
        Check::Policy => digest(&expectations.policy),
        Check::Inputs => digest(&expectations.inputs),
        Check::Arguments => digest(&expectations.arguments),
        Check::Environment => digest(&expectations.environment),
        Check::TaskId => expectations.task_id.clone(),
        Check::InvocationId => {
            let invocation = expectations.invocation.as_ref();
            invocation.and_then(|expected| expected.id().map(str::to_owned))
        }
        Check::Export => expectations.export.clone(),
        Check::Recipients => expectations.recipients.as_ref().map(|all| all.join(" ")),
        other => {
            let values = expectations.tdx.values(other)?;
            several(values.iter().map(hex::encode).collect())
        }
    }
}

/// For a terminal or a file: one line each, indented by what they belong to.
pub(super) fn text(tree: &[Node]) -> String {
    let mut text = String::new();
    for node in tree {
        if !text.is_empty() {
            text.push('\n');
        }
        write(&mut text, node, 0);
    }
    text
}

fn write(text: &mut String, node: &Node, depth: usize) {
    let mark = match node.mark {
        Mark::Plain => ' ',
        Mark::Holds => '+',
        Mark::Open => '?',
        Mark::Warning => '!',
    };
    let indent = "  ".repeat(depth);
    let separator = if node.name.is_empty() || node.text.is_empty() {
        ""
    } else {
        ": "
    };
    let (name, words) = (&node.name, &node.text);
    text.push_str(&format!("{indent}{mark} {name}{separator}{words}\n"));
    for child in &node.children {
        write(text, child, depth + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_indented_and_holds_no_lines_of_strangers() {
        let tree = [
            Node::new("Top", "a\u{1b}[31m\nb").with(vec![
                Node::new("", "a sentence").marked(Mark::Warning),
                Node::hex("register", &[0; 4]).with(vec![Node::hex("bytes", &[1, 2])]),
            ]),
            Node::new("Next", "").marked(Mark::Holds),
        ];
        assert_eq!(
            text(&tree),
            "  Top: a\u{fffd}[31m; b\n  ! a sentence\n    register: unset (zeros)\n      bytes: 0102\n\n+ Next\n"
        );
    }

    #[test]
    fn what_was_expected_is_named() {
        let mut expectations = Expectations::of_measurements([vec![1; 2], vec![2; 2]]);
        expectations.tdx.rtmrs[1] = vec![[3; 48]];
        let named = |check| expected(check, &expectations);
        assert_eq!(named(Check::Measurement).unwrap(), "0101 or 0202");
        assert_eq!(named(Check::Rtmr1).unwrap(), "03".repeat(48));
        assert_eq!(named(Check::Rtmr0), None);
        assert_eq!(named(Check::Claims), None);
        assert_eq!(named(Check::InvocationId), None);
        assert_eq!(
            expected(Check::Measurement, &Expectations::of_any_measurement()),
            None
        );
    }
}
