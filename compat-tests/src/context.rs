//! Where a row finds the checkout and may leave its files.

use std::env;
use std::path::{Path, PathBuf};

use crate::control::probe;
use crate::error::{Error, Result};
use crate::target::Against;

/// What a row is given.
#[derive(Clone, Debug)]
pub struct Context {
    work: PathBuf,
    against: Option<Against>,
    brokers: u16,
}

impl Context {
    /// A context whose files all go below `work`.
    #[must_use]
    pub fn new(work: &Path) -> Self {
        Self {
            work: work.into(),
            against: None,
            brokers: 1,
        }
    }

    /// The same with files in a folder of its own below.
    #[must_use]
    pub fn below(&self, folder: &str) -> Self {
        let mut below = self.clone();
        below.work.push(folder);
        below
    }

    /// The same for a row whose brokers were chosen.
    #[must_use]
    pub fn against_those(mut self, against: Option<Against>) -> Self {
        self.against = against;
        self
    }

    /// The same for a row whose cluster has so many brokers.
    #[must_use]
    pub fn of_brokers(mut self, brokers: u16) -> Self {
        self.brokers = brokers;
        self
    }

    /// How many brokers the cluster has that the row is run against.
    #[must_use]
    pub fn brokers(&self) -> u16 {
        self.brokers
    }

    /// The same for a row that asks Apache Kafka only where that is wanted.
    #[must_use]
    pub fn reka_unless_chosen(&self) -> Self {
        self.clone()
            .against_those(self.against.or(Some(Against::Reka)))
    }

    /// An error if nothing that speaks the protocol is where somebody said a broker is: before anything is
    /// prepared for it.
    pub fn expect_broker(&self) -> Result<()> {
        let Against::Address(address) = self.against() else {
            return Ok(());
        };
        let step = format!("ask the broker at {address} for its metadata");
        match probe::brokers(address) {
            Ok(found @ 1..) if self.brokers > 1 && found != u32::from(self.brokers) => {
                Err(Error::refused(
                    step,
                    format!(
                        "it knows of {found} brokers, `--brokers` expects {}",
                        self.brokers
                    ),
                ))
            }
            Ok(1..) => Ok(()),
            Ok(0) => Err(Error::refused(
                step,
                "it knows of no broker; expected at least itself; wait until it serves",
            )),
            Err(error) => Err(Error::refused(
                step,
                format!("{error}; expected a listener of the protocol without TLS and SASL"),
            )),
        }
    }

    /// Which brokers the row is run against.
    #[must_use]
    pub fn against(&self) -> Against {
        self.against.unwrap_or_default()
    }

    /// The row's own folder: removed when it passes, kept and named when it does not.
    #[must_use]
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// The root of the checkout this runner was built from.
    #[must_use]
    pub fn checkout(&self) -> &'static Path {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        here.parent().unwrap_or(here)
    }

    /// The folder of the control: its pom, its logging configuration, our Java sources.
    #[must_use]
    pub fn kafka_sources(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka")
    }

    /// The folder of an ecosystem's client programs and lock files.
    #[must_use]
    pub fn client_sources(&self, ecosystem: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("clients")
            .join(ecosystem)
    }

    /// Test data written by Apache Kafka, as committed.
    #[must_use]
    pub fn kafka_data(&self) -> PathBuf {
        self.checkout()
            .join("storage-engine/tests/testdata/kafka-4.3.1")
    }

    /// What is fetched once and used by every run: outside the checkout, so that
    /// `git clean` and a second worktree do not fetch again.
    pub fn cache(&self) -> Result<PathBuf> {
        let named = |name: &str| {
            env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        named("REKA_CACHE")
            .or_else(|| named("XDG_CACHE_HOME").map(|dir| dir.join("reka")))
            .or_else(|| named("HOME").map(|home| home.join(".cache/reka")))
            .ok_or_else(|| {
                Error::refused(
                    "find the cache folder",
                    "none of REKA_CACHE, XDG_CACHE_HOME and HOME is set",
                )
            })
    }
}
