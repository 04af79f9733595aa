//! Three voters on a bad network, under virtual time.
//!
//! One seed decides over delays, losses, cut links, power cuts and what is proposed.
//! Election timeouts are openraft's own random numbers, so a seed repeats a run nearly,
//! not exactly. While it runs, a watcher holds the voters to:
//!
//! - election safety: a term has one leader at most;
//! - log matching: images at the same offset are equal, on all voters and over
//!   restarts;
//! - what was acknowledged stays: it is in every voter's image in the end;
//! - an image never goes back while a voter runs.
//!
//! In the end the network is healed and all must come to the same offset, and a run
//! that met too few faults fails, since it proved nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reka_raft::log_store::WriterMode;
use reka_raft::network::memory::{Fate, MemoryNetwork, Weather};
use reka_raft::{MetadataImage, MetadataQuorum, QuorumOptions, Timing, Voter, VoterId};
use reka_storage::fs::Disk;
use reka_storage::fs::sim::{Choice, Seeded, SimDisk};

use crate::support::{create_topic, single, voter};

const VOTERS: [VoterId; 3] = [1, 2, 3];

/// What happened, and what was seen.
#[derive(Default)]
struct History {
    leaders: BTreeMap<u64, VoterId>,
    images: BTreeMap<u64, Arc<MetadataImage>>,
    /// Images of two voters, or of two lives of one, compared at the same offset.
    compared: u32,
    acknowledged: Vec<u32>,
    lost: u32,
    cuts: u32,
    crashes: u32,
    refusals: u32,
}

type Shared = Arc<Mutex<History>>;

struct Node {
    id: VoterId,
    disk: SimDisk,
    quorum: MetadataQuorum,
    last_offset: u64,
}

fn options(disk: &SimDisk, id: VoterId, network: &MemoryNetwork) -> QuorumOptions {
    let voters: BTreeMap<VoterId, Voter> =
        VOTERS.iter().map(|id| (*id, voter(*id as i32))).collect();
    QuorumOptions {
        voter_id: id,
        voters,
        transport: network.end(id),
        writer: WriterMode::Inline,
        // So often that snapshots are sent too.
        snapshot_every: 30,
        keep_entries: 5,
        segment_bytes_max: 2_000,
        timing: Timing {
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(400),
            propose_max: Duration::from_secs(2),
            ..Timing::default()
        },
        ..single(&Disk::new(disk.clone()), Path::new("/metadata"))
    }
}

async fn start(id: VoterId, disk: SimDisk, network: &MemoryNetwork) -> Node {
    let quorum = MetadataQuorum::start(options(&disk, id, network)).await;
    let quorum = quorum.unwrap_or_else(|error| panic!("voter {id}: {error}"));
    network.join(id, quorum.clone());
    Node {
        id,
        disk,
        quorum,
        last_offset: 0,
    }
}

/// Loses about one message in twelve and holds up the others for up to 30 ms.
fn bad_weather(seed: u64, history: Shared) -> Weather {
    let mut choice = Seeded(seed);
    Box::new(move |_, _| {
        let delay = Duration::from_millis(choice.pick(30));
        if choice.pick(12) == 0 {
            history.lock().unwrap().lost += 1;
            Fate::Lost(delay)
        } else {
            Fate::Arrives(delay)
        }
    })
}

/// Looks at a voter and compares it with all that was seen before.
fn watch(node: &mut Node, history: &Shared) {
    let mut history = history.lock().unwrap();
    let status = node.quorum.status();
    assert_eq!(status.stopped, None, "voter {}", node.id);
    if status.is_leader {
        let leader = *history.leaders.entry(status.epoch).or_insert(node.id);
        assert_eq!(leader, node.id, "term {} has two leaders", status.epoch);
    }
    let image = node.quorum.image();
    assert!(
        image.offset() >= node.last_offset,
        "voter {} went back",
        node.id
    );
    node.last_offset = image.offset();
    image.check_invariants();
    if let Some(first) = history.images.get(&image.offset()).cloned() {
        if !Arc::ptr_eq(&first, &image) {
            assert!(
                *first == *image,
                "voter {} has another image at offset {}",
                node.id,
                image.offset()
            );
            history.compared += 1;
        }
    } else {
        history.images.insert(image.offset(), image);
    }
}

