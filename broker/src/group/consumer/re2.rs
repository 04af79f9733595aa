//! RE2's language as RE2/J 1.8 reads it, which Apache Kafka subscribes with, put into that of the crate
//! `regex`. Pure.
//!
//! The two look alike and are not the same: `\Q...\E`, octal numbers, braces that count nothing and brackets
//! in brackets mean something in the one and something else, or nothing, in the other; repeated
//! repetitions, set operations and further flags are the other's alone. So every expression is read here by
//! RE2's rules, refused where they refuse it, and written down anew with nothing left to be read otherwise.
//!
//! Not the same: names of scripts are those of the crate, which knows more of them, and what compiles to too
//! much is refused, where RE2/J takes the memory.

use std::collections::HashSet;

/// What is counted in braces.
const REPEAT_MAX: u32 = 1000;

const BAD_ESCAPE: &str = "invalid escape sequence";
const BAD_RANGE: &str = "invalid character class range";
const BAD_PERL: &str = "invalid or unsupported Perl syntax";
const BAD_NAME: &str = "invalid named capture";
const NO_BRACKET: &str = "missing closing ]";
const NO_PARENTHESIS: &str = "missing closing )";
const NOTHING_TO_REPEAT: &str = "missing argument to repetition operator";
const NESTED_REPEAT: &str = "invalid nested repetition operator";
const BAD_COUNT: &str = "invalid repeat count";

/// General categories, which RE2 knows by no other names.
const CATEGORIES: &[&str] = &[
    "Any", "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn",
    "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm",
    "So", "Z", "Zl", "Zp", "Zs",
];
/// `[:name:]`, also with `^` before the name.
const POSIX: &[&str] = &[
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

type Refused = &'static str;

/// The same expression for the crate `regex`, or what is wrong with it in RE2/J's words.
pub(super) fn translate(pattern: &str) -> Result<String, Refused> {
    let mut reader = Reader {
        rest: pattern,
        out: String::with_capacity(pattern.len() * 2),
        last: Last::Nothing,
        depth: 0,
        names: HashSet::new(),
    };
    while let Some(next) = reader.take() {
        reader.read(next)?;
    }
    match reader.depth {
        0 => Ok(reader.out),
        _ => Err(NO_PARENTHESIS),
    }
}

/// What a repetition would repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Nothing,
    One,
    Repeated,
}

