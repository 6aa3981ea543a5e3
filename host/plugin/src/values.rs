//! Between the host's values and a plugin's.
//!
//! The types of a plugin are read from itself. Members are found by their names, and where versions of the interface
//! could differ (an optional text, pairs as tuples or as records), both are understood.

use proplet_types::text::short_line;
use wasmtime::component::{Type, Val};

use crate::info::{Ended, TaskInfo};

/// Variables that one plugin may add to a task, and their bytes.
const MAX_VARIABLES: usize = 256;
const MAX_VARIABLE_BYTES: usize = 256 << 10;
/// Longest reason that is repeated, in characters.
const MAX_REASON: usize = 512;

/// The members of an argument.
pub(crate) struct Members<'a>(Vec<(&'static str, Member<'a>)>);

enum Member<'a> {
    Text(&'a str),
    Maybe(Option<&'a str>),
    Flag(bool),
    Texts(&'a [String]),
    Pairs(&'a [(String, String)]),
}

impl<'a> From<&'a TaskInfo> for Members<'a> {
    fn from(task: &'a TaskInfo) -> Self {
        Self(vec![
            ("id", Member::Text(&task.id)),
            ("name", Member::Text(&task.name)),
            ("image-url", Member::Text(&task.image_url)),
            ("cli-args", Member::Texts(&task.cli_args)),
            ("env", Member::Pairs(&task.env)),
            ("daemon", Member::Flag(task.daemon)),
            ("encrypted", Member::Flag(task.encrypted)),
        ])
    }
}

impl<'a> From<&'a Ended> for Members<'a> {
    fn from(ended: &'a Ended) -> Self {
        Self(vec![
            ("task-id", Member::Text(&ended.task_id)),
            ("success", Member::Flag(ended.success)),
            ("output", Member::Maybe(ended.output.as_deref())),
            ("error", Member::Maybe(ended.error.as_deref())),
        ])
    }
}

impl Members<'_> {
    /// The argument of a function that takes one record.
    ///
    /// # Errors
    /// The member that this host has nothing for.
    pub(crate) fn argument(&self, ty: &Type) -> Result<Val, String> {
        let Type::Record(record) = ty else {
            return Err("its functions take one record each".to_owned());
        };
        let fields = record.fields().map(|field| {
            let member = self.0.iter().find(|(name, _)| *name == field.name);
            let value = member.and_then(|(_, member)| member.value(&field.ty));
            let unknown = || {
                format!(
                    "its member `{}` is not known, or of another type",
                    field.name
                )
            };
            Ok((field.name.to_owned(), value.ok_or_else(unknown)?))
        });
        let fields: Result<Vec<_>, String> = fields.collect();
        Ok(Val::Record(fields?))
    }
}

impl Member<'_> {
    fn value(&self, ty: &Type) -> Option<Val> {
        let text = |text: &str| Val::String(text.to_owned());
        Some(match (self, ty) {
            (Self::Text(value), Type::String) => text(value),
            (Self::Text(value), Type::Option(option)) if option.ty() == Type::String => {
                let value = Some(*value).filter(|value| !value.is_empty());
                Val::Option(value.map(|value| Box::new(text(value))))
            }
            (Self::Maybe(value), Type::Option(option)) if option.ty() == Type::String => {
                Val::Option(value.map(|value| Box::new(text(value))))
            }
            (Self::Maybe(value), Type::String) => text(value.unwrap_or_default()),
            (Self::Flag(value), Type::Bool) => Val::Bool(*value),
            (Self::Texts(values), Type::List(list)) if list.ty() == Type::String => {
                Val::List(values.iter().map(|value| text(value)).collect())
            }
            (Self::Pairs(pairs), Type::List(list)) => {
                let of = pair_type(&list.ty())?;
                let pairs = pairs.iter().map(|(name, value)| match &of {
                    Pair::Tuple => Val::Tuple(vec![text(name), text(value)]),
                    Pair::Record(first, second) => Val::Record(vec![
                        (first.clone(), text(name)),
                        (second.clone(), text(value)),
                    ]),
                });
                Val::List(pairs.collect())
            }
            _ => return None,
        })
    }
}

/// What pairs of texts are to a plugin.
enum Pair {
    Tuple,
    Record(String, String),
}

