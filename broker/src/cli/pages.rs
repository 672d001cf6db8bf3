//! `tidewheel completion` and `tidewheel man`: made from the commands themselves.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Arguments, EXIT_ENVIRONMENT, print, say};

/// Arguments of `tidewheel completion`.
#[derive(Args, Debug)]
pub(crate) struct CompletionArguments {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Arguments of `tidewheel man`.
#[derive(Args, Debug)]
pub(crate) struct ManArguments {
    /// Write a page for each command into this folder, which is made if it is not there
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// Prints the script of a shell.
pub(crate) fn completion(arguments: &CompletionArguments) -> ExitCode {
    let mut script = Vec::new();
    let mut command = Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "tidewheel", &mut script);
    print(&script)
}

/// Prints the page of the program, or writes those of all commands.
pub(crate) fn man(arguments: &ManArguments) -> ExitCode {
    let command = Arguments::command();
    let Some(dir) = &arguments.dir else {
        let mut page = Vec::new();
        return match Man::new(command).render(&mut page) {
            Ok(()) => print(&page),
            Err(error) => failed(&format!("cannot make the page: {error}")),
        };
    };
    let written = std::fs::create_dir_all(dir);
    match written.and_then(|()| clap_mangen::generate_to(command, dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("cannot write into {}: {error}", dir.display())),
    }
}

fn failed(sentence: &str) -> ExitCode {
    say(&format!("tidewheel: {sentence}"));
    ExitCode::from(EXIT_ENVIRONMENT)
}