struct Reader<'a> {
    rest: &'a str,
    out: String,
    last: Last,
    depth: usize,
    names: HashSet<&'a str>,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn take_if(&mut self, wanted: char) -> bool {
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn one(&mut self, text: &str) {
        self.out.push_str(text);
        self.last = Last::One;
    }

    /// A character that stands for itself.
    fn literal(&mut self, code: u32) -> Result<(), Refused> {
        put(&mut self.out, code)?;
        self.last = Last::One;
        Ok(())
    }

    fn read(&mut self, next: char) -> Result<(), Refused> {
        match next {
            '(' => self.open(),
            ')' => {
                // RE2/J calls this an internal error of its own.
                self.depth = self.depth.checked_sub(1).ok_or("unexpected )")?;
                self.one(")");
                Ok(())
            }
            '|' => {
                self.out.push('|');
                self.last = Last::Nothing;
                Ok(())
            }
            '*' | '+' | '?' => self.repeat(&next.to_string()),
            '{' => match count(self.rest) {
                Some((least, most, length)) => {
                    self.rest = &self.rest[length..];
                    let is_good = least <= REPEAT_MAX
                        && most.is_none_or(|most| least <= most && most <= REPEAT_MAX);
                    if !is_good {
                        return Err(BAD_COUNT);
                    }
                    match most {
                        Some(most) => self.repeat(&format!("{{{least},{most}}}")),
                        None => self.repeat(&format!("{{{least},}}")),
                    }
                }
                None => self.literal(u32::from('{')),
            },
            '.' | '^' | '$' => {
                self.one(next.encode_utf8(&mut [0; 4]));
                Ok(())
            }
            '[' => self.class(),
            '\\' => self.backslash(),
            plain => self.literal(u32::from(plain)),
        }
    }

    fn repeat(&mut self, operator: &str) -> Result<(), Refused> {
        match self.last {
            Last::Nothing => return Err(NOTHING_TO_REPEAT),
            Last::Repeated => return Err(NESTED_REPEAT),
            Last::One => {}
        }
        self.out.push_str(operator);
        if self.take_if('?') {
            self.out.push('?');
        }
        self.last = Last::Repeated;
        Ok(())
    }

    /// Behind a parenthesis that opens.
    fn open(&mut self) -> Result<(), Refused> {
        if !self.take_if('?') {
            self.group("(?:");
            return Ok(());
        }
        let named = self.rest.strip_prefix("P<").or(self.rest.strip_prefix('<'));
        let Some(named) = named else {
            return self.flags();
        };
        let (name, rest) = named.split_once('>').ok_or(BAD_NAME)?;
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_word) {
            return Err(BAD_NAME);
        }
        if !self.names.insert(name) {
            return Err("duplicate capture group name");
        }
        self.rest = rest;
        // Nobody asks for what it captures.
        self.group("(?:");
        Ok(())
    }

    fn group(&mut self, opening: &str) {
        self.out.push_str(opening);
        self.depth += 1;
        self.last = Last::Nothing;
    }

    /// Behind `(?`: flags for what follows, or for a group. They may be said twice.
    fn flags(&mut self) -> Result<(), Refused> {
        let (mut on, mut off) = (String::new(), String::new());
        let (mut is_off, mut is_said) = (false, false);
        loop {
            match self.take().ok_or(BAD_PERL)? {
                flag @ ('i' | 'm' | 's' | 'U') => {
                    let (to, from) = match is_off {
                        true => (&mut off, &mut on),
                        false => (&mut on, &mut off),
                    };
                    from.retain(|known| known != flag);
                    if !to.contains(flag) {
                        to.push(flag);
                    }
                    is_said = true;
                }
                '-' if !is_off => (is_off, is_said) = (true, false),
                end @ (':' | ')') if !is_off || is_said => {
                    let minus = if off.is_empty() { "" } else { "-" };
                    let flags = format!("{on}{minus}{off}");
                    match (end, flags.as_str()) {
                        (':', flags) => self.group(&format!("(?{flags}:")),
                        (_, "") => {}
                        // What is before is repeated over flags, which cannot be said otherwise.
                        (_, _) if self.is_repeated() => return Err(NOTHING_TO_REPEAT),
                        (_, flags) => self.out.push_str(&format!("(?{flags})")),
                    }
                    return Ok(());
                }
                _ => return Err(BAD_PERL),
            }
        }
    }

    /// Whether a repetition comes next.
    fn is_repeated(&self) -> bool {
        match self.rest.strip_prefix('{') {
            Some(braced) => count(braced).is_some(),
            None => self.rest.starts_with(['*', '+', '?']),
        }
    }

    /// Behind a backslash outside of brackets.
    fn backslash(&mut self) -> Result<(), Refused> {
        if self.take_if('Q') {
            let (quoted, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
            self.rest = rest;
            return quoted.chars().try_for_each(|c| self.literal(u32::from(c)));
        }
        if let Some(simple @ ('A' | 'b' | 'B' | 'z')) = self.peek() {
            self.take();
            // In a group of its own: what follows must not be taken for a part of it.
            self.one(&format!("(?:\\{simple})"));
            return Ok(());
        }
        if let Some(class) = self.known_class()? {
            self.one(&class);
            return Ok(());
        }
        let code = self.escape()?;
        self.literal(code)
    }

    /// Behind a backslash: `\d` and its like, `\p{...}`.
    fn known_class(&mut self) -> Result<Option<String>, Refused> {
        let Some(kind) = self.peek() else {
            return Ok(None);
        };
        match kind {
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
                self.take();
                Ok(Some(format!("\\{kind}")))
            }
            'p' | 'P' => {
                self.take();
                let name = match self.take().ok_or(BAD_RANGE)? {
                    '{' => {
                        let (name, rest) = self.rest.split_once('}').ok_or(BAD_RANGE)?;
                        self.rest = rest;
                        name.to_owned()
                    }
                    letter => letter.to_string(),
                };
                let (is_not, name) = match name.strip_prefix('^') {
                    Some(name) => (true, name),
                    None => (false, name.as_str()),
                };
                let kind = match (kind == 'P') != is_not {
                    true => 'P',
                    false => 'p',
                };
                let is_script = name.len() > 1
                    && name.starts_with(|c: char| c.is_ascii_uppercase())
                    && !name.starts_with("Is")
                    && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
                match CATEGORIES.contains(&name) {
                    true => Ok(Some(format!("\\{kind}{{{name}}}"))),
                    false if is_script => Ok(Some(format!("\\{kind}{{sc={name}}}"))),
                    false => Err(BAD_RANGE),
                }
            }
            _ => Ok(None),
        }
    }

    /// Behind a backslash: a character.
    fn escape(&mut self) -> Result<u32, Refused> {
        let next = self.take();
        let next = next.ok_or("trailing backslash at end of expression")?;
        let octal = |c: char| c.to_digit(8);
        match next {
            // Alone it would be a reference to a group.
            '1'..='7' if self.peek().and_then(octal).is_none() => Err(BAD_ESCAPE),
            '0'..='7' => {
                let mut code = octal(next).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(octal) else {
                        break;
                    };
                    self.take();
                    code = code * 8 + digit;
                }
                Ok(code)
            }
            'x' => self.hexadecimal(),
            'a' => Ok(0x07),
            'f' => Ok(0x0c),
            'n' => Ok(0x0a),
            'r' => Ok(0x0d),
            't' => Ok(0x09),
            'v' => Ok(0x0b),
            plain if plain.is_ascii() && !plain.is_ascii_alphanumeric() => Ok(u32::from(plain)),
            _ => Err(BAD_ESCAPE),
        }
    }

    /// Behind `\x`.
    fn hexadecimal(&mut self) -> Result<u32, Refused> {
        let (digits, rest) = match self.rest.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or(BAD_ESCAPE)?,
            None => self.rest.split_at_checked(2).ok_or(BAD_ESCAPE)?,
        };
        let is_hexadecimal = |c: char| c.is_ascii_hexdigit();
        if digits.is_empty() || !digits.chars().all(is_hexadecimal) {
            return Err(BAD_ESCAPE);
        }
        self.rest = rest;
        let code = u32::from_str_radix(digits, 16).map_err(|_| BAD_ESCAPE)?;
        match code <= u32::from(char::MAX) {
            true => Ok(code),
            false => Err(BAD_ESCAPE),
        }
    }

    /// Behind a bracket that opens.
    fn class(&mut self) -> Result<(), Refused> {
        self.out.push('[');
        if self.take_if('^') {
            self.out.push('^');
        }
        // A bracket that closes is one of the characters where it is the first.
        let mut is_first = true;
        loop {
            if !is_first && self.take_if(']') {
                break;
            }
            is_first = false;
            if self.rest.is_empty() {
                return Err(NO_BRACKET);
            }
            if let Some((name, rest)) = posix(self.rest) {
                let positive = name.strip_prefix('^').unwrap_or(name);
                if !POSIX.contains(&positive) {
                    return Err(BAD_RANGE);
                }
                self.rest = rest;
                self.out.push_str(&format!("[:{name}:]"));
                continue;
            }
            if let Some(escaped) = self.rest.strip_prefix('\\') {
                let before = std::mem::replace(&mut self.rest, escaped);
                if let Some(class) = self.known_class()? {
                    self.out.push_str(&class);
                    continue;
                }
                self.rest = before;
            }
            let low = self.member()?;
            put(&mut self.out, low)?;
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            if is_range && self.rest.len() > 1 {
                self.take();
                let high = self.member()?;
                if high < low {
                    return Err(BAD_RANGE);
                }
                self.out.push('-');
                put(&mut self.out, high)?;
            }
        }
        self.one("]");
        Ok(())
    }

    /// A character between brackets.
    fn member(&mut self) -> Result<u32, Refused> {
        match self.take().ok_or(NO_BRACKET)? {
            '\\' => self.escape(),
            plain => Ok(u32::from(plain)),
        }
    }
}

