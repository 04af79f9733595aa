//! Completion in shells: names of topics, groups, brokers and profiles, asked of the cluster the
//! command line is for. Whatever goes wrong, nothing is offered, and soon.

use std::ffi::OsStr;
use std::time::Duration;

use clap::Parser;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use reka_client::Client;

use crate::command_line::Options;
use crate::profiles::Profiles;
use crate::session::Session;

/// Whoever presses a key does not wait longer.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Topics.
pub(crate) fn topics() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        offered(typed, async |client| {
            let topics = client.list_topics().await.ok()?;
            let own = topics.into_iter().filter(|topic| !topic.is_internal);
            Some(own.map(|topic| topic.name).collect())
        })
    })
}

/// Groups.
pub(crate) fn groups() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        offered(typed, async |client| {
            let groups = client.list_groups().await.ok()?;
            Some(groups.into_iter().map(|group| group.id).collect())
        })
    })
}

/// Brokers.
pub(crate) fn brokers() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        offered(typed, async |client| {
            let brokers = client.brokers().await.ok()?;
            Some(
                brokers
                    .into_iter()
                    .map(|broker| broker.id.to_string())
                    .collect(),
            )
        })
    })
}

/// Profiles.
pub(crate) fn profiles() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let profiles = Profiles::read().unwrap_or_default();
        that_begin(typed, profiles.by_name.into_keys().collect())
    })
}

fn offered(
    typed: &OsStr,
    ask: impl AsyncFn(&Client) -> Option<Vec<String>>,
) -> Vec<CompletionCandidate> {
    let names = || {
        let mut options = options(std::env::args())?;
        options.timeout = Some(PATIENCE);
        let session = Session::new(&options).ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .ok()?;
        runtime.block_on(async {
            let asked = async { ask(session.client().await.ok()?).await };
            tokio::time::timeout(PATIENCE, asked).await.ok()?
        })
    };
    that_begin(typed, names().unwrap_or_default())
}

fn that_begin(typed: &OsStr, names: Vec<String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let begin = names.into_iter().filter(|name| name.starts_with(&*typed));
    begin.map(CompletionCandidate::new).collect()
}

/// The options that say which cluster, of a command line that is not finished.
fn options(words: impl Iterator<Item = String>) -> Option<Options> {
    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        options: Options,
    }
    let mut kept = vec!["rkctl".to_owned()];
    // The shell's words are behind the first --.
    let mut words = words.skip_while(|word| word != "--").skip(1);
    while let Some(word) = words.next() {
        let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
        let takes = ["-b", "--bootstrap-server", "--profile", "--command-config"];
        if !takes.contains(&name) {
            continue;
        }
        let has_value = word.contains('=');
        kept.push(word);
        if !has_value {
            kept.extend(words.next());
        }
    }
    Alone::try_parse_from(kept).ok().map(|alone| alone.options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_of_an_unfinished_command_line_is_found() {
        let check = |line: &str, expected: Option<&str>| {
            let words = line.split_whitespace().map(str::to_owned);
            let found = options(words).expect("options");
            assert_eq!(found.bootstrap_server.as_deref(), expected, "{line}");
        };
        check("rkctl -- rkctl topic describe or", None);
        check("rkctl -- rkctl -b a:1 topic describe or", Some("a:1"));
        check(
            "rkctl -- rkctl topic describe --bootstrap-server=a:1 --no-such x",
            Some("a:1"),
        );
    }
}
