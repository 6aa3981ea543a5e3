//! Where the quoting service listens.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// The file that Intel's library reads, and so the one that hosts and guests have.
pub(super) const CONFIG: &str = "/etc/tdx-attest.conf";
/// The port of a quoting service whose owner changed nothing.
pub(super) const USUAL_PORT: u32 = 4050;
/// The file is a line or two.
const MAX_CONFIG_LEN: u64 = 64 * 1024;

/// The port in `/etc/tdx-attest.conf`, or the usual one where the file is missing or names none.
pub(super) fn port(config: &Path) -> u32 {
    let mut text = Vec::new();
    let read = File::open(config)
        .and_then(|file| file.take(MAX_CONFIG_LEN).read_to_end(&mut text))
        .is_ok();
    let text = String::from_utf8_lossy(&text);
    Some(text)
        .filter(|_| read)
        .and_then(|text| parse(&text))
        .unwrap_or(USUAL_PORT)
}

/// The first line `port = NUMBER`. Other lines, comments among them, are passed over.
fn parse(config: &str) -> Option<u32> {
    config.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        let port = value.trim().parse().ok()?;
        (name.trim() == "port" && port != 0).then_some(port)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_port_is_read_as_intels_library_reads_it() {
        for text in [
            "port=4050",
            " port = 4050 \n",
            "# comment\nport=4050\nport=1",
            "#port=9\nport=4050",
        ] {
            assert_eq!(parse(text), Some(4050), "{text}");
        }
        for text in [
            "", "port", "port=", "port=x", "port=0", "port=-1", "#port=1", "ports=1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn without_a_file_it_is_the_usual_one() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("tdx-attest.conf");
        assert_eq!(port(&path), USUAL_PORT);
        std::fs::write(&path, "port=5005\n").unwrap();
        assert_eq!(port(&path), 5005);
        std::fs::write(&path, b"\xff\xfe").unwrap();
        assert_eq!(port(&path), USUAL_PORT);
    }

    proptest! {
        #[test]
        fn any_text_names_a_port_or_none(text in "[ -~\n]{0,60}", number in 1_u32..) {
            let _ = parse(&text);
            let with = format!("{}\nport = {number}", text.replace("port", "troop"));
            prop_assert_eq!(parse(&with), Some(number));
        }
    }
}
