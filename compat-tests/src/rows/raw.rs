//! What rows with raw clients of their own share: settings from the environment, chance, a topic, a
//! coordinator, and the kill of a broker in the middle of what they do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::create_topics_request::CreatableTopic;
use reka_protocol::kafka_protocol::messages::{
    CreateTopicsRequest, FindCoordinatorRequest, GroupId, OffsetFetchRequest, TopicName,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_records::{BatchError, BatchView, batches};

use crate::differential::{Answer, Side};
use crate::error::{Error, Result};
use crate::rows::Verdict;
use crate::target::Target;
use crate::wait;

/// A number from the environment.
pub(super) fn number(name: &str) -> Result<Option<u64>> {
    let Ok(text) = std::env::var(name) else {
        return Ok(None);
    };
    let parsed = text.parse();
    parsed
        .map(Some)
        .map_err(|_| Error::refused(format!("read {name}"), format!("{text:?} is not a number")))
}

/// Runs a row that kills: so many rounds unless `REKA_KILL_ROUNDS` says otherwise, at moments that
/// `REKA_KILL_SEED` repeats. Both are named with what went wrong, the seed with what was seen.
pub(super) fn in_rounds(
    rounds: u64,
    run: impl FnOnce(u64, u64) -> Result<String>,
) -> Result<Verdict> {
    let rounds = number("REKA_KILL_ROUNDS")?.unwrap_or(rounds);
    let seed = number("REKA_KILL_SEED")?.unwrap_or_else(seed_of_now);
    let seen = run(rounds, seed).map_err(|error| {
        Error::refused(
            format!("REKA_KILL_SEED={seed} REKA_KILL_ROUNDS={rounds}"),
            error.to_string(),
        )
    })?;
    Ok(Verdict::Passed(format!("{seen}, seed {seed}")))
}

#[allow(
    clippy::disallowed_methods,
    reason = "a client's clock: what it writes, and a seed nobody chose"
)]
pub(crate) fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

/// A seed nobody chose.
#[must_use]
pub fn seed_of_now() -> u64 {
    now().as_nanos() as u64
}

/// Marsaglia's xorshift: chance that can be repeated.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }
}

/// An answer, where a closed connection is none.
pub(crate) fn answer<T>(answered: Answer<T>, step: &str) -> Result<T> {
    match answered {
        Answer::Response(answer) => Ok(answer),
        Answer::Closed => Err(Error::refused(step, "the connection was closed")),
    }
}

pub(crate) fn topic_name(name: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(name))
}

pub(crate) fn group_id(name: &str) -> GroupId {
    GroupId(StrBytes::from_string(name.to_owned()))
}

/// Creates a topic with one replica.
pub(crate) fn create_topic(side: &mut Side, name: &'static str, partitions: i32) -> Result<()> {
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(30_000);
    let created = answer(side.ask(7, &request)?, "create the topic")?;
    match created.topics[0].error_code {
        0 => Ok(()),
        code => Err(Error::refused("create the topic", format!("error {code}"))),
    }
}

/// Waits until the coordinator answers for a group, so until it has read its offsets.
pub(crate) fn wait_for_group(side: &mut Side, name: &str, limit: Duration) -> Result<()> {
    wait::until("wait for the coordinator", limit, || {
        let find = FindCoordinatorRequest::default().with_key(group_id(name).0);
        let found = answer(side.ask(3, &find)?, "find a coordinator")?;
        let fetch = OffsetFetchRequest::default()
            .with_group_id(group_id(name))
            .with_topics(None);
        let loaded = answer(side.ask(7, &fetch)?, "fetch offsets")?;
        Ok(((found.error_code, loaded.error_code) == (0, 0)).then_some(()))
    })
}

/// Apache Kafka takes a quarter of a minute to come back: fewer kills of it, unless somebody said how many.
const ROUNDS_OF_KAFKA: u64 = 3;

/// How many kills this broker gets where ours gets `rounds`.
pub(super) fn rounds_of(target: &Target, rounds: u64) -> Result<u64> {
    match (number("REKA_KILL_ROUNDS")?, target.comes_back_soon()) {
        (Some(chosen), _) => Ok(chosen),
        (None, true) => Ok(rounds),
        (None, false) => Ok(rounds.min(ROUNDS_OF_KAFKA)),
    }
}

