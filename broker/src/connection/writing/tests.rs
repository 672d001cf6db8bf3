//! What a write loop writes, and for whom it does not wait.

use std::future::{pending, ready};
use std::path::Path;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tidewheel_storage::fs::SimFs;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::*;
use crate::memory_pool::MemoryShare;
use crate::testing;
use crate::testing::gate::Gate;

const STALL: Duration = Duration::from_secs(10);

fn stall() -> tokio::time::Sleep {
    tokio::time::sleep(STALL)
}

fn parts() -> Vec<Bytes> {
    vec![
        Bytes::from(vec![1; 100_000]),
        Bytes::new(),
        Bytes::from(vec![2; 100_000]),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_is_given_up() {
    let (mut ours, _theirs) = tokio::io::duplex(1_000);
    let stopped = write_all(&mut ours, parts(), stall).await;
    assert_eq!(stopped.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

/// Behind the answer that it does not read, others' memory may wait.
#[tokio::test(start_paused = true)]
async fn a_peer_that_keeps_memory_from_others_is_given_up_sooner() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    let patience = Patience {
        stall: limits::WRITE_STALL,
        session: testing::session(&broker),
        broker: Arc::clone(&broker),
    };
    let is_given_up = async |holds: bool, short: bool, within: Duration| {
        let _holding = holds.then(|| Holding::new(&patience.session));
        let pool = broker.early_answer_memory();
        let _all = pool.try_share(pool.free_bytes(), 0);
        let mut more = MemoryShare::default();
        let ends = async {
            tokio::select! {
                () = patience.ends(false) => {}
                () = pool.grow(&mut more, 1), if short => {}
            }
        };
        timeout(within, ends).await.is_ok()
    };
    let soon = 2 * limits::COUNTED_WRITE_STALL;
    assert!(is_given_up(true, true, soon).await);
    for (holds, short) in [(true, false), (false, true)] {
        assert!(!is_given_up(holds, short, soon).await);
        assert!(is_given_up(holds, short, limits::WRITE_STALL).await);
    }
}

/// One byte now and then is no progress: the reply would be held for days.
#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_drop_by_drop_is_given_up() {
    let (mut ours, mut theirs) = tokio::io::duplex(1_000);
    let reading = async {
        loop {
            theirs.read_u8().await.unwrap();
            tokio::time::sleep(STALL / 2).await;
        }
    };
    tokio::select! {
        () = reading => {}
        stopped = write_all(&mut ours, parts(), stall) => {
            assert_eq!(stopped.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_peer_that_gets_on_receives_everything_in_order() {
    let (mut ours, mut theirs) = tokio::io::duplex(1_000);
    let reading = async {
        let mut received = Vec::new();
        let mut piece = vec![0; 40_000];
        while received.len() < 200_000 {
            theirs.read_exact(&mut piece).await.unwrap();
            received.extend_from_slice(&piece);
            tokio::time::sleep(STALL / 3).await;
        }
        received
    };
    let (received, written) = tokio::join!(reading, write_all(&mut ours, parts(), stall));
    written.unwrap();
    assert_eq!(received, parts().concat());
}

/// Bytes of a file that one send takes.
const SENT_AT_ONCE: usize = 500_000;

/// What was written, by writes; and files, where it takes them.
#[derive(Default)]
struct Writes {
    bytes: Vec<Vec<u8>>,
    sends: Option<Sends>,
}

/// How files leave.
struct Sends {
    gate: Gate,
    /// Full until it was waited for.
    is_full: AtomicBool,
    /// Whether each send fills it.
    fills_up: bool,
    /// How often files behind the gate had been read before each send.
    reads: Mutex<Vec<usize>>,
}

impl AsyncWrite for Writes {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.bytes.push(bytes.to_vec());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
        let bytes = bytes.concat();
        let length = bytes.len();
        self.bytes.push(bytes);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Outlet for &mut Writes {
    fn hold(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn try_send(&self, slice: &RecordSlice, start: usize) -> io::Result<usize> {
        let Some(sends) = &self.sends else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        if sends.is_full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut reads = sends.reads.lock().unwrap();
        reads.push(sends.gate.visits());
        sends.is_full.store(sends.fills_up, Ordering::Relaxed);
        Ok(SENT_AT_ONCE.min(slice.len() - start))
    }

    async fn room(&self) -> io::Result<()> {
        if let Some(sends) = &self.sends {
            sends.is_full.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn answer(bytes: &'static [u8]) -> Answer {
    Answer::Parts(vec![Bytes::from_static(bytes)])
}

/// What a write loop writes of these replies, by writes, and whether it ends.
async fn written(replies: Vec<Reply>) -> (Vec<Vec<u8>>, bool) {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    let patience = Patience {
        stall: STALL,
        session: testing::session(&broker),
        broker,
    };
    let (queue, outgoing) = mpsc::channel(replies.len());
    for reply in replies {
        let (reply, _) = Outgoing::new(reply, MemoryShare::default(), &patience.session, None);
        assert!(queue.try_send(reply).is_ok());
    }
    drop(queue);
    let mut writes = Writes::default();
    let ended = timeout(STALL, write_loop(&mut writes, outgoing, &patience)).await;
    (writes.bytes, ended.is_ok())
}

/// `Writes` takes no files, as some systems.
#[tokio::test]
async fn files_that_the_system_does_not_send_leave_from_their_maps() {
    let dir = tempfile::tempdir().unwrap();
    let broker = testing::broker(dir.path(), &[]);
    testing::create_topic(&broker, "t", 1).await;
    let slice = testing::written(&broker, "t", &[7; 100_000]);
    let small = |byte| Piece::Bytes(Bytes::from(vec![byte; 10]));
    let file = Piece::File(slice.clone());
    let pieces = vec![small(1), small(2), file, small(3), small(4)];
    let mut writes = Writes::default();
    let residency = Residency {
        broker: &broker,
        made: clock::instant(),
        unasked: Duration::MAX,
    };
    write_files(&mut &mut writes, pieces, &residency, stall)
        .await
        .unwrap();
    let lens: Vec<usize> = writes.bytes.iter().map(Vec::len).collect();
    assert_eq!(lens, [20, slice.len(), 20], "neighbours leave together");
    assert!(writes.bytes[1] == slice.bytes().unwrap());
}

/// Two slices of a file of which nothing is ever in memory, each behind a header, and how many bytes a slice
/// has. They are larger than one read that brings them back, and than what is looked for at once.
async fn two_cold_slices(gate: &Gate) -> (Arc<Broker>, impl Fn() -> Vec<Piece>, usize) {
    let broker = testing::broker_on(Arc::new(gate.clone()), Path::new("/data"), &[]);
    testing::create_topic(&broker, "t", 1).await;
    let mut slice = testing::written(&broker, "t", &[7; 1_000_000]);
    while slice.len() < limits::RESIDENT_BYTES_AHEAD + 1_000_000 {
        slice = testing::written(&broker, "t", &[7; 1_000_000]);
    }
    let len = slice.len();
    let header = || Piece::Bytes(Bytes::from_static(b"header"));
    let pieces = move || {
        let file = || Piece::File(slice.clone());
        vec![header(), file(), header(), file()]
    };
    (broker, pieces, len)
}

const MINUTE: Duration = Duration::from_secs(60);

/// How often the file was read before each send of them, where the answer was made so long ago and the socket is
/// full at first, or always again.
async fn reads_before_sends(
    (is_full, fills_up): (bool, bool),
    age: Duration,
    unasked: Duration,
) -> (Vec<usize>, usize) {
    let gate = Gate::new(SimFs::new(), "/data/t-0");
    let (broker, pieces, len) = two_cold_slices(&gate).await;
    gate.shut();
    gate.open();
    let residency = Residency {
        broker: &broker,
        made: clock::instant().checked_sub(age).unwrap(),
        unasked,
    };
    let mut writes = Writes {
        sends: Some(Sends {
            gate: gate.clone(),
            is_full: AtomicBool::new(is_full),
            fills_up,
            reads: Mutex::default(),
        }),
        ..Writes::default()
    };
    write_files(&mut &mut writes, pieces(), &residency, stall)
        .await
        .unwrap();
    assert_eq!(gate.visits_by_this_thread(), 0);
    let reads = writes.sends.unwrap().reads.into_inner().unwrap();
    (reads, len)
}

#[tokio::test]
async fn what_was_looked_at_lately_is_not_looked_at_again() {
    let (reads, len) = reads_before_sends((true, true), Duration::ZERO, MINUTE).await;
    assert_eq!(reads, vec![0; 2 * len.div_ceil(SENT_AT_ONCE)]);
}

/// What was seen in memory before one wait is looked for again after the next.
#[tokio::test]
async fn what_leaves_memory_in_the_middle_of_a_slice_is_read_again() {
    let (reads, len) = reads_before_sends((true, true), Duration::ZERO, Duration::ZERO).await;
    assert_eq!(reads.len(), 2 * len.div_ceil(SENT_AT_ONCE));
    assert!(
        reads[0] > 0 && reads.is_sorted_by(|a, b| a < b),
        "{reads:?}"
    );
}

/// Wherever the time went: here behind what was written before, or in the header.
#[tokio::test]
async fn what_left_memory_while_its_reader_waited_is_read_by_another_thread() {
    for is_full in [false, true] {
        let (reads, len) = reads_before_sends((is_full, false), MINUTE, MINUTE).await;
        let sends = len.div_ceil(SENT_AT_ONCE);
        assert_eq!(reads.len(), 2 * sends);
        let (first, second) = reads.split_at(sends);
        assert!(first[0] > 0, "before anything leaves: {reads:?}");
        assert!(second[0] > first[sends - 1], "each of them: {reads:?}");
        for of_one in [first, second] {
            assert_eq!(of_one[0], of_one[1], "only once: {reads:?}");
            assert!(
                of_one[0] < of_one[sends - 1],
                "and not all at once: {reads:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_ready_leave_with_one_write_and_in_order() {
    let replies = vec![
        Reply::Started(Box::pin(ready(answer(b"1")))),
        Reply::Now(answer(b"2")),
        Reply::Now(Answer::Nothing),
        Reply::Now(answer(b"3")),
        Reply::Started(Box::pin(ready(answer(b"4")))),
        // Made in its turn.
        Reply::Later(Box::pin(ready(answer(b"5")))),
        Reply::Now(Answer::Counted(
            vec![Bytes::from_static(b"6")],
            MemoryShare::default(),
        )),
        Reply::Now(answer(b"7")),
    ];
    let expected = [&b"12"[..], b"34", b"5", b"6", b"7"];
    assert_eq!(
        written(replies).await,
        (expected.map(<[u8]>::to_vec).to_vec(), true)
    );
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_ready_wait_for_no_other_and_are_not_gathered_for_ever() {
    const LARGE: &[u8] = &[7; limits::FREE_BYTES_PER_CONNECTION];
    let replies = vec![
        Reply::Now(answer(LARGE)),
        Reply::Now(answer(b"1")),
        Reply::Started(Box::pin(pending())),
        Reply::Now(answer(b"2")),
    ];
    let expected = vec![LARGE.to_vec(), b"1".to_vec()];
    assert_eq!(written(replies).await, (expected, false));
}

#[tokio::test(start_paused = true)]
async fn what_closes_the_connection_lets_the_answers_before_it_out() {
    let replies = vec![
        Reply::Now(answer(b"1")),
        Reply::Now(Answer::Close),
        Reply::Now(answer(b"2")),
    ];
    assert_eq!(written(replies).await, (vec![b"1".to_vec()], true));
}