async fn run(seed: u64) -> History {
    let history = Shared::default();
    let network = MemoryNetwork::new(bad_weather(seed, history.clone()));
    let mut nodes = Vec::new();
    for id in VOTERS {
        nodes.push(start(id, SimDisk::new(), &network).await);
    }
    let mut choice = Seeded(seed ^ 0x5eed);
    for step in 0..1_000_u32 {
        tokio::time::sleep(Duration::from_millis(1 + choice.pick(40))).await;
        for node in &mut nodes {
            watch(node, &history);
        }
        // Proposals go to whoever thinks it leads, which may be a deposed leader.
        for node in nodes.iter().filter(|node| node.quorum.status().is_leader) {
            let (quorum, history) = (node.quorum.clone(), history.clone());
            let topic = step * 10 + node.id as u32;
            tokio::spawn(async move {
                let proposed = quorum.propose(create_topic(topic)).await;
                let mut history = history.lock().unwrap();
                match proposed {
                    Ok(applied) => {
                        assert!(applied.image.offset() >= applied.offset);
                        history.acknowledged.push(topic);
                    }
                    Err(_) => history.refusals += 1,
                }
            });
        }
        match choice.pick(20) {
            0 => {
                // One way or both ways, towards one peer or all.
                let from = VOTERS[choice.pick(3) as usize];
                for to in VOTERS {
                    if to != from && choice.pick(3) > 0 {
                        network.cut(from, to);
                        if choice.pick(2) == 0 {
                            network.cut(to, from);
                        }
                    }
                }
                history.lock().unwrap().cuts += 1;
            }
            1 | 2 => network.heal(),
            3 => {
                let at = choice.pick(3) as usize;
                let node = nodes.remove(at);
                network.leave(node.id);
                let disk = node.disk.crash(&mut choice);
                node.quorum.shutdown().await;
                history.lock().unwrap().crashes += 1;
                nodes.push(start(node.id, disk, &network).await);
            }
            _ => {}
        }
    }

    // Healed, they agree before long.
    network.heal();
    network.set_weather(Box::new(|_, _| Fate::Arrives(Duration::from_millis(1))));
    let agree = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            for node in &mut nodes {
                watch(node, &history);
            }
            let leader = nodes.iter().find(|node| node.quorum.status().is_leader);
            let Some(leader) = leader else { continue };
            if leader.quorum.read_barrier().await.is_err() {
                continue;
            }
            let offset = leader.quorum.image().offset();
            let last = nodes.iter().map(|node| node.quorum.status().last_log_index);
            if last.clone().all(|last| last == Some(offset))
                && nodes
                    .iter()
                    .all(|node| node.quorum.image().offset() == offset)
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), agree)
        .await
        .expect("healed voters agree within a minute");
    for node in &nodes {
        let image = node.quorum.image();
        for topic in &history.lock().unwrap().acknowledged {
            let name = format!("topic-{topic:05}");
            assert!(
                image.topics().get(&name).is_some(),
                "{name} was acknowledged"
            );
        }
        network.leave(node.id);
        node.quorum.shutdown().await;
    }
    std::mem::take(&mut *history.lock().unwrap())
}

fn run_with_seed(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    println!("seed {seed}");
    let history = runtime.block_on(run(seed));
    println!(
        "  {} terms with a leader, {} proposals acknowledged, {} failed, {} messages lost, \
         {} cuts, {} power cuts, {} images compared at {} offsets",
        history.leaders.len(),
        history.acknowledged.len(),
        history.refusals,
        history.lost,
        history.cuts,
        history.crashes,
        history.compared,
        history.images.len()
    );
    assert!(history.leaders.len() > 2, "the lead never changed hands");
    assert!(history.compared > 100, "the voters were hardly compared");
    assert!(history.acknowledged.len() > 20, "next to nothing was done");
    assert!(history.lost > 0 && history.cuts > 0 && history.crashes > 0);
}

#[test]
fn three_voters_stay_one_over_a_bad_network() {
    let seed = std::env::var("CLUSTER_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    let runs = std::env::var("CLUSTER_RUNS")
        .ok()
        .and_then(|runs| runs.parse().ok())
        .unwrap_or(6);
    for seed in seed..seed + runs {
        run_with_seed(seed);
    }
}
