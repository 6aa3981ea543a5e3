//! The disk of the outbox, through machines that lose power.

use crate::machine::{Firmware, Setup};
use crate::world::World;

const ON_DISK: &str = "[outbox]\npath = \"/dev/proplet/outbox\"\n";
const SIZE: u64 = 64 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and PROPLET_VM, the folder of `.ci/vm FOLDER`; .ci/run runs it"]
async fn a_result_that_waits_outlives_the_machine() {
    let world = World::new().await;
    let setup = Setup::new(&World::operator());
    // A result waits so long for its time as it would for a broker that is away.
    let document = world.init_data_with(ON_DISK);
    let waits = document.replace(
        "results_not_before_ms = 0",
        "results_not_before_ms = 600000",
    );
    assert_ne!(waits, document);
    let digest = setup.init_data(&waits);
    setup.outbox_disk(SIZE);
    let machine = setup.start(Firmware::Snp, &[("host-data", &digest)]);
    world.joined(&machine).await;
    let console = machine.console();
    assert!(
        console.contains("init: the outbox is on /dev/vd"),
        "{console}"
    );
    world.start().await;
    setup.has_on_disk(&machine, "ciphertext");
    // The plug is pulled.
    drop(machine);
    assert_eq!(world.results(), 0);

    let digest = setup.init_data(&document);
    let machine = setup.start(Firmware::Snp, &[("host-data", &digest)]);
    world.joined(&machine).await;
    let outcome = world.result(&machine).await;
    assert_eq!(outcome.error, None, "{}", machine.console());
    assert_eq!(world.open(&outcome).content.as_slice(), b"42");
    assert_eq!(world.results(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and PROPLET_VM, the folder of `.ci/vm FOLDER`; .ci/run runs it"]
async fn a_machine_without_the_disk_that_its_settings_name_takes_no_tasks() {
    let world = World::new().await;
    let setup = Setup::new(&World::operator());
    let digest = setup.init_data(&world.init_data_with(ON_DISK));
    let machine = setup.start(Firmware::Snp, &[("host-data", &digest)]);
    world.joined(&machine).await;
    let console = machine.console();
    assert!(console.contains("init: outbox-unavailable: "), "{console}");
    let outcome = world.task(&machine).await;
    let error = outcome.error.unwrap();
    assert!(error.starts_with("outbox-unavailable: "), "{error}");
}
