//! Names as people give them: patterns with `*` and `?`, partitions as `topic:0,2-4`.

use reka_client::TopicPartition;

/// Whether a name matches a pattern in which `*` is any text and `?` any letter.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where the last star was, and how far what it stands for went.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, end)) => {
                    star = Some((at, end + 1));
                    p = at + 1;
                    n = end + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Whether a name matches one of several patterns; any does where there are none.
pub(crate) fn matches_any(patterns: &[String], name: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, name))
}

/// A topic, and some of its partitions if they are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicSelection {
    pub(crate) topic: String,
    pub(crate) partitions: Option<Vec<i32>>,
}

/// Partitions one selection may name.
const PARTITIONS_MAX: i32 = 100_000;

/// Reads `topic` or `topic:0,2-4`.
pub(crate) fn selection(text: &str) -> Result<TopicSelection, String> {
    let Some((topic, list)) = text.rsplit_once(':') else {
        return Ok(TopicSelection {
            topic: text.to_owned(),
            partitions: None,
        });
    };
    let wrong =
        || format!("expected TOPIC or TOPIC:PARTITIONS such as orders:0,2-4, found {text:?}");
    let mut partitions = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: i32 = first.parse().map_err(|_| wrong())?;
        let last: i32 = last.parse().map_err(|_| wrong())?;
        if first < 0 || last < first || last >= PARTITIONS_MAX {
            return Err(wrong());
        }
        partitions.extend(first..=last);
    }
    partitions.sort_unstable();
    partitions.dedup();
    if topic.is_empty() {
        return Err(wrong());
    }
    Ok(TopicSelection {
        topic: topic.to_owned(),
        partitions: Some(partitions),
    })
}

/// Reads `topic-partition` in Kafka's spelling, `orders-3`, or `orders:3`.
pub(crate) fn partition(text: &str) -> Result<TopicPartition, String> {
    let split = text.rsplit_once(':').or_else(|| text.rsplit_once('-'));
    let read = split.and_then(|(topic, index)| {
        let index: i32 = index.parse().ok().filter(|index| *index >= 0)?;
        (!topic.is_empty()).then(|| TopicPartition::new(topic, index))
    });
    read.ok_or_else(|| format!("expected TOPIC:PARTITION such as orders:3, found {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text_and_question_marks_for_a_letter() {
        let check = |pattern, name, expected| {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        };
        check("orders", "orders", true);
        check("orders", "orders-dlq", false);
        check("orders*", "orders-dlq", true);
        check("*", "", true);
        check("*-dlq", "orders-dlq", true);
        check("o*s*q", "orders-dlq", true);
        check("o*s*x", "orders-dlq", false);
        check("?rders", "orders", true);
        check("?", "", false);
    }

    #[test]
    fn partitions_are_read_from_lists_and_ranges() {
        let check = |text: &str, topic: &str, partitions: Option<&[i32]>| {
            let read = selection(text).expect(text);
            assert_eq!(read.topic, topic);
            assert_eq!(read.partitions.as_deref(), partitions);
        };
        check("orders", "orders", None);
        check("orders:2", "orders", Some(&[2]));
        check("orders:4,0-2,1", "orders", Some(&[0, 1, 2, 4]));
        for text in [
            "orders:",
            "orders:x",
            ":1",
            "orders:3-1",
            "orders:0-999999999",
        ] {
            assert!(selection(text).is_err(), "{text}");
        }
        assert_eq!(partition("a-b-3"), Ok(TopicPartition::new("a-b", 3)));
        assert_eq!(partition("a-b:3"), Ok(TopicPartition::new("a-b", 3)));
        assert!(partition("orders").is_err());
    }
}