/// How many times as long a round lasts: a broker that needs so much longer to start also needs longer until it
/// answers as fast as it can.
pub(super) fn pace_of(target: &Target) -> u32 {
    if target.comes_back_soon() { 1 } else { 10 }
}

/// Longer than a broker that has just started takes to lead its partitions.
const LEADER_TIME_MAX: Duration = Duration::from_secs(60);

/// Whether a broker says that it is not ready for this yet, as Apache Kafka does for a moment after a start and
/// after topics were created: every client asks again then.
pub(super) fn not_yet(code: i16) -> bool {
    matches!(
        ErrorCode::from_code(code),
        Some(
            ErrorCode::UnknownTopicOrPartition
                | ErrorCode::LeaderNotAvailable
                | ErrorCode::NotLeaderOrFollower
                | ErrorCode::CoordinatorLoadInProgress
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::NotCoordinator
        )
    )
}

/// Asks until the broker is ready: `ask` gives an error code, and what was answered.
pub(super) fn once_ready<T>(step: &str, mut ask: impl FnMut() -> Result<(i16, T)>) -> Result<T> {
    wait::until(step, LEADER_TIME_MAX, || match ask()? {
        (0, answered) => Ok(Some(answered)),
        (code, _) if not_yet(code) => Ok(None),
        (code, _) => Err(Error::refused(step, format!("error {code}"))),
    })
}

/// The batches that an answer to a fetch has whole. As every client knows, Apache Kafka cuts off the last one where
/// the bytes that were asked for end; the first is whole wherever there is one.
pub(super) fn fetched(records: &[u8]) -> Result<Vec<BatchView<'_>>> {
    let mut whole = Vec::new();
    for batch in batches(records) {
        match batch {
            Ok(batch) => whole.push(batch),
            Err(BatchError::Incomplete { .. }) if !whole.is_empty() => break,
            Err(error) => {
                let finding = error.to_string();
                return Err(Error::refused("read what was fetched", finding));
            }
        }
    }
    Ok(whole)
}

/// Lets everybody act against a broker, each on a thread, and kills it after `pause`. They end when
/// they see that it is gone or are told so.
pub(super) fn kill_amidst<T: Send>(
    target: &mut Target,
    pause: Duration,
    everybody: &mut [T],
    act: impl Fn(&mut T, SocketAddr, &AtomicBool) -> Result<()> + Sync,
) -> Result<()> {
    let address = target.address();
    let stop = AtomicBool::new(false);
    let (act, stop) = (&act, &stop);
    std::thread::scope(|scope| {
        let threads: Vec<_> = everybody
            .iter_mut()
            .map(|one| scope.spawn(move || act(one, address, stop)))
            .collect();
        // The moment of the kill is what is tried out here, not something that is waited for.
        std::thread::sleep(pause);
        let killed = target.kill();
        stop.store(true, Ordering::SeqCst);
        for thread in threads {
            let ended = thread.join();
            ended.map_err(|_| Error::refused("act until the kill", "a thread panicked"))??;
        }
        killed
    })
}

#[cfg(test)]
mod tests {
    use reka_records::BatchBuilder;

    use super::*;

    fn batch(value: &str) -> Vec<u8> {
        let mut builder = BatchBuilder::new(0);
        let none = std::iter::empty::<(&[u8], Option<&[u8]>)>();
        let appended = builder.append(0, 0, None, Some(value.as_bytes()), none);
        appended.expect("a record");
        builder.finish().to_vec()
    }

    #[test]
    fn a_batch_cut_off_by_the_end_of_an_answer_is_left_for_the_next() {
        let two = [batch("one"), batch("two")].concat();
        let count = |bytes: &[u8]| fetched(bytes).map(|whole| whole.len());
        assert_eq!(count(&two).expect("two"), 2);
        assert_eq!(count(&two[..two.len() - 1]).expect("one"), 1);
        let first = batch("one").len();
        assert_eq!(count(&two[..first + 20]).expect("one"), 1);
        let error = count(&two[..first - 1]).expect_err("none is whole");
        assert!(error.to_string().contains("batch needs"), "{error}");
        let mut other = two.clone();
        // The magic of the second.
        other[first + 16] = 7;
        count(&other).expect_err("no batch");
    }
}
