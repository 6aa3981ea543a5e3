//! The network: the loopback, and the first interface by DHCP.
//!
//! Nothing here is trusted. Whoever runs the VM answers DHCP, and can send every connection wherever he likes; what
//! protects them is TLS of the daemon.

mod dhcp;
mod lease;
mod netlink;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::InitError;
use crate::console::say;

use lease::Lease;

/// Where the image's `/etc/resolv.conf` leads to.
const RESOLVER: &str = "/run/resolv.conf";
/// How long an interface may take to appear after its driver was loaded.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a DHCP server may take before the machine gives up.
const SERVER_PATIENCE: Duration = Duration::from_secs(120);

/// Brings the network up, and keeps its lease from then on.
pub(crate) async fn up() -> Result<(), InitError> {
    let started = tokio::task::spawn_blocking(start).await;
    started
        .map_err(|error| InitError::Network(error.to_string()))?
        .map_err(InitError::Network)
}

fn start() -> Result<(), String> {
    netlink::link_up("lo").map_err(|error| format!("the loopback: {error}"))?;
    let interface = find(Path::new("/sys/class/net")).ok_or(
        "there is no interface; give the VM one with `-device virtio-net-pci`, or restrict its network instead",
    )?;
    netlink::link_up(&interface).map_err(|error| format!("{interface}: {error}"))?;
    let client = dhcp::Client::new(&interface).map_err(|error| format!("{interface}: {error}"))?;
    let lease = client.lease(None, SERVER_PATIENCE).map_err(|error| {
        format!("{interface}: no DHCP server gave an address ({error}); connect it to a network that has one")
    })?;
    apply(&interface, &lease)?;
    say(&format!("{interface}: {lease}"));
    std::thread::Builder::new()
        .name("dhcp".to_owned())
        .spawn(move || keep(&client, &interface, lease))
        .map_err(|error| format!("no thread: {error}"))?;
    Ok(())
}

fn apply(interface: &str, lease: &Lease) -> Result<(), String> {
    netlink::address(interface, lease.address, lease.prefix_len)
        .map_err(|error| format!("{interface}: {lease}: {error}"))?;
    if let Some(router) = lease.router {
        netlink::default_route(interface, router)
            .map_err(|error| format!("{interface}: the route by {router}: {error}"))?;
    }
    fs::write(RESOLVER, lease.resolver()).map_err(|error| format!("{RESOLVER}: {error}"))
}

/// Asks for the lease again at half of its time. One that is not given again stays in use: the server may be down,
/// and connections that work are worth more than the rule.
fn keep(client: &dhcp::Client, interface: &str, mut lease: Lease) {
    loop {
        std::thread::sleep(lease.renewal());
        match client.lease(Some(lease.address), SERVER_PATIENCE) {
            Ok(next) => {
                if next != lease {
                    say(&format!("{interface}: {next}"));
                    if let Err(error) = apply(interface, &next) {
                        say(&format!("warning: {error}"));
                    }
                }
                lease = next;
            }
            Err(error) => say(&format!(
                "warning: {interface}: the lease was not given again: {error}"
            )),
        }
    }
}

/// The first interface that is a device, waited for.
fn find(interfaces: &Path) -> Option<String> {
    let begin = Instant::now();
    loop {
        let found = first_device(interfaces);
        if found.is_some() || begin.elapsed() > PATIENCE {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn first_device(interfaces: &Path) -> Option<String> {
    let mut names: Vec<_> = fs::read_dir(interfaces)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| interfaces.join(name).join("device").exists())
        .collect();
    names.sort_unstable();
    names.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_device_is_the_interface() {
        let interfaces = tempfile::tempdir().unwrap();
        assert_eq!(first_device(interfaces.path()), None);
        for name in ["lo", "eth1/device", "eth0/device", "bond0"] {
            fs::create_dir_all(interfaces.path().join(name)).unwrap();
        }
        assert_eq!(first_device(interfaces.path()).as_deref(), Some("eth0"));
    }
}
