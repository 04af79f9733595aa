//! What the rows share that run the tests a package brings along: against each broker, judged, and with what is not
//! run and why.

use std::time::Instant;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::rows::Verdict;
use crate::target::{self, Target};

/// Tests that somebody else wrote.
pub(super) struct Suite {
    /// Whose.
    pub(super) name: &'static str,
    /// How they want a broker to be.
    pub(super) broker: &'static [&'static str],
    /// What is not run, and why.
    pub(super) skipped: &'static [(&'static str, &'static str)],
}

/// How they ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) passed: usize,
    /// Their names, with how they ended or where that is written.
    pub(super) failed: Vec<String>,
}

impl Suite {
    /// Lets `run` run them against each broker.
    pub(super) fn judge(
        &self,
        ctx: &Context,
        mut run: impl FnMut(&Target) -> Result<Seen>,
    ) -> Result<Verdict> {
        let told = target::each_told(ctx, self.broker, |target| {
            let began = Instant::now();
            let passed = self.passed(run(target)?)?;
            let seconds = began.elapsed().as_secs_f64();
            Ok(format!("{passed} tests ({seconds:.0} s)"))
        })?;
        let skipped = self
            .skipped
            .iter()
            .map(|(test, why)| format!("{test} ({why})"));
        let skipped: Vec<String> = skipped.collect();
        let skipped = skipped.join(", ");
        Ok(Verdict::Passed(format!("{told}; not run: {skipped}")))
    }

    /// How many passed, if none failed.
    fn passed(&self, seen: Seen) -> Result<usize> {
        let refused = |finding| Err(Error::refused(format!("judge {}", self.name), finding));
        match (seen.failed.as_slice(), seen.passed) {
            ([], 0) => refused("none was run".to_owned()),
            ([], passed) => Ok(passed),
            (failed, passed) => refused(format!(
                "{passed} passed, {} failed: {}",
                failed.len(),
                failed.join("; ")
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_or_was_not_run_is_no_pass() {
        let suite = Suite {
            name: "the tests",
            broker: &[],
            skipped: &[],
        };
        let judged = |passed, failed: &[&str]| {
            let failed = failed.iter().map(|&test| test.to_owned()).collect();
            let judged = suite.passed(Seen { passed, failed });
            judged.map_err(|error| error.to_string())
        };
        assert_eq!(judged(3, &[]), Ok(3));
        let none = "judge the tests: none was run".to_owned();
        assert_eq!(judged(0, &[]), Err(none));
        let some = "judge the tests: 2 passed, 2 failed: a; b".to_owned();
        assert_eq!(judged(2, &["a", "b"]), Err(some));
    }
}
