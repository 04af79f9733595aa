//! Where a group is to go on.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write;

use reka_client::admin::{Isolation, OffsetSpec, OffsetToCommit};
use reka_client::{Client, TopicPartition};
use reka_protocol::ErrorCode;

use super::super::arguments::Arguments;
use super::super::{Wrong, column, exception};
use super::{named, tell};
use crate::moment;

const SCENARIOS: [&str; 8] = [
    "to-offset",
    "to-datetime",
    "by-duration",
    "to-earliest",
    "to-latest",
    "shift-by",
    "from-file",
    "to-current",
];
const NOT_EXECUTED: &str = "WARN: No action will be performed as the --execute option is missing. \
    In version 5.0, this command will require either --dry-run or --execute to be specified. You \
    should add the --dry-run option explicitly if you are scripting this command and want to keep \
    the current default behavior without prompting.";

pub(super) async fn reset(client: &Client, arguments: &Arguments) -> Result<(), Wrong> {
    let usage = |text: &str| Err(Wrong::Usage(text.to_owned()));
    let groups: Vec<&str> = arguments.values("group").collect();
    if groups.is_empty() {
        return usage("Option [reset-offsets] takes one of these options: [all-groups], [group]");
    }
    let execute = arguments.has("execute");
    if execute && arguments.has("dry-run") {
        return usage("Option [reset-offsets] only accepts one of [execute], [dry-run]");
    }
    if !execute && !arguments.has("dry-run") {
        writeln!(std::io::stderr(), "{NOT_EXECUTED}")?;
    }
    let [scenario] = arguments.those(&SCENARIOS)[..] else {
        let names: Vec<String> = SCENARIOS.iter().map(|name| format!("[{name}]")).collect();
        return usage(&format!(
            "Option '[reset-offsets]' requires one of the following scenarios: {}",
            names.join(", ")
        ));
    };
    let mut plans = Vec::new();
    for group in groups {
        let ids = [group.to_owned()];
        let described = client.describe_groups(&ids).await?;
        let state = match described.into_iter().next() {
            Some((_, Ok(group))) => group.state,
            Some((_, Err(refusal))) if refusal.is(ErrorCode::GroupIdNotFound) => "Dead".to_owned(),
            Some((_, Err(refusal))) => return Err(Wrong::Failed(exception(&refusal))),
            None => "Dead".to_owned(),
        };
        if state != "Empty" && state != "Dead" {
            tell(&format!(
                "Assignments can only be reset if the group '{group}' is inactive, but the current \
                 state is {state}."
            ))?;
            continue;
        }
        let plan = plan(client, arguments, group, scenario).await?;
        if execute {
            let offsets: Vec<(TopicPartition, OffsetToCommit)> = plan
                .iter()
                .map(|(at, offset)| (at.clone(), OffsetToCommit::new(*offset)))
                .collect();
            for (_, outcome) in client.commit_group_offsets(group, &offsets).await? {
                outcome.map_err(|refusal| Wrong::Failed(exception(&refusal)))?;
            }
        }
        plans.push((group.to_owned(), plan));
    }
    print_plans(&plans, arguments.has("export"))
}

type Plan = BTreeMap<TopicPartition, i64>;

