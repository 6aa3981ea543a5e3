//! Components and modules of the shapes that real toolchains make: as to numbers and sizes of instances,
//! memories, tables and functions, what the engine takes runs here.

use std::fmt::Write as _;

use proplet_runtime::{TaskLimits, TaskSpec};
use wasm_encoder::{
    CodeSection, ConstExpr, ElementSection, Elements, ExportKind, ExportSection, Function,
    FunctionSection, Module, RefType, TableSection, TableType, TypeSection, ValType,
};

use crate::fakes::{error, run, task, value};
use crate::guests::text;

/// A module with as many functions, all of them in its table, whose `run` calls the last through it.
fn functions(count: u32) -> Module {
    let mut types = TypeSection::new();
    types.ty().function([], [ValType::I32]);
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    for index in 0..count {
        functions.function(0);
        let mut body = Function::new([]);
        body.instructions().i32_const(index as i32).end();
        code.function(&body);
    }
    functions.function(0);
    let mut body = Function::new([]);
    body.instructions()
        .i32_const(count as i32 - 1)
        .call_indirect(0, 0)
        .end();
    code.function(&body);
    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: count.into(),
        maximum: None,
        shared: false,
    });
    let mut exports = ExportSection::new();
    exports.export("run", ExportKind::Func, count);
    let mut elements = ElementSection::new();
    let all: Vec<u32> = (0..count).collect();
    elements.active(
        None,
        &ConstExpr::i32_const(0),
        Elements::Functions(all.into()),
    );
    let mut module = Module::new();
    module
        .section(&types)
        .section(&functions)
        .section(&tables)
        .section(&exports)
        .section(&elements)
        .section(&code);
    module
}

/// A component of these modules, each instantiated, whose `run` is the last one's.
fn component(modules: &[Module]) -> Vec<u8> {
    use wasm_encoder::{
        Alias, CanonicalFunctionSection, Component, ComponentAliasSection, ComponentExportKind,
        ComponentExportSection, ComponentTypeSection, InstanceSection, ModuleArg, ModuleSection,
        PrimitiveValType,
    };
    let mut component = Component::new();
    let mut instances = InstanceSection::new();
    for (index, module) in modules.iter().enumerate() {
        component.section(&ModuleSection(module));
        instances.instantiate(index as u32, [] as [(&str, ModuleArg); 0]);
    }
    component.section(&instances);
    let mut aliases = ComponentAliasSection::new();
    aliases.alias(Alias::CoreInstanceExport {
        instance: modules.len() as u32 - 1,
        kind: ExportKind::Func,
        name: "run",
    });
    component.section(&aliases);
    let mut types = ComponentTypeSection::new();
    types
        .function()
        .params([] as [(&str, PrimitiveValType); 0])
        .result(Some(wasm_encoder::ComponentValType::Primitive(
            PrimitiveValType::U32,
        )));
    component.section(&types);
    let mut canonical = CanonicalFunctionSection::new();
    canonical.lift(0, 0, []);
    component.section(&canonical);
    let mut exports = ComponentExportSection::new();
    exports.export("run", ComponentExportKind::Func, 0, None);
    component.section(&exports);
    component.finish()
}

/// As the Go and .NET tools make them.
#[tokio::test]
async fn tens_of_thousands_of_functions() {
    let wasm = component(&[functions(33_500), functions(17_000)]);
    assert_eq!(value(&run(&wasm, task("run", &[])).await), "16999");
}

/// As Python's tools make them: 34 with NumPy, 38 with WASI stubbed out; and far more.
#[tokio::test]
async fn many_core_instances() {
    for count in [34, 38, 200] {
        let modules: Vec<Module> = (0..count).map(|_| functions(3)).collect();
        // Each has a table.
        let expected = if count > 100 { None } else { Some("2") };
        let outcome = run_or_refuse(&component(&modules)).await;
        assert_eq!(outcome.as_deref(), expected, "{count}");
    }
    let mut instances = String::new();
    for _ in 0..900 {
        instances.push_str("(core instance (instantiate $m))");
    }
    let wasm = text(&format!(
        r#"(component
          (core module $m (func (export "run") (result i32) (i32.const 7)))
          {instances}
          (core instance $i (instantiate $m))
          (func (export "run") (result u32) (canon lift (core func $i "run"))))"#
    ));
    assert_eq!(value(&run(&wasm, task("run", &[])).await), "7");
}

/// The result; none when the component is refused as too large for this host.
async fn run_or_refuse(wasm: &[u8]) -> Option<String> {
    match crate::fakes::compile(wasm).await {
        Ok(_) => Some(value(&run(wasm, task("run", &[])).await)),
        Err(error) => {
            assert_eq!(error.code(), "component-invalid");
            assert!(error.detail().unwrap().contains("tables"), "{error:?}");
            None
        }
    }
}

#[tokio::test]
async fn many_memories_and_tables() {
    let mut text_ = String::new();
    for index in 0..98 {
        let _ = write!(
            text_,
            r#"(core module $m{index} (memory 1) (table 10 funcref) (func (export "run") (result i32)
              (i32.store (i32.const 0) (i32.const {index})) (i32.load (i32.const 0))))
            (core instance $i{index} (instantiate $m{index}))"#
        );
    }
    let wasm = text(&format!(
        r#"(component {text_} (func (export "run") (result u32) (canon lift (core func $i97 "run"))))"#
    ));
    let outcome = run(&wasm, task("run", &[])).await;
    assert_eq!(value(&outcome), "97");
    assert!(
        outcome.usage.memory_peak_bytes >= 98 * (65536 + 10 * 8),
        "all of them count"
    );
    let tables = "(table 1 funcref)".repeat(100);
    let module = wat::parse_str(format!(
        "(module {tables} (func (export \"run\") (result i32) (table.size 99)))"
    ));
    assert_eq!(value(&run(&module.unwrap(), task("run", &[])).await), "1");
}

#[tokio::test]
async fn big_tables_count_as_memory() {
    let wasm = wat::parse_str(
        r#"(module (table 5000000 funcref)
          (func (export "run") (result i32) (drop (table.grow (ref.null func) (i32.const 1000000)))
            (table.size 0)))"#,
    )
    .unwrap();
    let outcome = run(&wasm, task("run", &[])).await;
    assert_eq!(value(&outcome), "6000000");
    assert!(outcome.usage.memory_peak_bytes >= 48_000_000);
    let small = TaskSpec {
        limits: TaskLimits {
            memory_bytes: 32 << 20,
            ..TaskLimits::default()
        },
        ..task("run", &[])
    };
    assert_eq!(error(&run(&wasm, small).await).0, "limit-memory");
}
