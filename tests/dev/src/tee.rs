//! The fakes that can be chosen.

use std::sync::Arc;

use clap::ValueEnum;
use proplet_hal::verify::TrustPolicy;
use proplet_hal::{InitData, TeeProvider};
use proplet_lab::owner::trust;
use proplet_results::verify::Expectations;
use proplet_testkit::tee::{FakeSnp, Sample};

/// A fake TEE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fake {
    /// SEV-SNP reports under the committed test PKI. For the development key broker, or a Trustee that
    /// was given the test roots.
    FakeSnp,
    /// Trustee's `sample` evidence, which a stock Trustee verifies and its default policy refuses.
    Sample,
}

impl Fake {
    /// The provider. The digest of the init-data becomes HOST_DATA, as a VM's owner would set it at launch;
    /// without init-data it is unset.
    pub fn provider(self, init_data: Option<&InitData>) -> Arc<dyn TeeProvider> {
        match self {
            Self::FakeSnp => {
                let host_data = init_data.map(InitData::host_data);
                let fake = FakeSnp::builder().host_data(host_data.unwrap_or_default());
                Arc::new(fake.build())
            }
            Self::Sample => Arc::new(Sample::new()),
        }
    }

    /// What verifies this fake's evidence.
    pub fn trust(self) -> TrustPolicy {
        match self {
            Self::FakeSnp => trust(),
            Self::Sample => trust().accepting_sample_evidence_that_proves_nothing(),
        }
    }

    /// What is expected of its evidence. Only the fake SEV-SNP has a launch measurement.
    pub fn expected(self) -> Expectations {
        match self {
            Self::FakeSnp => Expectations::of_measurements([FakeSnp::MEASUREMENT.to_vec()]),
            Self::Sample => Expectations::of_any_measurement(),
        }
    }
}
