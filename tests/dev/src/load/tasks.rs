//! The messages of a load.

use std::sync::atomic::{AtomicU64, Ordering};

use proplet_lab::PROPLET;
use proplet_testkit::broker::Task;
use serde_json::json;

use super::Mix;

/// What there is to run.
pub struct Orders {
    /// The encrypted component, by digest.
    pub by_digest: String,
    /// The same by tag: the registry is asked each time.
    pub by_tag: String,
    /// A plain core module that adds.
    pub adder: Vec<u8>,
}

/// Where a message goes.
#[derive(Clone, Copy)]
pub enum Topic {
    /// `control/manager/start`.
    Start,
    /// `control/manager/stop`.
    Stop,
}

/// What the answer to a task has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A result.
    Done,
    /// The error with this code.
    Code(&'static str),
    /// A result, or the error of a task that was stopped: which one depends on who is first.
    DoneOrStopped,
    /// The error with this code, after a limit has passed: its time says nothing about the daemon.
    AfterLimit(&'static str),
}

impl Expected {
    /// Whether an answer with this code, `done` for none, is as expected.
    pub fn is(self, code: &str) -> bool {
        match self {
            Self::Done => code == "done",
            Self::Code(expected) | Self::AfterLimit(expected) => code == expected,
            Self::DoneOrStopped => code == "done" || code == "stopped",
        }
    }

    /// Whether its time counts.
    pub fn is_timed(self) -> bool {
        !matches!(self, Self::AfterLimit(_))
    }
}

/// A message.
pub struct Message {
    /// The task.
    pub id: String,
    /// Where it goes.
    pub topic: Topic,
    /// What it says.
    pub payload: Vec<u8>,
    /// What the answer has to be; none where none is due.
    pub expected: Option<Expected>,
}

/// Makes one start message after another.
pub struct Mixer {
    mix: Mix,
    number: AtomicU64,
    forms: Vec<Form>,
}

/// A start message with a hole for the id.
struct Form {
    before: Vec<u8>,
    after: Vec<u8>,
    expected: Expected,
    stopped: bool,
}

/// The id in a form, to be replaced.
const HOLE: &str = "the-id-of-the-task";

impl Form {
    fn new(task: &Task, expected: Expected) -> Self {
        let text = task.start_message().to_string();
        let (before, after) = text.split_once(HOLE).unwrap_or((&text, ""));
        Self {
            before: before.into(),
            after: after.into(),
            expected,
            stopped: false,
        }
    }
}

impl Mixer {
    /// Makes tasks of what there is.
    pub fn new(orders: &Orders, mix: Mix, size: u32) -> Self {
        let encrypted = |image: &str, input: String| Task {
            inputs: vec![input],
            proplet_id: PROPLET.into(),
            ..Task::encrypted(HOLE, "load", image)
        };
        let echo = format!("echo {}", "x".repeat(size as usize));
        let plain = Task {
            inputs: vec!["40".into(), "2".into()],
            proplet_id: PROPLET.into(),
            ..Task::plain(HOLE, "add", orders.adder.clone())
        };
        let at = &orders.by_digest;
        let forms = match mix {
            Mix::Encrypted => vec![Form::new(&encrypted(at, echo), Expected::Done)],
            // In tenths of the whole, but for the last.
            Mix::Mixed => {
                let done = || Form::new(&encrypted(at, echo.clone()), Expected::Done);
                let limit = Expected::AfterLimit("limit-wall-clock");
                vec![
                    done(),
                    done(),
                    done(),
                    done(),
                    Form::new(&plain, Expected::Done),
                    Form::new(&encrypted(&orders.by_tag, echo.clone()), Expected::Done),
                    Form::new(
                        &encrypted(at, "fail so".into()),
                        Expected::Code("guest-failed"),
                    ),
                    Form::new(
                        &encrypted(at, "trap".into()),
                        Expected::Code("guest-trapped"),
                    ),
                    Form::new(
                        &Task {
                            image_url: "Not An Image".into(),
                            ..encrypted(at, String::new())
                        },
                        Expected::Code("image-reference"),
                    ),
                    Form {
                        stopped: true,
                        ..Form::new(&encrypted(at, "sleep 50".into()), Expected::DoneOrStopped)
                    },
                    Form::new(&encrypted(at, "sleep 60000".into()), limit),
                ]
            }
        };
        Self {
            mix,
            number: AtomicU64::new(0),
            forms,
        }
    }

    /// The next task: its start, and where it is one to be stopped also the stop.
    pub fn next(&self) -> Vec<Message> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        // The last form waits for a limit and holds a place meanwhile: one in a thousand.
        let regular = match self.mix {
            Mix::Encrypted => 1,
            Mix::Mixed => self.forms.len() - 1,
        };
        let index = match self.mix {
            Mix::Mixed if number % 1000 == 999 => regular,
            _ => usize::try_from(number).unwrap_or_default() % regular,
        };
        let Some(form) = self.forms.get(index) else {
            return Vec::new();
        };
        let id = format!("load-{number:012}");
        let mut messages = vec![Message {
            payload: [&form.before, id.as_bytes(), &form.after].concat(),
            topic: Topic::Start,
            expected: Some(form.expected),
            id: id.clone(),
        }];
        if form.stopped {
            let stop = json!({ "id": id, "broadcast": false, "proplet_id": PROPLET });
            messages.push(Message {
                payload: stop.to_string().into_bytes(),
                topic: Topic::Stop,
                expected: None,
                id,
            });
        }
        messages
    }
}
