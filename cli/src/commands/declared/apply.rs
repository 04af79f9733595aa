//! `rkctl apply`.

use clap::Args;
use reka_client::admin::{ConfigChange, Resource};

use super::{What, difference, live, new_topic, quotas, read};
use crate::command_line::Destruction;
use crate::failure::Failure;
use crate::session::Session;

/// Done twice, the second time does nothing. Nothing is done where any of it cannot be.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The file
    file: std::path::PathBuf,
    #[command(flatten)]
    destruction: Destruction,
}

impl Apply {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let declared = read(&self.file)?;
        let live = live(session, Some(&declared)).await?;
        let steps = difference(&declared, &live);
        if let Some(step) = steps.iter().find(|step| step.what == What::Impossible) {
            let text = format!(
                "{} of topic {} cannot go from {} to {}: nothing was done",
                step.key.as_deref().unwrap_or_default(),
                step.topic.as_deref().unwrap_or_default(),
                step.before.as_deref().unwrap_or_default(),
                step.after.as_deref().unwrap_or_default()
            );
            return Err(Failure::refused(text));
        }
        session.show(&steps)?;
        if self.destruction.dry_run || steps.is_empty() {
            return Ok(());
        }
        self.destruction
            .consent(&format!("do these {} steps", steps.len()))?;
        let client = session.client().await?;
        for (name, wanted) in &declared.topics {
            let Some(found) = live.topics.get(name) else {
                for (_, created) in client
                    .create_topics(&[new_topic(name, wanted)], false)
                    .await?
                {
                    created?;
                }
                continue;
            };
            if let Some(count) = wanted
                .partitions
                .filter(|count| Some(*count) > found.partitions)
            {
                for (_, grown) in client
                    .create_partitions(&[(name.clone(), count)], false)
                    .await?
                {
                    grown?;
                }
            }
            let changes: Vec<ConfigChange> = steps
                .iter()
                .filter(|step| step.topic.as_ref() == Some(name))
                .filter_map(|step| {
                    let key = step.key.clone()?;
                    match step.what {
                        What::Set => Some(ConfigChange::Set(key, step.after.clone()?)),
                        What::Unset => Some(ConfigChange::Delete(key)),
                        What::Create | What::Partitions | What::Impossible => None,
                    }
                })
                .collect();
            if !changes.is_empty() {
                client
                    .alter_config(&Resource::topic(name), &changes, false)
                    .await?;
            }
        }
        if !declared.quotas.is_empty() {
            quotas::apply(session, &declared.quotas, &live.quotas).await?;
        }
        Ok(())
    }
}
