//! `tidewheel generate app`: small programs that produce and consume, to begin with.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::cli::outcome::{Failure, failed};
use crate::cli::{EXIT_ENVIRONMENT, say};

/// Arguments of `generate app`.
#[derive(Args, Debug)]
pub(super) struct AppArguments {
    /// Its language, and client library
    #[arg(value_enum)]
    language: Language,
    /// Write the files into this folder, which is made if it is not there [app-LANGUAGE]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// A language of client programs.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    /// franz-go
    Go,
    /// Apache Kafka's own client
    Java,
    /// kafkajs
    Node,
    /// confluent-kafka
    Python,
}

/// A program.
struct App {
    /// Where it is written unless somebody says otherwise.
    folder: &'static str,
    /// Paths below the folder, and what is there.
    files: &'static [(&'static str, &'static str)],
    /// What a shell runs in the folder.
    run: &'static str,
}

const GO: App = App {
    folder: "app-go",
    files: &[
        ("main.go", include_str!("app/go/main.go")),
        ("go.mod", include_str!("app/go/go.mod")),
        ("go.sum", include_str!("app/go/go.sum")),
    ],
    run: "go run .",
};

const JAVA: App = App {
    folder: "app-java",
    files: &[
        (
            "src/main/java/App.java",
            include_str!("app/java/src/main/java/App.java"),
        ),
        ("pom.xml", include_str!("app/java/pom.xml")),
    ],
    run: "mvn -q compile dependency:copy-dependencies && \
          java -cp 'target/classes:target/dependency/*' App",
};

const NODE: App = App {
    folder: "app-node",
    files: &[
        ("app.js", include_str!("app/node/app.js")),
        ("package.json", include_str!("app/node/package.json")),
    ],
    run: "npm install && node app.js",
};

const PYTHON: App = App {
    folder: "app-python",
    files: &[
        ("app.py", include_str!("app/python/app.py")),
        (
            "requirements.txt",
            include_str!("app/python/requirements.txt"),
        ),
    ],
    run: "pip install -r requirements.txt && python app.py",
};

impl Language {
    fn app(self) -> &'static App {
        match self {
            Self::Go => &GO,
            Self::Java => &JAVA,
            Self::Node => &NODE,
            Self::Python => &PYTHON,
        }
    }
}

/// Writes a program, prints the paths of its files, and says how it is run. Files that are there already stay, and
/// nothing is written beside them.
pub(super) fn write(arguments: &AppArguments) -> Result<(), Failure> {
    let app = arguments.language.app();
    let dir = arguments.dir.as_deref().unwrap_or(Path::new(app.folder));
    let files = app.files.iter().map(|(name, text)| (dir.join(name), *text));
    let files: Vec<(PathBuf, &str)> = files.collect();
    let is_there = |(path, _): &&(PathBuf, &str)| path.symlink_metadata().is_ok();
    if let Some((path, _)) = files.iter().find(is_there) {
        let sentence = format!("{} is there already", path.display());
        return Err(failed(&sentence, EXIT_ENVIRONMENT));
    }
    for (path, text) in &files {
        write_new(path, text).map_err(|error| {
            let sentence = format!("cannot write {}: {error}", path.display());
            failed(&sentence, EXIT_ENVIRONMENT)
        })?;
    }
    let mut out = io::stdout().lock();
    for (path, _) in &files {
        writeln!(out, "{}", path.display())?;
    }
    out.flush()?;
    say(&format!(
        "run it with a broker on 127.0.0.1:9092, or in TIDEWHEEL_BROKERS:\n  cd {} && {}",
        dir.display(),
        app.run
    ));
    Ok(())
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::create_new(path)?.write_all(text.as_bytes())
}
