//! Asking both brokers the same, and keeping score.

use std::collections::BTreeSet;

use reka_protocol::kafka_protocol::protocol::Request;
use reka_protocol::versions;

use super::allowed::{ALLOWED, normalise};
use super::side::{Answer, Side};
use super::tree::Tree;
use crate::error::{Error, Result};

/// The two brokers.
#[derive(Debug)]
pub struct Pair {
    kafka: Side,
    reka: Side,
    script: &'static str,
    used: Vec<bool>,
    asked: BTreeSet<(i16, i16)>,
    score: Score,
}

/// How alike the two are.
#[derive(Debug, Default)]
pub struct Score {
    /// Requests sent to each.
    pub requests: usize,
    /// What differed, to be read.
    pub differences: Vec<String>,
}

/// How a run went.
#[derive(Debug)]
pub struct Outcome {
    /// How alike the two are.
    pub score: Score,
    /// API keys and versions that were asked for.
    pub asked: BTreeSet<(i16, i16)>,
    /// Allowed differences that no answer needed, with the reason they had.
    pub stale: Vec<(&'static str, &'static str)>,
}

/// What both answered; what a script goes on with.
#[derive(Debug)]
pub struct Both<T> {
    /// Apache Kafka's answer.
    pub kafka: Option<T>,
    /// Ours.
    pub reka: Option<T>,
}

impl Pair {
    /// Two fresh brokers.
    pub fn new(kafka: std::net::SocketAddr, reka: std::net::SocketAddr) -> Pair {
        Pair {
            kafka: Side::new("Apache Kafka", kafka),
            reka: Side::new("Reka", reka),
            script: "",
            used: vec![false; ALLOWED.len()],
            asked: BTreeSet::new(),
            score: Score::default(),
        }
    }

    /// Says which script is run, for reports.
    pub fn begin(&mut self, script: &'static str) {
        self.script = script;
    }

    /// Asks both in one version and compares. `request` is made for each side, as ids differ.
    pub fn ask<R: Request + 'static>(
        &mut self,
        version: i16,
        what: &str,
        request: impl Fn(&Side) -> R,
    ) -> Result<Both<R::Response>>
    where
        R::Response: std::fmt::Debug,
    {
        self.ask_masked(version, what, request, |_| {})
    }

    /// The same; `mask` takes out of each answer what cannot be the same in this step.
    pub fn ask_masked<R: Request + 'static>(
        &mut self,
        version: i16,
        what: &str,
        request: impl Fn(&Side) -> R,
        mask: impl Fn(&mut R::Response),
    ) -> Result<Both<R::Response>>
    where
        R::Response: std::fmt::Debug,
    {
        let both = self
            .ask_quietly(version, &request)
            .map_err(|error| self.named(what, &error))?;
        Ok(self.compare::<R>(version, what, both, mask))
    }

    /// Asks both on a connection of its own.
    pub fn ask_on<R: Request + 'static>(
        &mut self,
        connection: &'static str,
        version: i16,
        what: &str,
        request: impl Fn(&Side) -> R,
    ) -> Result<Both<R::Response>>
    where
        R::Response: std::fmt::Debug,
    {
        self.send_on(connection, version, what, request)?;
        self.receive_on::<R>(connection, version, what)
    }

    /// Sends both a request that they may take their time to answer.
    pub fn send_on<R: Request + 'static>(
        &mut self,
        connection: &'static str,
        version: i16,
        what: &str,
        request: impl Fn(&Side) -> R,
    ) -> Result<()> {
        for side in [&mut self.kafka, &mut self.reka] {
            let request = request(side);
            let sent = side.send_on(connection, version, &request);
            sent.map_err(|error| {
                Error::refused(format!("{}: {what}", self.script), format!("{error}"))
            })?;
        }
        Ok(())
    }

    /// Waits for both answers to it, and compares.
    pub fn receive_on<R: Request + 'static>(
        &mut self,
        connection: &'static str,
        version: i16,
        what: &str,
    ) -> Result<Both<R::Response>>
    where
        R::Response: std::fmt::Debug,
    {
        let receive = |side: &mut Side| {
            Ok(match side.receive_on::<R>(connection, version)? {
                Answer::Response(response) => Some(response),
                Answer::Closed => None,
            })
        };
        let kafka = receive(&mut self.kafka);
        let reka = receive(&mut self.reka);
        let both = kafka.and_then(|kafka| Ok(Both { kafka, reka: reka? }));
        let both = both.map_err(|error: Error| self.named(what, &error))?;
        Ok(self.compare::<R>(version, what, both, |_| {}))
    }

    fn named(&self, what: &str, error: &Error) -> Error {
        Error::refused(format!("{}: {what}", self.script), format!("{error}"))
    }

    fn compare<R: Request + 'static>(
        &mut self,
        version: i16,
        what: &str,
        mut both: Both<R::Response>,
        mask: impl Fn(&mut R::Response),
    ) -> Both<R::Response>
    where
        R::Response: std::fmt::Debug,
    {
        both.kafka.iter_mut().chain(&mut both.reka).for_each(mask);
        let api = versions::by_key(R::KEY).map_or("?", |api| api.name);
        self.asked.insert((R::KEY, version));
        self.score.requests += 1;
        let mut tree = |answer: &Option<R::Response>| {
            let mut tree = match answer {
                Some(response) => Tree::parse(&format!("{response:#?}")),
                None => Tree::Value("(connection closed)".to_owned()),
            };
            normalise(api, &mut tree, &mut self.used);
            tree
        };
        let (kafka, reka) = (tree(&both.kafka), tree(&both.reka));
        for difference in kafka.differences(&reka) {
            let script = self.script;
            self.score
                .differences
                .push(format!("{script}: {api} v{version}, {what}: {difference}"));
        }
        both
    }

    /// Asks in every version both have in common.
    pub fn ask_every<R: Request + 'static>(
        &mut self,
        what: &str,
        request: impl Fn(&Side, i16) -> R,
    ) -> Result<()>
    where
        R::Response: std::fmt::Debug,
    {
        let Some(api) = versions::by_key(R::KEY) else {
            return Err(Error::refused(what, "not in the version table"));
        };
        for version in api.served_from..=api.max {
            self.ask(version, what, |side| request(side, version))?;
        }
        Ok(())
    }

    /// Asks both and compares nothing: what sets the scene.
    pub fn ask_quietly<R: Request + 'static>(
        &mut self,
        version: i16,
        request: impl Fn(&Side) -> R,
    ) -> Result<Both<R::Response>> {
        let ask = |side: &mut Side| {
            let request = request(side);
            Ok(match side.ask(version, &request)? {
                Answer::Response(response) => Some(response),
                Answer::Closed => None,
            })
        };
        Ok(Both {
            kafka: ask(&mut self.kafka)?,
            reka: ask(&mut self.reka)?,
        })
    }

    /// Lets each side keep something of its own answer.
    pub fn keep<T>(&mut self, both: &Both<T>, keep: impl Fn(&mut Side, &T)) {
        if let Some(answer) = &both.kafka {
            keep(&mut self.kafka, answer);
        }
        if let Some(answer) = &both.reka {
            keep(&mut self.reka, answer);
        }
    }

    /// How it went.
    pub fn finish(self) -> Outcome {
        let unused = ALLOWED.iter().zip(self.used).filter(|(_, used)| !used);
        Outcome {
            score: self.score,
            asked: self.asked,
            stale: unused
                .map(|(allowed, _)| (allowed.path, allowed.why))
                .collect(),
        }
    }
}
