//! Power cuts at every step.
//!
//! A script runs once on a simulated disk that keeps a copy of itself from after
//! every changing operation. Each copy is then cut in many ways (nothing unsynced
//! survives, everything does, random pages and names do, torn pages), and what a
//! broker would find is opened and judged:
//!
//! - everything below the recovery point of that moment is there;
//! - what is there is a prefix: no gaps, no record that was not appended at that
//!   offset, and none that a finished truncation removed;
//! - producer state and aborted transactions are those of the batches there;
//! - opening a second time changes nothing; a second power cut during the recovery
//!   is survived as well.
//!
//! Each script runs under each policy of `cleanup.policy`.
//!
//! `CRASH_STATES` sets how many states are judged, `CRASH_SEED` where the random
//! choices start; both are printed.

mod judge;
mod machine;
mod scripts;

use std::io::Write as _;

use reka_storage::fs::sim::{Choice, KeepAll, LoseAll, Seeded};

use self::judge::judge;
use self::machine::{Cut, record};
use self::scripts::SCRIPTS;
use crate::support::{Policy, open_dir, partition};

fn env_number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn power_cut_at_any_step_keeps_what_was_synced_and_shows_a_prefix() {
    let states = env_number("CRASH_STATES", 50_000);
    let seed = env_number("CRASH_SEED", 1);
    let of_policy = |policy| {
        let recorded = SCRIPTS.iter().map(move |(name, script)| Script {
            name: format!("{name:?} under {policy:?}"),
            cuts: record(script, policy),
        });
        recorded.collect::<Vec<_>>()
    };
    let scripts: Vec<Script> = Policy::ALL.into_iter().flat_map(of_policy).collect();
    let steps: usize = scripts.iter().map(|script| script.cuts.len()).sum();
    let rounds = (states as usize).div_ceil(steps).max(3);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let judged: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let scripts = &scripts;
                scope.spawn(move || judge_share(scripts, rounds, seed, worker, threads))
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .sum()
    });
    // Straight to the descriptor: a passing test's output is not shown otherwise.
    let _ = writeln!(
        std::io::stderr(),
        "crash: {judged} states judged, {steps} steps of {} scripts under {} policies, seed {seed}",
        SCRIPTS.len(),
        Policy::ALL.len()
    );
    assert!(judged >= states);
}

/// What a script left at each of its steps.
struct Script {
    name: String,
    cuts: Vec<Cut>,
}

fn judge_share(scripts: &[Script], rounds: usize, seed: u64, worker: usize, of: usize) -> u64 {
    let mut judged = 0;
    for Script { name, cuts } in scripts {
        for (step, cut) in cuts.iter().enumerate() {
            for round in (0..rounds).filter(|round| (step + round) % of == worker) {
                let choice_seed = seed
                    .wrapping_mul(0x1_0000_0001)
                    .wrapping_add((step as u64) << 20)
                    .wrapping_add(round as u64);
                let mut seeded = Seeded(choice_seed);
                let choice: &mut dyn Choice = match round {
                    0 => &mut LoseAll,
                    1 => &mut KeepAll,
                    _ => &mut seeded,
                };
                let what = || format!("{name} step {step} round {round} seed {seed}");
                let found = cut.disk.crash(choice);
                judged += 1;
                if (step + round) % 17 == 3 {
                    // The power goes again while recovery is at work.
                    let copy = found.snapshot();
                    copy.record();
                    drop(open_dir(&copy).open_log(partition(), cut.config.clone(), 0));
                    for (at, again) in copy.recorded().into_iter().enumerate() {
                        let what = || format!("{}, cut again at {at}", what());
                        judge(
                            cut,
                            &again.crash(&mut Seeded(choice_seed ^ at as u64)),
                            &what,
                        );
                        judged += 1;
                    }
                }
                judge(cut, &found, &what);
            }
        }
    }
    judged
}
