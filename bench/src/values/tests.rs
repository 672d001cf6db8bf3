use super::*;

#[test]
fn sizes_rates_and_durations_are_read_in_their_usual_forms() {
    assert_eq!(parse_bytes("512"), Ok(512));
    assert_eq!(parse_bytes("1KiB"), Ok(1024));
    assert_eq!(parse_bytes("64KB"), Ok(64_000));
    assert_eq!(parse_bytes("1.5MiB"), Ok(1_572_864));
    assert_eq!("50k/s".parse(), Ok(Rate::Records(50_000.0)));
    assert_eq!("1M/s".parse(), Ok(Rate::Records(1e6)));
    assert_eq!("7".parse(), Ok(Rate::Records(7.0)));
    assert_eq!("100MiB/s".parse(), Ok(Rate::Bytes(104_857_600.0)));
    assert_eq!("max".parse(), Ok(Rate::Max));
    assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
    assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
    assert_eq!(parse_duration("250us"), Ok(Duration::from_micros(250)));
}

#[test]
fn people_read_short_numbers() {
    for (bytes, text) in [
        (100.0, "100B"),
        (1024.0, "1KiB"),
        (1_572_864.0, "1.5MiB"),
        (0.0, "0"),
    ] {
        assert_eq!(describe_bytes(bytes), text);
    }
    assert_eq!(Rate::Records(50_000.0).describe(), "50k/s");
    assert_eq!(Rate::Records(1_234_567.0).describe(), "1.23M/s");
    assert_eq!(Rate::Bytes(104_857_600.0).describe(), "100MiB/s");
    assert_eq!(ValueSize::Uniform(1, 2).describe(), "dist:uniform:1:2");
}

#[test]
fn nonsense_is_refused() {
    for text in ["", "x", "-5", "1XiB", "1..2", "NaN"] {
        assert!(parse_bytes(text).is_err(), "{text}");
        assert!(parse_duration(text).is_err(), "{text}");
        assert!(text.parse::<Rate>().is_err(), "{text}");
    }
    assert!("0/s".parse::<Rate>().is_err());
    for text in ["dist:uniform:9:3", "dist:normal:1:2", "dist:uniform:4"] {
        assert!(text.parse::<ValueSize>().is_err(), "{text}");
    }
    for text in [
        "some",
        "zipf",
        "zipf:x",
        "rr:0",
        "rr:1:2",
        "zipf:1:2:3",
        "none:1",
    ] {
        assert!(text.parse::<Keys>().is_err(), "{text}");
    }
    assert!("2".parse::<Acks>().is_err());
    assert!("brotli".parse::<Codec>().is_err());
}

#[test]
fn what_is_shown_is_read_again() {
    for text in ["50000/s", "max", "1024B/s"] {
        let rate: Rate = text.parse().unwrap();
        assert_eq!(rate.to_string(), text);
    }
    for text in ["none", "rr:7", "zipf:1.1:100"] {
        assert_eq!(text.parse::<Keys>().unwrap().to_string(), text);
    }
    for text in ["1s", "1500us", "250ms"] {
        assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
    }
    for text in ["1024", "file:a:b", "dist:uniform:1:9"] {
        assert_eq!(text.parse::<ValueSize>().unwrap().to_string(), text);
    }
}
