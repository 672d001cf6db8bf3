//! InitProducerId: ids for idempotent producers. Transactions are not built yet and are refused.

use tidewheel_protocol::ErrorCode;
use tidewheel_protocol::messages::init_producer_id::{
    InitProducerIdRequest, InitProducerIdResponse,
};
use tracing::{info, warn};

use super::{Context, error};
use crate::broker::{BrokerError, next_producer_id};
use crate::rate_limit::RateLimit;

/// Clients ask again and again.
static REFUSALS: RateLimit = RateLimit::new();
static FAILURES: RateLimit = RateLimit::new();

pub(super) async fn handle(
    context: Context,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    if let Some(id) = &request.transactional_id {
        if let Some(unsaid) = REFUSALS.passes() {
            let (peer, id) = (context.session.peer, &**id);
            info!(%peer, id, unsaid, "transactions are not supported yet: refused");
        }
        return refused(ErrorCode::InvalidRequest);
    }
    // KIP-360: an id and its epoch come together or not at all. A producer without a transactional id
    // that lost its place simply starts again under a new id.
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return refused(ErrorCode::InvalidRequest);
    }
    match next_producer_id(&context.broker).await {
        Ok(producer_id) => InitProducerIdResponse {
            producer_id,
            ..InitProducerIdResponse::default()
        },
        // Kafka's answer while it waits for the next block of ids.
        Err(BrokerError::Busy | BrokerError::TimedOut) => {
            refused(ErrorCode::CoordinatorLoadInProgress)
        }
        Err(error) => {
            if let Some(unsaid) = FAILURES.passes() {
                warn!(%error, unsaid, "cannot give out a producer id");
            }
            refused(error::broker_code(&error))
        }
    }
}

fn refused(error: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error_code: error.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdResponse::default()
    }
}
