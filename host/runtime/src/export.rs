//! Which export a task invokes.
//!
//! In order: the one that `--invoke` names; the one that has the task's name; the default. The default of a
//! component is its function `run`, else the `run` of `wasi:cli/run`, which makes it a command. The default
//! of a core module is `run`, else `_start`, which makes it a command, else `main`. A command's `main` is C's,
//! which expects that `_start` has run: a task of that name starts the command. Whatever was chosen must be
//! allowed by the policy.

use crate::error::{GuestText, RuntimeError};
use crate::task::TaskSpec;

/// What the `run` of `wasi:cli/run` is called here, whatever its version.
pub(crate) const COMMAND: &str = "wasi:cli/run";
/// What a core module wants called before anything else.
pub(crate) const INITIALIZE: &str = "_initialize";
/// What a component's default export can be, best first.
pub(crate) const COMPONENT_DEFAULTS: [&str; 2] = ["run", COMMAND];
/// What a core module's default export can be, best first.
pub(crate) const CORE_DEFAULTS: [&str; 3] = ["run", START, "main"];
/// The entry of a command that is a core module.
pub(crate) const START: &str = "_start";

/// Something that can be chosen.
pub(crate) trait Export {
    /// The full name: a function, or `interface@version#function`.
    fn name(&self) -> &str;
}

/// Chooses among the exports.
///
/// # Errors
/// [`RuntimeError::ExportNotFound`] with the exports that there are; [`RuntimeError::ExportNotAllowed`].
pub(crate) fn choose<'a, E: Export>(
    exports: &'a [E],
    defaults: &[&str],
    task: &TaskSpec,
) -> Result<&'a E, RuntimeError> {
    let default = defaults.iter().find_map(|name| named(exports, name));
    let chosen = match &task.invoke {
        Some(name) => {
            let missing = || match called(name) {
                Some(function) => not_found(
                    exports,
                    &format!(
                        "`{name}` is a call; name the function alone, `{function}`, and give its arguments as \
                         inputs, one each"
                    ),
                ),
                None => not_found(exports, &format!("no export `{name}`")),
            };
            named(exports, name).ok_or_else(missing)?
        }
        None => {
            let missing = || {
                not_found(
                    exports,
                    &format!(
                        "no export `{}` (the task's name) or {defaults:?}",
                        task.name
                    ),
                )
            };
            let mut by_name = named(exports, &task.name);
            if task.name == "main" && exports.iter().any(|export| export.name() == START) {
                by_name = named(exports, START);
            }
            by_name.or(default).ok_or_else(missing)?
        }
    };
    let is_default = default.is_some_and(|default| default.name() == chosen.name());
    let means =
        |entry: &str| named(exports, entry).is_some_and(|export| export.name() == chosen.name());
    if !task.grants.may_invoke(is_default, means) {
        return Err(RuntimeError::ExportNotAllowed(GuestText::new(format!(
            "`{}`",
            chosen.name()
        ))));
    }
    Ok(chosen)
}

/// The name of the function, if the text is a call as some runtimes' command lines take it.
fn called(name: &str) -> Option<&str> {
    let (function, rest) = name.split_once('(')?;
    rest.trim_end().ends_with(')').then(|| function.trim_end())
}

/// The export that a name means: its full name; a command by `wasi:cli/run` with or without version, or by
/// `_start`; a function of an interface without the version, if only one version is exported.
fn named<'a, E: Export>(exports: &'a [E], name: &str) -> Option<&'a E> {
    if let Some(export) = exports.iter().find(|export| export.name() == name) {
        return Some(export);
    }
    let interface = unversioned(name).0;
    if interface == COMMAND && matches!(unversioned(name).1, "" | "run") || name == "_start" {
        return exports.iter().find(|export| export.name() == COMMAND);
    }
    let mut matching = exports.iter().filter(|export| {
        name.contains('#') && !name.contains('@') && unversioned(export.name()) == unversioned(name)
    });
    let found = matching.next()?;
    matching.next().is_none().then_some(found)
}

/// Interface without its version, and function; the function is empty for a bare name.
fn unversioned(name: &str) -> (&str, &str) {
    let (interface, function) = name.split_once('#').unwrap_or((name, ""));
    (
        interface
            .split_once('@')
            .map_or(interface, |(interface, _)| interface),
        function,
    )
}

/// Most exports that an error lists.
const MAX_LISTED: usize = 50;

