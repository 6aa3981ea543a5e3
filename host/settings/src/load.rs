//! Reading settings: the documents, the environment, and the checks of both.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use proplet_types::Digest;
use zeroize::Zeroizing;

use crate::{
    checks,
    credentials::Credentials,
    document::Document,
    envelope,
    environment::{CREDENTIALS_DIRECTORY, Environment},
    error::{SettingsError, syntax_error},
    settings::Settings,
    upstream,
};

/// Name of the credentials document among the credentials that systemd gives to a service.
pub const CREDENTIALS_FILE: &str = "credentials.toml";

/// Largest settings document, in bytes. A document is a few kilobytes; a larger file is a mistake.
pub const MAX_DOCUMENT_BYTES: u64 = 1024 * 1024;

impl Settings {
    /// Where the document is: the file that was given, else the one that `PROPLET_CONFIG_FILE` names, else
    /// `proplet.toml` in the current directory if there is one, else upstream's `config.toml` there, where the
    /// environment does not say who this proplet is. The first two need not exist: then [`Settings::load`] says so.
    fn locate(given: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
        let named = || {
            environment
                .text(&["PROPLET_CONFIG_FILE"])
                .map(PathBuf::from)
        };
        let usual = || Some(PathBuf::from("proplet.toml")).filter(|path| !is_absent(path));
        let upstreams = || {
            let path = Some(PathBuf::from(upstream::FILE)).filter(|path| path.is_file())?;
            let is_one = !upstream::is_complete(environment)
                && read_text(&path).is_ok_and(|text| upstream::is_one(&text, environment));
            is_one.then_some(path)
        };
        given
            .map(Path::to_path_buf)
            .or_else(named)
            .or_else(usual)
            .or_else(upstreams)
    }

    /// Where the credentials are: the file that was given, else the one that `PROPLET_CREDENTIALS_FILE` names, else
    /// [`CREDENTIALS_FILE`] among those that systemd gives to this service, if it is there: a service may have
    /// others and none of ours.
    fn locate_credentials(given: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
        let named = || {
            environment
                .text(&["PROPLET_CREDENTIALS_FILE"])
                .map(PathBuf::from)
        };
        let loaded = || {
            environment
                .of_service_manager(CREDENTIALS_DIRECTORY)
                .map(|folder| Path::new(folder).join(CREDENTIALS_FILE))
                .filter(|path| !matches!(path.try_exists(), Ok(false)))
        };
        given.map(Path::to_path_buf).or_else(named).or_else(loaded)
    }

