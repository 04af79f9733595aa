//! Names that are near to one that is not there.

/// The names that may have been meant, the nearest first; at most three.
pub(crate) fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let allowed = (wanted.chars().count() / 3).clamp(1, 4);
    let mut near: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|name| {
            let distance = distance(&wanted.to_lowercase(), &name.to_lowercase());
            let begins = wanted.len() >= 3 && name.starts_with(wanted);
            (distance <= allowed || begins).then_some((distance, name))
        })
        .collect();
    near.sort();
    near.truncate(3);
    near.into_iter().map(|(_, name)| name).collect()
}

/// `did you mean a or b?`, if anything is near.
pub(crate) fn question<'a>(
    wanted: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    match nearest(wanted, names).as_slice() {
        [] => None,
        [one] => Some(format!("did you mean {one}?")),
        [first @ .., last] => Some(format!("did you mean {} or {last}?", first.join(", "))),
    }
}

/// How many letters have to be changed, added, taken away or swapped with the next.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = changed.min(last[j] + 1).min(row[j - 1] + 1);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if swapped {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_and_shortened_names_find_what_was_meant() {
        let names = ["orders", "orders-dlq", "payments", "Users"];
        let check = |wanted: &str, expected: &[&str]| {
            assert_eq!(nearest(wanted, names), expected, "{wanted}");
        };
        check("order", &["orders", "orders-dlq"]);
        check("odrers", &["orders"]);
        check("user", &["Users"]);
        check("pay", &["payments"]);
        check("xyz", &[]);
        check("", &[]);
        let question = question("order", names);
        assert_eq!(
            question.as_deref(),
            Some("did you mean orders or orders-dlq?")
        );
    }
}
