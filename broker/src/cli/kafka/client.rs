//! A client for commands: a connection to each broker it needs, one request at a time, which is made again where the
//! answer says that it will soon be another one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use tidewheel_bench::client::address;
pub(crate) use tidewheel_bench::client::{ClientError, Connection};
use tidewheel_protocol::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use tidewheel_protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse,
};
use tidewheel_protocol::{ErrorCode, Message, StrBytes};

use crate::clock;

/// What this client calls itself.
const CLIENT_ID: &str = "tidewheel";
/// The newest version of Metadata that names topics in all cases.
const METADATA: i16 = 12;

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To<'a> {
    /// Whoever answers.
    Any,
    /// The broker that carries out changes of topics, or passes them on.
    Controller,
    /// The broker with this node id.
    Node(i32),
    /// The broker that looks after this group.
    Coordinator(&'a str),
}

/// The way into a cluster.
#[derive(Debug)]
pub(crate) struct Client {
    wait: Duration,
    seeds: Vec<String>,
    /// Who answered first, or last where that one is gone.
    here: String,
    /// By address.
    connections: BTreeMap<String, Connection>,
    /// By node id.
    brokers: BTreeMap<i32, String>,
    controller: i32,
    /// Where the groups are looked after that were asked about.
    coordinators: BTreeMap<String, (i32, String)>,
}

impl Client {
    /// Connects to the first of these brokers that answers, and asks who else there is.
    ///
    /// # Errors
    /// The last broker's, where none answers.
    pub(crate) async fn connect(seeds: &[String], wait: Duration) -> Result<Self, ClientError> {
        let mut client = Self {
            wait,
            seeds: seeds.to_vec(),
            here: String::new(),
            connections: BTreeMap::new(),
            brokers: BTreeMap::new(),
            controller: -1,
            coordinators: BTreeMap::new(),
        };
        client.metadata(Some(&[]), false).await?;
        Ok(client)
    }

    /// The address of the broker that answered.
    pub(crate) fn here(&self) -> &str {
        &self.here
    }

    /// Every broker, by node id, and where it is reached.
    pub(crate) fn brokers(&self) -> &BTreeMap<i32, String> {
        &self.brokers
    }

