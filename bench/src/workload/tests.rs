use super::*;

#[test]
fn our_own_files_use_the_names_of_the_flags() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("steady.toml");
    let text = "mode = 'e2e'\nrate = '50k/s'\nbatch-bytes = '16KiB'\nkeys = 'zipf:1.1'\n\
                [topic-config]\n'flush.messages' = '1'\n";
    std::fs::write(&path, text).unwrap();
    let workload = Workload::read(&path).unwrap();
    assert_eq!(workload.name, "steady");
    assert_eq!(workload.mode, Mode::E2e);
    assert_eq!(workload.rate, Rate::Records(50_000.0));
    assert_eq!(workload.batch_bytes, ByteSize(16 * 1024));
    assert_eq!(workload.topic_config["flush.messages"], "1");
    assert_eq!(workload.acks, Acks::All);

    std::fs::write(&path, "rates = '5'\n").unwrap();
    assert_eq!(Workload::read(&path).unwrap_err().exit_code(), 2);
}

#[test]
fn a_workload_survives_its_own_file_form() {
    let workload = Workload {
        rate: Rate::Bytes(1e6),
        size: ValueSize::Uniform(100, 200),
        ..Workload::default()
    };
    let text = toml::to_string(&workload).unwrap();
    assert_eq!(toml::from_str::<Workload>(&text).unwrap(), workload);
}

#[test]
fn contradictions_are_refused() {
    let fine = Workload::default();
    assert!(fine.check().is_ok());
    let wrong = [
        Workload {
            producers: 0,
            ..fine.clone()
        },
        Workload {
            catch_up: 1,
            ..fine.clone()
        },
        Workload {
            mode: Mode::Mixed,
            ..fine.clone()
        },
        Workload {
            mode: Mode::Delayed,
            ..fine.clone()
        },
        Workload {
            mode: Mode::E2e,
            delay: Span(Duration::from_secs(1)),
            ..fine.clone()
        },
        Workload {
            burst: true,
            ..fine.clone()
        },
        Workload {
            mode: Mode::E2e,
            size: ValueSize::Fixed(15),
            ..fine.clone()
        },
        Workload {
            mode: Mode::E2e,
            acks: Acks::None,
            ..fine.clone()
        },
        Workload {
            batch_bytes: ByteSize(1 << 40),
            ..fine.clone()
        },
        Workload {
            size: ValueSize::Fixed(1 << 40),
            ..fine.clone()
        },
        Workload {
            partitions: Some(0),
            ..fine
        },
    ];
    for workload in wrong {
        assert!(workload.check().is_err(), "{workload:?}");
    }
}

#[test]
fn what_does_not_belong_to_the_mode_is_refused() {
    let fine = Workload::default();
    let wrong = [
        Workload {
            mode: Mode::Replay,
            ..fine.clone()
        },
        Workload {
            source: Some("t".to_owned()),
            ..fine.clone()
        },
        Workload {
            mode: Mode::Replay,
            source: Some("t".to_owned()),
            rate: Rate::Records(5.0),
            ..fine.clone()
        },
        Workload {
            mode: Mode::Replay,
            source: Some("t".to_owned()),
            speed: 0.0,
            ..fine.clone()
        },
        Workload {
            repeat: true,
            ..fine.clone()
        },
        Workload {
            fill: ByteSize(5),
            ..fine.clone()
        },
        Workload {
            mode: Mode::Mixed,
            catch_up: 1,
            client: Client::Librdkafka,
            ..fine.clone()
        },
        Workload {
            goals: vec!["cpu_per_gb>=much".to_owned()],
            ..fine
        },
    ];
    for workload in wrong {
        assert!(workload.check().is_err(), "{workload:?}");
    }
}

#[test]
fn the_workloads_of_this_repository_are_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
    let mut count = 0;
    for set in ["record", "smoke"] {
        for entry in std::fs::read_dir(folder.join(set)).unwrap() {
            let workload = Workload::read(&entry.unwrap().path()).unwrap();
            workload.check().unwrap();
            assert!(!workload.goals.is_empty(), "{}", workload.name);
            count += 1;
        }
    }
    assert_eq!(count, 12);
}
