//! Types whose values cost more than they look like, and guests that take or give them.

use std::fmt::Write as _;

use proptest::prelude::*;

/// A type.
#[derive(Clone, Debug)]
pub enum Shape {
    Bool,
    U64,
    String,
    /// Cases `c0`, `c1` and so on.
    Enum(usize),
    /// Flags `a0`, `a1` and so on.
    Flags(usize),
    List(Box<Shape>),
    Option(Box<Shape>),
    Tuple(Vec<Shape>),
    /// As many optional fields, `f0`, `f1` and so on, of the same type.
    Record(usize, Box<Shape>),
    /// As many cases with the same payload, `c0`, `c1` and so on.
    Variant(usize, Box<Shape>),
}

impl Shape {
    pub fn list(element: Self) -> Self {
        Self::List(Box::new(element))
    }

    pub fn record_of_options(fields: usize) -> Self {
        Self::Record(fields, Box::new(Self::U64))
    }

    /// Text of about `size` bytes, if the type can hold that, with as many values as can be.
    pub fn input(&self, size: usize) -> String {
        let Self::List(element) = self else {
            return self.shortest();
        };
        let element = element.shortest();
        let count = size / (element.len() + 1);
        format!("[{}]", vec![element; count].join(","))
    }

    fn shortest(&self) -> String {
        match self {
            Self::Bool => "true".to_owned(),
            Self::U64 => "1".to_owned(),
            Self::String => "\"\"".to_owned(),
            Self::Enum(cases) => format!("c{}", cases - 1),
            Self::Flags(names) => {
                let names: Vec<String> = (0..*names).map(|n| format!("a{n}")).collect();
                format!("{{{}}}", names.join(","))
            }
            Self::List(element) => format!("[{0},{0}]", element.shortest()),
            Self::Option(_) => "none".to_owned(),
            Self::Tuple(elements) => {
                let elements: Vec<String> = elements.iter().map(Self::shortest).collect();
                format!("({})", elements.join(","))
            }
            Self::Record(..) => "{:}".to_owned(),
            Self::Variant(cases, payload) => format!("c{}({})", cases - 1, payload.shortest()),
        }
    }

    /// Writes the definitions that the type needs and gives its name or text.
    fn define(&self, text: &mut String, next: &mut usize) -> String {
        let named = |definition: String, text: &mut String, next: &mut usize| {
            *next += 1;
            let _ = writeln!(
                text,
                "(type $x{next} {definition}) (export $t{next} \"t{next}\" (type $x{next}))"
            );
            format!("$t{next}")
        };
        match self {
            Self::Bool => "bool".to_owned(),
            Self::U64 => "u64".to_owned(),
            Self::String => "string".to_owned(),
            Self::Enum(cases) => {
                let cases: String = (0..*cases).map(|n| format!(" \"c{n}\"")).collect();
                named(format!("(enum{cases})"), text, next)
            }
            Self::Flags(names) => {
                let names: String = (0..*names).map(|n| format!(" \"a{n}\"")).collect();
                named(format!("(flags{names})"), text, next)
            }
            Self::List(element) => format!("(list {})", element.define(text, next)),
            Self::Option(some) => format!("(option {})", some.define(text, next)),
            Self::Tuple(elements) => {
                let elements: Vec<String> = elements
                    .iter()
                    .map(|element| element.define(text, next))
                    .collect();
                format!("(tuple {})", elements.join(" "))
            }
            Self::Record(fields, ty) => {
                let ty = ty.define(text, next);
                let fields: String = (0..*fields)
                    .map(|n| format!(" (field \"f{n}\" (option {ty}))"))
                    .collect();
                named(format!("(record{fields})"), text, next)
            }
            Self::Variant(cases, ty) => {
                let ty = ty.define(text, next);
                let cases: String = (0..*cases)
                    .map(|n| format!(" (case \"c{n}\" {ty})"))
                    .collect();
                named(format!("(variant{cases})"), text, next)
            }
        }
    }
}

/// A component with one function, `run`.
#[derive(Clone, Debug)]
pub struct Guest {
    pub parameter: Option<Shape>,
    /// A list or string, its length, and the two bytes that its memory is full of.
    result: Option<(Shape, u32, u16)>,
}

impl Guest {
    /// Takes a value and does nothing with it.
    pub fn takes(parameter: Shape) -> Self {
        Self {
            parameter: Some(parameter),
            result: None,
        }
    }

