//! Bounds under hostile clients, one case for each kind of them, against a broker process of its own.
//! Around every case a well-behaved client produces with `acks=all`, fetches and describes, and must see no
//! error; anonymous memory (`RssAnon`) stays below 256 MiB; a new client is served while the hostile peers
//! are there and when they are gone; and the descriptors come back. See `case.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test fails the test"
)]

mod answers;
mod batches;
mod case;
mod consumers;
mod descriptors;
mod fetches;
mod frames;
mod group_beside;
mod groups;
mod mutants;
mod peers;
#[path = "../support/mod.rs"]
mod support;
mod volley;

macro_rules! cases {
    ($($name:ident: $hostile:path;)*) => {$(
        #[test]
        fn $name() {
            case::bounded(&[], $hostile);
        }
    )*};
}

cases! {
    lying_array_lengths: frames::lying_array_lengths;
    keys_from_minus_1_to_100_with_versions_from_minus_1_to_20: frames::keys_and_versions;
    random_bodies_for_every_version_served: frames::noise_for_what_is_served;
    mutated_copies_of_real_requests: mutants::of_real_requests;
    batches_that_lie_about_count_last_offset_length_or_crc_and_control_batches: batches::that_lie;
    decompression_bombs_of_every_codec: batches::decompression_bombs;
    slow_readers_with_a_hundred_large_fetches_unread: peers::that_read_nothing;
    waiting_fetches_of_hundreds_of_thousands_of_partitions: fetches::of_more_partitions_than_there_are;
    large_answers_behind_others_that_need_more_than_there_is: answers::that_stand_behind_giants;
    half_open_connections: peers::that_are_half_open;
    twenty_connections_that_announce_99_mb: peers::that_announce_much;
    a_thousand_idle_connections: peers::that_idle;
}
