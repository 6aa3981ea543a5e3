//! Guests from WIT and core text. The canonical ABI of a host function and of an export of the same type
//! agree on the layout of what is returned by pointer, so most guests here only pass a pointer on.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A memory and an allocator that never frees, as every guest with lists or strings needs.
pub const MEMORY: &str = r#"
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 8192))
    (func $allocate (export "cabi_realloc") (param i32 i32) (param $align i32) (param $len i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and
        (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (global.set $next (i32.add (local.get $at) (local.get $len)))
      (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
        (then (drop (memory.grow (i32.add (i32.div_u (local.get $len) (i32.const 65536)) (i32.const 1))))))
      (local.get $at))"#;

/// A component of a world, given as the world's items, and a core module that implements it.
pub fn component(world: &str, core: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
    for package in ["io", "clocks", "random", "filesystem", "sockets", "cli"] {
        resolve
            .push_file(format!("{wit}/deps/{package}.wit"))
            .unwrap();
    }
    resolve.push_dir(format!("{wit}/confidential")).unwrap();
    let text = format!("package test:guest; world guest {{ {world} }}");
    let package = resolve.push_str("guest.wit", &text).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    let mut module = wat::parse_str(format!("(module {core})")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let mut encoder = ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .validate(true);
    encoder.encode().unwrap()
}

/// A component in text form.
pub fn text(component: &str) -> Vec<u8> {
    wat::parse_str(component).unwrap()
}

/// A component whose `run` takes nothing, returns nothing and has this body.
pub fn body(declarations: &str, body: &str) -> Vec<u8> {
    text(&format!(
        r#"(component
          (core module $m {declarations} (func (export "run") {body}))
          (core instance $i (instantiate $m))
          (func (export "run") (canon lift (core func $i "run"))))"#
    ))
}

/// A component that returns the number of its inputs, by one host call.
pub fn count() -> Vec<u8> {
    text(
        r#"(component
          (import "propeller:confidential/inputs@0.1.0" (instance $inputs
            (export "count" (func (result u32)))))
          (core func $count (canon lower (func $inputs "count")))
          (core module $m
            (import "host" "count" (func $count (result i32)))
            (func (export "run") (result i32) call $count))
          (core instance $i (instantiate $m
            (with "host" (instance (export "count" (func $count))))))
          (func (export "run") (result u32) (canon lift (core func $i "run"))))"#,
    )
}