fn not_found<E: Export>(exports: &[E], what: &str) -> RuntimeError {
    let mut list: Vec<&str> = exports.iter().map(Export::name).take(MAX_LISTED).collect();
    if exports.len() > MAX_LISTED {
        list.push("…");
    }
    let list = if list.is_empty() {
        "none".to_owned()
    } else {
        list.join(", ")
    };
    RuntimeError::ExportNotFound(GuestText::new(format!(
        "{what}; exported functions: {list}"
    )))
}

#[cfg(test)]
mod tests {
    use proplet_component::Policy;

    use super::*;
    use crate::grants::Grants;

    impl Export for &str {
        fn name(&self) -> &str {
            self
        }
    }

    const ALL: [&str; 6] = [
        "add",
        "run",
        "wasi:cli/run",
        "acme:math/ops@1.0.0#add",
        "acme:two/x@1.0.0#f",
        "acme:two/x@2.0.0#f",
    ];

    fn task(name: &str, invoke: Option<&str>) -> TaskSpec {
        TaskSpec {
            invoke: invoke.map(str::to_owned),
            ..TaskSpec::new("id", name)
        }
    }

    fn chosen(exports: &[&str], name: &str, invoke: Option<&str>) -> Result<String, RuntimeError> {
        choose(exports, &COMPONENT_DEFAULTS, &task(name, invoke)).map(|export| (*export).to_owned())
    }

    #[test]
    fn the_order_is_invoke_name_default() {
        for (name, invoke, expected) in [
            ("add", Some("run"), "run"),
            ("add", None, "add"),
            ("anything", None, "run"),
            ("anything", Some("wasi:cli/run"), "wasi:cli/run"),
            ("anything", Some("wasi:cli/run@0.2.6"), "wasi:cli/run"),
            ("anything", Some("wasi:cli/run@0.2.0#run"), "wasi:cli/run"),
            ("_start", None, "wasi:cli/run"),
            (
                "t",
                Some("acme:math/ops@1.0.0#add"),
                "acme:math/ops@1.0.0#add",
            ),
            ("t", Some("acme:math/ops#add"), "acme:math/ops@1.0.0#add"),
            ("t", Some("acme:two/x@2.0.0#f"), "acme:two/x@2.0.0#f"),
        ] {
            assert_eq!(
                chosen(&ALL, name, invoke).unwrap(),
                expected,
                "{name} {invoke:?}"
            );
        }
        assert_eq!(
            chosen(&["wasi:cli/run"], "t", None).unwrap(),
            "wasi:cli/run"
        );
    }

    #[test]
    fn what_is_not_there_is_listed() {
        for (exports, invoke) in [
            (&ALL[..], Some("sub")),
            (&ALL, Some("acme:two/x#f")),
            (&ALL, Some("acme:math/ops@2.0.0#add")),
            (&ALL, Some("acme:math/ops")),
            (&ALL[..1], None),
            (&[], None),
        ] {
            let error = chosen(exports, "t", invoke).unwrap_err();
            assert_eq!(error.code(), "export-not-found");
            for export in exports {
                assert!(error.detail().unwrap().contains(export));
            }
        }
        let error = chosen(&ALL, "t", Some("add(1, \"(\")")).unwrap_err();
        let detail = error.detail().unwrap();
        assert!(
            detail.contains("name the function alone, `add`, and give its arguments as inputs"),
            "{detail}"
        );
        let many = vec!["f"; 1000];
        assert!(
            chosen(&many, "t", None)
                .unwrap_err()
                .detail()
                .unwrap()
                .len()
                < 400
        );
    }

    #[test]
    fn the_policy_decides_what_may_be_invoked() {
        let with = |toml: &str, name: &str| {
            let policy = Policy::parse(format!("version = 1\n{toml}").as_bytes()).unwrap();
            let task = TaskSpec {
                grants: Grants::from_policy(policy),
                ..task(name, None)
            };
            choose(&ALL, &COMPONENT_DEFAULTS, &task).map(|export| (*export).to_owned())
        };
        assert_eq!(with("", "anything").unwrap(), "run");
        assert_eq!(with("", "run").unwrap(), "run");
        assert_eq!(with("", "add").unwrap_err().code(), "export-not-allowed");
        assert_eq!(with("exports = [\"add\"]", "add").unwrap(), "add");
        assert_eq!(
            with("exports = [\"add\"]", "t").unwrap_err().code(),
            "export-not-allowed"
        );
        let ops = "acme:math/ops@1.0.0#add";
        assert_eq!(with("exports = [\"acme:math/ops#add\"]", ops).unwrap(), ops);
        assert_eq!(
            with("exports = [\"wasi:cli/run@0.2.0\"]", "_start").unwrap(),
            "wasi:cli/run"
        );
    }
}
