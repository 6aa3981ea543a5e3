//! A plain program: greets each of its inputs on standard output, which is its result.
#![deny(missing_docs)]

use std::io::{self, Write};

use proplet_sdk::inputs;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let names: Result<Vec<_>, _> = (0..inputs::count()).map(inputs::text).collect();
    greet(&names?, &mut io::stdout().lock())?;
    Ok(())
}

fn greet(names: &[String], out: &mut impl Write) -> io::Result<()> {
    if names.is_empty() {
        return writeln!(out, "Hello, whoever you are!");
    }
    names
        .iter()
        .try_for_each(|name| writeln!(out, "Hello, {name}!"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(names: &[&str]) -> String {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut out = Vec::new();
        greet(&names, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn everybody_is_greeted() {
        assert_eq!(greeting(&["Ada", "Grace"]), "Hello, Ada!\nHello, Grace!\n");
        assert_eq!(greeting(&[]), "Hello, whoever you are!\n");
    }
}
