//! What the host itself may do for a task: read its inputs and write its result.
//!
//! The sizes of both are chosen by strangers, and a short input can mean a large value, so this work is held
//! to the same limits as the guest's own: its memory is counted with the guest's, and it stops when the task
//! is stopped, has used its processor time or has taken too long.

use crate::cpu::Watch;
use crate::limits::{MemoryMeter, Passed};

/// Steps between two looks at the clocks; some 100 microseconds of work.
const STEPS: u32 = 4096;

/// The right to work for a task, within its limits.
pub(crate) struct Allowance<'a> {
    watch: &'a Watch,
    memory: &'a mut MemoryMeter,
    left: u32,
}

impl<'a> Allowance<'a> {
    pub(crate) fn new(watch: &'a Watch, memory: &'a mut MemoryMeter) -> Self {
        Self {
            watch,
            memory,
            left: STEPS,
        }
    }

    /// Counts work: one step is a value, a token or some 64 bytes of text.
    ///
    /// # Errors
    /// The limit that the task has passed by now.
    pub(crate) fn work(&mut self, steps: usize) -> Result<(), Passed> {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        if let Some(left) = self.left.checked_sub(steps) {
            self.left = left;
            return Ok(());
        }
        self.left = STEPS;
        self.watch.check()
    }

    /// Counts memory before it is allocated. It is given back with the task.
    ///
    /// # Errors
    /// [`Passed::Memory`] when it is more than the task may use.
    pub(crate) fn allocate(&mut self, bytes: usize) -> Result<(), Passed> {
        if self.memory.reserve(bytes as u64) {
            Ok(())
        } else {
            Err(self.pass(Passed::Memory))
        }
    }

    /// Notes a limit that was passed.
    pub(crate) fn pass(&self, passed: Passed) -> Passed {
        self.watch.pass(passed)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::cancel::CancelToken;
    use crate::cpu::CpuMeter;
    use crate::limits::{TaskLimits, Tripwire};

    /// Runs `work` with these limits.
    pub(crate) fn within<R>(
        limits: &TaskLimits,
        cancel: &CancelToken,
        work: impl FnOnce(&mut Allowance<'_>) -> R,
    ) -> R {
        let tripwire = Tripwire::default();
        let meter = CpuMeter::default();
        let watch = Watch::new(&meter, limits, cancel, Instant::now(), &tripwire);
        let mut memory = MemoryMeter::new(limits.memory_bytes, tripwire);
        let work = pin!(async { work(&mut Allowance::new(&watch, &mut memory)) });
        let measured = meter.measure(work);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match pin!(measured).poll(&mut context) {
            std::task::Poll::Ready(result) => result,
            std::task::Poll::Pending => unreachable!("nothing in it waits"),
        }
    }

    #[test]
    fn memory_is_counted_before_it_is_used() {
        let limits = TaskLimits {
            memory_bytes: 100,
            ..TaskLimits::default()
        };
        within(&limits, &CancelToken::new(), |allowance| {
            allowance.allocate(60).unwrap();
            assert_eq!(allowance.allocate(60), Err(Passed::Memory));
            allowance.allocate(40).unwrap();
            assert_eq!(allowance.allocate(usize::MAX), Err(Passed::Memory));
        });
    }

    #[test]
    fn work_ends_with_the_task() {
        let spin = |allowance: &mut Allowance<'_>| loop {
            if let Err(passed) = allowance.work(1) {
                return passed;
            }
        };
        let limits = |cpu_ms, wall_clock_ms| TaskLimits {
            cpu_ms,
            wall_clock_ms,
            ..TaskLimits::default()
        };
        let token = CancelToken::new();
        assert_eq!(within(&limits(5, 300_000), &token, spin), Passed::Cpu);
        assert_eq!(within(&limits(60_000, 5), &token, spin), Passed::WallClock);
        token.cancel();
        let begun = Instant::now();
        assert_eq!(within(&TaskLimits::default(), &token, spin), Passed::Stop);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
