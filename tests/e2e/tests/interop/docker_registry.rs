//! Debian's docker-registry, open to all or with basic authentication.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proplet_image::RegistryConfig;
use serde_json::json;

use super::process::{Server, free_port};

const USER: &str = "proplet";
const PASSWORD: &str = "registry-test-password";
/// bcrypt of [`PASSWORD`], the only form that docker-registry takes; with the lowest cost.
const HTPASSWD: &str = "proplet:$2b$04$abcdefghijklmnopqrstuunVhfQpnqHpAVcaDBQgTW/1IjvwTZL/y\n";

/// Who may read and write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Anonymous,
    /// Whoever has the password.
    Basic,
}

/// A running registry.
pub struct DockerRegistry {
    _server: Server,
    port: u16,
    auth_file: Option<PathBuf>,
}

impl DockerRegistry {
    /// Starts it with its files in this folder.
    pub async fn start(folder: &Path, access: Access) -> Self {
        let port = free_port();
        let at = |name: &str| folder.join(name);
        let mut config = json!({
            "version": "0.1",
            "log": { "level": "warn" },
            "storage": { "filesystem": { "rootdirectory": at("images") } },
            "http": { "addr": format!("127.0.0.1:{port}") },
        });
        let mut auth_file = None;
        if access == Access::Basic {
            std::fs::write(at("htpasswd"), HTPASSWD).unwrap();
            config["auth"] = json!({ "htpasswd": { "realm": "tests", "path": at("htpasswd") } });
            let credentials = STANDARD.encode(format!("{USER}:{PASSWORD}"));
            let host = format!("127.0.0.1:{port}");
            let docker = json!({ "auths": { host: { "auth": credentials } } });
            std::fs::write(at("config.json"), docker.to_string()).unwrap();
            auth_file = Some(at("config.json"));
        }
        // JSON is YAML.
        std::fs::write(at("registry.yml"), config.to_string()).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(at("registry.yml"));
        Self {
            _server: Server::start(&mut command, &at("registry.log"), port).await,
            port,
            auth_file,
        }
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Docker's `config.json` with the password, when one is asked for.
    pub fn auth_file(&self) -> Option<PathBuf> {
        self.auth_file.clone()
    }

    /// How a data owner pushes.
    pub fn config(&self) -> RegistryConfig {
        RegistryConfig {
            auth_file: self.auth_file(),
            http_hosts: vec![self.host()],
            ..RegistryConfig::default()
        }
    }
}
