//! Many hostile requests over few connections: each one is answered or ends its connection, within a bounded
//! time.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use socket2::{Domain, Socket, Type};

use crate::support::{Broker, PATIENCE};

/// Requests that are sent without waiting for answers in between.
const PIPELINED: usize = 16;
/// Threads that fire.
const GUNNERS: usize = 2;
/// A longer answer than any of these may have, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Where the correlation id lies in a frame.
const CORRELATION_ID: std::ops::Range<usize> = 8..12;

/// A request as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Shot {
    /// The whole frame.
    pub(crate) bytes: Vec<u8>,
    /// Its length is a lie: what follows on the connection would be taken for a part of it.
    pub(crate) lies: bool,
}

impl Shot {
    /// A frame around a header with a body.
    pub(crate) fn new(body: &[u8]) -> Self {
        let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        Self { bytes, lies: false }
    }

    fn number(&mut self, number: usize) {
        if let Some(id) = self.bytes.get_mut(CORRELATION_ID) {
            id.copy_from_slice(&u32::try_from(number).unwrap().to_be_bytes());
        }
    }
}

/// What became of a volley.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Which shots were answered, by their place.
    pub(crate) answered: Vec<usize>,
    /// Connections it took.
    pub(crate) connections: usize,
}

/// Fires every shot, on [`GUNNERS`] threads. Their correlation ids become their places.
pub(crate) fn fire(broker: &Broker, mut shots: Vec<Shot>) -> Tally {
    for (number, shot) in shots.iter_mut().enumerate() {
        shot.number(number);
    }
    let (shots, next) = (&shots[..], &AtomicUsize::new(0));
    let gunner = move || {
        let mut tally = Tally::default();
        loop {
            let from = next.fetch_add(PIPELINED, Ordering::Relaxed);
            if from >= shots.len() {
                return tally;
            }
            let end = shots.len().min(from + PIPELINED);
            let mut at = from;
            while at < end {
                let lying = shots[at..end].iter().position(|shot| shot.lies);
                let until = lying.map_or(end, |lying| at + lying + 1);
                at = exchange(broker, shots, at..until, &mut tally);
            }
        }
    };
    std::thread::scope(|scope| {
        let gunners: Vec<_> = (0..GUNNERS).map(|_| scope.spawn(gunner)).collect();
        let tallies = gunners.into_iter().map(|gunner| gunner.join().unwrap());
        tallies.fold(Tally::default(), |mut sum, tally| {
            sum.answered.extend(tally.answered);
            sum.connections += tally.connections;
            sum
        })
    })
}

/// Sends the shots of a range on one connection, with nothing after them, and reads until the broker closes.
/// Returns the place of the first one that was neither answered nor is what ended the connection.
fn exchange(
    broker: &Broker,
    shots: &[Shot],
    range: std::ops::Range<usize>,
    tally: &mut Tally,
) -> usize {
    let mut socket = connect(broker);
    tally.connections += 1;
    let bytes: Vec<u8> = shots[range.clone()]
        .iter()
        .flat_map(|shot| shot.bytes.iter().copied())
        .collect();
    // The broker may close before all is written. No more to come: fetches end their wait.
    let sent = socket.write_all(&bytes);
    let ended = socket.shutdown(Shutdown::Write);
    let mut last = range.start;
    while let Some(id) = read_answer(&mut socket) {
        let place = usize::try_from(id).unwrap_or(usize::MAX);
        // Of a frame that lied about its length some bytes may be taken for another one.
        let known = range.contains(&place);
        assert!(
            known || shots[range.end - 1].lies,
            "an answer to nothing ({id}) among {range:?} ({sent:?}, {ended:?})"
        );
        if known {
            tally.answered.push(place);
            last = last.max(place + 1);
        }
    }
    (last + 1).min(range.end)
}

/// The correlation id of the next answer, `None` once the broker has closed. Fails where it does neither.
fn read_answer(socket: &mut TcpStream) -> Option<i32> {
    let mut head = [0; 8];
    read(socket, &mut head)?;
    let number =
        |at: usize| i32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let rest = usize::try_from(number(0)).unwrap().checked_sub(4).unwrap();
    assert!(rest < ANSWER_BYTES_MAX, "an answer of {rest} bytes");
    let skipped = std::io::copy(&mut socket.take(rest as u64), &mut std::io::sink());
    assert_eq!(skipped.unwrap(), rest as u64, "the answer is cut");
    Some(number(4))
}

fn read(socket: &mut TcpStream, bytes: &mut [u8]) -> Option<()> {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match socket.read_exact(bytes) {
        Ok(()) => Some(()),
        Err(error) if matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe) => None,
        Err(error) => panic!("neither answered nor closed: {error}"),
    }
}

/// A connection that leaves nothing in the kernel when it is dropped.
fn connect(broker: &Broker) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let to: SocketAddr = broker.address.parse().unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    TcpStream::from(socket)
}
