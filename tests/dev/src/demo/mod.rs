//! The demo: the whole way of an encrypted component on one machine, step by step.
//!
//! It starts what is usually elsewhere (a broker, a registry, a key broker), plays the data owner and
//! the Manager, and leaves everything between start message and result to the production daemon. With
//! `--sabotage` one thing is broken first, and the demo ends with the daemon's refusal.

mod data_owner;
mod sabotage;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use proplet_daemon::log::{self, Format};
use proplet_executor::Host;
use proplet_executor::harden::SwapRule;
use proplet_hal::detection::Detection;
use proplet_lab::{CHANNEL, PROPLET, RunningProplet, Services, TENANT};
use proplet_settings::Settings;
use proplet_testkit::broker::{Outcome, Task, TestBroker};
use proplet_testkit::guests::{self, GuestName};
use proplet_testkit::kbs::{DevKeyBroker, Policy};
use proplet_testkit::registry::{Fault, Registry, Target};

use self::data_owner::{DataOwner, Order};
use self::sabotage::Sabotage;
use crate::tee::Fake;
use crate::terminal::Reporter;

/// Steps of the demo.
const STEPS: usize = 6;

/// Arguments of `demo`.
#[derive(Args)]
pub struct Arguments {
    /// The fake to attest with.
    #[arg(long, value_enum, default_value = "fake-snp")]
    tee: Fake,
    /// Break one thing and see the refusal.
    #[arg(long, value_enum)]
    sabotage: Option<Sabotage>,
    /// One JSON object per line instead of text.
    #[arg(long)]
    json: bool,
    /// Show the daemon's log on standard error.
    #[arg(long)]
    log: bool,
}

/// Runs the demo. Exit code 0: the result was opened; 1: the task was refused.
pub async fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let _log = arguments
        .log
        .then(|| log::start("info", Format::Text))
        .transpose()?;
    let (tee, sabotage) = (arguments.tee, arguments.sabotage);
    if tee == Fake::Sample && sabotage == Some(Sabotage::Evidence) {
        crate::terminal::complain(&UnsignedSample);
        return Ok(ExitCode::from(2));
    }
    let mut reporter = Reporter::new(arguments.json, STEPS);
    report_tee(&mut reporter, tee);
    let services = start_services(&mut reporter, tee).await?;
    let owner = DataOwner::new(tee)?;
    let order = prepare(&mut reporter, &services, &owner, sabotage).await?;
    let settings = Arc::new(services.addresses().measured("")?);
    let chosen = (tee, sabotage);
    let (outcome, running) = run_task(&mut reporter, services, &settings, &order, chosen).await?;
    let code = match &outcome.error {
        None => {
            show_receipt_of(&mut reporter, &owner, &order, &settings, &outcome)?;
            reporter.finish(
                true,
                "Done: the component was attested, decrypted, run and its result opened",
            );
            ExitCode::SUCCESS
        }
        Some(error) => {
            refused(&reporter, sabotage, error)?;
            ExitCode::from(1)
        }
    };
    running.proplet.stop().await?;
    Ok(code)
}

/// A fault that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error(
    "the evidence of `--tee sample` is signed by nobody, so it cannot be spoiled: choose `--tee fake-snp` or \
     `--tee fake-tdx`"
)]
struct UnsignedSample;

/// Step 1: what this machine is.
fn report_tee(reporter: &mut Reporter, tee: Fake) {
    let mut step = reporter.step("TEE");
    let detection = Detection::probe(Path::new("/"));
    step.detail(detection.to_string());
    step.detail(format!("In short: {}", detection.summary()));
    let signed = match tee {
        Fake::Sample => "anybody can write its evidence.",
        Fake::FakeSnp | Fake::FakeTdx => "its evidence is signed by the committed TEST PKI.",
    };
    step.detail(format!("*** A {} IS USED: {signed} ***", tee.name()));
    step.detail("*** It protects NOTHING on this machine. ***");
    step.done();
}

