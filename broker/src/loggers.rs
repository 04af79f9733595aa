//! How much each part of the program tells, changeable while it runs.
//!
//! Loggers are named as Rust names them: `reka_broker` and everything below it,
//! `reka_storage::compaction`. `root` is everybody else.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The logger of those who have none of their own.
pub const ROOT: &str = "root";

/// Loggers that are always listed.
const PARTS: &[&str] = &[
    "openraft",
    "reka",
    "reka_broker",
    "reka_raft",
    "reka_storage",
];

/// How much is told. The names are those of Kafka's loggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Everything.
    Trace,
    /// What helps to find a mistake.
    Debug,
    /// What an operator may want to know.
    Info,
    /// What an operator should know.
    Warn,
    /// What a person should look at.
    Error,
}

impl Level {
    /// By its name, as Kafka spells it; FATAL is as little as there is.
    pub fn from_name(name: &str) -> Option<Level> {
        match name {
            "TRACE" => Some(Level::Trace),
            "DEBUG" => Some(Level::Debug),
            "INFO" => Some(Level::Info),
            "WARN" => Some(Level::Warn),
            "ERROR" | "FATAL" => Some(Level::Error),
            _ => None,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Trace => "TRACE",
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
        }
    }
}

/// Puts levels in force; what it takes are `logger=level` directives, comma separated.
type Apply = Box<dyn Fn(&str) + Send + Sync>;

/// The levels of this process.
pub struct Loggers {
    levels: Mutex<BTreeMap<String, Level>>,
    apply: Apply,
}

impl std::fmt::Debug for Loggers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl Loggers {
    /// Levels to begin with; `apply` puts them in force, now and after each change.
    pub fn new(root: Level, others: &[(&str, Level)], apply: Apply) -> Loggers {
        let mut levels = BTreeMap::from([(ROOT.to_owned(), root)]);
        let others = others
            .iter()
            .map(|(name, level)| ((*name).to_owned(), *level));
        levels.extend(others);
        let loggers = Loggers {
            levels: Mutex::new(levels),
            apply,
        };
        loggers.put_in_force(&loggers.levels());
        loggers
    }

    fn levels(&self) -> MutexGuard<'_, BTreeMap<String, Level>> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All loggers with the level that counts for them.
    pub fn list(&self) -> Vec<(String, String)> {
        let levels = self.levels();
        let root = levels.get(ROOT).copied().unwrap_or(Level::Info);
        let mut all: BTreeMap<&str, Level> = PARTS.iter().map(|name| (*name, root)).collect();
        all.extend(levels.iter().map(|(name, level)| (name.as_str(), *level)));
        all.into_iter()
            .map(|(name, level)| (name.to_owned(), level.name().to_owned()))
            .collect()
    }

    /// Whether there is a logger of this name.
    pub fn is_known(name: &str) -> bool {
        let part = name.split("::").next().unwrap_or_default();
        name == ROOT || PARTS.contains(&part)
    }

    /// Sets levels, or takes them away where there is none.
    pub fn change(&self, changes: &[(String, Option<Level>)]) {
        let mut levels = self.levels();
        for (name, level) in changes {
            match level {
                Some(level) => levels.insert(name.clone(), *level),
                None => levels.remove(name),
            };
        }
        self.put_in_force(&levels);
    }

    fn put_in_force(&self, levels: &BTreeMap<String, Level>) {
        let directives: Vec<String> = levels
            .iter()
            .map(|(name, level)| match name.as_str() {
                ROOT => level.name().to_ascii_lowercase(),
                name => format!("{name}={}", level.name().to_ascii_lowercase()),
            })
            .collect();
        (self.apply)(&directives.join(","));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_change_is_in_force_at_once_and_taking_it_away_leaves_the_root_level() {
        let seen = Arc::new(Mutex::new(String::new()));
        let told = seen.clone();
        let apply = Box::new(move |directives: &str| {
            *told.lock().expect("not poisoned") = directives.to_owned();
        });
        let loggers = Loggers::new(Level::Info, &[("openraft", Level::Warn)], apply);
        let seen = || seen.lock().expect("not poisoned").clone();
        assert_eq!(seen(), "openraft=warn,info");
        let raft = "reka_raft".to_owned();
        loggers.change(&[(raft.clone(), Some(Level::Debug))]);
        assert_eq!(seen(), "openraft=warn,reka_raft=debug,info");
        loggers.change(&[(raft, None), (ROOT.to_owned(), Some(Level::Error))]);
        assert_eq!(seen(), "openraft=warn,error");
        let listed = loggers.list();
        assert!(listed.contains(&("reka_raft".to_owned(), "ERROR".to_owned())));
    }
}
