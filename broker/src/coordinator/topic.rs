//! Creating an internal topic.

use crate::config::InternalTopicConfig;
use crate::metadata::ChangeError;
use crate::metadata::topics::NewTopic;
use crate::node::Services;

/// Creates the topic if it is not there; replicas are capped by the brokers there are.
pub async fn create(
    services: &Services,
    name: &str,
    settings: InternalTopicConfig,
    configs: &[(&str, String)],
) -> Result<(), ChangeError> {
    let image = services.quorum.image();
    if image.topics().get(name).is_some() {
        return Ok(());
    }
    let brokers = image.brokers().iter().count();
    let replicas = i16::try_from(brokers.max(1)).unwrap_or(i16::MAX);
    let replication_factor = settings.replication_factor.min(replicas);
    let of_topic = |(key, value): &(&str, String)| ((*key).to_owned(), Some(value.clone()));
    let mut configs: Vec<_> = configs.iter().map(of_topic).collect();
    configs.push((
        "segment.bytes".to_owned(),
        Some(settings.segment_bytes.to_string()),
    ));
    let topic = NewTopic {
        name: name.to_owned(),
        id: services.chance.uuid(),
        partitions: settings.partitions,
        replication_factor,
        assignments: Vec::new(),
        configs,
    };
    let created = services.create_topic(topic, false).await;
    // Somebody else may have been faster.
    let image = services.quorum.image();
    match created {
        Err(_) if image.topics().get(name).is_some() => Ok(()),
        created => created.map(|_| ()),
    }
}
