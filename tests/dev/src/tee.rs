//! The fakes that can be chosen.

use std::io;
use std::sync::Arc;

use clap::ValueEnum;
use proplet_hal::verify::TrustPolicy;
use proplet_hal::{InitData, TeeProvider};
use proplet_lab::owner::{fake_boot_chain, trust};
use proplet_results::verify::Expectations;
use proplet_testkit::kbs::{DevKeyBroker, Policy};
use proplet_testkit::tee::{
    FakeSnp, FakeTdx, QuoteTampering, Sample, Tampering, test_reference_values,
};

/// A fake TEE.
// The names are what people type.
#[allow(clippy::enum_variant_names)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fake {
    /// SEV-SNP reports under the committed test PKI. For the development key broker, or a Trustee that
    /// was given the test roots.
    FakeSnp,
    /// TDX quotes under the committed test PKI. For the development key broker.
    FakeTdx,
    /// Trustee's `sample` evidence, which a stock Trustee verifies and its default policy refuses.
    Sample,
}

/// A fake TEE that runs.
pub struct Running {
    /// What the host attests with.
    pub provider: Arc<dyn TeeProvider>,
    calls: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Running {
    /// How often it was asked for evidence.
    pub fn evidence_calls(&self) -> u64 {
        (self.calls)()
    }

    fn new<T: TeeProvider>(tee: T, calls: fn(&T) -> u64) -> Self {
        let tee = Arc::new(tee);
        Self {
            provider: tee.clone(),
            calls: Box::new(move || calls(&tee)),
        }
    }
}

impl Fake {
    /// What it is called in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::FakeSnp => "FAKE SEV-SNP",
            Self::FakeTdx => "FAKE TDX",
            Self::Sample => "SAMPLE TEE",
        }
    }

    /// The provider. The digest of the init-data becomes HOST_DATA or MRCONFIGID, as a VM's owner would set
    /// it at launch; without init-data it is unset.
    pub fn provider(self, init_data: Option<&InitData>) -> Arc<dyn TeeProvider> {
        self.start(init_data, false).provider
    }

    /// The same with its calls counted; `spoiled` breaks the signature of its evidence. The sample has none.
    pub fn start(self, init_data: Option<&InitData>, spoiled: bool) -> Running {
        match self {
            Self::FakeSnp => {
                let host_data = init_data.map(InitData::host_data);
                let mut tee = FakeSnp::builder().host_data(host_data.unwrap_or_default());
                if spoiled {
                    tee = tee.tampering(Tampering::Signature);
                }
                Running::new(tee.build(), FakeSnp::evidence_calls)
            }
            Self::FakeTdx => {
                let id = init_data.map_or([0; 48], InitData::mrconfigid);
                let mut tee = FakeTdx::builder().mr_config_id(id);
                if spoiled {
                    tee = tee.tampering(QuoteTampering::Signature);
                }
                Running::new(tee.build(), FakeTdx::evidence_calls)
            }
            Self::Sample => Running::new(Sample::new(), Sample::evidence_calls),
        }
    }

    /// A key broker that releases to this fake: to one that signs its evidence because it is among the reference
    /// values.
    pub async fn key_broker(self) -> io::Result<DevKeyBroker> {
        let key_broker = DevKeyBroker::builder();
        let key_broker = match self {
            Self::Sample => key_broker.accept_sample().policy(Policy::AllowAll),
            Self::FakeSnp | Self::FakeTdx => key_broker
                .reference_values(&test_reference_values())
                .policy(Policy::predicate(|request| request.is_affirming())),
        };
        key_broker.start().await
    }

    /// What verifies this fake's evidence.
    pub fn trust(self) -> TrustPolicy {
        match self {
            Self::FakeSnp | Self::FakeTdx => trust(),
            Self::Sample => trust().accepting_sample_evidence_that_proves_nothing(),
        }
    }

    /// What is expected of its evidence. The sample has neither launch measurement nor init-data.
    pub fn expected(self, init_data: Option<&InitData>) -> Expectations {
        let measurement = match self {
            Self::FakeSnp => FakeSnp::MEASUREMENT,
            Self::FakeTdx => FakeTdx::MEASUREMENT,
            Self::Sample => return Expectations::of_any_measurement(),
        };
        Expectations {
            init_data: init_data.map(InitData::digest),
            tdx: fake_boot_chain(),
            ..Expectations::of_measurements([measurement.to_vec()])
        }
    }
}
