//! Load: tasks per second, latency, memory and processor time of a daemon of its own, through a real broker.
//!
//! Four processes take part, as in a deployment: mosquitto, the daemon (this program again, with a fake TEE), and
//! this one, which is registry, key broker and Manager. The Manager is a light client: it writes each start by
//! filling in an id, and of a result it reads the task's id and the error. So what it takes of the machine is small
//! beside what it measures; how small is in the report, with the processor time of each process.
//!
//! Without `--rate` so many tasks are kept on their way (*closed* loop): that gives the highest rate. With it, tasks
//! are sent at even distances, whatever has become of those before (*open* loop), and a task that had to wait for
//! its turn to be sent counts from when it was due.

mod client;
mod machine;
mod picture;
mod report;
mod tasks;
mod world;

use std::{error::Error, num::NonZeroU32, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::{
    client::Client,
    machine::Usage,
    report::{Point, Summary},
    tasks::Mixer,
    world::World,
};
use crate::terminal::print_line;

/// Arguments of `load`.
#[derive(Args)]
pub struct Arguments {
    /// How long to go on.
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    seconds: NonZeroU32,
    /// How long to go on before anything is counted.
    #[arg(long, value_name = "SECONDS", default_value = "3")]
    warm_up: u32,
    /// Tasks per second; without it as many as go.
    #[arg(long, value_name = "TASKS")]
    rate: Option<NonZeroU32>,
    /// How many tasks are on their way at once, at most. The daemon's queue has room for so many, unless the settings
    /// have limits of their own.
    #[arg(long, value_name = "TASKS", default_value = "64")]
    in_flight: NonZeroU32,
    /// What the tasks are.
    #[arg(long, value_enum, default_value = "encrypted")]
    mix: Mix,
    /// Bytes of each result, before it is sealed.
    #[arg(long, value_name = "BYTES", default_value = "1024")]
    size: NonZeroU32,
    /// Quality of service of both sides.
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Where the outbox lies; a temporary folder unless told. It is removed afterwards.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// More of the daemon's settings document: whole tables.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Without it nothing of the daemon is on disk.
    #[arg(long)]
    outbox: bool,
    /// Seconds between two samples of the daemon's memory, handles, disk and latency.
    #[arg(long, value_name = "SECONDS", default_value = "1")]
    sample: NonZeroU32,
    /// Draws the samples into this file, SVG.
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// mosquitto's program.
    #[arg(long, value_name = "PROGRAM", default_value = "mosquitto")]
    mosquitto: PathBuf,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// What the tasks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mix {
    /// An encrypted component that returns its input.
    Encrypted,
    /// Mostly that; also plain components from the message, tasks that fail, trap and run into limits, starts that
    /// are refused, tasks that are stopped, and images by tag.
    Mixed,
}

/// Runs the load. Exit code 0: every task was answered as it should be; 1: some were not.
pub async fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let more = match &arguments.settings {
        Some(path) => std::fs::read_to_string(path)?,
        None => String::new(),
    };
    let world = World::start(&arguments, &more).await?;
    let mixer = Mixer::new(&world.orders, arguments.mix, arguments.size.get());
    let mut client = Client::connect(world.broker_port(), arguments.qos).await?;
    client.wait_for_proplet().await?;

    let bar = progress(&arguments);
    let (begun, end) = {
        let now = Instant::now();
        let begun = now + Duration::from_secs(arguments.warm_up.into());
        (
            begun,
            begun + Duration::from_secs(arguments.seconds.get().into()),
        )
    };
    let mut pace = Pace::new(arguments.rate);
    let mut samples = interval(Duration::from_secs(arguments.sample.get().into()));
    samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut points: Vec<Point> = Vec::new();
    let mut counting_since: Option<(Instant, Usage)> = None;
    loop {
        let now = Instant::now();
        if now >= end {
            break;
        }
        if counting_since.is_none() && now >= begun {
            client.forget();
            counting_since = Some((now, world.usage()?));
            samples.reset();
        }
        let may_send = client.on_their_way() < arguments.in_flight.get() as usize;
        tokio::select! {
            biased;
            heard = client.hear() => heard?,
            due = pace.due(), if may_send => client.send(mixer.next(), due)?,
            _ = samples.tick(), if counting_since.is_some() => {
                points.push(Point::new(begun.elapsed(), world.sample()?, client.take_window()));
                bar.set_position(begun.elapsed().as_secs());
            }
            () = tokio::time::sleep_until(if now < begun { begun } else { end }) => {}
        }
    }
    let (since, usage) = counting_since.ok_or("the load ended before anything was counted")?;
    let took = since.elapsed();
    let (latencies, answers) = (client.latencies(), client.answers());
    let usage = world.usage()?.since(&usage);
    let memory = world.sample()?;
    let faults = client.drain().await?;
    bar.finish_and_clear();

    let summary = Summary::new(took, latencies, answers, usage, memory, faults);
    if let Some(path) = &arguments.picture {
        picture::draw(path, &points)?;
    }
    if arguments.json {
        print_line(&serde_json::to_string_pretty(&summary)?);
    } else {
        print_line(&summary.to_string());
    }
    let is_right = summary.wrong() == 0;
    if let Some(folder) = world.stop(!is_right).await? {
        crate::terminal::complain(&Wrong { folder });
    }
    Ok(if is_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// What to look at.
#[derive(Debug, thiserror::Error)]
#[error("not every task had the answer that it should have; the daemon's log is kept in {}", folder.display())]
struct Wrong {
    folder: PathBuf,
}

/// When the next task is to be sent.
enum Pace {
    AtOnce,
    Evenly { next: Instant, distance: Duration },
}

impl Pace {
    fn new(rate: Option<NonZeroU32>) -> Self {
        match rate {
            None => Self::AtOnce,
            Some(rate) => Self::Evenly {
                next: Instant::now(),
                distance: Duration::from_secs(1) / rate.get(),
            },
        }
    }

    /// Ends when a task is due, and says since when it has been.
    async fn due(&mut self) -> Instant {
        match self {
            Self::AtOnce => Instant::now(),
            Self::Evenly { next, distance } => {
                let due = *next;
                tokio::time::sleep_until(due).await;
                *next = due + *distance;
                due
            }
        }
    }
}

fn progress(arguments: &Arguments) -> ProgressBar {
    // It goes to standard error, and only where that is a terminal.
    let bar = ProgressBar::new(arguments.seconds.get().into());
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len} s {msg}") {
        bar.set_style(style);
    }
    bar
}
