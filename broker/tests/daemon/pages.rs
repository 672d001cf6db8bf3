//! What is made from the commands themselves: the version, scripts of shells, manual pages.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::commands::skipped;
use crate::support::run;
use crate::terminal::commands_of;

fn printed(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_version_names_the_commit() {
    let line = printed(&["--version"]);
    let rest = line.trim_end().strip_prefix("tidewheel ").unwrap();
    let (version, built) = rest.split_once(' ').unwrap();
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    let built = built.trim_matches(['(', ')']);
    let (commit, rustc) = built.split_once(", rustc ").unwrap();
    assert!(!commit.is_empty() && rustc.starts_with("1."), "{line}");
}

#[test]
fn bash_completes_commands_and_flags() {
    let script = printed(&["completion", "bash"]);
    for shell in ["zsh", "fish"] {
        assert!(printed(&["completion", shell]).contains("port-file"));
    }
    let asked = "COMP_WORDS=(tidewheel log ve); COMP_CWORD=2; \
                 _tidewheel tidewheel ve log; echo \"${COMPREPLY[@]}\"";
    let mut bash = match Command::new("bash")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    {
        Ok(bash) => bash,
        Err(error) => return skipped("bash", &error),
    };
    let mut input = bash.stdin.take().unwrap();
    input
        .write_all(format!("{script}\n{asked}\n").as_bytes())
        .unwrap();
    drop(input);
    let output = bash.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "verify\n");
}

#[test]
fn every_command_has_a_manual_page() {
    let page = printed(&["man"]);
    assert!(page.contains(".SH NAME\ntidewheel"), "{page}");
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("new/pages");
    printed(&["man", "--dir", pages.to_str().unwrap()]);
    let mut left = vec![Vec::new()];
    let mut read = 0;
    while let Some(command) = left.pop() {
        let name = [&["tidewheel".to_owned()], &*command].concat().join("-");
        let page = fs::read_to_string(pages.join(format!("{name}.1")));
        let page = page.unwrap_or_else(|error| panic!("{name}: {error}"));
        for part in [".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n"] {
            assert!(page.contains(part), "{name} has no {part}");
        }
        read += 1;
        let arguments = command.iter().map(String::as_str);
        let help = printed(&arguments.chain(["--help"]).collect::<Vec<_>>());
        let below = commands_of(&help).into_iter();
        left.extend(below.map(|name| [&*command, &[name]].concat()));
    }
    assert_eq!(
        fs::read_dir(&pages).unwrap().count(),
        read,
        "no page is of a command that there is not"
    );
    assert!(read > 50, "{read}");
    // A file in the way.
    fs::write(dir.path().join("file"), "").unwrap();
    let path = dir.path().join("file");
    let output = run(&["man", "--dir", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