    /// Reads the documents and applies the environment. The settings are at `path` when that is given, else
    /// where `PROPLET_CONFIG_FILE` says, else in `proplet.toml` in the current directory if there is one,
    /// else in upstream's `config.toml` there; else there are none. The credentials are at `credentials`, else
    /// where `PROPLET_CREDENTIALS_FILE` says, else in `credentials.toml` of systemd's `CREDENTIALS_DIRECTORY` if
    /// there is one; else there are none.
    ///
    /// # Errors
    /// When a file cannot be read, is not such a document, or a value or variable is wrong.
    pub fn load(
        path: Option<&Path>,
        credentials: Option<&Path>,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let is_given = path.is_some();
        let mut path = Self::locate(path, environment);
        let mut absent = None;
        // Upstream's proplet does not open a file that it does not need, and its deployments name a `config.toml` that
        // is not there. Any other name was somebody's wish, and what is there and cannot be reached may be a document
        // of ours: without it, what it forbids would be allowed.
        let may_be_absent = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name == upstream::FILE) && is_absent(path)
        };
        if !is_given
            && upstream::is_complete(environment)
            && path.as_ref().is_some_and(may_be_absent)
        {
            absent = path.take();
        }
        let credentials = Self::locate_credentials(credentials, environment);
        let text = path.as_deref().map(read_text).transpose()?;
        let secrets = credentials.as_deref().map(read_text).transpose()?;
        let mut settings = Self::parse_with_credentials(
            text.as_ref().map(|text| text.as_str()),
            secrets.as_ref().map(|text| text.as_str()),
            environment,
        )?;
        checks::check_documents(
            &settings.directories,
            path.as_deref(),
            credentials.as_deref(),
        )?;
        if let Some(absent) = absent {
            settings.notices.push(format!(
                "there is no settings document: {}, which PROPLET_CONFIG_FILE names, does not exist",
                absent.display()
            ));
        }
        Ok(settings)
    }

    /// Checks a document, or its absence, and applies the environment.
    ///
    /// # Errors
    /// When the text is neither a settings document nor an init-data document that holds one, or a value
    /// or variable is wrong.
    pub fn parse(text: Option<&str>, environment: &Environment) -> Result<Self, SettingsError> {
        Self::parse_with_credentials(text, None, environment)
    }

    /// The same with a credentials document.
    ///
    /// # Errors
    /// As [`Settings::parse`], and when the second document has other names than those of credentials or
    /// one that the first has too.
    pub fn parse_with_credentials(
        text: Option<&str>,
        credentials: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let (bytes, init_data) = envelope::unwrap(text.unwrap_or_default())?;
        let upstreams = match &init_data {
            Some(_) => None,
            None => upstream::read(&bytes, environment)?,
        };
        let is_ours = text.is_some() && upstreams.is_none();
        let mut document: Document = match upstreams {
            Some(document) => document,
            None => toml::from_str(&bytes)
                .map_err(|error| syntax_error("settings document", &bytes, &error))?,
        };
        if init_data.is_some() {
            envelope::refuse_credentials(&document)?;
        }
        // Nobody measures the credentials, so they are not asked.
        let usual_images = checks::usual_plain_images(&document);
        if let Some(credentials) = credentials {
            Credentials::parse(credentials)?.complete(&mut document)?;
        }
        let resources = checks::checked_resources(&document, environment)?;
        let Document {
            proplet,
            mqtt,
            registry,
            kbs,
            confidential,
            attestation,
            agent,
            limits,
            latent_tasks,
            daemon_tasks,
            outbox,
            mut audit,
            health,
            metrics,
            http,
            directories,
            plugins,
        } = document;
        let heartbeat = checks::checked_heartbeat(&proplet, environment)?;
        let owns_key = checks::owns_key(&proplet, environment);
        let allows_plain = mqtt.allow_plain_credentials;
        let (mqtt, notice) =
            checks::checked_mqtt(mqtt, owns_key, resources.client_key, environment)?;
        if resources.api_key.is_some() {
            checks::check_way_of_key(&mqtt.address, allows_plain)?;
        }
        let (directories, unused) =
            checks::checked_directories(directories, kbs.is_some(), environment)?;
        let mut notices = environment.notices();
        notices.extend(notice);
        if let Some(section) = environment.text(&[upstream::SECTION_VARIABLE])
            && is_ours
            && section != "proplet"
        {
            notices.push(format!(
                "{} is ignored: the settings document is no config.toml of upstream's",
                upstream::SECTION_VARIABLE
            ));
        }
        if resources.api_key.is_some() && !mqtt.address.tls() {
            notices.push(format!(
                "{} is a plain broker: the key that api_key_resource names goes there in clear; write mqtts://",
                mqtt.address
            ));
        }
        notices.extend(unused);
        if heartbeat >= Duration::from_secs(10) {
            notices.push(format!(
                "a heartbeat every {} s: the Manager takes a proplet for dead after 10 s, \
                 so set 5 or less",
                heartbeat.as_secs()
            ));
        }
        let registry = checks::checked_registry(registry, resources.auth, usual_images)?;
        let kbs = kbs.map(checks::checked_kbs).transpose()?;
        let confidential = checks::checked_confidential(confidential)?;
        let is_relied_on = kbs.is_some() || init_data.is_some();
        let (http, unused) = checks::checked_http(http, is_relied_on, environment)?;
        notices.extend(unused);
        let takes_encrypted = kbs.is_some() && confidential.tasks;
        let (metrics, unused) = checks::checked_metrics(&metrics, takes_encrypted, environment)?;
        notices.extend(unused);
        notices.extend(checks::bound_in_memory(&mut audit));
        let agent = checks::checked_agent(agent, &confidential, (&registry, &http), kbs.as_ref())?;
        let settings = Self {
            digest: Digest::of(bytes.as_bytes()),
            init_data,
            has_document: text.is_some(),
            log_level: environment
                .text(&["PROPLET_LOG_LEVEL"])
                .or_else(|| proplet.log_level.clone())
                .unwrap_or_else(|| "info".to_owned()),
            results_not_before: Duration::from_millis(proplet.results_not_before_ms.unwrap_or(50)),
            heartbeat,
            identity: checks::partial_identity(&proplet, resources.api_key, environment)?,
            about: checks::about(proplet, environment)?,
            mqtt,
            registry,
            kbs,
            confidential,
            agent,
            attestation: checks::checked_attestation(attestation)?,
            limits: checks::checked_limits(&limits)?,
            latent_tasks: checks::checked_latent_tasks(&latent_tasks)?,
            daemon_tasks: checks::checked_daemon_tasks(daemon_tasks)?,
            outbox: checks::checked_outbox(outbox, resources.sealing_root)?,
            audit: checks::checked_audit(audit)?,
            health: checks::checked_health(&health)?,
            metrics,
            http,
            directories,
            plugins: checks::checked_plugins(plugins)?,
            notices,
        };
        checks::check_apart(&settings)?;
        Ok(settings)
    }
}

/// Whether there surely is nothing at this path, not even a link that leads nowhere.
fn is_absent(path: &Path) -> bool {
    path.symlink_metadata()
        .is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Reads a document whole. It may hold a credential, so the text is wiped when dropped.
fn read_text(path: &Path) -> Result<Zeroizing<String>, SettingsError> {
    let path = || path.to_owned();
    let invalid = |why| SettingsError::NotADocument { path: path(), why };
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path())
        .and_then(|file| file.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| SettingsError::Read {
            path: path(),
            source,
        })?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(invalid("it is larger than 1 MiB"));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(invalid("it is not UTF-8 text")),
    }
}

#[cfg(test)]
mod ranges;
#[cfg(test)]
mod tests;
