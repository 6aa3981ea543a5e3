//! A model that only this component may see: its weights come from the key broker after attestation,
//! the answer goes to the recipients that the owner of the data chose.
//!
//! The input is either CSV, one sample per line (`5.1,3.5,1.4,0.2`), or JSON,
//! `{"nonce": "…", "samples": [[5.1, 3.5, 1.4, 0.2]]}`. With a nonce the result holds evidence about this
//! component over it, so that the answer can be told from an older one.
#![deny(missing_docs)]

mod model;

use model::{Model, Prediction};
use proplet_sdk::{Failure, attestation, results, secrets};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The weights; `policy.toml` grants them to this component.
const WEIGHTS: &str = "kbs:///default/model/iris";

#[proplet_sdk::main]
fn run(input: String) -> Result<(), Failure> {
    let question = Question::parse(&input)?;
    let model: Model = serde_json::from_slice(&secrets::get(WEIGHTS)?.reveal()?)?;
    let predictions: Result<Vec<_>, _> = question
        .samples
        .iter()
        .map(|sample| model.classify(sample))
        .collect();
    let evidence = question.nonce.as_ref().map(evidence).transpose()?;
    let answer = Answer {
        component: attestation::identity().component_digest,
        model: WEIGHTS,
        predictions: predictions?,
        nonce: question.nonce,
        evidence,
    };
    results::publish(serde_json::to_vec(&answer)?, "application/json")?;
    Ok(())
}

/// Evidence about this component over the nonce, as `proplet verify` takes it.
fn evidence(nonce: &String) -> Result<Value, Failure> {
    Ok(serde_json::from_slice(
        &attestation::evidence(nonce)?.to_json(),
    )?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    nonce: Option<String>,
    samples: Vec<Vec<f64>>,
}

#[derive(Serialize)]
struct Answer {
    component: String,
    model: &'static str,
    predictions: Vec<Prediction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Value>,
}

impl Question {
    fn parse(input: &str) -> Result<Self, Failure> {
        if input.trim_start().starts_with('{') {
            return serde_json::from_str(input).map_err(Failure::invalid_input);
        }
        let numbers = |line: &str| {
            line.split(',')
                .map(|number| number.trim().parse())
                .collect()
        };
        let lines = input.lines().filter(|line| !line.trim().is_empty());
        let samples: Result<Vec<Vec<f64>>, _> = lines.map(numbers).collect();
        let samples = samples.map_err(|error| {
            Failure::invalid_input(format!("{error}: a line is numbers with commas between"))
        })?;
        if samples.is_empty() {
            return Err(Failure::invalid_input(
                "there is no sample: send 5.1,3.5,1.4,0.2",
            ));
        }
        Ok(Self {
            nonce: None,
            samples,
        })
    }
}

#[cfg(test)]
mod tests {
    use proplet_sdk::testing::{Evidence, Host};

    use super::*;

    fn host() -> Host {
        Host::new().with_secret(WEIGHTS, include_bytes!("../weights.json"))
    }

    fn answer(host: &Host) -> Value {
        let published = host.published().unwrap();
        assert_eq!(published.media_type, "application/json");
        serde_json::from_slice(&published.content).unwrap()
    }

    #[test]
    fn csv_is_classified() {
        let host = host();
        host.run(|| run("5.1,3.5,1.4,0.2\n6.3, 2.9, 5.6, 1.8\n".into()))
            .unwrap();
        let answer = answer(&host);
        assert_eq!(answer["model"], WEIGHTS);
        assert_eq!(answer["predictions"][0]["class"], "setosa");
        assert_eq!(answer["predictions"][1]["class"], "virginica");
        assert!(answer.get("evidence").is_none());
    }

    #[test]
    fn a_nonce_is_answered_with_evidence() {
        let host = host().with_evidence(Evidence::default());
        let question = r#"{"nonce":"n-1","samples":[[5.1,3.5,1.4,0.2]]}"#;
        host.run(|| run(question.into())).unwrap();
        let answer = answer(&host);
        assert_eq!(answer["nonce"], "n-1");
        assert_eq!(answer["evidence"]["tee"], "sample");
    }

    #[test]
    fn what_is_no_sample_is_refused_before_the_weights_are_asked_for() {
        for input in ["", "a,b", "{\"samples\":1}", "{\"sample\":[]}", "1,,2"] {
            let failure = Host::new().run(|| run(input.into())).unwrap_err();
            assert!(
                matches!(failure, Failure::InvalidInput(_)),
                "{input}: {failure}"
            );
        }
    }

    #[test]
    fn without_the_weights_it_fails() {
        let failure = Host::new()
            .run(|| run("5.1,3.5,1.4,0.2".into()))
            .unwrap_err();
        assert!(matches!(failure, Failure::Host(text) if text.contains(WEIGHTS)));
    }
}
