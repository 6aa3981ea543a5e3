//! The attribute of `proplet-sdk`. Guests use it through that crate.
//!
//! It reads tokens by hand: one function is all it has to recognise, and guests build faster without a
//! parser of Rust.
#![deny(missing_docs)]

use proc_macro::{Delimiter, Ident, Span, TokenStream, TokenTree};

/// Makes a function the task of this component: the host calls it with the first input, and what it
/// returns is the result.
///
/// The function takes `Vec<u8>`, or `String` when the input is text, and returns `Result<T, E>`: `T` is
/// `Vec<u8>`, `String`, or `()` when it publishes its result itself; `E` is `proplet_sdk::Failure`, an
/// error, a boxed error, or anything else that can be displayed. A panic is a trap: the task fails and
/// nothing is published.
///
/// The crate must be of crate type `cdylib`, with one such function. In a native build nothing is
/// exported, and the function is an ordinary one that tests can call.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    if !arguments.is_empty() {
        return error(Span::call_site(), "#[proplet_sdk::main] takes no arguments");
    }
    let function = match function(item.clone()) {
        Ok(function) => function,
        Err((span, why)) => return error(span, why),
    };
    let mut export: TokenStream = match "::proplet_sdk::__export!".parse() {
        Ok(path) => path,
        Err(_) => {
            return error(
                Span::call_site(),
                "#[proplet_sdk::main] could not be expanded",
            );
        }
    };
    let name = TokenStream::from(TokenTree::Ident(function));
    export.extend([
        TokenTree::Group(proc_macro::Group::new(Delimiter::Parenthesis, name)),
        TokenTree::Punct(proc_macro::Punct::new(';', proc_macro::Spacing::Alone)),
    ]);
    let mut expansion = item;
    expansion.extend(export);
    expansion
}

/// The name of the function, or what is wrong with the item and where.
fn function(item: TokenStream) -> Result<Ident, (Span, &'static str)> {
    const NOT_A_FUNCTION: &str = "#[proplet_sdk::main] goes on a function: fn run(input: Vec<u8>) -> Result<Vec<u8>, Failure>";
    let mut tokens = item.into_iter();
    for token in tokens.by_ref() {
        match token {
            TokenTree::Ident(word) if word.to_string() == "fn" => break,
            TokenTree::Ident(word) if word.to_string() == "async" => {
                return Err((
                    word.span(),
                    "a task is not async: host functions return when done",
                ));
            }
            TokenTree::Ident(word) if !matches!(&*word.to_string(), "pub" | "const" | "extern") => {
                return Err((word.span(), NOT_A_FUNCTION));
            }
            _ => {}
        }
    }
    let Some(TokenTree::Ident(name)) = tokens.next() else {
        return Err((Span::call_site(), NOT_A_FUNCTION));
    };
    match tokens.next() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => {
            if group.stream().is_empty() {
                let why = "a task takes its first input: fn run(input: Vec<u8>) -> ..";
                return Err((group.span(), why));
            }
            Ok(name)
        }
        Some(token) => Err((token.span(), "a task has no type parameters")),
        None => Err((name.span(), NOT_A_FUNCTION)),
    }
}

/// `compile_error!` at `span`.
fn error(span: Span, why: &str) -> TokenStream {
    let text = TokenStream::from(TokenTree::Literal(proc_macro::Literal::string(why)));
    let tokens = [
        TokenTree::Ident(Ident::new("compile_error", span)),
        TokenTree::Punct(proc_macro::Punct::new('!', proc_macro::Spacing::Alone)),
        TokenTree::Group(proc_macro::Group::new(Delimiter::Brace, text)),
    ];
    tokens
        .into_iter()
        .map(|mut token| {
            token.set_span(span);
            token
        })
        .collect()
}
