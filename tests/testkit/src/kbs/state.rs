//! What a broker knows.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proplet_hal::TeeName;
use proplet_hal::reference_values::ReferenceValues;
use proplet_hal::verify::{TrustPolicy, Verified};
use proplet_types::Clock;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value};

use super::admin::AdminAccess;
use super::exchange::{Asked, Reply, Rewrite};
use super::fault::{Endpoint, Fault};
use super::policy::Policy;
use super::token::Issuer;

/// The most sessions at a time. The oldest give way.
const MAX_SESSIONS: usize = 10_000;

/// The names of reference values that are launch measurements in Trustee's default policy.
const MEASUREMENTS: [&str; 2] = ["snp_launch_measurement", "mr_td"];

/// What does not change while a broker runs.
pub(super) struct Rules {
    pub(super) admin: AdminAccess,
    pub(super) reference_measurements: Vec<Vec<u8>>,
    pub(super) reference_values: Option<ReferenceValues>,
    pub(super) token_lifetime: Duration,
    pub(super) session_lifetime: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rewrite: Option<Rewrite>,
    pub(super) remember: bool,
}

/// How often a broker was asked for what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Handshakes begun.
    pub auth: u64,
    /// Evidence sent, good or bad.
    pub attest: u64,
    /// Evidence that was accepted.
    pub attested: u64,
    /// Resources asked for.
    pub resources: u64,
    /// Resources released.
    pub released: u64,
    /// Calls of administrators, good or bad.
    pub admin: u64,
    /// Evidence sent to the attestation service itself, good or bad.
    pub passports: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) auth: AtomicU64,
    pub(super) attest: AtomicU64,
    pub(super) attested: AtomicU64,
    pub(super) resources: AtomicU64,
    pub(super) released: AtomicU64,
    pub(super) admin: AtomicU64,
    pub(super) passports: AtomicU64,
}

/// A session between `auth` and its end.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) nonce: String,
    pub(super) tee: TeeName,
    pub(super) expires: SystemTime,
    /// Set by a successful attestation.
    pub(super) token: Option<String>,
}

pub(super) struct State {
    pub(super) trust: TrustPolicy,
    pub(super) rules: Rules,
    pub(super) counters: Counters,
    random: SystemRandom,
    issuer: Mutex<Arc<Issuer>>,
    policy: Mutex<Policy>,
    resources: Mutex<BTreeMap<String, Vec<u8>>>,
    sessions: Mutex<Sessions>,
    faults: Mutex<Vec<(Endpoint, Fault, Option<u32>)>>,
    requests: Mutex<Vec<Asked>>,
    attestation_policies: Mutex<BTreeMap<String, String>>,
    reference_values: Mutex<Map<String, Value>>,
}

#[derive(Default)]
struct Sessions {
    by_id: HashMap<String, Session>,
    oldest_first: VecDeque<String>,
}

impl State {
    pub(super) fn new(trust: TrustPolicy, rules: Rules, policy: Policy) -> io::Result<Self> {
        Ok(Self {
            trust,
            rules,
            counters: Counters::default(),
            random: SystemRandom::new(),
            issuer: Mutex::new(issuer()?),
            policy: Mutex::new(policy),
            resources: Mutex::default(),
            sessions: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            attestation_policies: Mutex::default(),
            reference_values: Mutex::default(),
        })
    }

    pub(super) fn now(&self) -> SystemTime {
        self.rules.clock.now()
    }

    pub(super) fn issuer(&self) -> Arc<Issuer> {
        lock(&self.issuer).clone()
    }

    pub(super) fn replace_signing_key(&self) -> io::Result<()> {
        *lock(&self.issuer) = issuer()?;
        Ok(())
    }

    pub(super) fn policy(&self) -> Policy {
        lock(&self.policy).clone()
    }

    pub(super) fn set_policy(&self, policy: Policy) {
        *lock(&self.policy) = policy;
    }

    pub(super) fn resource(&self, path: &str) -> Option<Vec<u8>> {
        lock(&self.resources).get(path).cloned()
    }

    pub(super) fn set_resource(&self, path: &str, bytes: Vec<u8>) {
        lock(&self.resources).insert(path.to_owned(), bytes);
    }

    pub(super) fn delete_resource(&self, path: &str) -> bool {
        lock(&self.resources).remove(path).is_some()
    }

    pub(super) fn attestation_policy(&self, id: &str) -> Option<String> {
        lock(&self.attestation_policies).get(id).cloned()
    }