/// Step 2: what is usually elsewhere.
async fn start_services(reporter: &mut Reporter, tee: Fake) -> Result<Services, Box<dyn Error>> {
    let mut step = reporter.step("MQTT broker, OCI registry and key broker on free loopback ports");
    let services = Services::with(tee.key_broker().await?).await?;
    step.fact("mqtt broker", services.broker.url());
    step.fact("oci registry", services.registry.host());
    step.fact("key broker", services.key_broker.url());
    step.done();
    Ok(services)
}

/// Step 3: the data owner's part, and what is broken there.
async fn prepare(
    reporter: &mut Reporter,
    services: &Services,
    owner: &DataOwner,
    sabotage: Option<Sabotage>,
) -> Result<Order, Box<dyn Error>> {
    let mut step = reporter.step("A guest component: built, given a policy, encrypted, pushed");
    let (lines, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let building = tokio::task::spawn_blocking(move || {
        guests::build_all(&[GuestName::ConfidentialInference], &mut |line| {
            // The receiver is gone only when the demo is.
            let _ = lines.send(line.to_owned());
        })
    });
    while let Some(line) = heard.recv().await {
        step.progress(&line);
    }
    let guest = building.await??.pop().ok_or("no guest was built")?;
    let named = sabotage != Some(Sabotage::Recipient);
    let order = owner.publish(services, &guest.bytes, named).await?;
    step.fact(
        "component",
        format!("{} ({} bytes)", guest.name, guest.bytes.len()),
    );
    step.fact("component digest", order.component_digest.as_str());
    step.fact("image", order.image.to_string());
    step.fact("key id", order.key_id.to_string());
    step.fact("recipient", owner.thumbprint());
    if let Some(sabotage) = sabotage {
        step.detail(format!("SABOTAGE: {}", sabotage.what()));
    }
    match sabotage {
        Some(Sabotage::Key) => services.key_broker.set_resource(&order.key_id, &[0x55; 32]),
        Some(Sabotage::Image) => {
            services.registry.inject(
                Target::Blob(order.layer_digest.clone()),
                Fault::FlipBit(12_345),
            );
        }
        Some(Sabotage::Policy) => services.key_broker.set_policy(Policy::DenyAll),
        _ => {}
    }
    step.done();
    Ok(order)
}

/// Steps 4 and 5: the daemon takes the start message and reports.
async fn run_task(
    reporter: &mut Reporter,
    services: Services,
    settings: &Arc<Settings>,
    order: &Order,
    (tee, sabotage): (Fake, Option<Sabotage>),
) -> Result<(Outcome, Running), Box<dyn Error>> {
    let Services {
        broker,
        registry,
        key_broker,
        manager,
    } = services;
    let mut step = reporter.step("The start message, as the Manager sends it");
    let spoiled = sabotage == Some(Sabotage::Evidence);
    let fake = tee.start(settings.init_data.as_ref(), spoiled);
    let mut host = Host::new(Arc::clone(settings), Some(fake.provider.clone()));
    host.swap_rule = SwapRule::Warn;
    let proplet = RunningProplet::on(host)?;
    manager.messages("control/proplet/create", 1).await?;
    manager.messages("control/proplet/alive", 1).await?;
    let key_broker = if sabotage == Some(Sabotage::KbsDown) {
        key_broker.shutdown().await;
        None
    } else {
        Some(key_broker)
    };
    let task = task(order);
    step.fact(
        "topic",
        format!("m/{TENANT}/c/{CHANNEL}/control/manager/start"),
    );
    step.detail(serde_json::to_string_pretty(&task.start_message())?);
    manager.start(&task).await?;
    step.done();

    let mut step =
        reporter.step("The daemon attests, fetches the key, pulls, checks, decrypts, runs");
    step.progress("waiting for the results message");
    let outcome = manager.result(&task.id).await?;
    step.fact(
        "topic",
        format!("m/{TENANT}/c/{CHANNEL}/control/proplet/results"),
    );
    if let Some(key_broker) = &key_broker {
        let counts = key_broker.counts();
        step.detail(format!(
            "The key broker saw {} handshake(s), accepted {}, and released {} of {} resources asked for",
            counts.attest, counts.attested, counts.released, counts.resources
        ));
    }
    step.detail(format!(
        "The TEE made evidence {} time(s): for the key broker, for the receipt key, for the component",
        fake.evidence_calls()
    ));
    match &outcome.error {
        None => step.fact(
            "results",
            format!("{} bytes, sealed", outcome.results.len()),
        ),
        Some(error) => step.fact("error", error.as_str()),
    }
    step.done();
    Ok((
        outcome,
        Running {
            proplet,
            _world: (broker, registry, key_broker),
        },
    ))
}

/// What has to live until the daemon has been stopped.
struct Running {
    proplet: RunningProplet,
    _world: (TestBroker, Registry, Option<DevKeyBroker>),
}

/// Step 6: what the recipient makes of it.
fn show_receipt_of(
    reporter: &mut Reporter,
    owner: &DataOwner,
    order: &Order,
    settings: &Settings,
    outcome: &Outcome,
) -> Result<(), Box<dyn Error>> {
    let mut step = reporter.step("The sealed result: as it went over MQTT, opened, and verified");
    step.detail("As it went over MQTT:");
    step.detail(shortened(&outcome.results));
    let opened = owner.open(order, settings, &outcome.results)?;
    step.detail("Verified down to the test root:");
    step.detail(opened.report.to_string());
    step.detail("The component's own evidence, over the nonce in its input:");
    step.detail(
        owner
            .verify_evidence(order, settings, &opened.content)?
            .to_string(),
    );
    if let Some(receipt) = &opened.report.receipt {
        step.fact("component digest", receipt.component_digest.to_string());
        step.fact("jwe digest", receipt.result_digest.to_string());
        step.fact("inputs digest", receipt.inputs_digest.to_string());
    }
    step.fact("media type", opened.media_type.as_str());
    step.detail("Opened with the recipient's key:");
    step.detail(data_owner::shown(&opened.content)?);
    step.done();
    Ok(())
}

/// What a refusal must be: the one that the sabotage asks for.
fn refused(
    reporter: &Reporter,
    sabotage: Option<Sabotage>,
    error: &str,
) -> Result<(), Box<dyn Error>> {
    let code = error.split(':').next().unwrap_or_default();
    match sabotage {
        Some(sabotage) if sabotage.expected_codes().contains(&code) => {
            reporter.finish(false, &format!("Refused, as it must be: {error}"));
            Ok(())
        }
        Some(sabotage) => Err(format!(
            "{} should lead to {}, and led to: {error}",
            sabotage.what(),
            sabotage.expected_codes().join(" or ")
        )
        .into()),
        None => Err(format!("the task was refused: {error}").into()),
    }
}

fn task(order: &Order) -> Task {
    Task {
        kbs_resource_path: order.key_id.path().to_owned(),
        cli_args: Some(data_owner::ARGUMENTS.map(String::from).to_vec()),
        inputs: vec![order.input.clone()],
        proplet_id: PROPLET.into(),
        ..Task::encrypted(
            &order.task_id,
            "confidential-inference",
            &order.image.to_string(),
        )
    }
}

/// The beginning and the end of a long text.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 160;
    let count = text.chars().count();
    if count <= 2 * SHOWN {
        return text.to_owned();
    }
    let head: String = text.chars().take(SHOWN).collect();
    let tail: String = text.chars().skip(count - SHOWN).collect();
    format!("{head}\n… {} more characters …\n{tail}", count - 2 * SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_shortened_in_the_middle() {
        assert_eq!(shortened("short"), "short");
        let long = "ä".repeat(1000);
        assert!(shortened(&long).contains("680 more"));
    }
}