    /// How long an answer may take.
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }

    /// Asks about topics, or about all of them, once. `create` lets the broker make those that are not there.
    ///
    /// # Errors
    /// Where nobody answers.
    pub(crate) async fn metadata(
        &mut self,
        topics: Option<&[String]>,
        create: bool,
    ) -> Result<MetadataResponse, ClientError> {
        let topic = |name: &String| MetadataRequestTopic {
            name: Some(StrBytes::from(name.as_str())),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: topics.map(|topics| topics.iter().map(topic).collect()),
            allow_auto_topic_creation: create,
            ..MetadataRequest::default()
        };
        let answer: MetadataResponse = self.call_once(To::Any, METADATA, &request).await?;
        let brokers = answer.brokers.iter();
        self.brokers = brokers
            .map(|one| (one.node_id, address(&one.host, one.port)))
            .collect();
        self.controller = answer.controller_id;
        Ok(answer)
    }

    /// Asks, and asks again for as long as an answer may take while somebody is still busy with starting or moving.
    ///
    /// # Errors
    /// Where nobody answers.
    pub(crate) async fn call<Q: Message, A: Message>(
        &mut self,
        to: To<'_>,
        newest: i16,
        request: &Q,
    ) -> Result<A, ClientError> {
        let mut patience = Patience::new(self.wait);
        loop {
            let answer: A = self.call_once(to, newest, request).await?;
            let code = ErrorCode::from_code(answer.first_error());
            let Some(code) = code.filter(|code| will_pass(*code)) else {
                return Ok(answer);
            };
            if !patience.pause().await {
                return Ok(answer);
            }
            match (to, code) {
                (To::Coordinator(group), _) => {
                    self.coordinators.remove(group);
                }
                (_, ErrorCode::NotController) => {
                    self.metadata(Some(&[]), false).await?;
                }
                _ => {}
            }
        }
    }

    /// Asks once.
    ///
    /// # Errors
    /// Where nobody answers.
    pub(crate) async fn call_once<Q: Message, A: Message>(
        &mut self,
        to: To<'_>,
        newest: i16,
        request: &Q,
    ) -> Result<A, ClientError> {
        self.call_within(to, newest, request, self.wait).await
    }

    /// The same with another time in which the answer must be here.
    ///
    /// # Errors
    /// Where nobody answers.
    pub(crate) async fn call_within<Q: Message, A: Message>(
        &mut self,
        to: To<'_>,
        newest: i16,
        request: &Q,
        wait: Duration,
    ) -> Result<A, ClientError> {
        let address = self.address(to).await?;
        let connection = self.connection(&address).await?;
        let answer = connection.call(newest, request, wait).await;
        if answer.is_err() {
            self.connections.remove(&address);
        }
        answer
    }

    /// Connects to whom it would ask.
    ///
    /// # Errors
    /// Where nobody is there.
    pub(crate) async fn reach(&mut self, to: To<'_>) -> Result<(), ClientError> {
        let address = self.address(to).await?;
        self.connection(&address).await.map(drop)
    }

    /// Sends what is not answered, and waits until the kernel has it.
    ///
    /// # Errors
    /// Where there is no connection, or it fails.
    pub(crate) async fn send_only<Q: Message>(
        &mut self,
        to: To<'_>,
        newest: i16,
        request: &Q,
    ) -> Result<(), ClientError> {
        let address = self.address(to).await?;
        let wait = self.wait;
        let connection = self.connection(&address).await?;
        let sent = async {
            let version = connection.version::<Q>(newest)?;
            connection.send_unanswered(version, request)?;
            connection.flush().await
        };
        let sent = match tokio::time::timeout(wait, sent).await {
            Ok(sent) => sent,
            Err(_) => Err(ClientError::TimedOut {
                address: address.clone(),
                after: wait,
            }),
        };
        if sent.is_err() {
            self.connections.remove(&address);
        }
        sent
    }

    async fn address(&mut self, to: To<'_>) -> Result<String, ClientError> {
        match to {
            To::Any => self.any().await,
            To::Controller if !self.brokers.contains_key(&self.controller) => self.any().await,
            To::Controller => self.address_of(self.controller),
            To::Node(node) => self.address_of(node),
            To::Coordinator(group) => {
                let (node, address) = self.coordinator(group).await?;
                Ok(self.address_of(node).unwrap_or(address))
            }
        }
    }

    /// Who looks after a group, and where that one says it is.
    ///
    /// # Errors
    /// Where nobody does or nobody knows.
    pub(crate) async fn coordinator(&mut self, group: &str) -> Result<(i32, String), ClientError> {
        if let Some(known) = self.coordinators.get(group) {
            return Ok(known.clone());
        }
        let request = FindCoordinatorRequest {
            key: StrBytes::from(group),
            coordinator_keys: vec![StrBytes::from(group)],
            ..FindCoordinatorRequest::default()
        };
        // It may be a call for a coordinator that waits for this one, so the future is on the heap.
        let asked = Box::pin(self.call(To::Any, i16::MAX, &request));
        let mut answer: FindCoordinatorResponse = asked.await?;
        // Up to version 3 there is one, at the top.
        let found = answer.coordinators.pop().unwrap_or(Coordinator {
            key: StrBytes::default(),
            node_id: answer.node_id,
            host: answer.host,
            port: answer.port,
            error_code: answer.error_code,
            error_message: answer.error_message,
        });
        if found.error_code != 0 {
            return Err(ClientError::Refused {
                what: format!("the coordinator of group {group}"),
                code: found.error_code,
                detail: found.error_message.map(|text| text.to_string()),
            });
        }
        let found = (found.node_id, address(&found.host, found.port));
        self.coordinators.insert(group.to_owned(), found.clone());
        Ok(found)
    }

    /// Looks for the coordinator of a group again when it is needed.
    pub(crate) fn forget_coordinator(&mut self, group: &str) {
        self.coordinators.remove(group);
    }

    /// Closes all connections: one may still have an answer to come for which nobody waits any longer.
    pub(crate) fn abandon(&mut self) {
        self.connections.clear();
    }

    /// A connection of its own to a broker.
    ///
    /// # Errors
    /// Where there is no such broker or it does not answer.
    pub(crate) async fn open(&self, node: i32) -> Result<Connection, ClientError> {
        let address = self.address_of(node)?;
        Connection::open_as(CLIENT_ID, &address, self.wait).await
    }

    fn address_of(&self, node: i32) -> Result<String, ClientError> {
        let unknown = || ClientError::Refused {
            what: format!("broker {node} is not known"),
            code: ErrorCode::BrokerNotAvailable.code(),
            detail: None,
        };
        match (self.brokers.get(&node), self.brokers.len()) {
            // It may call itself otherwise than it was called.
            (Some(_), 1) => Ok(self.here.clone()),
            (Some(address), _) => Ok(address.clone()),
            (None, _) => Err(unknown()),
        }
    }

    /// The address of somebody who answers.
    async fn any(&mut self) -> Result<String, ClientError> {
        if self.connections.contains_key(&self.here) {
            return Ok(self.here.clone());
        }
        let all = self.seeds.iter().chain(self.brokers.values());
        let all: Vec<String> = all.cloned().collect();
        let mut last = None;
        for address in all {
            match self.connection(&address).await {
                Ok(_) => {
                    self.here.clone_from(&address);
                    return Ok(address);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ClientError::Malformed {
            address: "no broker".to_owned(),
            what: "the list of brokers is empty".to_owned(),
        }))
    }

    async fn connection(&mut self, address: &str) -> Result<&mut Connection, ClientError> {
        match self.connections.entry(address.to_owned()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let opened = Connection::open_as(CLIENT_ID, address, self.wait).await?;
                Ok(place.insert(opened))
            }
        }
    }
}

/// Whether the answer to the same question will soon be another one, though maybe of somebody else.
pub(crate) fn will_pass(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::LeaderNotAvailable
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::NotController
            | ErrorCode::ThrottlingQuotaExceeded
    )
}

/// Whether another attempt may end otherwise: not where the broker speaks otherwise than it should.
pub(crate) fn may_be_repeated(error: &ClientError) -> bool {
    !matches!(
        error,
        ClientError::UnsupportedVersion { .. }
            | ClientError::Decode { .. }
            | ClientError::Malformed { .. }
    )
}

/// Pauses between attempts, each longer than the one before, until a time is over.
#[derive(Debug)]
pub(crate) struct Patience {
    deadline: tokio::time::Instant,
    pause: Duration,
}

impl Patience {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(2);

    /// For attempts that end after `wait`.
    pub(crate) fn new(wait: Duration) -> Self {
        Self {
            deadline: clock::deadline(wait),
            pause: Self::FIRST,
        }
    }

    /// Attempts may go on until `wait` from now.
    pub(crate) fn renew(&mut self, wait: Duration) {
        self.deadline = clock::deadline(wait);
    }

    /// Waits for the next attempt; false where there should be none any more.
    pub(crate) async fn pause(&mut self) -> bool {
        if clock::has_come(self.deadline) {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Self::LONGEST);
        true
    }
}