fn print_plans(plans: &[(String, Plan)], export: bool) -> Result<(), Wrong> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if export {
        for (group, plan) in plans {
            for (at, offset) in plan {
                // Where there is one group it is not named.
                if plans.len() > 1 {
                    write!(out, "{group},")?;
                }
                writeln!(out, "{},{},{offset}", at.topic, at.partition)?;
            }
        }
        writeln!(out)?;
        out.flush()?;
        return Ok(());
    }
    let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0).max(15);
    let group_width = longest(&mut plans.iter().map(|(group, _)| group.len()));
    let topics = plans.iter().flat_map(|(_, plan)| plan.keys());
    let topic_width = longest(&mut topics.map(|at| at.topic.len()));
    if !plans.is_empty() {
        write!(
            out,
            "\n{} {} {:10} NEW-OFFSET",
            column("GROUP", group_width),
            column("TOPIC", topic_width),
            "PARTITION"
        )?;
    }
    for (group, plan) in plans {
        for (at, offset) in plan {
            let (topic, partition) = (&at.topic, at.partition);
            write!(
                out,
                "\n{group:group_width$} {topic:topic_width$} {partition:<10} {offset}"
            )?;
        }
    }
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Where a group is to go on.
async fn plan(
    client: &Client,
    arguments: &Arguments,
    group: &str,
    scenario: &str,
) -> Result<Plan, Wrong> {
    let committed = client.group_offsets(group).await?;
    let mut wanted = Plan::new();
    if scenario == "from-file" {
        let path = arguments.value("from-file").unwrap_or_default();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Wrong::Failed(format!("Unable to read file {path}: {error}")))?;
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
            let cells: Vec<&str> = line
                .split(',')
                .map(|cell| cell.trim().trim_matches('"'))
                .collect();
            let row = match cells[..] {
                [topic, partition, offset] => Some((group, topic, partition, offset)),
                [group, topic, partition, offset] => Some((group, topic, partition, offset)),
                _ => None,
            };
            let read = row.and_then(|(named, topic, partition, offset)| {
                let at = TopicPartition::new(topic, partition.parse().ok()?);
                Some((named, at, offset.parse::<i64>().ok()?))
            });
            let Some((named, at, offset)) = read else {
                return Err(Wrong::Failed(format!(
                    "{path} line {number}: expected topic,partition,offset, found {line:?}"
                )));
            };
            if named == group {
                wanted.insert(at, offset);
            }
        }
        return clamped(client, wanted).await;
    }
    let topics: Vec<&str> = arguments.values("topic").collect();
    let partitions: Vec<TopicPartition> = match (arguments.has("all-topics"), topics.is_empty()) {
        (true, _) => committed.keys().cloned().collect(),
        (false, false) => named(client, &topics).await?,
        (false, true) => {
            let text = "One of the reset scopes should be defined: --all-topics, --topic.";
            return Err(Wrong::Usage(text.to_owned()));
        }
    };
    let listed = async |spec: OffsetSpec| -> Result<Plan, Wrong> {
        let wanted: Vec<_> = partitions.iter().map(|at| (at.clone(), spec)).collect();
        let mut plan = Plan::new();
        for (at, listed) in client.list_offsets(&wanted, Isolation::default()).await? {
            let listed = listed.map_err(|refusal| Wrong::Failed(exception(&refusal)))?;
            if let Some(offset) = listed.offset {
                plan.insert(at, offset);
            }
        }
        Ok(plan)
    };
    match scenario {
        "to-earliest" => listed(OffsetSpec::Earliest).await,
        "to-latest" => listed(OffsetSpec::Latest).await,
        "to-datetime" | "by-duration" => {
            let time = match scenario {
                "to-datetime" => datetime(arguments.value("to-datetime").unwrap_or_default())?,
                _ => {
                    let text = arguments.value("by-duration").unwrap_or_default();
                    moment::now_ms() - duration(text)?
                }
            };
            let mut plan = listed(OffsetSpec::At(time)).await?;
            for (at, end) in listed(OffsetSpec::Latest).await? {
                let Entry::Vacant(free) = plan.entry(at) else {
                    continue;
                };
                let (partition, topic) = (free.key().partition, &free.key().topic);
                writeln!(
                    std::io::stdout(),
                    "\nWarn: Partition {partition} from topic {topic} is empty. Falling back to \
                     latest known offset."
                )?;
                free.insert(end);
            }
            Ok(plan)
        }
        "to-current" => {
            let ends = listed(OffsetSpec::Latest).await?;
            let of = |at: &TopicPartition| {
                let offset = committed.get(at).map(|committed| committed.offset);
                offset
                    .or_else(|| ends.get(at).copied())
                    .map(|offset| (at.clone(), offset))
            };
            Ok(partitions.iter().filter_map(of).collect())
        }
        "to-offset" => {
            let offset: i64 = arguments.number("to-offset")?.unwrap_or_default();
            wanted.extend(partitions.iter().map(|at| (at.clone(), offset)));
            clamped(client, wanted).await
        }
        _ => {
            let by: i64 = arguments.number("shift-by")?.unwrap_or_default();
            for at in &partitions {
                let Some(committed) = committed.get(at) else {
                    return Err(Wrong::Usage(format!(
                        "Cannot shift offset for partition {at} since there is no current committed offset"
                    )));
                };
                wanted.insert(at.clone(), committed.offset.saturating_add(by));
            }
            clamped(client, wanted).await
        }
    }
}

/// What is outside the log goes to the end of it that is nearer.
async fn clamped(client: &Client, wanted: Plan) -> Result<Plan, Wrong> {
    let mut plan = Plan::new();
    let mut bounds = Vec::new();
    for spec in [OffsetSpec::Earliest, OffsetSpec::Latest] {
        let asked: Vec<_> = wanted.keys().map(|at| (at.clone(), spec)).collect();
        let listed = client.list_offsets(&asked, Isolation::default()).await?;
        let listed: Plan = listed
            .into_iter()
            .filter_map(|(at, listed)| Some((at, listed.ok()?.offset?)))
            .collect();
        bounds.push(listed);
    }
    for (at, offset) in wanted {
        let (start, end) = (bounds[0].get(&at), bounds[1].get(&at));
        if let (Some(start), Some(end)) = (start, end) {
            plan.insert(at, offset.clamp(*start, (*end).max(*start)));
        }
    }
    Ok(plan)
}

/// `2020-01-01T00:00:00.000`, in UTC unless it says another zone.
fn datetime(text: &str) -> Result<i64, Wrong> {
    let wrong = || {
        Wrong::Usage(format!(
            "Error resetting offsets: {text:?} is no time such as 2020-01-01T00:00:00.000"
        ))
    };
    if !text.contains('T') {
        return Err(wrong());
    }
    moment::read(text, 0).map_err(|_| wrong())
}

/// `P7DT1H2M3S` and the like, in milliseconds.
fn duration(text: &str) -> Result<i64, Wrong> {
    let wrong = || Wrong::Usage(format!("Text cannot be parsed to a Duration: {text}"));
    let parse = || -> Option<i64> {
        let rest = text.strip_prefix('P')?;
        let (days, times) = rest.split_once('T').unwrap_or((rest, ""));
        let mut total: i64 = 0;
        for (part, units) in [
            (days, &[('D', 86_400_000)][..]),
            (times, &[('H', 3_600_000), ('M', 60_000), ('S', 1000)][..]),
        ] {
            let mut rest = part;
            for (unit, milliseconds) in units {
                if let Some((number, after)) = rest.split_once(*unit) {
                    let number: i64 = number.parse().ok()?;
                    total = total.checked_add(number.checked_mul(*milliseconds)?)?;
                    rest = after;
                }
            }
            if !rest.is_empty() {
                return None;
            }
        }
        (text.len() > 1).then_some(total)
    };
    parse().ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_java() {
        let check = |text: &str, expected: i64| {
            let Ok(read) = duration(text) else {
                panic!("{text}");
            };
            assert_eq!(read, expected, "{text}");
        };
        check("P7D", 604_800_000);
        check("PT1H30M", 5_400_000);
        check("P1DT2S", 86_402_000);
        for text in ["", "P", "7D", "PT1X", "P1H"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
