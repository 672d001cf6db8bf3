//! A relay between a command and a broker, which may answer in the broker's place, or not at all.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_protocol::wire::Reader;
use tidewheel_protocol::{
    Message, RequestHeader, decode_request_frame, decode_response_frame, encode_response_frame,
};

/// A request on its way. What is given for it is a whole frame; for nothing the connection closes.
pub(crate) struct Asked {
    pub(crate) header: RequestHeader,
    frame: Bytes,
    broker: TcpStream,
}

impl Asked {
    /// The request, if it is of this kind.
    pub(crate) fn of<Q: Message>(&self) -> Option<Q> {
        let is_one = self.header.api_key == Q::KEY.code();
        is_one.then(|| decode_request_frame(self.frame.clone()).unwrap().1)
    }

    /// What the broker answers.
    pub(crate) fn passed(&mut self) -> Option<Bytes> {
        let len = u32::try_from(self.frame.len()).unwrap();
        self.broker.write_all(&len.to_be_bytes()).ok()?;
        self.broker.write_all(&self.frame).ok()?;
        let answer = read_frame(&mut self.broker)?;
        let len = u32::try_from(answer.len()).unwrap();
        Some(Bytes::from([&len.to_be_bytes()[..], &answer].concat()))
    }

    /// The same, changed.
    pub(crate) fn changed<A: Message>(&mut self, change: impl FnOnce(&mut A)) -> Option<Bytes> {
        let answer = self.passed()?.slice(4..);
        let (_, mut answer) = decode_response_frame(answer, self.header.api_version).unwrap();
        change(&mut answer);
        self.answered(&answer)
    }

    /// Something else.
    pub(crate) fn answered<A: Message>(&self, answer: &A) -> Option<Bytes> {
        let (version, number) = (self.header.api_version, self.header.correlation_id);
        Some(encode_response_frame(version, number, answer))
    }

    /// Nothing, for ever.
    pub(crate) fn silence() -> Option<Bytes> {
        loop {
            std::thread::park();
        }
    }
}

/// Listens where commands are sent, for as long as the tests run; where that is.
pub(crate) fn relay(
    broker: &str,
    answer: impl Fn(&mut Asked) -> Option<Bytes> + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (broker, answer) = (broker.to_owned(), Arc::new(answer));
    let accept = move || {
        for client in listener.incoming() {
            let (broker, answer) = (broker.clone(), Arc::clone(&answer));
            start(move || serve(client.unwrap(), &broker, &*answer));
        }
    };
    start(accept);
    address
}

fn start(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name("relay".to_owned());
    drop(thread.spawn(work).unwrap());
}

/// One request after the other, until either side closes.
fn serve(mut client: TcpStream, broker: &str, answer: &dyn Fn(&mut Asked) -> Option<Bytes>) {
    let Ok(broker) = TcpStream::connect(broker) else {
        return;
    };
    broker.set_nodelay(true).unwrap();
    client.set_nodelay(true).unwrap();
    while let Some(frame) = read_frame(&mut client) {
        let header = RequestHeader::decode(&mut Reader::new(frame.clone())).unwrap();
        let mut asked = Asked {
            header,
            frame,
            broker: broker.try_clone().unwrap(),
        };
        let Some(answer) = answer(&mut asked) else {
            return;
        };
        if client.write_all(&answer).is_err() {
            return;
        }
    }
}

/// Without its length; nothing where the other side has closed.
fn read_frame(socket: &mut TcpStream) -> Option<Bytes> {
    let mut len = [0; 4];
    socket.read_exact(&mut len).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    socket.read_exact(&mut frame).ok()?;
    Some(Bytes::from(frame))
}