fn pair_type(ty: &Type) -> Option<Pair> {
    match ty {
        Type::Tuple(tuple) => {
            let mut types = tuple.types();
            let both = types.len() == 2 && types.all(|ty| ty == Type::String);
            both.then_some(Pair::Tuple)
        }
        Type::Record(record) => {
            let mut fields = record.fields();
            let (first, second) = (fields.next()?, fields.next()?);
            let both = first.ty == Type::String && second.ty == Type::String;
            (both && fields.next().is_none())
                .then(|| Pair::Record(first.name.to_owned(), second.name.to_owned()))
        }
        _ => None,
    }
}

/// Of what `authorize` gives: whether, and why not, in one line.
pub(crate) fn decision(answer: &Val) -> Option<(bool, String)> {
    let fields = record(answer)?;
    let Val::Bool(allow) = field(fields, "allow")? else {
        return None;
    };
    let reason = match field(fields, "reason") {
        Some(Val::String(reason)) => reason,
        Some(Val::Option(Some(reason))) => match reason.as_ref() {
            Val::String(reason) => reason,
            _ => return None,
        },
        _ => "",
    };
    Some((*allow, short_line(reason, MAX_REASON)))
}

/// Of what `enrich` gives: names and values. None when there are too many, or they are too large.
pub(crate) fn environment(answer: &Val) -> Option<Vec<(String, String)>> {
    let list = match answer {
        Val::List(list) => list,
        _ => match field(record(answer)?, "env")? {
            Val::List(list) => list,
            _ => return None,
        },
    };
    if list.len() > MAX_VARIABLES {
        return None;
    }
    let mut left = MAX_VARIABLE_BYTES;
    let pairs = list.iter().map(|pair| {
        let (first, second) = match pair {
            Val::Tuple(values) => match values.as_slice() {
                [first, second] => (first, second),
                _ => return None,
            },
            Val::Record(fields) => match fields.as_slice() {
                [(_, first), (_, second)] => (first, second),
                _ => return None,
            },
            _ => return None,
        };
        match (first, second) {
            (Val::String(name), Val::String(value)) => {
                left = left.checked_sub(name.len())?.checked_sub(value.len())?;
                Some((name.clone(), value.clone()))
            }
            _ => None,
        }
    });
    pairs.collect()
}

/// A record, or a success that is one.
fn record(answer: &Val) -> Option<&[(String, Val)]> {
    match answer {
        Val::Record(fields) => Some(fields),
        Val::Result(Ok(Some(answer))) => record(answer),
        _ => None,
    }
}