    pub(super) fn set_attestation_policy(&self, id: &str, text: String) {
        lock(&self.attestation_policies).insert(id.to_owned(), text);
    }

    pub(super) fn reference_value(&self, name: &str) -> Option<Value> {
        lock(&self.reference_values).get(name).cloned()
    }

    pub(super) fn register(&self, values: Map<String, Value>) {
        lock(&self.reference_values).extend(values);
    }

    /// Whether evidence is of a VM that is known: by the reference values, or by its launch measurement.
    pub(super) fn knows(&self, verified: &Verified) -> bool {
        let values = self.rules.reference_values.as_ref();
        values.is_some_and(|values| values.know(verified))
            || self
                .reference_measurements()
                .contains(&verified.measurement)
    }

    /// The launch measurements that are reference values: the broker's own, and the registered ones,
    /// which are hexadecimal texts, alone or in a list.
    fn reference_measurements(&self) -> Vec<Vec<u8>> {
        let values = lock(&self.reference_values);
        let texts = MEASUREMENTS.iter().filter_map(|name| values.get(*name));
        let registered = texts.flat_map(|value| match value {
            Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
            value => Vec::from_iter(value.as_str()),
        });
        let registered = registered.filter_map(|text| hex::decode(text).ok());
        let own = self.rules.reference_measurements.iter().cloned();
        own.chain(registered).collect()
    }

    /// Begins a session and gives its id. `None` when there are no random bytes.
    pub(super) fn begin_session(&self, tee: TeeName) -> Option<(String, Session)> {
        let mut nonce = [0; 32];
        self.random.fill(&mut nonce).ok()?;
        let session = Session {
            nonce: STANDARD.encode(nonce),
            tee,
            expires: self.now() + self.rules.session_lifetime,
            token: None,
        };
        let id = uuid::Uuid::new_v4().simple().to_string();
        let mut sessions = lock(&self.sessions);
        if sessions.by_id.len() >= MAX_SESSIONS
            && let Some(oldest) = sessions.oldest_first.pop_front()
        {
            sessions.by_id.remove(&oldest);
        }
        sessions.by_id.insert(id.clone(), session.clone());
        sessions.oldest_first.push_back(id.clone());
        Some((id, session))
    }

    /// A session that is not over.
    pub(super) fn session(&self, id: &str) -> Option<Session> {
        let now = self.now();
        lock(&self.sessions)
            .by_id
            .get(id)
            .filter(|session| session.expires > now)
            .cloned()
    }

    pub(super) fn mark_attested(&self, id: &str, token: &str) {
        if let Some(session) = lock(&self.sessions).by_id.get_mut(id) {
            session.token = Some(token.to_owned());
        }
    }

    pub(super) fn forget_sessions(&self) {
        *lock(&self.sessions) = Sessions::default();
    }

    pub(super) fn inject(&self, endpoint: Endpoint, fault: Fault, times: Option<u32>) {
        lock(&self.faults).push((endpoint, fault, times));
    }

    pub(super) fn heal(&self) {
        lock(&self.faults).clear();
    }

    /// The first fault for an endpoint, which is used up by this.
    pub(super) fn fault(&self, endpoint: Endpoint) -> Option<Fault> {
        let mut faults = lock(&self.faults);
        faults.retain(|(_, _, left)| *left != Some(0));
        let (_, fault, left) = faults
            .iter_mut()
            .find(|(target, _, _)| *target == endpoint)?;
        if let Some(left) = left {
            *left -= 1;
        }
        Some(fault.clone())
    }

    pub(super) fn remember(&self, asked: &Asked) {
        if self.rules.remember {
            lock(&self.requests).push(asked.clone());
        }
    }

    pub(super) fn requests(&self) -> Vec<Asked> {
        lock(&self.requests).clone()
    }

    pub(super) fn rewritten(&self, asked: &Asked, reply: Reply) -> Reply {
        match &self.rules.rewrite {
            Some(rewrite) => rewrite(asked, reply),
            None => reply,
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Counts {
            auth: of(&self.counters.auth),
            attest: of(&self.counters.attest),
            attested: of(&self.counters.attested),
            resources: of(&self.counters.resources),
            released: of(&self.counters.released),
            admin: of(&self.counters.admin),
            passports: of(&self.counters.passports),
        }
    }
}

fn issuer() -> io::Result<Arc<Issuer>> {
    Issuer::new().map(Arc::new).map_err(io::Error::other)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
