//! Fetch sessions (KIP-227): what a client asked for and was told, so that a fetch only has to say
//! what is new, and its answer too.
//!
//! ```text
//! epoch  0   a full request; opens a session     -> its id; the next epoch is 1
//! epoch  n   what is new, what is no more        -> only partitions with news
//! epoch -1   a full request without a session; ends the one it names
//! ```
//!
//! A bounded number of sessions is kept. When all places are taken, one that has not been used for
//! two minutes makes room, or a smaller one that had its two minutes; else the client goes without.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reka_protocol::ErrorCode;
use uuid::Uuid;

/// How long a session cannot be pushed out, and how long it may be silent.
const EVICTION_MS: i64 = 120_000;
/// A full request that opens a session.
pub const EPOCH_INITIAL: i32 = 0;
/// A full request without a session.
pub const EPOCH_FINAL: i32 = -1;

/// What is asked for of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The topic's name; empty where the client says the id.
    pub name: Arc<str>,
    /// The topic's id; nil where the client says the name.
    pub id: Uuid,
    /// The partition.
    pub index: i32,
    /// The epoch the client takes the leader to be in, or -1.
    pub current_leader_epoch: i32,
    /// The epoch of the last record it has, or -1.
    pub last_fetched_epoch: i32,
    /// From here on.
    pub offset: i64,
    /// At most so much.
    pub max_bytes: u64,
}

impl Asked {
    fn is_of(&self, name: &str, id: Uuid, index: i32) -> bool {
        self.index == index && self.id == id && &*self.name == name
    }
}

/// What an answer says of one partition, as far as it makes news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Batches, an error, or a place to truncate to: always news.
    pub is_news: bool,
    /// The high watermark.
    pub high_watermark: i64,
    /// The first offset.
    pub log_start_offset: i64,
}

#[derive(Clone, Debug)]
struct Known {
    asked: Asked,
    /// What the last answer said; `None` before the first and after an error.
    told: Option<(i64, i64)>,
}

/// What one client asked for so far.
#[derive(Debug)]
pub struct Session {
    epoch: i32,
    uses_ids: bool,
    created_ms: i64,
    used_ms: i64,
    partitions: Vec<Known>,
    /// Where the next answer begins: whoever got bytes comes last, so that nobody starves behind a
    /// full answer.
    first: usize,
}

impl Session {
    fn new(asked: Vec<Asked>, uses_ids: bool, now_ms: i64) -> Session {
        let known = |asked| Known { asked, told: None };
        Session {
            epoch: EPOCH_INITIAL,
            uses_ids,
            created_ms: now_ms,
            used_ms: now_ms,
            partitions: asked.into_iter().map(known).collect(),
            first: 0,
        }
    }

    /// Takes in what is new and what is no more; everything that is asked for now.
    fn update(&mut self, asked: Vec<Asked>, forgotten: &[(String, Uuid, i32)]) {
        // A client may name thousands: looking each up in a list would be quadratic.
        let mut places: HashMap<(Arc<str>, Uuid, i32), usize> = HashMap::new();
        if !asked.is_empty() || !forgotten.is_empty() {
            for (at, known) in self.partitions.iter().enumerate() {
                let Asked {
                    name, id, index, ..
                } = &known.asked;
                places.insert((name.clone(), *id, *index), at);
            }
        }
        for asked in asked {
            let key = (asked.name.clone(), asked.id, asked.index);
            match places.get(&key) {
                Some(at) => self.partitions[*at].asked = asked,
                None => {
                    places.insert(key, self.partitions.len());
                    self.partitions.push(Known { asked, told: None });
                }
            }
        }
        if forgotten.is_empty() {
            return;
        }
        let gone: Vec<usize> = forgotten
            .iter()
            .filter_map(|(name, id, index)| {
                places
                    .get(&(Arc::from(name.as_str()), *id, *index))
                    .copied()
            })
            .collect();
        let mut at = 0;
        let gone: std::collections::HashSet<usize> = gone.into_iter().collect();
        self.partitions.retain(|_| {
            at += 1;
            !gone.contains(&(at - 1))
        });
        self.first = 0;
    }

