//! ListGroups: all groups, or those in some states or of some types.

use tidewheel_consumer_groups::request::ListRequest;
use tidewheel_consumer_groups::{GroupReply, GroupRequest};
use tidewheel_protocol::messages::list_groups::{
    ListGroupsRequest, ListGroupsResponse, ListedGroup,
};
use tidewheel_protocol::{ErrorCode, StrBytes};

use super::{Context, error};

pub(super) async fn handle(context: Context, request: ListGroupsRequest) -> ListGroupsResponse {
    let names = |names: &[StrBytes]| names.iter().map(|name| name.to_string()).collect();
    let list = GroupRequest::List(ListRequest {
        states: names(&request.states_filter),
        types: names(&request.types_filter),
    });
    let mut response = ListGroupsResponse::default();
    for reply in context.broker.groups().ask_all(&list).await {
        let code = match reply {
            Ok(GroupReply::List(groups)) => {
                response
                    .groups
                    .extend(groups.into_iter().map(|group| ListedGroup {
                        group_id: StrBytes::from(&*group.group_id),
                        protocol_type: StrBytes::from(&*group.protocol_type),
                        group_state: StrBytes::from(group.state),
                        group_type: StrBytes::from(group.group_type),
                    }));
                continue;
            }
            Ok(_) => ErrorCode::UnknownServerError,
            Err(reason) => error::no_coordinator_code(reason),
        };
        // What the others keep is told all the same.
        response.error_code = code.code();
    }
    response
}
