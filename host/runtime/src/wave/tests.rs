use proptest::prelude::*;
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::{ComponentItem, Type};

use super::*;
use crate::allowance::tests::within;
use crate::cancel::CancelToken;
use crate::limits::{Passed, TaskLimits};

const POINT: usize = 9;

/// Types by their number here.
fn types() -> Vec<Type> {
    let text = r#"(component
        (type $point' (record (field "x" s32) (field "y" (option u8)) (field "some" (option string))))
        (import "point" (type $point (eq $point')))
        (type $shape' (variant (case "dot") (case "circle" u32) (case "ok" (option bool)) (case "at" $point)))
        (import "shape" (type $shape (eq $shape')))
        (type $colour' (enum "red" "green" "none"))
        (import "colour" (type $colour (eq $colour')))
        (type $access' (flags "read" "write"))
        (import "access" (type $access (eq $access')))
        (import "f" (func
          (param "p0" bool) (param "p1" u8) (param "p2" s64) (param "p3" f64) (param "p4" char)
          (param "p5" string) (param "p6" (list u16)) (param "p7" (tuple bool string)) (param "p8" (list $point))
          (param "p9" $point) (param "p10" $shape) (param "p11" $colour) (param "p12" $access)
          (param "p13" (option u32)) (param "p14" (option (option u32))) (param "p15" (result u32 (error string)))
          (param "p16" (result)) (param "p17" (result (option bool))) (param "p18" (list $access))
          (param "p19" (option $shape)) (param "p20" (list (list string))) (param "p21" f32))))"#;
    let component = Component::new(&Engine::default(), wat::parse_str(text).unwrap()).unwrap();
    let engine = component.engine().clone();
    let mut types = Vec::new();
    for (_, import) in component.component_type().imports(&engine) {
        if let ComponentItem::ComponentFunc(function) = import.ty {
            types.extend(function.params().map(|(_, ty)| ty));
        }
    }
    types
}

fn ours(ty: &Type, text: &str) -> Result<Val, Failed> {
    within(&TaskLimits::default(), &CancelToken::new(), |allowance| {
        read(ty, text, allowance)
    })
}

/// With flags in order: the library sorts them.
fn sorted(value: Val) -> Val {
    match value {
        Val::Flags(mut names) => {
            names.sort();
            Val::Flags(names)
        }
        Val::List(values) => Val::List(values.into_iter().map(sorted).collect()),
        value => value,
    }
}

/// Both readers say the same, but for what is documented.
fn compare(ty: &Type, text: &str) {
    let theirs = wasm_wave::from_str::<Val>(ty, text);
    match (ours(ty, text), theirs) {
        (Ok(ours), Ok(theirs)) => assert_eq!(sorted(ours), sorted(theirs), "{text}"),
        (Err(Failed::Invalid(reason)), Ok(_)) => {
            assert!(reason.contains("no field"), "{text}: {reason}");
        }
        (Err(_), Err(_)) => {}
        // The library forgets to take the `%` off a flag.
        (Ok(ours), Err(error)) => assert!(text.contains('%'), "{text}: {ours:?}, {error}"),
        (ours, theirs) => panic!("{text}: {ours:?}, {theirs:?}"),
    }
}

#[test]
fn it_reads_what_the_engines_reader_reads() {
    let texts = [
        "true",
        "false",
        "%true",
        "0",
        "255",
        "256",
        "-1",
        "01",
        "1.5",
        "-1e3",
        "1.",
        "inf",
        "-inf",
        "nan",
        "-nan",
        "'a'",
        "'ab'",
        r"'\n'",
        r"'\u{1F600}'",
        "'ü'",
        "''",
        r"'\u{110000}'",
        r#""""#,
        r#""a\"b""#,
        r#""\u{e9}\t""#,
        "\"a\nb\"",
        "\"half",
        "\"\"\"\nline\n  two\n\"\"\"",
        "\"\"\"\n  a\n  b\n  \"\"\"",
        "\"\"\"bad\"\"\"",
        "[]",
        "[1]",
        "[1,]",
        "[,]",
        "[1,,2]",
        "[1, 2",
        "[1 2]",
        "[1]]",
        "(true, \"x\")",
        "(true, \"x\",)",
        "(true)",
        "(true, \"x\", 1)",
        "()",
        "{:}",
        "{x: 1}",
        "{x: 1,}",
        "{x: 1 y: 2}",
        "{x: 1, y: 2, some: \"s\"}",
        "{y: some(3), x: -4}",
        "{x: 1, x: 2}",
        "{%x: 1, %some: none}",
        "{y: none}",
        "{x: 1, z: 2}",
        "{x}",
        "{x: 1",
        "[{x: 1}, {x: 2, y: 3}]",
        "[{:}]",
        "dot",
        "%dot",
        "dot()",
        "dot(1)",
        "circle",
        "circle(1)",
        "circle(-1)",
        "circle(1",
        "ok",
        "%ok(true)",
        "%ok(some(true))",
        "%ok(none)",
        "at({x: 1})",
        "unknown",
        "red",
        "%red",
        "red(1)",
        "none",
        "%none",
        "{}",
        "{read}",
        "{write, read}",
        "{read write,}",
        "{read, read}",
        "{%read}",
        "{delete}",
        "some(1)",
        "some",
        "some()",
        "some(none)",
        "some(some(1))",
        "none(1)",
        "ok(1)",
        "ok(none)",
        "ok()",
        "err",
        "err(\"e\")",
        "err(1)",
        "ok(true)",
        "true()",
        "[[\"a\"], []]",
        "[{read}, {}]",
        "// only a comment",
        "",
        " 7 // seven\n",
        "1 2",
        "7,",
        "\u{0}",
        "ü",
        "{",
        "}",
        "(",
        ")",
        ":",
        "-",
        "%",
        "x-1",
        "x--1",
        "X",
        "aB",
        "9a",
    ];
    for ty in types() {
        for text in texts {
            compare(&ty, text);
        }
    }
}

#[test]
fn an_error_says_what_and_where() {
    let types = types();
    for (ty, text, expected) in [
        (POINT, "{x: 1, z: 2}", "no field `z`, at byte 7"),
        (POINT, "{y: 2}", "field `x` is missing, at byte 5"),
        (POINT, "{x: 1, x: 1}", "a second field `x`, at byte 7"),
        (6, "[1, 2", "the text ends too early, at byte 5"),
        (6, "[1; 2]", "no WAVE text, at byte 2"),
        (10, "square", "no case `square`, at byte 0"),
        (
            10,
            "ok",
            "the name of a case (a keyword needs a `%` before it) is expected, at byte 0",
        ),
        (1, "1 2", "the end is expected at byte 2"),
    ] {
        assert_eq!(
            ours(&types[ty], text),
            Err(Failed::Invalid(expected.to_owned())),
            "{text}"
        );
    }
}

#[test]
fn memory_is_counted_for_what_a_short_text_means() {
    let limits = TaskLimits {
        memory_bytes: 64 << 10,
        ..TaskLimits::default()
    };
    let ty = &types()[8];
    let text = format!("[{}]", "{x:1},".repeat(1000));
    let read = within(&limits, &CancelToken::new(), |allowance| {
        read(ty, &text, allowance)
    });
    assert_eq!(read, Err(Failed::Passed(Passed::Memory)));
}

#[test]
fn reading_ends_when_the_task_is_stopped() {
    let token = CancelToken::new();
    token.cancel();
    let text = format!("[{}]", "1,".repeat(10_000));
    let read = within(&TaskLimits::default(), &token, |allowance| {
        read(&types()[6], &text, allowance)
    });
    assert_eq!(read, Err(Failed::Passed(Passed::Stop)));
}

#[test]
fn writing_ends_at_its_limit() {
    let value = Val::List(vec![Val::U16(7); 1000]);
    within(&TaskLimits::default(), &CancelToken::new(), |allowance| {
        let whole = write(&value, 3000, allowance).unwrap();
        assert_eq!(*whole, wasm_wave::to_string(&value).unwrap());
        assert_eq!(
            write(&value, 2999, allowance),
            Err(Failed::Passed(Passed::Output))
        );
        assert_eq!(*write_cut(&value, 9, allowance).unwrap(), "[7, 7, 7,");
    });
}

#[test]
fn text_is_quoted() {
    assert_eq!(*string("a\"b\n"), r#""a\"b\n""#);
}

/// Pieces of texts, so that many of their sequences mean something.
fn piece() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "{", "}", "[", "]", "(", ")", ":", ",", " ", "x", "y", "some", "none", "ok", "err", "%",
        "true", "1", "-2", "\"s\"", "'c'", "dot", "circle", "at", "red", "read", "write", "{:}",
        "{x: 1}", "some(1)", "\\", "\"",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_as_the_engines_reader_reads_it(pieces in proptest::collection::vec(piece(), 0..12)) {
        let text = pieces.concat();
        TYPES.with(|types| {
            for ty in types {
                compare(ty, &text);
            }
        });
    }

    #[test]
    fn what_is_written_is_read(numbers in proptest::collection::vec(any::<u16>(), 0..20), text in "\\PC{0,20}") {
        TYPES.with(|types| {
            let list = Val::List(numbers.iter().copied().map(Val::U16).collect());
            assert_eq!(ours(&types[6], &wasm_wave::to_string(&list).unwrap()), Ok(list));
            let text = Val::String(text.clone());
            assert_eq!(ours(&types[5], &wasm_wave::to_string(&text).unwrap()), Ok(text));
        });
    }
}

thread_local! {
    static TYPES: Vec<Type> = types();
}
