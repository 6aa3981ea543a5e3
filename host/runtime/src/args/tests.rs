use proptest::prelude::*;

use super::*;

#[test]
fn numbers_are_read_by_type() {
    let read = |ty: ValType, text: &str| number(&ty, &Input::text(text)).ok();
    let i32s = [
        ("7", 7),
        (" -7 ", -7),
        ("4294967295", -1),
        ("-2147483648", i32::MIN),
        ("+1", 1),
    ];
    for (text, expected) in i32s {
        assert_eq!(
            read(ValType::I32, text).and_then(|value| value.i32()),
            Some(expected),
            "{text}"
        );
    }
    let i64s = [
        ("18446744073709551615", -1),
        ("-9223372036854775808", i64::MIN),
    ];
    for (text, expected) in i64s {
        assert_eq!(
            read(ValType::I64, text).and_then(|value| value.i64()),
            Some(expected),
            "{text}"
        );
    }
    assert_eq!(
        read(ValType::F32, "1.5").and_then(|value| value.f32()),
        Some(1.5)
    );
    assert_eq!(
        read(ValType::F64, "-1e300").and_then(|value| value.f64()),
        Some(-1e300)
    );
    for (ty, text) in [
        (ValType::I32, "4294967296"),
        (ValType::I32, "-2147483649"),
        (ValType::I32, "1.0"),
        (ValType::I32, "0x10"),
        (ValType::I32, ""),
        (ValType::I64, "18446744073709551616"),
        (ValType::F64, "one"),
        (ValType::V128, "1"),
    ] {
        assert!(read(ty.clone(), text).is_none(), "{ty} {text}");
    }
    assert!(
        number(
            &ValType::I32,
            &Input {
                bytes: vec![0xff].into(),
                media_type: None
            }
        )
        .is_err()
    );
}

#[test]
fn counts_are_checked() {
    let check = |parameters, inputs, surplus| {
        check_count(parameters, inputs, surplus, || "f: func()".to_owned())
            .map_err(|error| error.detail().unwrap().to_owned())
    };
    check(2, 2, false).unwrap();
    check(1, 3, true).unwrap();
    assert_eq!(
        check(1, 0, true).unwrap_err(),
        "0 inputs for 1 parameter; the export is `f: func()`"
    );
    assert_eq!(
        check(2, 1, false).unwrap_err(),
        "1 input for 2 parameters; the export is `f: func()`"
    );
    assert!(check(1, 2, false).is_err());
}

proptest! {
    #[test]
    fn number_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let input = Input { bytes: bytes.into(), media_type: None };
        for ty in [ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::V128] {
            let _ = number(&ty, &input);
        }
    }

    #[test]
    fn numbers_round_trip(a: i32, b: i64, c in any::<f64>().prop_filter("equal to itself", |c| !c.is_nan())) {
        let read = |ty: ValType, text: String| number(&ty, &Input::text(text)).unwrap();
        prop_assert_eq!(read(ValType::I32, a.to_string()).i32(), Some(a));
        prop_assert_eq!(read(ValType::I64, b.to_string()).i64(), Some(b));
        prop_assert_eq!(read(ValType::F64, c.to_string()).f64(), Some(c));
    }
}
