//! Debian's mosquitto with password authentication, a plain listener and one with TLS.

use std::path::{Path, PathBuf};
use std::process::Command;

use proplet_lab::{API_KEY, PROPLET};

use super::process::{Server, free_port};

/// Who may connect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Guests {
    /// The Manager and the proplet.
    Both,
    /// The Manager.
    ManagerOnly,
}

/// A running mosquitto, and what is needed to start it again in the same place.
pub struct Mosquitto {
    server: Option<Server>,
    folder: PathBuf,
    port: u16,
    tls_port: u16,
}

impl Mosquitto {
    /// Starts it with its files in this folder.
    pub async fn start(folder: &Path) -> Self {
        let mut mosquitto = Self {
            server: None,
            folder: folder.to_owned(),
            port: free_port(),
            tls_port: free_port(),
        };
        certificates(folder);
        let at = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "user root\npersistence false\nallow_anonymous false\npassword_file {}\n\
             listener {} 127.0.0.1\n\
             listener {} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
            at("passwords"),
            mosquitto.port,
            mosquitto.tls_port,
            at("broker.pem"),
            at("broker.key"),
        );
        std::fs::write(folder.join("mosquitto.conf"), config).unwrap();
        mosquitto.restart(Guests::Both).await;
        mosquitto
    }

    /// Starts it again after [`Self::kill`], on the same ports.
    pub async fn restart(&mut self, guests: Guests) {
        self.write_passwords(guests);
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(self.folder.join("mosquitto.conf"));
        let log = self.folder.join("mosquitto.log");
        self.server = Some(Server::start(&mut command, &log, self.port).await);
    }

    /// Kills it; all sessions and queued messages are lost.
    pub fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    /// Lets others in, while it runs.
    pub fn admit(&self, guests: Guests) {
        self.write_passwords(guests);
        self.server.as_ref().unwrap().reload();
    }

    /// Port of the plain listener.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The plain listener.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// The listener with TLS. The certificate names `localhost`.
    pub fn tls_url(&self) -> String {
        format!("mqtts://localhost:{}", self.tls_port)
    }

    /// The CA of the listener with TLS.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    fn write_passwords(&self, guests: Guests) {
        let mut text = "manager:any\n".to_owned();
        if guests == Guests::Both {
            text.push_str(&format!("{PROPLET}:{API_KEY}\n"));
        }
        let file = self.folder.join("passwords");
        std::fs::write(&file, text).unwrap();
        let hashing = Command::new("mosquitto_passwd")
            .arg("-U")
            .arg(&file)
            .output()
            .unwrap();
        assert!(hashing.status.success(), "{hashing:?}");
    }
}

/// A CA and a certificate of it for the broker.
fn certificates(folder: &Path) {
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    write("ca.pem", parameters.self_signed(&key).unwrap().pem());
    let issuer = rcgen::Issuer::new(parameters, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let certificate = parameters.signed_by(&key, &issuer).unwrap();
    write("broker.pem", certificate.pem());
    write("broker.key", key.serialize_pem());
}
