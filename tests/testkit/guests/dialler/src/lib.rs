//! Reaches for the network, by every way there is, so that tests can show that each is denied.
//!
//! The input is one word and an address, `connect 127.0.0.1:80`; `run` below lists the words.
#![deny(missing_docs)]

use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use proplet_sdk::Failure;

#[cfg(target_family = "wasm")]
mod raw;

#[proplet_sdk::main]
fn run(input: String) -> Result<Vec<u8>, Failure> {
    let (word, address) = input.split_once(' ').unwrap_or((&input, ""));
    match word {
        // As the standard library does it.
        "connect" => {
            TcpStream::connect(address)?;
            Ok(b"connected".to_vec())
        }
        "listen" => {
            TcpListener::bind(address)?;
            Ok(b"listening".to_vec())
        }
        "send-udp" => {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.send_to(b"datagram", address)?;
            Ok(b"sent".to_vec())
        }
        "resolve" => {
            let found = address.to_socket_addrs()?.count();
            Ok(format!("found {found}").into())
        }
        // As the interfaces of WASI do it.
        #[cfg(target_family = "wasm")]
        "sockets" => Ok(raw::sockets(address).into()),
        #[cfg(target_family = "wasm")]
        "request" => Ok(raw::request(address).into()),
        #[cfg(target_family = "wasm")]
        "describe" => Ok(raw::describe(address).into()),
        #[cfg(target_family = "wasm")]
        "field" => Ok(raw::field(address).into()),
        _ => Err(Failure::invalid_input(format!("no such word: {word:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use proplet_sdk::testing::Host;

    use super::*;

    #[test]
    fn it_reaches_what_is_there() {
        let there = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = there.local_addr().unwrap();
        let ask = |input: String| Host::new().run(|| run(input));
        assert_eq!(ask(format!("connect {address}")).unwrap(), b"connected");
        assert_eq!(ask(format!("send-udp {address}")).unwrap(), b"sent");
        assert_eq!(ask("listen 127.0.0.1:0".into()).unwrap(), b"listening");
        assert_eq!(ask(format!("resolve {address}")).unwrap(), b"found 1");
        assert!(matches!(
            ask("call home".into()),
            Err(Failure::InvalidInput(_))
        ));
    }
}
