//! A broker inside a unit test: no process, no port, no storage threads.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use tidewheel_config::{BrokerConfig, Sources, limits};
use tidewheel_protocol::{Message, RequestHeader, encode_request_frame};
use tidewheel_storage::fs::RealFs;
use tidewheel_storage::{LogManager, LogManagerOptions};
use tokio::sync::watch;

use crate::api::{Call, RequestMemory};
use crate::broker::{Broker, Endpoint, NewTopic, create_topics};
use crate::connection::Session;
use crate::ids;

/// A broker with its data in `dir`, with settings, `key=value`.
pub(crate) fn broker(dir: &Path, settings: &[&str]) -> Arc<Broker> {
    let mut sets = vec![format!("log.dirs={}", dir.display())];
    sets.extend(settings.iter().map(|setting| (*setting).to_owned()));
    let config = BrokerConfig::load(&Sources {
        sets,
        ..Sources::default()
    })
    .expect("good settings");
    let options = LogManagerOptions::new(
        config.log_dirs.clone(),
        config.node_id,
        "cluster".to_owned(),
        vec![ids::random_uuid()],
    );
    let logs = LogManager::open(Arc::new(RealFs), options).expect("a fresh directory");
    let endpoint = Endpoint {
        host: "localhost".to_owned(),
        port: 1,
    };
    Arc::new(Broker::open(config, vec![endpoint], logs).expect("a fresh broker"))
}

/// Creates a topic, which must work.
pub(crate) async fn create_topic(broker: &Arc<Broker>, name: &str, partitions: i32) {
    let mut topic = NewTopic::with_defaults(name, broker.config());
    topic.partitions = partitions;
    let made = create_topics(broker, vec![topic], false, limits::METADATA_CHANGE_WAIT).await;
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

/// What never closes: the connections of the calls below.
static OPEN: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::Sender::new(false));

/// A connection without a socket.
pub(crate) fn session() -> Arc<Session> {
    Arc::new(Session {
        peer: ([127, 0, 0, 1], 1).into(),
        listener: 0,
        closing: OPEN.subscribe(),
        holding: watch::Sender::new(0),
    })
}

/// A request as it comes off a socket.
pub(crate) fn call<Q: Message>(broker: &Arc<Broker>, version: i16, request: &Q) -> Call {
    let header = RequestHeader {
        api_key: Q::KEY.code(),
        api_version: version,
        correlation_id: 1,
        client_id: None,
    };
    let frame = encode_request_frame(&header, request).slice(4..);
    let memory = RequestMemory {
        free: 0,
        counted: false,
    };
    Call::new(frame, session(), Arc::clone(broker), memory).expect("a good header")
}
