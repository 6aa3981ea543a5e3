//! The Attestation Agent: evidence and tokens about this VM, for programs in it.
//!
//! | method | here |
//! | --- | --- |
//! | `GetEvidence` | evidence over [`AgentClaims`], which hold the caller's challenge |
//! | `GetTeeType` | the TEE's name |
//! | `GetToken` | `coco_as`: a token of the attestation service about such evidence; `kbs` is refused |
//! | `BindInitData` | compares with what the VM was started with |
//! | `ExtendRuntimeMeasurement` | `NOT_SUPPORTED` |
//! | anything else | `UNIMPLEMENTED` |
//!
//! Where the settings have it served to others than this machine's programs (`evidence_from_outside`), the first two are
//! all there is, for everybody.
//!
//! Whatever is asked for of the first and the third is told to whoever keeps a record ([`Witness`]), with what became of
//! it.
//!
//! What is kept from the caller: report data of its own choice, so that it cannot be this host to anybody; the
//! host's session at the key broker and the key that belongs to it; and more of the TEE's time than the settings
//! give away.

mod claims;
mod record;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use proplet_hal::{Evidence, Flavour, InitData, TeeProvider};
use proplet_kbs::attestation_service::AttestationService;
use proplet_types::{Code, Digest};
use prost::Message;
use ring::rand::{SecureRandom as _, SystemRandom};
use tonic::Status;
use zeroize::Zeroizing;

use self::record::{Refusal, Request};
pub use self::{
    claims::{AgentClaims, AgentClaimsError, KIND},
    record::{End, Wanted, Witness},
};
use crate::{
    messages::{
        BindInitDataRequest, ExtendRuntimeMeasurementResponse, GetEvidenceRequest,
        GetEvidenceResponse, GetTeeTypeResponse, GetTokenRequest, GetTokenResponse,
        RuntimeMeasurementResult,
    },
    quota::Quota,
    server::Interface,
    status,
};

/// Package and name of the service.
pub const ATTESTATION_AGENT: &str = "attestation_agent.AttestationAgentService";
/// Bytes of the challenge of a token.
const NONCE_BYTES: usize = 32;
/// Shortest digest of an init-data document.
const MIN_DIGEST_BYTES: usize = 32;

/// What others than this machine's programs get.
const FOR_OUTSIDERS: &[&str] = &["GetEvidence", "GetTeeType"];

const METHODS: &str =
    "there are GetEvidence, GetTeeType, GetToken, BindInitData and ExtendRuntimeMeasurement";

/// The service.
pub struct AttestationAgent {
    tee: Option<Arc<dyn TeeProvider>>,
    flavour: Flavour,
    quota: Quota,
    tokens: Option<AttestationService>,
    init_data: Option<InitData>,
    for_outsiders: bool,
    witness: Option<Arc<dyn Witness>>,
}

impl AttestationAgent {
    /// Speaks for this TEE, so often in a minute. The caller sees to it that its requests are served one at a time.
    #[must_use]
    pub fn new(tee: Option<Arc<dyn TeeProvider>>, evidence_per_minute: u32) -> Self {
        Self {
            tee,
            flavour: Flavour::Sealed,
            quota: Quota::per_minute(evidence_per_minute),
            tokens: None,
            init_data: None,
            for_outsiders: false,
            witness: None,
        }
    }

    /// Says in its claims that the host is of this flavour of the VM image.
    #[must_use]
    pub fn of_flavour(mut self, flavour: Flavour) -> Self {
        self.flavour = flavour;
        self
    }

    /// Gives evidence and the TEE's name and nothing else, so that it may be served to everybody.
    #[must_use]
    pub fn for_outsiders(mut self) -> Self {
        self.for_outsiders = true;
        self
    }

    /// Has tokens made by this attestation service.
    #[must_use]
    pub fn with_tokens(mut self, service: AttestationService) -> Self {
        self.tokens = Some(service);
        self
    }

    /// Sends this document to the attestation service, when the VM was started with it.
    #[must_use]
    pub fn with_init_data(mut self, init_data: Option<InitData>) -> Self {
        self.init_data = init_data;
        self
    }

    /// Tells somebody what is asked for.
    #[must_use]
    pub fn with_witness(mut self, witness: Arc<dyn Witness>) -> Self {
        self.witness = Some(witness);
        self
    }

    fn tee(&self) -> Result<&Arc<dyn TeeProvider>, Refusal> {
        let words = "this machine has no TEE: there is no evidence of it, and none is made up";
        self.tee
            .as_ref()
            .ok_or_else(|| Refusal::of_code(Code::NoTee, &words))
    }

    fn claims(&self, challenge: &[u8]) -> Result<AgentClaims, Refusal> {
        let claims = AgentClaims::new(challenge).map_err(|error| Refusal::malformed(&error))?;
        Ok(claims.with_flavour(self.flavour))
    }

    async fn evidence(
        &self,
        claims: &AgentClaims,
        request: &mut Request,
    ) -> Result<Evidence, Refusal> {
        let tee = self.tee()?;
        let data = claims
            .report_data()
            .map_err(|error| Refusal::malformed(&error))?;
        self.take()?;
        request.counts();
        let evidence = tee.evidence(&data).await;
        evidence.map_err(|error| Refusal::of_code(error.code(), &error))
    }

    /// One piece of evidence off the quota.
    fn take(&self) -> Result<(), Refusal> {
        self.quota.take().map_err(|wait| {
            let seconds = wait.as_secs().saturating_add(1);
            let words = format!(
                "as much evidence as [agent] evidence_per_minute allows was made: ask again in {seconds} s"
            );
            Refusal::new("quota", Status::resource_exhausted(words))
        })
    }