    /// Gives a list or a string.
    pub fn gives(result: Shape, length: u32, pattern: u16) -> Self {
        Self {
            parameter: None,
            result: Some((result, length, pattern)),
        }
    }

    pub fn describe(&self) -> String {
        let short = |shape: &Shape| {
            let mut text = format!("{shape:?}");
            text.truncate(200);
            text
        };
        match (&self.parameter, &self.result) {
            (Some(parameter), _) => format!("takes {}", short(parameter)),
            (_, Some((result, length, pattern))) => {
                format!("gives {} × {length} of {pattern:#x}", short(result))
            }
            _ => "nothing".to_owned(),
        }
    }

    /// In text form.
    pub fn text(&self) -> String {
        let mut types = String::new();
        let mut next = 0;
        let parameter = self.parameter.as_ref().map_or(String::new(), |shape| {
            format!("(param \"a\" {})", shape.define(&mut types, &mut next))
        });
        let (result, length, pattern) = match &self.result {
            Some((shape, length, pattern)) => (
                format!("(result {})", shape.define(&mut types, &mut next)),
                *length,
                *pattern,
            ),
            None => (String::new(), 0, 0),
        };
        let core = if self.result.is_some() {
            format!(
                r#"(func (export "run") (result i32)
                  (local $at i32)
                  (if (i32.eqz (memory.grow (i32.const 700))) (then unreachable))
                  (local.set $at (i32.const 65536))
                  (if (i32.const {pattern}) (then
                    (loop $fill
                      (i32.store16 (local.get $at) (i32.const {pattern}))
                      (local.set $at (i32.add (local.get $at) (i32.const 2)))
                      (br_if $fill (i32.lt_u (local.get $at) (i32.const 33554432))))))
                  (i32.store (i32.const 8) (i32.const 65536))
                  (i32.store (i32.const 12) (i32.const {length}))
                  (i32.const 8))"#
            )
        } else {
            r#"(func (export "run") (param i32 i32))"#.to_owned()
        };
        format!(
            r#"(component
              {types}
              (core module $m
                (memory (export "memory") 16)
                (global $next (mut i32) (i32.const 65536))
                (func (export "realloc") (param i32 i32) (param $align i32) (param $len i32) (result i32)
                  (local $at i32)
                  (local.set $at (i32.and
                    (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
                    (i32.sub (i32.const 0) (local.get $align))))
                  (global.set $next (i32.add (local.get $at) (local.get $len)))
                  (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
                    (then (drop (memory.grow
                      (i32.add (i32.div_u (local.get $len) (i32.const 65536)) (i32.const 1))))))
                  (local.get $at))
                {core})
              (core instance $i (instantiate $m))
              (func (export "run") {parameter} {result} (canon lift (core func $i "run")
                (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))"#
        )
    }
}

/// Any type, the costly ones more often.
pub fn shape() -> impl Strategy<Value = Shape> {
    let count = || proptest::sample::select(vec![1_usize, 2, 30, 1_000, 5_000, 10_000]);
    let leaf = prop_oneof![
        Just(Shape::Bool),
        Just(Shape::U64),
        Just(Shape::String),
        count().prop_map(Shape::Enum),
        (1_usize..=32).prop_map(Shape::Flags),
    ];
    leaf.prop_recursive(3, 8, 4, move |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed().prop_map(Shape::List),
            boxed().prop_map(Shape::Option),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(Shape::Tuple),
            (count(), boxed()).prop_map(|(fields, ty)| Shape::Record(fields, ty)),
            (count(), boxed()).prop_map(|(cases, ty)| Shape::Variant(cases, ty)),
        ]
    })
    .prop_filter("within the engine's size of a type", |shape| {
        shape.size() < 50_000
    })
}

/// Two bytes that a guest fills its memory with.
pub fn pattern() -> impl Strategy<Value = u16> {
    proptest::sample::select(vec![0, 1, 0x0101, 0xffff, 0x0700])
}

impl Shape {
    fn size(&self) -> usize {
        match self {
            Self::Bool | Self::U64 | Self::String => 1,
            Self::Enum(n) | Self::Flags(n) => *n,
            Self::List(ty) | Self::Option(ty) => 1 + ty.size(),
            Self::Tuple(types) => 1 + types.iter().map(Self::size).sum::<usize>(),
            Self::Record(n, ty) | Self::Variant(n, ty) => n.saturating_mul(2 + ty.size()),
        }
    }
}
