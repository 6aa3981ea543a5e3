//! Makes requests. The input is one word and an address, `get http://127.0.0.1:80/path`; `run` below lists the
//! words.
#![deny(missing_docs)]

use proplet_sdk::Failure;

#[cfg(target_family = "wasm")]
mod web;

#[proplet_sdk::main]
fn run(input: String) -> Result<String, Failure> {
    let (word, address) = input.split_once(' ').unwrap_or((&input, ""));
    match word {
        #[cfg(target_family = "wasm")]
        "get" => Ok(web::get(address)),
        #[cfg(target_family = "wasm")]
        "post" => Ok(web::post(address, b"posted")),
        #[cfg(target_family = "wasm")]
        "follow" => Ok(web::follow(address)),
        #[cfg(target_family = "wasm")]
        "many" => Ok(web::many(address)),
        #[cfg(target_family = "wasm")]
        "flood" => Ok(web::flood(address)),
        #[cfg(target_family = "wasm")]
        "fields" => Ok(web::fields()),
        _ => Err(Failure::invalid_input(format!(
            "no such word: {word:?} {address}"
        ))),
    }
}
