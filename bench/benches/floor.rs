//! What the system alone takes for a produce request: `cargo bench -p tidewheel-bench --bench floor`.
//!
//! One thread receives requests, appends each to a file with one `pwrite` and answers with 64 bytes: no
//! protocol, no checksum, no index, no runtime. A broker whose acknowledged bytes lie in the page cache has
//! to do all of that, so its processor time is to be compared with this, measured in the same minutes: what
//! a page of the page cache costs depends on how full the memory is and what the disk is writing.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a failed step ends the measurement; it has a thread and a clock of its own and prints"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

const ANSWER_BYTES: usize = 64;
/// Requests under way in a closed loop: as many as a Kafka producer's.
const WINDOW: u64 = 5;
const DURATION: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;
/// Reserved in one go, as the broker does.
const STEP_BYTES: u64 = 16 << 20;

/// Buffers in turn, of 64 KiB: more than a core's cache holds.
const COLD_BUFFERS: usize = 64;
/// What the rounds write, and more: touched before each, as `bench versus` does.
const TOUCHED_BYTES: usize = 5 << 30;

/// Requests of `bytes`, `rate` a second (0: as many as go), received into so many `buffers` in turn.
struct Load {
    bytes: usize,
    rate: u32,
    buffers: usize,
}

fn main() {
    let load = |bytes, rate, buffers| Load {
        bytes,
        rate,
        buffers,
    };
    for load in [
        load(1_200, 2_000, 1),
        load(22_600, 0, 1),
        load(64 << 10, 0, 1),
        load(64 << 10, 0, COLD_BUFFERS),
    ] {
        let mut rounds: Vec<Served> = (0..ROUNDS).map(|_| round(&load)).collect();
        rounds.sort_by_key(|served| served.processor / u32::try_from(served.requests).unwrap());
        let figure = |served: &Served| {
            let bytes = served.requests * load.bytes as u64;
            let micros = served.processor.as_secs_f64() * 1e6 / served.requests as f64;
            let per_gb = served.processor.as_secs_f64() * 1e9 / bytes as f64;
            format!("{micros:.1} us/request, {per_gb:.3} s/GB")
        };
        println!(
            "{} bytes, {}, {} buffers: median {} (least {}, most {})",
            load.bytes,
            if load.rate > 0 {
                format!("{} requests/s", load.rate)
            } else {
                "closed loop".to_owned()
            },
            load.buffers,
            figure(&rounds[ROUNDS / 2]),
            figure(&rounds[0]),
            figure(&rounds[ROUNDS - 1]),
        );
    }
}

/// What serving took.
struct Served {
    requests: u64,
    processor: Duration,
}

fn round(load: &Load) -> Served {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let file = tempfile::tempfile().unwrap();
    drop(std::hint::black_box(vec![1_u8; TOUCHED_BYTES]));
    let (bytes, buffers) = (load.bytes, load.buffers);
    let serving = thread::spawn(move || serve(&listener, bytes, buffers, &file));
    pin(1);
    send(TcpStream::connect(address).unwrap(), load);
    serving.join().unwrap()
}

/// On a processor of its own, where there are two.
fn pin(processor: usize) {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let mut set = CpuSet::new();
    set.set(processor % processors);
    sched_setaffinity(None, &set).unwrap();
}

fn serve(listener: &TcpListener, bytes: usize, buffers: usize, file: &File) -> Served {
    pin(0);
    let mut socket = listener.accept().unwrap().0;
    socket.set_nodelay(true).unwrap();
    let mut buffers = vec![vec![0; bytes]; buffers];
    let (mut position, mut reserved, mut requests) = (0, 0, 0);
    let mut turn = (0..buffers.len()).cycle();
    let begun = processor_time();
    loop {
        let next = turn.next().unwrap_or_default();
        let request = &mut buffers[next];
        if socket.read_exact(request).is_err() {
            break;
        }
        if position + bytes as u64 > reserved {
            // Not every file system can, and none must.
            rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, reserved, STEP_BYTES).ok();
            reserved += STEP_BYTES;
        }
        file.write_all_at(request, position).unwrap();
        position += bytes as u64;
        requests += 1;
        if socket.write_all(&[0; ANSWER_BYTES]).is_err() {
            break;
        }
    }
    Served {
        requests,
        processor: processor_time() - begun,
    }
}

/// Of this thread.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap(),
        u32::try_from(time.tv_nsec).unwrap(),
    )
}

fn send(mut socket: TcpStream, load: &Load) {
    socket.set_nodelay(true).unwrap();
    let request = vec![0; load.bytes];
    let mut answer = [0; ANSWER_BYTES];
    let begun = Instant::now();
    let (mut sent, mut answered) = (0_u64, 0);
    while begun.elapsed() < DURATION {
        if load.rate > 0 {
            let due = Duration::from_secs(sent) / load.rate;
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
        socket.write_all(&request).unwrap();
        sent += 1;
        let under_way = if load.rate > 0 { 0 } else { WINDOW };
        while sent - answered > under_way {
            socket.read_exact(&mut answer).unwrap();
            answered += 1;
        }
    }
}
