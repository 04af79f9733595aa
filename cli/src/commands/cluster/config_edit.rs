//! `rkctl cluster config edit`.

use std::collections::BTreeMap;

use clap::Args;

use super::config::Which;
use super::config_report::{self, Changed, is_own};
use crate::command_line::Change;
use crate::editor;
use crate::failure::Failure;
use crate::properties;
use crate::session::Session;

/// What was set while brokers ran opens in the editor of VISUAL or EDITOR, a line for each key. Lines
/// that are changed, added or taken away are changes, made all at once or not at all. Secrets are not
/// shown, and stay as they are.
#[derive(Debug, Args)]
pub(crate) struct Edit {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    change: Change,
}

impl Edit {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let resource = self.which.resource();
        let entries = session
            .client()
            .await?
            .describe_config(&resource, false)
            .await?;
        let own = entries
            .into_iter()
            .filter(|entry| is_own(&resource, entry.source) && !entry.sensitive);
        let before: BTreeMap<String, String> = own
            .map(|entry| (entry.name, entry.value.unwrap_or_default()))
            .collect();
        let head = format!("# {}: what was set while it ran\n", self.which.subject());
        let edited = editor::edit(&(head + &properties::written(&before)))?;
        let changes = changes(&before, &properties::parse(&edited));
        config_report::change(session, &resource, changes, self.change.dry_run).await
    }
}

/// What has to be set and unset for settings to become others.
fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Changed {
    let set = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), Some(value.clone())));
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    Changed::new(set.chain(gone.map(|key| (key.clone(), None))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_are_changes() {
        let before = properties::parse("kept=1\nchanged=1\ngone=1");
        let after = properties::parse("kept=1\nchanged=2\nadded=3");
        let expected = [("added", Some("3")), ("changed", Some("2")), ("gone", None)];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        assert_eq!(changes(&before, &after), Changed::new(expected.into()));
    }
}