    fn asked(&self) -> Vec<Asked> {
        let (before, after) = self
            .partitions
            .split_at(self.first.min(self.partitions.len()));
        let in_turn = after.iter().chain(before);
        in_turn.map(|known| known.asked.clone()).collect()
    }
}

/// How a fetch is answered.
#[derive(Debug)]
pub enum Plan {
    /// With everything it asks for; a session may be opened.
    Full {
        /// Whether the client wants one.
        open: bool,
    },
    /// With what is news.
    Incremental {
        /// The session's id.
        id: i32,
        /// The session.
        session: Arc<Mutex<Session>>,
        /// Everything that is asked for now, in the order to read it.
        asked: Vec<Asked>,
    },
}

/// The sessions of all clients.
#[derive(Debug)]
pub struct FetchSessions {
    places: usize,
    sessions: Mutex<HashMap<i32, Arc<Mutex<Session>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FetchSessions {
    /// Room for so many.
    pub fn new(places: usize) -> FetchSessions {
        FetchSessions {
            places,
            sessions: Mutex::default(),
        }
    }

    /// How many there are, and how many partitions they remember.
    pub fn size(&self) -> (usize, usize) {
        let sessions: Vec<_> = lock(&self.sessions).values().cloned().collect();
        let partitions = sessions
            .iter()
            .map(|session| lock(session).partitions.len());
        (sessions.len(), partitions.sum())
    }

    /// What is to be done with a request, or Kafka's code.
    pub fn plan(
        &self,
        id: i32,
        epoch: i32,
        asked: &mut Vec<Asked>,
        forgotten: &[(String, Uuid, i32)],
        uses_ids: bool,
        now_ms: i64,
    ) -> Result<Plan, ErrorCode> {
        if epoch == EPOCH_INITIAL || epoch == EPOCH_FINAL {
            if id != 0 {
                lock(&self.sessions).remove(&id);
            }
            let open = epoch == EPOCH_INITIAL;
            return Ok(Plan::Full { open });
        }
        let Some(session) = lock(&self.sessions).get(&id).cloned() else {
            return Err(ErrorCode::FetchSessionIdNotFound);
        };
        let mut known = lock(&session);
        if known.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if known.uses_ids != uses_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        known.epoch = next(epoch);
        known.used_ms = now_ms;
        known.update(std::mem::take(asked), forgotten);
        if known.partitions.is_empty() {
            // Nothing left to fetch: there is no session any more.
            drop(known);
            lock(&self.sessions).remove(&id);
            return Ok(Plan::Full { open: false });
        }
        let asked = known.asked();
        drop(known);
        Ok(Plan::Incremental { id, session, asked })
    }

    /// Opens a session for what a full answer said; its id, or 0 when there is no room.
    pub fn open(&self, asked: Vec<Asked>, told: &[Told], uses_ids: bool, now_ms: i64) -> i32 {
        let mut sessions = lock(&self.sessions);
        if sessions.len() >= self.places && !make_room(&mut sessions, asked.len(), now_ms) {
            return 0;
        }
        let mut session = Session::new(asked, uses_ids, now_ms);
        session.epoch = next(EPOCH_INITIAL);
        for (known, told) in session.partitions.iter_mut().zip(told) {
            known.told = remembered(*told);
        }
        let id = loop {
            let id = random();
            if id > 0 && !sessions.contains_key(&id) {
                break id;
            }
        };
        sessions.insert(id, Arc::new(Mutex::new(session)));
        id
    }
}

/// The epoch after another; they go round, past 0, which opens a session.
fn next(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

/// A number nobody can guess.
fn random() -> i32 {
    (RandomState::new().build_hasher().finish() & 0x7fff_ffff) as i32
}

fn remembered(told: Told) -> Option<(i64, i64)> {
    // After news of an error the next answer has to say how it is now.
    (told.high_watermark >= 0).then_some((told.high_watermark, told.log_start_offset))
}

fn make_room(
    sessions: &mut HashMap<i32, Arc<Mutex<Session>>>,
    partitions: usize,
    now_ms: i64,
) -> bool {
    let stale = |session: &Session| now_ms.saturating_sub(session.used_ms) > EVICTION_MS;
    let had_its_time = |session: &Session| now_ms.saturating_sub(session.created_ms) > EVICTION_MS;
    let mut smallest: Option<(usize, i32)> = None;
    let mut victim = None;
    for (id, session) in sessions.iter() {
        let session = lock(session);
        if stale(&session) {
            victim = Some(*id);
            break;
        }
        let size = (session.partitions.len(), *id);
        if had_its_time(&session) && smallest.is_none_or(|least| size < least) {
            smallest = Some(size);
        }
    }
    let smaller = smallest.filter(|(size, _)| *size < partitions);
    match victim.or(smaller.map(|(_, id)| id)) {
        Some(id) => sessions.remove(&id).is_some(),
        None => false,
    }
}

/// Which partitions of an incremental answer are news; what is said of each is remembered. They
/// come as the plan listed them.
pub fn news<'a>(
    session: &Mutex<Session>,
    told: impl Iterator<Item = (&'a Asked, Told)>,
) -> Vec<bool> {
    let mut session = lock(session);
    let first = session.first.min(session.partitions.len());
    let count = session.partitions.len();
    let mut last_with_bytes = None;
    let news = told
        .enumerate()
        .map(|(turn, (asked, told))| {
            let at = (first + turn) % count.max(1);
            let Some(known) = session.partitions.get_mut(at) else {
                return true;
            };
            // Another fetch of the same session may have changed the list meanwhile.
            if !known.asked.is_of(&asked.name, asked.id, asked.index) {
                return true;
            }
            let remember = remembered(told);
            let is_news = told.is_news || known.told.is_none() || known.told != remember;
            known.told = remember;
            if told.is_news && remember.is_some() {
                last_with_bytes = Some(at);
            }
            is_news
        })
        .collect();
    if let Some(at) = last_with_bytes {
        session.first = (at + 1) % count.max(1);
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, index: i32, offset: i64) -> Asked {
        Asked {
            name: name.into(),
            id: Uuid::nil(),
            index,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
            offset,
            max_bytes: 1,
        }
    }

    fn told(high_watermark: i64) -> Told {
        Told {
            is_news: false,
            high_watermark,
            log_start_offset: 0,
        }
    }

    fn open(sessions: &FetchSessions, count: i32, now_ms: i64) -> i32 {
        let all: Vec<_> = (0..count).map(|index| asked("t", index, 0)).collect();
        sessions.open(all, &vec![told(5); count as usize], false, now_ms)
    }

    fn turn(
        sessions: &FetchSessions,
        id: i32,
        epoch: i32,
        mut new: Vec<Asked>,
        gone: &[i32],
        answer: impl Fn(&Asked) -> Told,
    ) -> Result<Vec<i32>, ErrorCode> {
        let gone: Vec<_> = gone
            .iter()
            .map(|index| ("t".to_owned(), Uuid::nil(), *index))
            .collect();
        match sessions.plan(id, epoch, &mut new, &gone, false, 0)? {
            Plan::Full { .. } => Ok(vec![-1]),
            Plan::Incremental { session, asked, .. } => {
                let told = asked.iter().map(|asked| (asked, answer(asked)));
                let news = news(&session, told);
                let named = asked.iter().zip(news).filter(|(_, news)| *news);
                Ok(named.map(|(asked, _)| asked.index).collect())
            }
        }
    }

    #[test]
    fn an_answer_names_what_is_news_and_nothing_else() {
        let sessions = FetchSessions::new(9);
        let id = open(&sessions, 3, 0);
        let quiet = |_: &Asked| told(5);
        assert_eq!(turn(&sessions, id, 1, vec![], &[], quiet), Ok(vec![]));
        // Partition 2 grew; 3 is new; 0 is no more.
        let grew = |asked: &Asked| told(if asked.index == 2 { 6 } else { 5 });
        assert_eq!(
            turn(&sessions, id, 2, vec![asked("t", 3, 0)], &[0], grew),
            Ok(vec![2, 3])
        );
        assert_eq!(turn(&sessions, id, 3, vec![], &[], grew), Ok(vec![]));
        // An error is told, and so is its end.
        let failed = |asked: &Asked| match asked.index {
            1 => Told {
                is_news: true,
                high_watermark: -1,
                log_start_offset: -1,
            },
            _ => grew(asked),
        };
        assert_eq!(turn(&sessions, id, 4, vec![], &[], failed), Ok(vec![1]));
        assert_eq!(turn(&sessions, id, 5, vec![], &[], grew), Ok(vec![1]));
        assert_eq!(turn(&sessions, id, 6, vec![], &[], grew), Ok(vec![]));
        // Everything forgotten: no session is left.
        assert_eq!(
            turn(&sessions, id, 7, vec![], &[1, 2, 3], quiet),
            Ok(vec![-1])
        );
        assert_eq!(
            turn(&sessions, id, 8, vec![], &[], quiet),
            Err(ErrorCode::FetchSessionIdNotFound)
        );
    }

    #[test]
    fn epochs_go_up_one_by_one_and_past_zero() {
        let sessions = FetchSessions::new(9);
        let id = open(&sessions, 1, 0);
        let quiet = |_: &Asked| told(5);
        assert_eq!(
            turn(&sessions, id, 2, vec![], &[], quiet),
            Err(ErrorCode::InvalidFetchSessionEpoch)
        );
        assert_eq!(next(i32::MAX), 1);
        assert!(matches!(
            sessions.plan(id, EPOCH_FINAL, &mut vec![], &[], false, 0),
            Ok(Plan::Full { open: false })
        ));
        assert_eq!(sessions.size(), (0, 0));
    }

    #[test]
    fn whoever_got_bytes_comes_last_next_time() {
        let sessions = FetchSessions::new(9);
        let id = open(&sessions, 3, 0);
        let first_has_bytes = |asked: &Asked| Told {
            is_news: asked.index == 0,
            ..told(5)
        };
        assert_eq!(
            turn(&sessions, id, 1, vec![], &[], first_has_bytes),
            Ok(vec![0])
        );
        let all = |_: &Asked| Told {
            is_news: true,
            ..told(5)
        };
        assert_eq!(turn(&sessions, id, 2, vec![], &[], all), Ok(vec![1, 2, 0]));
    }

    #[test]
    fn a_session_makes_room_when_it_is_silent_or_smaller_and_old() {
        let sessions = FetchSessions::new(2);
        let (one, two) = (open(&sessions, 1, 0), open(&sessions, 5, 0));
        assert!(one > 0 && two > 0);
        assert_eq!(open(&sessions, 9, 1_000), 0, "both are young");
        for id in [one, two] {
            let session = sessions.sessions.lock().expect("not poisoned")[&id].clone();
            session.lock().expect("not poisoned").used_ms = EVICTION_MS + 1;
        }
        assert_eq!(open(&sessions, 1, EVICTION_MS + 1), 0, "none is smaller");
        assert!(open(&sessions, 2, EVICTION_MS + 1) > 0, "one is");
        let quiet = |_: &Asked| told(5);
        assert_eq!(
            turn(&sessions, one, 1, vec![], &[], quiet),
            Err(ErrorCode::FetchSessionIdNotFound)
        );
    }
}
