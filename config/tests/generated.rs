//! `docs/configuration.md` and `config/tidewheel.toml` are the registry as text. After a change of
//! the registry, run this test with `TIDEWHEEL_REGENERATE=1` to write them anew.

use std::path::PathBuf;

use tidewheel_config::{BrokerConfig, ConfigFile, Sources, describe_broker, docs};

fn check(path: &str, want: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("TIDEWHEEL_REGENERATE").is_some() {
        std::fs::write(&path, want).expect("the source tree can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == want,
        "{} is stale: run `TIDEWHEEL_REGENERATE=1 cargo test -p tidewheel-config`",
        path.display()
    );
}

#[test]
fn the_documentation_page_is_fresh() {
    check("../docs/configuration.md", &docs::markdown());
}

#[test]
fn the_example_file_is_fresh() {
    check("tidewheel.toml", &docs::example_toml());
}

#[test]
fn the_example_file_says_the_defaults() {
    let load = |text: String| {
        let file = Some(ConfigFile {
            name: "tidewheel.toml".to_owned(),
            bytes: text.into_bytes(),
        });
        BrokerConfig::load(&Sources {
            file,
            ..Sources::default()
        })
        .unwrap()
    };
    let example = docs::example_toml();
    assert_eq!(load(example.clone()), BrokerConfig::default());

    // With every line switched on it still says what the broker does unasked.
    let switched_on = load(example.replace("\n#\"", "\n\""));
    assert!(!switched_on.listeners_are_default, "the lines were read");
    let values = |config: &BrokerConfig| {
        let entries = describe_broker(config);
        entries
            .into_iter()
            .map(|entry| (entry.name, entry.value))
            .collect::<Vec<_>>()
    };
    assert_eq!(values(&switched_on), values(&BrokerConfig::default()));
    assert_eq!(switched_on.log, BrokerConfig::default().log);
    assert_eq!(switched_on.warnings, []);
}
