//! A text in the editor of whoever runs the command.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use crate::failure::Failure;

/// Lets the text be edited; it lies in a file nobody else can read meanwhile.
pub(crate) fn edit(text: &str) -> Result<String, Failure> {
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR"));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    let path = std::env::temp_dir().join(format!("rkctl-{}.properties", uuid::Uuid::new_v4()));
    let failed = |error: std::io::Error| Failure::other(format!("{}: {error}", path.display()));
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600);
    let mut file = file.open(&path).map_err(failed)?;
    let edited = (|| {
        file.write_all(text.as_bytes()).map_err(failed)?;
        // An editor may be a command with options.
        let mut words = editor.split_whitespace();
        let status = Command::new(words.next().unwrap_or("vi"))
            .args(words)
            .arg(&path)
            .status()
            .map_err(|error| {
                Failure::other(format!("start the editor {editor}: {error}"))
                    .hint("VISUAL or EDITOR names another")
            })?;
        if !status.success() {
            return Err(Failure::other(format!(
                "nothing is changed: the editor ended with {status}"
            )));
        }
        // Editors write in place or put a new file there.
        match std::fs::read_to_string(&path) {
            Ok(edited) => Ok(edited),
            Err(_) => {
                let mut edited = String::new();
                file.seek(SeekFrom::Start(0)).map_err(failed)?;
                file.read_to_string(&mut edited).map_err(failed)?;
                Ok(edited)
            }
        }
    })();
    let _ = std::fs::remove_file(&path);
    edited
}