    /// A request that is on record.
    fn request(&self, wanted: Wanted) -> Request {
        Request::new(self.witness.clone(), wanted)
    }

    async fn get_evidence(
        &self,
        message: GetEvidenceRequest,
    ) -> Result<GetEvidenceResponse, Status> {
        let mut request = self.request(Wanted::Evidence {
            challenge: Digest::of(&message.runtime_data),
            outside: self.for_outsiders,
        });
        let evidence = match self.claims(&message.runtime_data) {
            Ok(claims) => self.evidence(&claims, &mut request).await,
            Err(refusal) => Err(refusal),
        };
        let evidence = request.ended(evidence)?.evidence.to_string();
        let whom = if self.for_outsiders {
            "somebody who asked from anywhere"
        } else {
            "a program on this machine"
        };
        tracing::info!("evidence was made for {whom}");
        Ok(GetEvidenceResponse {
            evidence: evidence.into_bytes(),
        })
    }

    async fn get_token(&self, message: GetTokenRequest) -> Result<GetTokenResponse, Status> {
        let mut request = self.request(Wanted::Token);
        let token = self.token(&message.token_type, &mut request).await;
        let token = request.ended(token)?;
        tracing::info!("a token was fetched for a program on this machine");
        Ok(GetTokenResponse {
            token: token.into_bytes(),
        })
    }

    async fn token(&self, kind: &str, request: &mut Request) -> Result<String, Refusal> {
        match kind {
            "coco_as" => {}
            "kbs" => {
                let words = "tokens of type kbs are not given out: such a token and its key open at the key broker \
                             whatever is released to this VM; have a component ask for secrets, or use coco_as for \
                             a token that only proves what this VM is";
                return Err(Refusal::new("kbs-token", Status::permission_denied(words)));
            }
            _ => {
                let words = "the token type is not known: there is coco_as";
                return Err(Refusal::new("token-type", Status::invalid_argument(words)));
            }
        }
        let service = self.tokens.as_ref().ok_or_else(|| {
            let words = "the settings name no attestation service: set [agent] attestation_service";
            Refusal::new("not-configured", Status::failed_precondition(words))
        })?;
        let mut nonce = [0; NONCE_BYTES];
        SystemRandom::new().fill(&mut nonce).map_err(|_| {
            let words = "the operating system gave no random bytes";
            Refusal::new("no-random", Status::internal(words))
        })?;
        let claims = self.claims(&nonce)?;
        let evidence = self.evidence(&claims, request).await?;
        let init_data = self.bound_init_data().await?;
        let members = claims.to_members();
        let token = service.token(&evidence, &members, init_data).await;
        token.map_err(|error| Refusal::of_code(error.code(), &error))
    }

    /// The init-data document, where the VM was started with it.
    async fn bound_init_data(&self) -> Result<Option<&InitData>, Refusal> {
        let Some(init_data) = &self.init_data else {
            return Ok(None);
        };
        let field = self.started_with().await?;
        Ok(field
            .is_some_and(|field| init_data.is_bound_by(&field))
            .then_some(init_data))
    }

    async fn started_with(&self) -> Result<Option<Vec<u8>>, Refusal> {
        let field = self.tee()?.init_data().await;
        field.map_err(|error| Refusal::of_code(error.code(), &error))
    }

    async fn bind_init_data(&self, request: BindInitDataRequest) -> Result<(), Status> {
        let digest = request.digest;
        if digest.len() < MIN_DIGEST_BYTES {
            return Err(Status::invalid_argument(
                "a digest of init-data has at least 32 bytes",
            ));
        }
        let Some(field) = self.started_with().await? else {
            return Err(Status::failed_precondition(
                "this VM was started without init-data, so nothing is bound to it",
            ));
        };
        let padded = digest.iter().copied().chain(std::iter::repeat(0));
        if field.len() < MIN_DIGEST_BYTES || !field.iter().copied().eq(padded.take(field.len())) {
            return Err(Status::failed_precondition(
                "this VM was started with the digest of another init-data document",
            ));
        }
        Ok(())
    }
}

#[async_trait]
impl Interface for AttestationAgent {
    fn name(&self) -> &'static str {
        ATTESTATION_AGENT
    }

    async fn answer(&self, method: &str, message: Bytes) -> Result<Zeroizing<Vec<u8>>, Status> {
        if self.for_outsiders && !FOR_OUTSIDERS.contains(&method) {
            let words = "others than this machine's programs get GetEvidence and GetTeeType";
            return Err(status::unknown_method(method, words));
        }
        let answer = match method {
            "GetEvidence" => self.get_evidence(decode(message)?).await?.encode_to_vec(),
            "GetToken" => self.get_token(decode(message)?).await?.encode_to_vec(),
            "GetTeeType" => {
                decode::<()>(message)?;
                let tee = self.tee()?.tee().to_string();
                GetTeeTypeResponse { tee }.encode_to_vec()
            }
            "BindInitData" => {
                self.bind_init_data(decode(message)?).await?;
                Vec::new()
            }
            "ExtendRuntimeMeasurement" => ExtendRuntimeMeasurementResponse {
                result: RuntimeMeasurementResult::NotSupported.into(),
            }
            .encode_to_vec(),
            "GetAdditionalEvidence" | "GetAdditionalTees" => {
                let words = "this VM has its CPU's TEE and no other device that attests";
                return Err(status::unknown_method(method, words));
            }
            other => return Err(status::unknown_method(other, METHODS)),
        };
        Ok(Zeroizing::new(answer))
    }
}

/// Reads a message of the caller's.
fn decode<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|error| status::malformed(&error))
}
