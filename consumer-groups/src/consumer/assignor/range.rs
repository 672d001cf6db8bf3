//! Of each topic a range for everybody who wants it. Static members come first, by instance id, so that
//! a member that comes back under another member id finds its range.

use super::audience::Audiences;
use super::{Demand, Owners};

pub(super) fn assign(demand: &Demand, audiences: &Audiences, owners: &mut Owners) {
    let mut order: Vec<usize> = (0..demand.members.len()).collect();
    order.sort_by_key(|&index| {
        let member = &demand.members[index];
        let name = member.instance_id.unwrap_or(member.member_id);
        (member.instance_id.is_none(), name)
    });
    let mut places = vec![0; order.len()];
    for (place, &member) in order.iter().enumerate() {
        places[member] = place;
    }
    for audience in &audiences.all {
        let mut subscribers = audiences.subscribers(audience);
        subscribers.sort_unstable_by_key(|&member| places[member]);
        let count = subscribers.len().max(1);
        for &topic in &audience.topics {
            let partitions = &mut owners[topic];
            let (each, more) = (partitions.len() / count, partitions.len() % count);
            let mut rest = partitions.iter_mut();
            for (place, &member) in subscribers.iter().enumerate() {
                let share = each + usize::from(place < more);
                if share == 0 {
                    break;
                }
                rest.by_ref()
                    .take(share)
                    .for_each(|owner| *owner = Some(member));
            }
        }
    }
}