/// A character in a form that means nothing else, in brackets and without.
fn put(out: &mut String, code: u32) -> Result<(), Refused> {
    let known = char::from_u32(code).ok_or(BAD_ESCAPE)?;
    match known.is_ascii_alphanumeric() {
        true => out.push(known),
        false => out.push_str(&format!("\\x{{{code:x}}}")),
    }
    Ok(())
}

/// `[:name:]` at the beginning of the text; its name, and what follows. As in RE2, `[:]` is one without a
/// name.
fn posix(text: &str) -> Option<(&str, &str)> {
    let inside = text
        .strip_prefix('[')
        .filter(|inside| inside.starts_with(':'))?;
    let end = inside.find(":]")?;
    Some((inside.get(1..end).unwrap_or_default(), &inside[end + 2..]))
}

/// Behind a brace that opens: the least, the most, and the length with the brace that closes. Where it is
/// none of that the brace stands for itself.
fn count(text: &str) -> Option<(u32, Option<u32>, usize)> {
    let (inside, _) = text.split_once('}')?;
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
        let is_plain = digits.len() == 1 || !digits.starts_with('0');
        // Too large for a number is too large for a count.
        (is_number && is_plain).then(|| digits.parse().unwrap_or(u32::MAX))
    };
    let (least, most) = match inside.split_once(',') {
        None => (number(inside)?, Some(number(inside)?)),
        Some((least, "")) => (number(least)?, None),
        Some((least, most)) => (number(least)?, Some(number(most)?)),
    };
    Some((least, most, inside.len() + 1))
}