fn field<'a>(fields: &'a [(String, Val)], name: &str) -> Option<&'a Val> {
    let found = fields.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;

    fn text(text: &str) -> Val {
        Val::String(text.to_owned())
    }

    fn named(fields: &[(&str, Val)]) -> Val {
        let fields = fields.iter();
        Val::Record(
            fields
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        )
    }

    #[test]
    fn a_decision_is_one_only_when_it_says_so() {
        let no = named(&[
            ("allow", Val::Bool(false)),
            ("reason", Val::Option(Some(Box::new(text("late"))))),
        ]);
        assert_eq!(decision(&no), Some((false, "late".to_owned())));
        let yes = named(&[("reason", Val::Option(None)), ("allow", Val::Bool(true))]);
        assert_eq!(decision(&yes), Some((true, String::new())));
        assert_eq!(
            decision(&Val::Result(Ok(Some(Box::new(yes))))),
            Some((true, String::new()))
        );
        for none in [
            Val::Bool(true),
            named(&[("allowed", Val::Bool(true))]),
            named(&[("allow", text("true"))]),
            Val::Result(Err(Some(Box::new(text("no"))))),
            Val::Option(None),
        ] {
            assert_eq!(decision(&none), None, "{none:?}");
        }
    }

    #[test]
    fn an_environment_is_pairs_of_texts() {
        let pair = Val::Tuple(vec![text("A"), text("b")]);
        let wanted = Some(vec![("A".to_owned(), "b".to_owned())]);
        assert_eq!(
            environment(&named(&[("env", Val::List(vec![pair.clone()]))])),
            wanted
        );
        assert_eq!(environment(&Val::List(vec![pair])), wanted);
        let fields = named(&[("key", text("A")), ("value", text("b"))]);
        assert_eq!(environment(&Val::List(vec![fields])), wanted);
        for none in [
            Val::List(vec![text("A=b")]),
            Val::List(vec![Val::Tuple(vec![text("A")])]),
            Val::List(vec![Val::Tuple(vec![text("A"), Val::Bool(true)])]),
            named(&[("environment", Val::List(Vec::new()))]),
        ] {
            assert_eq!(environment(&none), None, "{none:?}");
        }
    }

    #[test]
    fn an_environment_is_no_larger_than_a_task_may_be_given() {
        let pairs = |count: usize, bytes: usize| {
            let pair = Val::Tuple(vec![text("N"), text(&"x".repeat(bytes))]);
            environment(&Val::List(vec![pair; count])).map(|added| added.len())
        };
        assert_eq!(pairs(MAX_VARIABLES, 1), Some(MAX_VARIABLES));
        assert_eq!(pairs(MAX_VARIABLES + 1, 1), None);
        assert_eq!(pairs(1, MAX_VARIABLE_BYTES - 1), Some(1));
        assert_eq!(pairs(1, MAX_VARIABLE_BYTES), None);
        assert_eq!(pairs(2, MAX_VARIABLE_BYTES / 2), None);
    }

    /// Whatever a plugin can give that is not a resource.
    fn any_value() -> impl Strategy<Value = Val> {
        let name = || prop_oneof!["allow", "reason", "env", "[a-z]{1,3}"];
        let leaf = prop_oneof![
            any::<bool>().prop_map(Val::Bool),
            any::<u64>().prop_map(Val::U64),
            any::<f64>().prop_map(Val::Float64),
            any::<char>().prop_map(Val::Char),
            "\\PC{0,9}|[\\x00-\\x1f]{0,9}|x{500,600}".prop_map(Val::String),
            Just(Val::Option(None)),
            Just(Val::Result(Ok(None))),
            "[a-z]{1,3}".prop_map(Val::Enum),
        ];
        leaf.prop_recursive(4, 64, 6, move |inner| {
            let boxed = || inner.clone().prop_map(Box::new);
            let values = || collection::vec(inner.clone(), 0..6);
            prop_oneof![
                values().prop_map(Val::List),
                collection::vec(inner.clone(), 2).prop_map(Val::Tuple),
                values().prop_map(Val::Tuple),
                collection::vec((name(), inner.clone()), 0..4).prop_map(Val::Record),
                boxed().prop_map(|value| Val::Option(Some(value))),
                boxed().prop_map(|value| Val::Result(Ok(Some(value)))),
                boxed().prop_map(|value| Val::Result(Err(Some(value)))),
                (name(), boxed()).prop_map(|(name, value)| Val::Variant(name, Some(value))),
            ]
        })
    }

    /// Pairs of texts, in number and size around what is allowed.
    fn any_pairs() -> impl Strategy<Value = Val> {
        let pair = ("[A-Z]{0,8}", 0..3_000_usize).prop_map(|(name, bytes)| {
            Val::Tuple(vec![Val::String(name), Val::String("x".repeat(bytes))])
        });
        collection::vec(pair, 0..400).prop_map(Val::List)
    }

    proptest! {
        #[test]
        fn no_answer_allows_what_it_does_not_say_or_has_a_reason_of_many_lines(answer in any_value()) {
            if let Some((allow, reason)) = decision(&answer) {
                let said = format!("{answer:?}");
                let word = format!("(\"allow\", Bool({allow}))");
                prop_assert!(said.contains(&word), "{}", said);
                prop_assert!(reason.chars().count() <= 2 * MAX_REASON + 3);
                prop_assert!(!reason.contains(char::is_control));
            }
        }

        #[test]
        fn no_answer_adds_more_than_a_task_may_be_given(answer in prop_oneof![any_value(), any_pairs()]) {
            if let Some(added) = environment(&answer) {
                let bytes: usize = added.iter().map(|(name, value)| name.len() + value.len()).sum();
                prop_assert!(added.len() <= MAX_VARIABLES && bytes <= MAX_VARIABLE_BYTES);
            }
        }
    }
}
